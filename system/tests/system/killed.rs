//! A worker that is killed at the worst moments: nothing is lost, and nothing is half-visible.

use aws::testing::Ministack;

use crate::{
    process::wait_until,
    proxy::{Fault, Proxy},
    system::{GBR, NEWER, NEWER_VERSION, System, VERSION, address, sample},
};

/// Kills the worker when its connection to S3 and SQS, or to Redis, is at some point of its work on an upload.
fn killed(at_aws: bool, text: &str, fault: Fault) {
    let system = System::sample();
    let aws = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    let redis = Proxy::to(address(&system.redis.url()));
    let mut worker = system.worker_with(&[
        ("AWS_ENDPOINT_URL", format!("http://{}", aws.address)),
        ("REDIS_URL", format!("redis://{}", redis.address)),
        ("QUEUE_URL", system.bucket.queue.to_string()),
    ]);
    let api = system.api();
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.settled();
    let before = api.json("/symbol/BTC");

    let proxy = if at_aws { &aws } else { &redis };
    proxy.arm(text, fault);
    system.put(NEWER, &sample(GBR));
    proxy.wait_until_struck();
    worker.kill();
    // Either all of it is there or nothing.
    let (version, answer) = (api.version("regressor_lin"), api.json("/symbol/BTC"));
    let new = version.as_deref() == Some(NEWER_VERSION);
    assert!(new || version.as_deref() == Some(VERSION));
    if !new {
        assert_eq!(answer, before);
    }
    assert_eq!(answer["modelos"].as_object().unwrap().len(), 5);

    let _next = system.worker();
    wait_until("the upload", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    let answer = api.json("/symbol/BTC");
    assert_eq!(
        answer["modelos"]["regressor_lin"]["predicao"],
        answer["modelos"]["regressor_gbr"]["predicao"]
    );
    // The event comes again, and is seen to by somebody who finds the work done.
    system.settled();
}

#[test]
fn when_it_has_received_the_event_and_not_yet_looked_at_the_bucket() {
    killed(true, "prefix=models", Fault::Hold);
}

#[test]
fn when_it_has_read_half_of_the_model() {
    killed(true, "GET /", Fault::CutAnswer(2000));
}

#[test]
fn when_it_writes_the_answers() {
    killed(false, "HSET", Fault::Hold);
}

#[test]
fn when_everything_is_written_and_nothing_is_visible() {
    // The script that moves the pointer, by what only it says.
    killed(false, "superseded", Fault::Hold);
}

#[test]
fn when_it_has_published_and_not_yet_deleted_the_message() {
    killed(true, "DeleteMessage", Fault::Hold);
}
