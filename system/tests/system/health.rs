//! What `scorer worker` says of its health: to a rollout, and to an engineer who is on call.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use aws::testing::Ministack;
use redis_store::testing::RedisServer;
use serde_json::Value;

use crate::{
    process::{Process, SOON, wait_until},
    proxy::{Fault, Proxy, answer},
    system::{LIN, NEWER, System, address, sample},
};

fn health(worker: &Process) -> (u16, Value) {
    let (status, body) = worker.get("/health");
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

/// Whether the answer names a reason that begins with the part that fails, and has a text in it.
fn names(health: &Value, part: &str, text: &str) -> bool {
    let reasons = health["reasons"].as_array().unwrap();
    reasons.iter().filter_map(Value::as_str).any(|reason| reason.starts_with(part) && reason.contains(text))
}

#[test]
fn a_worker_with_a_wrong_setting_never_becomes_ready_and_says_why() {
    let system = System::sample();
    let queue = system.bucket.queue.to_string();
    let other_queue = format!("{}/no-such-queue", queue.rsplit_once('/').unwrap().0);
    let port = system.redis.port();
    let set = ["ACL", "SETUSER", "scorer", "on", ">secret", "~*", "&*", "+@all", "-eval", "-evalsha"];
    assert_eq!(system.redis.cli(&set), "OK");
    let replica = RedisServer::with_options(&["--replicaof", "127.0.0.1", &port.to_string()]);
    let proxy = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    let region = "x-amz-bucket-region: eu-west-1\r\n";
    proxy.arm("/s3/aws4_request", answer("301 Moved Permanently", "PermanentRedirect", region));
    let cases = [
        ("BUCKET_NAME", "no-such-bucket".to_owned(), "reload:", "no-such-bucket"),
        ("QUEUE_URL", other_queue, "queue:", ""),
        ("AWS_ENDPOINT_URL", format!("http://{}", proxy.address), "reload:", "eu-west-1"),
        ("REDIS_URL", format!("redis://scorer:secret@127.0.0.1:{port}"), "reload:", "eval"),
        ("REDIS_URL", replica.url(), "reload:", "replica"),
    ];
    for (variable, value, part, text) in cases {
        let worker = system.worker_with(&[(variable, value.clone())]);
        wait_until(&format!("{variable}={value} is reported"), || names(&health(&worker).1, part, text));
        let (status, said) = health(&worker);
        assert_eq!((status, &said["status"]), (503, &"starting".into()), "{variable}={value}: {said}");
        assert_eq!(worker.get("/health/live").0, 200);
        assert_eq!(worker.metric("cripto_scorer_healthy", ""), 0.0);
    }
    let worker = system.worker();
    wait_until("a worker with the right settings", || health(&worker).0 == 200);
    wait_until("health", || health(&worker).1["status"] == "healthy");
    assert_eq!(health(&worker).1["reasons"], Value::Array(Vec::new()));
    assert_eq!(worker.metric("cripto_scorer_healthy", ""), 1.0);
}

#[test]
fn a_fault_that_comes_later_shows_as_degraded_until_it_is_over() {
    let mut system = System::sample();
    let proxy = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    let worker = system.worker_with(&[("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))]);
    let is = |status: &str| health(&worker).1["status"] == status;
    wait_until("health", || is("healthy"));
    system.settled();
    let degraded_by = |part: &str| {
        wait_until(part, || names(&health(&worker).1, part, ""));
        let (status, said) = health(&worker);
        assert_eq!((status, &said["status"]), (200, &"degraded".into()), "{said}");
        assert_eq!(worker.get("/health/live").0, 200);
    };

    proxy.arm("AmazonSQS.ReceiveMessage", Fault::Refuse(usize::MAX));
    degraded_by("queue:");
    proxy.disarm();
    wait_until("the queue is asked again", || is("healthy"));

    proxy.arm("list-type=2", Fault::Refuse(usize::MAX));
    system.put(NEWER, &sample(LIN));
    degraded_by("reload:");
    proxy.disarm();
    wait_until("the bucket is listed again", || is("healthy"));

    system.redis.kill();
    degraded_by("store:");
    system.redis.restart();
    wait_until("the store is back", || is("healthy"));
}

#[test]
fn slow_clients_do_not_hold_the_worker_and_requests_without_one_host_are_refused() {
    let system = System::sample();
    let worker = system.worker();
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", worker.port())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: loc").unwrap();
    }
    assert_eq!(worker.get("/health/live").0, 200);
    for mut stream in slow {
        // Closed by the worker, with an answer or without.
        let _ = stream.read_to_end(&mut Vec::new()).unwrap();
    }
    for (request, wanted) in [
        ("GET /health/live HTTP/1.1\r\n\r\n", "400"),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET /health/live HTTP/1.0\r\n\r\n", "200"),
        ("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
    ] {
        let mut stream = connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(wanted), "{request}: {answer}");
    }
}
