//! Servers that are slow, fail, or come back with nothing; workers that are two, or live in another hour.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aws::testing::Ministack;
use redis_store::testing::RedisServer;

use crate::{
    process::{AtTheEnd, Process, wait_until},
    proxy::{Fault, Proxy},
    system::{GBR, LIN, NEWER, NEWER_VERSION, System, VERSION, address, sample},
};

#[test]
fn a_redis_that_comes_back_empty_is_filled_again_and_readers_notice_nothing() {
    let mut system = System::sample();
    let (worker, api) = system.running();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = AtTheEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(api.json("/symbol/BTC")["total_modelos"], 5);
            }
        });
        system.redis.kill();
        wait_until("trouble is noticed", || api.json("/health")["status"] == "degraded");
        assert!(api.json("/health")["idade_segundos"].is_number());
        wait_until("the worker notices", || worker.get("/health").1.contains("degraded"));
        system.redis.restart();
        wait_until("health", || api.json("/health")["status"] == "healthy");
        wait_until("what was published", || !system.redis.cli(&["GET", "{cripto}:current"]).is_empty());
    });
    // It works as before.
    system.put(NEWER, &sample(LIN));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    // One that starts now finds everything.
    let late = system.api();
    wait_until("a late reader", || late.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    let away = api.lines().iter().filter(|line| line["level"] == "ERROR" || line["level"] == "WARN").count();
    assert!(away < 10, "{api:?}");
}

#[test]
fn a_redis_that_comes_back_with_an_older_copy_takes_no_newer_answer_away() {
    let mut system = System::sample();
    let (worker, api) = system.running();
    assert_eq!(system.redis.cli(&["SAVE"]), "OK");
    let older: u64 = system.redis.cli(&["GET", "{cripto}:current"]).parse().unwrap();
    system.put(NEWER, &sample(LIN));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    system.settled();
    let newer: u64 = system.redis.cli(&["GET", "{cripto}:current"]).parse().unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = AtTheEnd(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(api.version("regressor_lin").as_deref(), Some(NEWER_VERSION));
            }
        });
        system.redis.restart();
        let current = || system.redis.cli(&["GET", "{cripto}:current"]).parse::<u64>().unwrap();
        assert!(current() >= older);
        // Long before the bucket is looked at by itself, which is every five minutes.
        wait_until("another publication", || current() > newer);
        wait_until("health", || api.json("/health")["status"] == "healthy");
        wait_until("the new generation", || api.json("/health")["geracao"] == current());
    });
    drop(worker);
}

#[test]
fn a_generation_that_lost_a_shard_is_published_again_when_a_reader_misses_it() {
    let system = System::sample();
    let (worker, api) = system.running();
    let current = || system.redis.cli(&["GET", "{cripto}:current"]);
    for lost in ["0", "summary"] {
        let before = current();
        assert_eq!(system.redis.cli(&["DEL", &format!("cripto:{before}:{lost}")]), "1");
        let late = system.api();
        wait_until("a late reader", || late.get("/health").0 == 200);
        assert_eq!(late.json("/symbol/BTC")["total_modelos"], 5);
        assert_ne!(current(), before);
        assert!(late.metric("cripto_redis_incomplete_total", "") >= 1.0);
    }
    assert_eq!(api.get("/symbol/BTC").0, 200);
    drop(worker);
}

#[test]
fn a_failover_of_redis_is_followed_by_the_scorer_and_its_readers() {
    let system = System::sample();
    let primary = format!("127.0.0.1 {}", system.redis.port());
    let replica = RedisServer::with_options(&["--replicaof", &primary]);
    let linked = || replica.cli(&["INFO", "replication"]).contains("master_link_status:up");
    wait_until("replication", linked);
    let urls = format!("{},{}", system.redis.url(), replica.url());
    let (worker, api) =
        (system.worker_with(&[("REDIS_URL", urls.clone())]), system.api_with(&[("REDIS_URL", urls)]));
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.settled();
    // The old primary lives on as a replica, and goes on answering reads.
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(system.redis.cli(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]), "OK");
    system.put(NEWER, &sample(LIN));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    system.settled();
    drop(worker);
}

#[test]
fn a_redis_user_without_channels_publishes_and_is_told_what_it_lacks() {
    let system = System::sample();
    let user = ["ACL", "SETUSER", "app", "on", ">PASSWORD", "~*", "resetchannels", "+@all"];
    assert_eq!(system.redis.cli(&user), "OK");
    let url = ("REDIS_URL", system.redis.url_of_user("app", "PASSWORD"));
    let url = std::slice::from_ref(&url);
    let (worker, api) = (system.worker_with(url), system.api_with(url));
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.put(NEWER, &sample(LIN));
    wait_until("the newer version", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    system.settled();
    assert_eq!(worker.metric("cripto_scorer_reloads_total", "failed"), 0.0, "{worker:?}");
    for process in [&worker, &api] {
        let missing =
            process.lines().into_iter().filter_map(|line| Some(line["missing"].as_str()?.to_owned()));
        let missing: Vec<String> = missing.collect();
        assert_eq!(missing, ["SUBSCRIBE cripto:generations, PUBLISH cripto:generations"], "{process:?}");
    }
}

#[test]
fn a_redis_that_dies_during_a_publication_loses_nothing_of_it() {
    let mut system = System::sample();
    let proxy = Proxy::to(address(&system.redis.url()));
    let worker = system.worker_with(&[("REDIS_URL", format!("redis://{}", proxy.address))]);
    let api = system.api();
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.settled();
    for point in ["HSET", "superseded"] {
        proxy.arm(point, Fault::Hold);
        let key = NEWER;
        system.put(key, &sample(LIN));
        proxy.wait_until_struck();
        system.redis.restart();
        proxy.disarm();
        wait_until("the upload", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
        system.settled();
        system.remove(key);
        wait_until("the version before", || api.version("regressor_lin").as_deref() == Some(VERSION));
        system.settled();
    }
    drop(worker);
}

#[test]
fn an_s3_that_fails_and_is_slow_delays_an_upload_and_nothing_else() {
    let system = System::sample();
    let proxy = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    let worker = system.worker_with(&[("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))]);
    let api = system.api();
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.settled();

    // More failures than the SDK tries again for: three listings at once, and three attempts each.
    proxy.arm("GET /", Fault::Refuse(9));
    system.put(NEWER, &sample(LIN));
    proxy.wait_until_struck();
    wait_until("the upload", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    assert_eq!(api.rejected(NEWER), None);
    assert!(
        worker.metric("cripto_scorer_reloads_total", "failed") >= 1.0
            || worker.metric("cripto_scorer_reloads_total", "incomplete") >= 1.0
    );
    proxy.arm("GET /", Fault::Slow(Duration::from_millis(300)));
    system.remove(NEWER);
    system.put(GBR, &sample(GBR));
    wait_until("the version before", || api.version("regressor_lin").as_deref() == Some(VERSION));
    proxy.disarm();
    system.settled();
    assert_eq!(system.dead_letters(), [""; 0]);
}

#[test]
fn two_workers_share_the_work_and_publish_nothing_twice() {
    let system = System::sample();
    let (one, api) = system.running();
    let other = system.worker();
    wait_until("both to have looked", || other.metric("cripto_scorer_reloads_total", "") >= 1.0);
    let before = api.json("/health")["geracao"].clone();
    assert_eq!(other.metric("cripto_scorer_reloads_total", "published"), 0.0, "it was published already");
    let last = 12;
    for number in 0..=last {
        system.put(&format!("models/regressor_lin_20250801-{number:04}.joblib"), &sample(LIN));
    }
    wait_until("the last version", || api.version("regressor_lin") == Some(format!("20250801-{last:04}")));
    system.settled();
    assert_ne!(api.json("/health")["geracao"], before);
    assert_eq!(api.version("regressor_lin"), Some(format!("20250801-{last:04}")), "nobody has stepped back");
    let failed = |worker: &Process| worker.metric("cripto_scorer_reloads_total", "failed");
    assert_eq!(failed(&one) + failed(&other), 0.0);
}

#[test]
fn clocks_that_disagree_by_hours_do_no_harm() {
    let system = System::sample();
    let (one, api) = system.running();
    let late = |offset: &str| {
        let mut variables = system.variables();
        variables.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        Process::start_by(Some(&["faketime", "-f", offset]), "scorer", &["worker"], &variables)
    };
    // Each in turn publishes alone, whatever hour it is for it.
    drop(one);
    for (offset, number) in [("-5h", 1), ("+5h", 2), ("-9h", 3)] {
        let worker = late(offset);
        let key = format!("models/regressor_lin_20250801-{number:04}.joblib");
        system.put(&key, &sample(LIN));
        wait_until(offset, || api.version("regressor_lin") == Some(format!("20250801-{number:04}")));
        system.settled();
        drop(worker);
    }
}

#[test]
fn at_sigterm_what_is_in_flight_is_left_to_the_next_worker_at_once() {
    let system = System::sample();
    let proxy = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    let long = ("VISIBILITY_TIMEOUT", "600".to_owned());
    let mut worker = system.worker_with(&[("AWS_ENDPOINT_URL", format!("http://{}", proxy.address)), long]);
    let api = system.api();
    wait_until("the first predictions", || api.get("/health").0 == 200);
    system.settled();
    // The model hangs half-way, and the worker is told to end.
    proxy.arm("GET /", Fault::CutAnswer(2000));
    system.put(NEWER, &sample(LIN));
    proxy.wait_until_struck();
    // A connection for anything else.
    proxy.disarm();
    assert!(worker.terminate().success(), "{worker:?}");
    let _next = system.worker();
    wait_until("the upload", || api.version("regressor_lin").as_deref() == Some(NEWER_VERSION));
    // Long before its visibility timeout would have ended.
    system.settled();
}
