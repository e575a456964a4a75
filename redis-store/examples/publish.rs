//! How long it takes to publish many assets, and what they take in Redis, beside `redis-benchmark` setting as many
//! strings of as many bytes, pipelined by 64, in a server as new.
//!
//!     cargo run --release -p cripto-redis-store --features testing --example publish -- [ASSETS ...]
//!
//! Each number of assets (28, 20 000 and 1 000 000 unless others are given) is measured in turn with the benchmark,
//! several times, and the medians are told. The predictions differ from asset to asset, because rendering them is
//! part of the work. Needs `redis-server` and `redis-benchmark`.
#![expect(clippy::unwrap_used, reason = "a measurement, which has to stop where it fails")]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use redis_store::{RedisStore, Settings, testing::RedisServer};
use shared::{
    AssetPredictions, Digest, Generation, Outcome, Prediction, PredictionStore, ServedModel, Snapshot,
    TraceId,
};

const MODELS: [&str; 5] =
    ["classifier_log", "classifier_rf", "regressor_gbr", "regressor_lin", "regressor_rf"];

#[tokio::main]
async fn main() {
    let given: Vec<usize> = std::env::args().skip(1).map(|text| text.parse().unwrap()).collect();
    let sizes = if given.is_empty() { vec![28, 20_000, 1_000_000] } else { given };
    println!(
        "assets | answers | publish | redis-benchmark SET | ratio | memory | of the answers | read back"
    );
    for assets in sizes {
        let rounds = if assets > 100_000 { 3 } else { 7 };
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push(measure(assets).await);
        }
        let median = |of: fn(&Measured) -> f64| {
            let mut values: Vec<f64> = measured.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "{assets} | {:.1} kB | {:.2} ms | {:.2} ms | {:.2} | {:.1} kB | {:.3} | {:.2} ms",
            median(|it| it.bytes) / 1e3,
            median(|it| it.publish) * 1e3,
            median(|it| it.set) * 1e3,
            median(|it| it.publish / it.set),
            median(|it| it.memory) / 1e3,
            median(|it| it.memory / it.bytes),
            median(|it| it.read) * 1e3,
        );
    }
}

/// Bytes and seconds.
struct Measured {
    bytes: f64,
    publish: f64,
    set: f64,
    memory: f64,
    read: f64,
}

async fn measure(assets: usize) -> Measured {
    let server = RedisServer::start();
    let store = RedisStore::connect(Settings::new(server.url().parse().unwrap())).await;
    let before = used_memory(&server);
    let snapshot = snapshot(store.next_generation().await.unwrap(), assets);
    // As a scorer does before it publishes; also brings the snapshot into the caches, as scoring it would have.
    assert!(store.confirm(Digest::of(&snapshot)).await.unwrap().is_none());
    let began = Instant::now();
    store.publish(Arc::clone(&snapshot)).await.unwrap();
    let publish = began.elapsed();
    drop(snapshot);
    let memory = used_memory(&server) - before;
    let summary = store.current().await.unwrap().unwrap();
    let bytes = summary.answer_bytes as f64;
    let began = Instant::now();
    assert_eq!(store.answers(&summary).await.unwrap().len(), assets);
    let read = began.elapsed();
    drop((store, server));
    // A new one, because memory that was in use before is faster.
    let set = set(&RedisServer::start(), assets, (bytes / assets as f64).round() as usize);
    Measured {
        bytes,
        publish: publish.as_secs_f64(),
        set: set.as_secs_f64(),
        memory,
        read: read.as_secs_f64(),
    }
}

/// How long `redis-benchmark` takes, by its own clock.
fn set(server: &RedisServer, number: usize, bytes: usize) -> Duration {
    let (port, number, bytes) = (server.port().to_string(), number.to_string(), bytes.to_string());
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["-h", "127.0.0.1", "-p", &port, "-P", "64", "-n", &number, "-r", &number, "-d", &bytes]);
    let output = benchmark.args(["-t", "set", "--csv"]).output().unwrap();
    // "test","rps",... and then "SET","281690.14",...
    let text = String::from_utf8(output.stdout).unwrap();
    let rate = text.lines().find(|line| line.starts_with("\"SET\"")).unwrap().split('"').nth(3).unwrap();
    Duration::from_secs_f64(number.parse::<f64>().unwrap() / rate.parse::<f64>().unwrap())
}

fn used_memory(server: &RedisServer) -> f64 {
    let info = server.cli(&["INFO", "memory"]);
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

/// Five models' predictions of each asset, as scoring would give: about 700 bytes of answer.
fn snapshot(generation: Generation, assets: usize) -> Arc<Snapshot> {
    let prediction = |number: usize, model: &&str| Prediction {
        model: model.parse().unwrap(),
        version: "20250729-2130".parse().unwrap(),
        outcome: match model.starts_with('c') {
            true => Outcome::Direction { class: 1, probability: 1.0 / (number as f64 + 1.5) },
            false => Outcome::Close(number as f64 / 3.0 + 0.1),
        },
    };
    let predictions = |number: usize| AssetPredictions {
        data_date: Some(jiff::civil::date(2025, 2, 20)),
        last_close: Some(number as f64 / 3.0),
        predictions: MODELS.iter().map(|model| prediction(number, model)).collect(),
        failures: Vec::new(),
        is_stale: false,
    };
    let assets: BTreeMap<_, _> =
        (0..assets).map(|number| (format!("ASSET{number}").parse().unwrap(), predictions(number))).collect();
    let model = |name: &str| ServedModel {
        name: name.parse().unwrap(),
        version: "20250729-2130".parse().unwrap(),
        loaded_at: Timestamp::now(),
        comparison: None,
        lost: None,
        stale: None,
    };
    Arc::new(Snapshot {
        generation,
        scored_at: Timestamp::now(),
        trace_id: TraceId::new(),
        bucket: None,
        models: MODELS.map(model).to_vec(),
        rejected: Vec::new(),
        assets,
    })
}
