//! Snapshots to publish, and stores to publish them in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use redis_store::{RedisStore, Servers, Settings, testing::RedisServer};
use shared::{
    Asset, AssetPredictions, Following, Generation, Outcome, Prediction, PredictionStore, ServedModel,
    Snapshot, TraceId,
};
use tokio::time::{sleep, timeout};

/// A snapshot of so many assets, BTC among them, that says `close` of all of them.
pub(crate) fn snapshot(generation: Generation, assets: usize, close: f64) -> Arc<Snapshot> {
    let version = || "20250729-2130".parse().unwrap();
    let models = ["classifier_log", "classifier_rf", "regressor_gbr", "regressor_lin", "regressor_rf"];
    let prediction = |model: &&str| Prediction {
        model: model.parse().unwrap(),
        version: version(),
        outcome: match model.starts_with('c') {
            true => Outcome::Direction { class: 1, probability: 0.738_291_047_261_5 },
            false => Outcome::Close(close),
        },
    };
    let predictions = AssetPredictions {
        data_date: Some(jiff::civil::date(2025, 2, 20)),
        last_close: Some(close),
        predictions: models.iter().map(prediction).collect(),
        failures: Vec::new(),
        is_stale: false,
    };
    let names = (1..assets).map(|number| format!("ASSET-{number}")).chain(["BTC".to_owned()]).take(assets);
    let named: BTreeMap<Asset, AssetPredictions> =
        names.map(|name| (name.parse().unwrap(), predictions.clone())).collect();
    let now = Timestamp::now();
    let model = |name: &str| ServedModel {
        name: name.parse().unwrap(),
        version: version(),
        loaded_at: now,
        comparison: None,
        lost: None,
        stale: None,
    };
    Arc::new(Snapshot {
        generation,
        scored_at: now,
        trace_id: TraceId::new(),
        bucket: None,
        models: models.map(model).to_vec(),
        rejected: Vec::new(),
        assets: named,
    })
}

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // A pause between two looks; nothing depends on its length.
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "not within {SOON:?}: {what}");
}

/// Waits until a store has heard of something.
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) async fn seen(store: &RedisStore, expected: impl FnMut(&Following) -> bool) {
    let mut watcher = store.watch();
    let seen = timeout(SOON, watcher.wait_for(expected)).await.map(|seen| seen.map(|following| *following));
    assert!(matches!(seen, Ok(Ok(_))), "{:?}", store.watch().borrow());
}

/// Settings for a server, asking it so rarely that only messages are heard.
pub(crate) fn settings(server: &RedisServer) -> Settings {
    let ca = server.ca_file().map(|file| std::fs::read(file).unwrap());
    let servers = Servers::new(&server.url(), ca.as_deref()).unwrap();
    Settings { poll: Duration::from_secs(3600), ..Settings::new(servers) }
}

#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) async fn store(server: &RedisServer) -> RedisStore {
    RedisStore::connect(settings(server)).await
}

/// Draws a number and publishes.
#[allow(dead_code, reason = "not every test binary needs it")]
pub(crate) async fn publish(store: &RedisStore, assets: usize, close: f64) -> Arc<Snapshot> {
    let snapshot = snapshot(store.next_generation().await.unwrap(), assets, close);
    store.publish(Arc::clone(&snapshot)).await.unwrap();
    snapshot
}
