use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use api::{Reload, ReloadError, Settings};
use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::json;
use shared::{MemoryStore, PredictionStore};

use tokio::{sync::watch, time::timeout};

use crate::{
    SOON,
    metrics::value,
    server::{Server, snapshot},
    until,
};

/// A reload that waits until the test lets it go on.
pub(crate) struct Gate {
    is_open: watch::Sender<bool>,
    reached: watch::Sender<u64>,
}

impl Gate {
    pub(crate) fn closed() -> Self {
        Self { is_open: watch::Sender::new(false), reached: watch::Sender::new(0) }
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until a reload has begun.
    pub(crate) async fn reached(&self) {
        timeout(SOON, self.reached.subscribe().wait_for(|reached| *reached > 0)).await.unwrap().unwrap();
    }

    async fn pass(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        self.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
    }
}

#[async_trait]
impl Reload for Gate {
    async fn reload(&self) -> Result<(), ReloadError> {
        self.pass().await;
        Ok(())
    }
}

/// How many callers have asked this process for a reload.
pub(crate) async fn asked(server: &Server) -> f64 {
    value(&server.get("/metrics").await, "cripto_reloads_asked_total").unwrap_or(0.0)
}

/// Publishes one generation more each time it may pass the gate; or fails.
struct Reloading {
    store: Arc<MemoryStore>,
    gate: Gate,
    runs: AtomicU64,
    fails: bool,
}

#[async_trait]
impl Reload for Reloading {
    async fn reload(&self) -> Result<(), ReloadError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.gate.pass().await;
        if self.fails {
            let source: Arc<dyn std::error::Error + Send + Sync> =
                Arc::new(std::io::Error::other("/a/secret/path"));
            let message = "nenhum modelo pôde ser lido".to_owned();
            return Err(ReloadError { message, source: Some(source) });
        }
        let generation = self.store.next_generation().await.unwrap();
        self.store.publish(Arc::new(snapshot(generation.0))).await.unwrap();
        Ok(())
    }
}

async fn start(fails: bool, reload_wait: Duration) -> (Arc<Server>, Arc<Reloading>) {
    let mut reloading = None;
    let server = Server::start(
        |store| {
            let reload = Arc::new(Reloading { store, gate: Gate::closed(), runs: AtomicU64::new(0), fails });
            reloading = Some(Arc::clone(&reload));
            Some(reload)
        },
        Settings { reload_wait, ..Settings::default() },
    )
    .await;
    (Arc::new(server), reloading.unwrap())
}

#[tokio::test]
async fn the_answer_comes_after_the_reload_and_what_it_brought_is_served_then() {
    let (server, reloading) = start(false, SOON).await;
    reloading.gate.open();
    for generation in 1..=20 {
        let answer = server.get("/reload").await;
        assert_eq!(
            answer.text(),
            r#"{"message":"Modelos recarregados com sucesso","total_models":2,"models":["regressor_rf","classifier_rf"]}"#
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], generation);
    }
}

#[tokio::test]
async fn those_who_ask_together_are_served_together() {
    let (server, reloading) = start(false, SOON).await;
    let before = asked(&server).await;
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { server.get("/reload").await.status })
        })
        .collect();
    until("all have asked", async || asked(&server).await >= before + 20.0).await;
    reloading.gate.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), StatusCode::OK);
    }
    let runs = reloading.runs.load(Ordering::SeqCst);
    assert!(runs <= 2, "{runs} reloads for callers at the same time");
}

#[tokio::test]
async fn a_reload_that_takes_long_goes_on_without_the_one_who_asked() {
    let (server, reloading) = start(false, Duration::from_millis(20)).await;
    let answer = server.get("/reload").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.json(), json!({"message": "A recarga continua; veja o resultado em /models"}));
    assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::SERVICE_UNAVAILABLE);
    reloading.gate.open();
    until("it is served", async || server.get("/health").await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn a_reload_that_fails_says_why_without_internals_and_takes_nothing_away() {
    let (server, reloading) = start(true, SOON).await;
    reloading.gate.open();
    server.publish(snapshot(1)).await;
    let answer = server.get("/reload").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        answer.json(),
        json!({"detail": "a recarga falhou: nenhum modelo pôde ser lido", "status": 500})
    );
    assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], 1);
}

#[tokio::test]
async fn where_a_token_is_configured_a_reload_demands_it() {
    let settings = Settings { reload_token: Some("s3cret".parse().unwrap()), ..Settings::default() };
    let server = Server::start(
        |store| {
            let gate = Gate::closed();
            gate.open();
            Some(Arc::new(Reloading { store, gate, runs: AtomicU64::new(0), fails: false }))
        },
        settings,
    )
    .await;
    for headers in [&[][..], &[("authorization", "Bearer other")], &[("authorization", "Basic s3cret")]] {
        let answer = server.send("GET", "/reload", headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            answer.json(),
            json!({
                "detail": "a recarga exige o token configurado no servidor, em Authorization: Bearer",
                "status": 401,
            })
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"reload\""));
    }
    assert_eq!(server.get("/health").await.json()["status"], "no_predictions", "a reload has run");
    let answer = server.send("GET", "/reload", &[("authorization", "Bearer s3cret")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::OK, "other paths demand nothing");
}
