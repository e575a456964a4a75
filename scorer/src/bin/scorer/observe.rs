//! What the worker tells of itself over HTTP: metrics, and whether it is alive and ready.
//!
//! Readiness (`/health`) is 503 until a reload succeeded and the queue could be asked for messages. So a rollout with a
//! wrong setting does not replace workers that work. From then on it is 200: a fault that comes later is not mended by
//! taking the worker out, and shows as `degraded` with its reasons. Liveness (`/health/live`) only says that the
//! process answers.

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{
        Request, StatusCode, Version,
        header::{CONTENT_TYPE, HOST},
    },
    response::IntoResponse,
    routing::get,
};
use hyper::{body::Incoming, server::conn::http1, service::Service, service::service_fn};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use prometheus::IntGauge;
use scorer::ReloadStatus;
use serde::Serialize;
use shared::{Damage, Following, Generation, SourceStatus, metrics};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{interval, sleep, timeout},
};

/// How often the queue is asked how long it is.
const DEPTH_INTERVAL: Duration = Duration::from_secs(15);

/// More connections wait in the listener's queue. A probe and a Prometheus need one each.
const CONNECTIONS: usize = 256;

/// A connection is for one request, and is closed after this time. A client that is slow cannot hold it for longer.
const LONGEST_CONNECTION: Duration = Duration::from_secs(10);

/// How long to wait when the system gives no connection, for instance because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(250);

static REACHABLE: LazyLock<IntGauge> = LazyLock::new(|| {
    metrics::registered(IntGauge::new(
        "cripto_scorer_store_reachable",
        "Whether the prediction store can be reached: 1 or 0.",
    ))
});
static HEALTHY: LazyLock<IntGauge> = LazyLock::new(|| {
    metrics::registered(IntGauge::new(
        "cripto_scorer_healthy",
        "Whether /health says healthy: 1, or 0 while it says starting or degraded.",
    ))
});

/// The parts that the worker depends on.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) store: watch::Receiver<Following>,
    pub(crate) reloads: watch::Receiver<ReloadStatus>,
    pub(crate) queue: watch::Receiver<SourceStatus>,
    /// Why the last retraining crashed.
    pub(crate) crash: watch::Receiver<Option<String>>,
}

/// `GET /health`.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    generation: Option<Generation>,
    /// Why the status is not `healthy`.
    reasons: Vec<String>,
}

impl Parts {
    fn health(&self) -> (StatusCode, Health) {
        let Following { generation, unreachable_since, damage } = *self.store.borrow();
        let (reloads, queue) = (self.reloads.borrow(), self.queue.borrow());
        let mut reasons = Vec::new();
        if let Some(since) = unreachable_since {
            reasons.push(format!("store: Redis cannot be reached since {since:.0}"));
        }
        match damage {
            Some(Damage::Behind) => {
                reasons.push("store: it holds an older generation than it did".to_owned())
            }
            Some(Damage::Incomplete) => reasons.push("store: a part of the generation is missing".to_owned()),
            None => {}
        }
        match &reloads.trouble {
            Some(trouble) => reasons.push(format!("reload: {} (since {:.0})", trouble.reason, trouble.since)),
            None if !reloads.succeeded => reasons.push("reload: the first one is not done".to_owned()),
            None => {}
        }
        match &queue.trouble {
            Some(trouble) => reasons.push(format!("queue: {} (since {:.0})", trouble.reason, trouble.since)),
            None if !queue.reached => reasons.push("queue: it has not answered yet".to_owned()),
            None => {}
        }
        if let Some(crash) = &*self.crash.borrow() {
            reasons.push(format!("retraining: {crash}"));
        }
        let (code, status) = if !(reloads.succeeded && queue.reached) {
            (StatusCode::SERVICE_UNAVAILABLE, "starting")
        } else if reasons.is_empty() {
            (StatusCode::OK, "healthy")
        } else {
            (StatusCode::OK, "degraded")
        };
        (code, Health { status, generation, reasons })
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, parts: Parts, queue: aws::QueueMonitor) {
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .route("/health/live", get(async || Json(serde_json::json!({"status": "alive"}))))
        .with_state(parts);
    tokio::join!(accept(listener, router), measure(queue));
}

async fn accept(listener: TcpListener, router: Router) {
    let router = TowerToHyperService::new(router);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The permit comes first: without one, a client waits in the listener's queue, where it costs nothing.
        let permit = Arc::clone(&permits).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    if timeout(LONGEST_CONNECTION, serve_connection(stream, router)).await.is_err() {
                        tracing::debug!("a client of the metrics was too slow");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: TowerToHyperService<Router>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = names_one_host(&request).then(|| router.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok::<_, Infallible>(StatusCode::BAD_REQUEST.into_response()),
            }
        }
    });
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the metrics failed");
    }
}

/// Whether a request has the `Host` lines that RFC 9112, section 3.2, asks for.
fn names_one_host<B>(request: &Request<B>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || (hosts == 0 && request.version() < Version::HTTP_11)
}

async fn metrics_text(State(parts): State<Parts>) -> impl IntoResponse {
    REACHABLE.set(parts.store.borrow().unreachable_since.is_none().into());
    HEALTHY.set((parts.health().1.status == "healthy").into());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render())
}

async fn health(State(parts): State<Parts>) -> impl IntoResponse {
    let (code, health) = parts.health();
    (code, Json(health))
}

async fn measure(queue: aws::QueueMonitor) {
    let mut tick = interval(DEPTH_INTERVAL);
    loop {
        tick.tick().await;
        // Its trouble is reported by who receives from it as well.
        if let Err(error) = queue.depth().await {
            tracing::debug!(%error, "the queue does not say how long it is");
        }
    }
}
