//! The behaviour of every prediction store, shown by real servers of each kind.

#![expect(clippy::unwrap_used, reason = "tests")]

use redis_store::{RedisStore, Settings, testing::RedisServer};

mod snapshots;

/// Each store has keys of its own, so that it is empty.
async fn behaves_as_a_prediction_store(settings: Settings) {
    let make = async || {
        let prefix = format!("test-{}", fastrand::u64(..)).parse().unwrap();
        RedisStore::connect(Settings { prefix, ..settings.clone() }).await
    };
    shared::conformance::prediction_store(make).await;
    shared::conformance::history_store(make).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_server() {
    let server = RedisServer::start();
    behaves_as_a_prediction_store(snapshots::settings(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_with_a_password() {
    let server = RedisServer::with_password("s3cret-word");
    behaves_as_a_prediction_store(snapshots::settings(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let server = RedisServer::with_tls();
    behaves_as_a_prediction_store(snapshots::settings(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_of_three() {
    let nodes = RedisServer::cluster(3);
    behaves_as_a_prediction_store(snapshots::settings(&nodes[0])).await;
    for node in &nodes {
        let keys = node.cli(&["--scan", "--pattern", "test-*"]).lines().count();
        assert!(keys > 0, "nothing was written to the node at port {}", node.port());
    }
}
