//! The program `api` as an operator meets it: as a process, with a real Redis and a local SQS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

mod process;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws::testing::Ministack;
use jiff::Timestamp;
use redis_store::{RedisStore, Servers, Settings, testing::RedisServer};
use serde_json::json;
use shared::{
    AssetPredictions, Change, EventSource, Generation, Outcome, Prediction, PredictionStore, ReloadReport,
    ReloadReports, ServedModel, Snapshot, TraceId,
};

use crate::process::{Api, run};

async fn store(redis: &RedisServer) -> RedisStore {
    RedisStore::connect(Settings::new(Servers::new(&redis.url(), None).unwrap())).await
}

/// Publishes a prediction for BTC, and gives the number of the generation.
async fn publish(store: &RedisStore) -> Generation {
    let generation = store.next_generation().await.unwrap();
    let (name, version): (shared::ModelName, shared::ModelVersion) =
        ("regressor_rf".parse().unwrap(), "20250729-2130".parse().unwrap());
    let prediction =
        Prediction { model: name.clone(), version: version.clone(), outcome: Outcome::Close(45000.5) };
    let predictions = AssetPredictions { predictions: vec![prediction], ..AssetPredictions::default() };
    let now = Timestamp::now();
    let snapshot = Snapshot {
        generation,
        scored_at: now,
        trace_id: TraceId::new(),
        bucket: None,
        models: vec![ServedModel {
            name,
            version,
            loaded_at: now,
            comparison: None,
            lost: None,
            stale: None,
        }],
        rejected: Vec::new(),
        assets: BTreeMap::from([("BTC".parse().unwrap(), predictions)]),
    };
    store.publish(Arc::new(snapshot)).await.unwrap();
    generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_without_redis_and_outlives_it() {
    let mut redis = RedisServer::start();
    redis.kill();
    let api = Api::start(&[("REDIS_URL", &redis.url()), ("REDIS_POLL_MILLISECONDS", "200")]).await;
    let health = api.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("store_unavailable")));
    assert_eq!(api.get("/symbol/BTC").await.status, 503);
    assert_eq!(api.get("/reload").await.status, 501);

    redis.restart();
    let first = publish(&store(&redis).await).await;
    api.health(|health| health["geracao"] == first.0).await;
    assert_eq!(api.get("/symbol/btc").await.json()["modelos"]["regressor_rf"]["predicao"], 45000.5);

    redis.kill();
    let health = api.health(|health| health["status"] == "degraded").await;
    assert_eq!(health.status, 200, "{}", health.body);
    api.health(|health| health["sem_contato_segundos"].as_u64() >= Some(2)).await;
    assert_eq!(api.get("/symbol/BTC").await.json()["geracao"], first.0);
    let metrics = api.get("/metrics").await.body;
    for line in ["cripto_store_reachable 0", "cripto_models_loaded 1"] {
        assert!(metrics.lines().any(|written| written == line), "no {line:?} in {metrics}");
    }

    redis.restart();
    let health = api.health(|health| health["detail"].as_str().unwrap_or_default().contains("vazio")).await;
    assert_eq!(health.status, 200, "{}", health.body);
    let second = publish(&store(&redis).await).await;
    api.health(|health| health["geracao"] == second.0 && health["status"] == "healthy").await;

    let log = api.stop().await;
    let complaints = log.iter().filter(|line| matches!(line["level"].as_str(), Some("WARN" | "ERROR")));
    let complaints: Vec<_> = complaints.collect();
    // Twice it was away; it is said once each time, by the store, and perhaps once by the one who was reading.
    assert!((1..=4).contains(&complaints.len()), "{complaints:#?}");
    let served: Vec<_> = log.iter().filter(|line| line["message"] == "serving a new generation").collect();
    assert_eq!(served.len(), 2, "{served:#?}");
    for field in ["generation", "trace_id", "assets", "bytes", "mode", "millis"] {
        assert!(served.iter().all(|line| !line[field].is_null()), "no {field} in {served:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_takes_a_generation_back() {
    let redis = RedisServer::start();
    let store = store(&redis).await;
    let first = publish(&store).await;
    let second = publish(&store).await;
    let api = Api::start(&[("REDIS_URL", &redis.url())]).await;
    assert_eq!(api.get("/symbol/BTC").await.json()["geracao"], second.0, "not from the first request on");
    store.rollback().await.unwrap();
    api.health(|health| health["geracao"] == first.0).await;
    assert_eq!(api.get("/symbol/BTC").await.json()["geracao"], first.0);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_asked_of_the_scorer_by_the_queue_and_answered_by_way_of_redis() {
    let redis = RedisServer::start();
    let bucket = Ministack::shared().bucket().await;
    let mut environment = Ministack::shared().environment().to_vec();
    environment.push(("REDIS_URL", redis.url()));
    environment.push(("QUEUE_URL", bucket.queue.to_string()));
    environment.push(("RELOAD_WAIT", "2".to_owned()));
    environment.push(("RELOAD_TOKEN", "s3cret".to_owned()));
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let api = Api::start(&environment).await;
    assert_eq!(api.get("/reload").await.status, 401);
    let bearer = "authorization: Bearer s3cret\r\n";
    let store = store(&redis).await;
    let mut source = bucket.source(bucket.settings());
    let mut requested = async || loop {
        let mut batch = source.receive().await.unwrap();
        let change = batch.changes.pop();
        source.acknowledge(batch).await.unwrap();
        if let Some(Change::Requested(id)) = change {
            return id;
        }
    };

    let succeeds = async {
        let id = requested().await;
        let generation = publish(&store).await;
        store.report(&id, &ReloadReport::Done(generation)).await.unwrap();
        generation
    };
    let (answer, generation) = tokio::join!(api.send("/reload", bearer), succeeds);
    assert_eq!((answer.status, &answer.json()["total_models"]), (200, &json!(1)), "{}", answer.body);
    assert_eq!(api.get("/symbol/BTC").await.json()["geracao"], generation.0);

    let fails = async {
        let failed = ReloadReport::Failed("nenhum modelo pôde ser lido".to_owned());
        store.report(&requested().await, &failed).await.unwrap();
    };
    let (answer, ()) = tokio::join!(api.send("/reload", bearer), fails);
    assert_eq!(
        (answer.status, answer.json()),
        (500, json!({"detail": "a recarga falhou: nenhum modelo pôde ser lido", "status": 500}))
    );

    let (answer, _) = tokio::join!(api.send("/reload", bearer), requested());
    assert_eq!(answer.status, 202, "nobody has reported: {}", answer.body);
    let log = api.stop().await;
    assert!(!format!("{log:?}").contains("s3cret"), "the token is in the log");
}

#[tokio::test]
async fn a_queue_that_is_away_fails_the_reload_and_nothing_else() {
    let redis = RedisServer::start();
    publish(&store(&redis).await).await;
    let api = Api::start(&[
        ("REDIS_URL", &redis.url()),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("QUEUE_URL", "http://127.0.0.1:9/000000000000/fila"),
    ])
    .await;
    let answer = api.get("/reload").await;
    assert_eq!(
        (answer.status, &answer.json()["detail"]),
        (500, &json!("a recarga falhou: a fila do scorer não pôde ser alcançada"))
    );
    assert_eq!(api.get("/symbol/BTC").await.status, 200);
    api.stop().await;
}

#[tokio::test]
async fn a_generation_above_the_budget_is_read_answer_by_answer() {
    let redis = RedisServer::start();
    let store = store(&redis).await;
    let generation = store.next_generation().await.unwrap();
    let now = Timestamp::now();
    let assets = (0..3000).map(|number| (format!("A{number}").parse().unwrap(), AssetPredictions::default()));
    let model = ServedModel {
        name: "regressor_rf".parse().unwrap(),
        version: "20250729-2130".parse().unwrap(),
        loaded_at: now,
        comparison: None,
        lost: None,
        stale: None,
    };
    let snapshot = Snapshot {
        generation,
        scored_at: now,
        trace_id: TraceId::new(),
        bucket: None,
        models: vec![model],
        rejected: Vec::new(),
        assets: assets.collect(),
    };
    store.publish(Arc::new(snapshot)).await.unwrap();
    let api = Api::start(&[("REDIS_URL", &redis.url()), ("MEMORY_BUDGET_MB", "1")]).await;
    for _ in 0..2 {
        assert_eq!(api.get("/symbol/a2999").await.json()["geracao"], generation.0);
        assert_eq!(api.get("/symbol/A3000").await.status, 404);
        assert_eq!(api.get("/symbols").await.json()["total_symbols"], 3000);
    }
    let metrics = api.get("/metrics").await.body;
    for line in ["cripto_answer_cache_misses_total 2", "cripto_answer_cache_hits_total 2"] {
        assert!(metrics.lines().any(|written| written == line), "no {line:?} in {metrics}");
    }
    let log = api.stop().await;
    assert!(log.iter().any(|line| line["mode"] == "single"), "{log:#?}");
}

#[test]
fn a_wrong_setting_names_the_variable_what_it_got_and_what_it_wants() {
    for (variable, value, expected) in [
        ("PORT", "x80", "'x80' for '--port <PORT>': a whole number from 0 to 65535 expected"),
        ("PORT", "70000", "'70000' for '--port <PORT>': a whole number from 0 to 65535 expected"),
        ("HOST", "here", "'here' for '--host <HOST>': an IP address such as 127.0.0.1 or ::1 expected"),
        ("REDIS_URL", "http://:s3cret@h", "REDIS_URL=\"http://***@h\": redis://[user:password@]host:port"),
        ("REDIS_CA_FILE", "/none", "REDIS_CA_FILE=\"/none\": a file of PEM certificates"),
        ("REDIS_PREFIX", "a{b", "'a{b' for '--redis-prefix <REDIS_PREFIX>': 1 to 64 letters, digits"),
        (
            "REDIS_POLL_MILLISECONDS",
            "1",
            "'1' for '--redis-poll-milliseconds <REDIS_POLL_MILLISECONDS>': a whole number from 50 to 60000",
        ),
        ("QUEUE_URL", "fila", "'fila' for '--queue-url <QUEUE_URL>': http:// or https:// and a host"),
        ("RELOAD_TOKEN", "", "'--reload-token <RELOAD_TOKEN>': a token that is not empty expected"),
        (
            "RELOAD_WAIT",
            "1.5",
            "'1.5' for '--reload-wait <RELOAD_WAIT>': a whole number from 1 to 3600 expected",
        ),
        (
            "MEMORY_BUDGET_MB",
            "0",
            "'0' for '--memory-budget-mb <MEMORY_BUDGET_MB>': a whole number from 1 to",
        ),
        ("AWS_ENDPOINT_URL", "x", "'x' for '--aws-endpoint-url <AWS_ENDPOINT_URL>': http:// or https://"),
        ("LOG_FORMAT", "xml", "invalid value 'xml' for '--log-format <LOG_FORMAT>': text or json"),
        ("RUST_LOG", "a=b=c", "RUST_LOG"),
    ] {
        let (code, _, errors) = run(&[], &[(variable, value)]);
        assert_eq!(code, Some(2), "{variable}={value}: {errors}");
        assert!(errors.contains(expected), "{variable}={value}: {errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
    }
    let (code, _, errors) = run(&["--port", "x"], &[("PORT", "8000")]);
    assert_eq!((code, errors.contains("'x' for '--port <PORT>'")), (Some(2), true), "{errors}");
}

#[test]
fn completions_are_printed_whatever_the_variables_say() {
    for (shell, beginning) in [("bash", "_api() {"), ("zsh", "#compdef api"), ("fish", "complete -c api")] {
        let (code, completions, errors) = run(&["--completions", shell], &[("PORT", "8000")]);
        assert_eq!(
            (code, completions.starts_with(beginning)),
            (Some(0), true),
            "{shell}: {errors}{completions}"
        );
    }
}

#[test]
fn the_help_names_every_variable_and_shows_no_secret() {
    let secrets = [("REDIS_URL", "redis://:s3cret@h"), ("RELOAD_TOKEN", "s3cret")];
    let (code, help, _) = run(&["--help"], &secrets);
    assert_eq!(code, Some(0));
    for variable in [
        "HOST",
        "PORT",
        "REDIS_URL",
        "QUEUE_URL",
        "RELOAD_TOKEN",
        "RELOAD_WAIT",
        "MEMORY_BUDGET_MB",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "LOG_FORMAT",
        "RUST_LOG",
        "Exit codes",
    ] {
        assert!(help.contains(variable), "no {variable} in {help}");
    }
    assert!(!help.contains("s3cret"), "{help}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_an_empty_variable_is_none() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = tokio::task::spawn_blocking(move || {
        let (code, _, errors) = run(&[], &[("PORT", &port), ("QUEUE_URL", ""), ("MEMORY_BUDGET_MB", "")]);
        (code, errors.contains(&format!("port {port} of 127.0.0.1")), errors)
    });
    let (code, is_named, errors) = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    assert_eq!((code, is_named), (Some(1), true), "{errors}");
}
