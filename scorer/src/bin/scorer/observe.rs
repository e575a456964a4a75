//! What the worker tells of itself over HTTP: metrics, and whether it is alive and well.

use std::{sync::LazyLock, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use prometheus::IntGauge;
use serde::Serialize;
use shared::{Following, Generation, metrics};
use tokio::{net::TcpListener, sync::watch, time::interval};

/// How often the queue is asked how long it is.
const DEPTH_INTERVAL: Duration = Duration::from_secs(15);

static REACHABLE: LazyLock<IntGauge> = LazyLock::new(|| {
    metrics::registered(IntGauge::new(
        "cripto_scorer_store_reachable",
        "Whether the prediction store can be reached: 1 or 0.",
    ))
});

/// `GET /health`.
#[derive(Serialize)]
struct Health {
    status: &'static str,
    generation: Option<Generation>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    store: watch::Receiver<Following>,
    queue: aws::QueueMonitor,
) {
    let router = Router::new()
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .route("/health/live", get(async || Json(Health { status: "alive", generation: None })))
        .with_state(store);
    let served = async {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    };
    tokio::join!(served, measure(queue));
}

async fn metrics_text(State(store): State<watch::Receiver<Following>>) -> impl IntoResponse {
    REACHABLE.set(store.borrow().unreachable_since.is_none().into());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render())
}

/// Ready is who can publish.
async fn health(State(store): State<watch::Receiver<Following>>) -> impl IntoResponse {
    let Following { generation, unreachable_since, .. } = *store.borrow();
    match unreachable_since {
        None => (StatusCode::OK, Json(Health { status: "healthy", generation })),
        Some(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "store_unavailable", generation }))
        }
    }
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
