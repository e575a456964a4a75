//! A bucket and a queue that answer with faults. They are reported, and everything else goes on.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use aws::testing::Ministack;

use crate::{
    process::{Process, program, wait_until},
    proxy::{Proxy, answer},
    system::{GBR, LIN, NEWER, NEWER_VERSION, System, address, sample},
};

/// A version of `classifier_rf` that is newer than the sample's.
const DENIED: &str = "models/classifier_rf_20250801-0000.joblib";

/// A proxy in front of S3 and SQS.
fn aws_proxy() -> Proxy {
    Proxy::to(address(Ministack::shared().endpoint().as_str()))
}

/// A worker behind the proxy, with other values of some variables.
fn worker_behind(proxy: &Proxy, system: &System, others: &[(&'static str, String)]) -> Process {
    let mut variables = vec![("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))];
    variables.extend_from_slice(others);
    system.worker_with(&variables)
}

/// Whether a line of the log has this message and this text in one of its fields.
fn logged(worker: &Process, message: &str, text: &str) -> bool {
    worker.lines().iter().any(|line| line["message"] == message && line.to_string().contains(text))
}

#[test]
fn a_bucket_in_another_region_is_told_with_its_region_and_the_setting() {
    let system = System::sample();
    let proxy = aws_proxy();
    proxy.arm(
        "prefix=models",
        answer("301 Moved Permanently", "PermanentRedirect", "x-amz-bucket-region: eu-west-1\r\n"),
    );
    let worker = worker_behind(&proxy, &system, &[]);
    let failed = "reload failed; what is served stays";
    wait_until("its region", || logged(&worker, failed, "set AWS_REGION=eu-west-1"));
}

#[test]
fn a_queue_that_is_denied_is_told_with_the_right_that_is_missing_and_told_again() {
    let system = System::sample();
    let proxy = aws_proxy();
    proxy.arm("AmazonSQS.ReceiveMessage", answer("403 Forbidden", "AccessDenied", ""));
    let worker = worker_behind(&proxy, &system, &[]);
    let warnings = || {
        let lines = worker.lines();
        lines.into_iter().filter(|line| line["message"] == "event source").collect::<Vec<_>>()
    };
    wait_until("a warning", || !warnings().is_empty());
    assert!(warnings()[0].to_string().contains("allow sqs:ReceiveMessage to the role"), "{worker:?}");
    assert_eq!(worker.metric("cripto_queue_unreachable", ""), 1.0);
    // The bucket is followed all the same.
    wait_until("a reload", || worker.metric("cripto_scorer_reloads_total", "published") == 1.0);
    let until = Instant::now() + Duration::from_secs(90);
    while warnings().len() < 2 {
        assert!(Instant::now() < until, "it is not told again: {worker:?}");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(warnings()[1]["failed_for_seconds"].as_f64().unwrap() > 50.0, "{worker:?}");
    proxy.disarm();
    wait_until("an answer", || worker.metric("cripto_queue_unreachable", "") == 0.0);
    system.settled();
}

/// Counts the reloads of a worker in some seconds.
fn reloads_in(worker: &Process, window: Duration) -> f64 {
    let before = worker.metric("cripto_scorer_reloads_total", "");
    thread::sleep(window);
    worker.metric("cripto_scorer_reloads_total", "") - before
}

#[test]
fn an_empty_store_and_a_bucket_that_fails_are_tried_by_the_backoff() {
    for fault in [answer("403 Forbidden", "AccessDenied", ""), answer("503 Slow Down", "SlowDown", "")] {
        let system = System::sample();
        let proxy = aws_proxy();
        let worker = worker_behind(&proxy, &system, &[]);
        let api = system.api();
        wait_until("the first predictions", || api.get("/health").0 == 200);
        system.settled();
        proxy.arm("prefix=", fault);
        assert_eq!(system.redis.cli(&["FLUSHALL"]).trim(), "OK");
        wait_until("a failure", || worker.metric("cripto_scorer_reload_failures_total", "bucket") >= 1.0);
        let (reloads, struck) = (reloads_in(&worker, Duration::from_secs(8)), proxy.struck());
        // Tries after 0.5, 1, 2 and 4 s, each pause up to a quarter shorter; three listings of three attempts each.
        assert!(reloads <= 6.0, "{reloads} reloads: {worker:?}");
        assert!(struck <= 7 * 9, "{struck} requests");
        assert_eq!(api.json("/symbol/BTC")["total_modelos"], 5);
        proxy.disarm();
        wait_until("what was published", || {
            !system.redis.cli(&["GET", "{cripto}:current"]).trim().is_empty()
        });
        system.put(NEWER, &sample(LIN));
        wait_until("an upload", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
        system.settled();
    }
}

#[test]
fn an_object_that_is_denied_costs_itself_only_and_a_rollback_stays() {
    for (status, code) in [("403 Forbidden", "AccessDenied"), ("403 Forbidden", "InvalidObjectState")] {
        let system = System::sample();
        let proxy = aws_proxy();
        let (worker, api) =
            (worker_behind(&proxy, &system, &[("RECONCILE_INTERVAL", "2".to_owned())]), system.api());
        wait_until("the first predictions", || api.get("/health").0 == 200);
        system.put(NEWER, &sample(GBR));
        wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
        proxy.arm(DENIED, answer(status, code, ""));
        system.put(DENIED, &sample(GBR));
        wait_until("its reason", || api.rejected(DENIED).is_some());
        let reason = api.rejected(DENIED).unwrap();
        assert!(reason.contains(code) && !reason.contains("ID"), "{reason}");
        system.settled();
        let generation = || api.json("/health")["geracao"].clone();
        let before = generation();
        let (reloads, struck) = (reloads_in(&worker, Duration::from_secs(8)), proxy.struck());
        assert!((1.0..=6.0).contains(&reloads), "{reloads} reloads in four intervals");
        assert!(struck <= 8, "{struck} requests");
        assert_eq!(generation(), before, "nothing changed");

        // Other uploads are published, and their messages deleted.
        for number in 0..3 {
            let key = format!("models/regressor_gbr_20250801-{number:04}.joblib");
            system.put(&key, &sample(GBR));
            wait_until("an upload", || api.version("regressor_gbr") == Some(format!("20250801-{number:04}")));
            system.settled();
        }
        let before = api.json("/models")["versions"].clone();
        system.put("models/regressor_new_20250801-0000.joblib", &sample(GBR));
        wait_until("another model", || api.version("regressor_new").is_some());
        system.settled();
        let variables: Vec<_> =
            system.variables().into_iter().filter(|(name, _)| *name == "REDIS_URL").collect();
        let rolled_back = Command::new(program("scorer")).arg("rollback").envs(variables).output().unwrap();
        assert!(rolled_back.status.success(), "{rolled_back:?}");
        wait_until("the generation before", || api.version("regressor_new").is_none());
        // Neither reconciliations nor a restart undo it, and neither does another face of the fault.
        reloads_in(&worker, Duration::from_secs(5));
        proxy.arm(DENIED, answer("403 Forbidden", "AllAccessDisabled", ""));
        reloads_in(&worker, Duration::from_secs(5));
        drop(worker);
        let worker = worker_behind(&proxy, &system, &[("RECONCILE_INTERVAL", "2".to_owned())]);
        wait_until("its reloads", || worker.metric("cripto_scorer_reloads_total", "") >= 3.0);
        assert_eq!(api.json("/models")["versions"], before);
        system.put("models/regressor_other_20250801-0000.joblib", &sample(GBR));
        wait_until("a change of the bucket", || api.version("regressor_new").is_some());
        assert_eq!(system.dead_letters(), [""; 0]);
    }
}

#[test]
fn after_a_restart_a_served_model_that_is_denied_keeps_its_last_answers() {
    let system = System::sample();
    let (worker, api) = system.running();
    let before = api.json("/symbol/BTC")["modelos"].clone();
    drop(worker);
    let proxy = aws_proxy();
    proxy.arm("regressor_lin_20250729", answer("403 Forbidden", "AccessDenied", ""));
    let worker = worker_behind(&proxy, &system, &[]);
    wait_until("its mark", || api.json("/models")["detalhes"]["regressor_lin"]["desatualizado"].is_string());
    let mut after = api.json("/symbol/BTC")["modelos"].clone();
    assert_eq!(after["regressor_lin"]["desatualizado"], true);
    after["regressor_lin"].as_object_mut().unwrap().remove("desatualizado");
    assert_eq!(after, before);
    assert!(api.rejected(LIN).unwrap().contains("allow s3:GetObject"), "{:?}", api.rejected(LIN));
    assert_eq!(worker.metric("cripto_scorer_stale_models", ""), 1.0);
    wait_until("its health", || {
        let (status, health) = worker.get("/health");
        status == 200 && health.contains("degraded") && health.contains("1 of the served")
    });
    // The rest goes on.
    system.put("models/regressor_new_20250801-0000.joblib", &sample(GBR));
    wait_until("another model", || api.version("regressor_new").is_some());
    system.settled();
    assert_eq!(api.json("/symbol/BTC")["modelos"]["regressor_lin"]["desatualizado"], true);
    proxy.disarm();
    assert_eq!(api.get("/reload").0, 200);
    wait_until("its new answers", || {
        api.json("/models")["detalhes"]["regressor_lin"]["desatualizado"].is_null()
    });
}
