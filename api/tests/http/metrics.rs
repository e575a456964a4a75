use std::sync::Arc;

use api::{Reload, ReloadError, Settings};
use async_trait::async_trait;
use hyper::StatusCode;
use jiff::Timestamp;

use crate::{
    reload::{Gate, asked},
    server::{Answer, Connection, Server, TIMESTAMP, snapshot},
    store::Distant,
    until,
};

/// The value of one sample, `name{label="value",…}` as it is written.
pub(crate) fn value(metrics: &Answer, sample: &str) -> Option<f64> {
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// By how much samples grow while something is done. What is counted is of the whole process, and other tests run
/// in it, so only a lower bound can be told.
async fn growth<Store: shared::PredictionStore, const N: usize>(
    server: &Server<Store>,
    samples: [&str; N],
    what: impl Future<Output = ()>,
) -> [f64; N] {
    let before = server.get("/metrics").await;
    what.await;
    let after = server.get("/metrics").await;
    samples.map(|sample| value(&after, sample).unwrap() - value(&before, sample).unwrap_or(0.0))
}

#[tokio::test]
async fn what_is_served_now_is_told_as_it_is_now() {
    let server = Server::empty().await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4"));
    for (sample, expected) in [
        ("cripto_models_loaded", Some(0.0)),
        ("cripto_store_reachable", Some(1.0)),
        ("cripto_generation", None),
    ] {
        assert_eq!(value(&metrics, sample), expected, "{sample}");
    }
    server.publish(snapshot(7)).await;
    let metrics = server.send("GET", "/metrics", &[("accept-encoding", "gzip")]).await;
    assert_eq!((metrics.header("cache-control"), metrics.header("etag")), (Some("no-store"), None));
    assert_eq!(metrics.header("content-encoding"), None);
    for (sample, expected) in [
        ("cripto_models_loaded", 2.0),
        ("cripto_generation", 7.0),
        ("cripto_assets", 3.0),
        ("cripto_prediction_errors{model=\"regressor_rf\"}", 1.0),
        ("cripto_prediction_errors{model=\"classifier_rf\"}", 2.0),
        ("cripto_predictions{model=\"regressor_rf\"}", 2.0),
    ] {
        assert_eq!(value(&metrics, sample), Some(expected), "{sample}");
    }
    for (sample, since) in [
        ("cripto_predictions_age_seconds", TIMESTAMP),
        ("cripto_data_age_seconds{model=\"regressor_rf\"}", "2025-07-28T00:00:00Z"),
    ] {
        let expected = Timestamp::now().duration_since(since.parse().unwrap()).as_secs_f64();
        let seconds = value(&metrics, sample).unwrap();
        assert!((expected - 60.0..=expected).contains(&seconds), "{sample}: {seconds} is not {expected}");
    }
    let bytes = value(&metrics, "cripto_answer_memory_bytes").unwrap();
    let bodies: usize =
        [server.get("/symbol/BTC").await, server.get("/symbol/ETH").await, server.get("/symbol/DOGE").await]
            .iter()
            .map(|answer| answer.body.len())
            .sum();
    assert!(bytes >= bodies as f64 && bytes <= 10_000.0, "{bytes} for {bodies}");
    assert!(value(&metrics, "cripto_open_connections") >= Some(1.0));
}

#[tokio::test]
async fn requests_are_counted_and_timed_by_route_and_status() {
    let server = Server::serving(snapshot(1)).await;
    let samples = [
        "cripto_requests_total{route=\"/symbol/{ativo}\",status=\"200\"}",
        "cripto_requests_total{route=\"/symbol/{ativo}\",status=\"304\"}",
        "cripto_requests_total{route=\"/symbol/{ativo}\",status=\"400\"}",
        "cripto_requests_total{route=\"/models\",status=\"405\"}",
        "cripto_requests_total{route=\"unknown\",status=\"404\"}",
        "cripto_request_duration_seconds_count{route=\"/symbol/{ativo}\"}",
        "cripto_request_duration_seconds_bucket{route=\"/symbol/{ativo}\",le=\"1\"}",
        "cripto_request_duration_seconds_sum{route=\"/symbol/{ativo}\"}",
    ];
    let grown = growth(&server, samples, async {
        let mut connection = Connection::open(server.address).await;
        for _ in 0..5 {
            connection.send("GET", "/symbol/BTC", &[]).await;
        }
        connection.send("GET", "/symbol/%42TC", &[("if-none-match", "*")]).await;
        connection.send("GET", "/symbol/B$C", &[]).await;
        connection.send("POST", "/models", &[]).await;
        connection.send("GET", "/nowhere/at/all", &[]).await;
    })
    .await;
    for ((sample, grown), least) in samples.iter().zip(grown).zip([5.0, 1.0, 1.0, 1.0, 1.0, 7.0, 7.0, 1e-9]) {
        assert!(grown >= least, "{sample} has grown by {grown}");
    }
    assert!(!server.get("/metrics").await.text().contains("nowhere"), "anybody can make up a route");
}

#[tokio::test]
async fn hits_and_misses_of_the_cache_are_counted_and_so_is_what_could_not_be_read() {
    let settings = Settings { memory_budget: 2000, ..Settings::default() };
    let server = Server::over(Arc::new(Distant::default()), None, settings).await;
    server.publish(snapshot(1)).await;
    let samples = [
        "cripto_answer_cache_hits_total",
        "cripto_answer_cache_misses_total",
        "cripto_answers_unreadable_total",
        "cripto_generations_unreadable_total",
    ];
    let grown = growth(&server, samples, async {
        for _ in 0..4 {
            server.get("/symbol/BTC").await;
        }
        server.store.set_away(true);
        assert_eq!(server.get("/symbol/ETH").await.status, StatusCode::SERVICE_UNAVAILABLE);
        server.health(|health| health["sem_contato_segundos"].as_u64() >= Some(1)).await;
        assert_eq!(value(&server.get("/metrics").await, "cripto_store_reachable"), Some(0.0));
    })
    .await;
    for ((sample, grown), least) in samples.iter().zip(grown).zip([3.0, 2.0, 1.0, 1.0]) {
        assert!(grown >= least, "{sample} has grown by {grown}");
    }
    let bytes = value(&server.get("/metrics").await, "cripto_answer_memory_bytes").unwrap();
    assert!(bytes > 0.0 && bytes <= 2000.0, "{bytes}");
}

struct Failing(Gate);

#[async_trait]
impl Reload for Failing {
    async fn reload(&self) -> Result<(), ReloadError> {
        self.0.reload().await?;
        Err(ReloadError { message: "não".to_owned(), source: None })
    }
}

#[tokio::test]
async fn reloads_are_counted() {
    let failing = Arc::new(Failing(Gate::closed()));
    let server = Arc::new(Server::start(|_| Some(Arc::clone(&failing) as _), Settings::default()).await);
    let samples =
        ["cripto_reloads_asked_total", "cripto_reloads_coalesced_total", "cripto_reloads_failed_total"];
    let before = asked(&server).await;
    let grown = growth(&server, samples, async {
        let askers: Vec<_> = (0..3)
            .map(|_| {
                let server = Arc::clone(&server);
                tokio::spawn(async move { server.get("/reload").await.status })
            })
            .collect();
        until("all have asked", async || asked(&server).await >= before + 3.0).await;
        failing.0.open();
        for asker in askers {
            assert_eq!(asker.await.unwrap(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    })
    .await;
    for ((sample, grown), least) in samples.iter().zip(grown).zip([3.0, 2.0, 1.0]) {
        assert!(grown >= least, "{sample} has grown by {grown}");
    }
}
