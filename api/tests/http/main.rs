//! The API as its users meet it: over HTTP, on a real port, from a real store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

use std::time::Duration;

mod browser;
mod clients;
mod connections;
mod devtools;
mod documented;
mod endpoints;
mod generations;
mod history;
mod listeners;
mod many;
mod metrics;
mod painel;
mod reload;
mod server;
mod stale;
mod store;

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // A pause between two looks; nothing depends on its length.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "not within {SOON:?}: {what}");
}
