//! Two servers to compare: the API over a scored bucket, and an axum route that returns a constant.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use api::Api;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use bytes::Bytes;
use scorer::{Engine, FolderStore, Progress, Settings};
use shared::{MemoryStore, PredictionStore};
use tokio::{net::TcpListener, task::spawn_blocking};

/// Runs a server on as many threads as there are cores.
pub(crate) fn run(server: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // As in the programs that serve: what they log and filter is part of what a request costs.
    shared::telemetry::init(std::io::stderr)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(server)
}

/// Scores a bucket and serves its predictions from memory, as `cripto` does.
pub(crate) async fn api(bucket: &Path, port: u16) -> anyhow::Result<()> {
    let store = Arc::new(MemoryStore::default());
    let predictions = Arc::clone(&store) as Arc<dyn PredictionStore>;
    let objects = Arc::new(FolderStore::open_folder(bucket)?);
    Engine::new(objects, predictions, Settings::default(), Progress::none()).reload().await?;
    Api::new(store).serve(listen(port).await?, end_of_input()).await;
    Ok(())
}

/// Serves the content of a file as JSON.
pub(crate) async fn constant(path: &str, body: &Path, port: u16) -> anyhow::Result<()> {
    let body = Bytes::from(fs::read(body).with_context(|| body.display().to_string())?);
    let answer = async move || ([(CONTENT_TYPE, "application/json")], body.clone());
    let router = Router::new().route(path, get(answer));
    axum::serve(listen(port).await?, router).with_graceful_shutdown(end_of_input()).await?;
    Ok(())
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await.with_context(|| format!("cannot serve on port {port}"))
}

/// Completes when whoever started this process closes its standard input, or ends.
async fn end_of_input() {
    // Whatever ends the reading, it ends the server.
    let _ = spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new())).await;
}
