//! From candles to answers of a model that was trained here.

use std::{fs, process::Command, time::Duration};

use aws::testing::Ministack;
use shared::ObjectStore;

use crate::{
    process::{program, wait_until},
    proxy::{Fault, Proxy},
    system::{System, VERSION, address, sample},
};

/// Seven months of candles of the sample's assets, up to the day of its table.
const CANDLES: &str = "raw.csv";

#[test]
fn candles_of_another_day_come_back_as_answers_of_models_that_were_trained_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("retrain.toml");
    let on_features = "policy = \"on-features\"\n";
    fs::write(&configuration, format!("[regressor_lin]\n{on_features}[classifier_log]\n{on_features}"))
        .unwrap();
    let system = System::sample();
    let worker = system.worker_with(&[
        ("RETRAIN_CONFIG", configuration.to_str().unwrap().to_owned()),
        ("WRITE_FEATURES", "true".to_owned()),
    ]);
    let api = system.api();
    wait_until("the first predictions", || api.get("/health").0 == 200);
    let compared = |model: &str, until: &str| {
        let comparison = api.json("/models")["detalhes"][model]["comparacao"].clone();
        comparison["ate"].as_str().is_some_and(|day| day >= until).then_some(comparison)
    };

    // The newest day of all has no target yet, so that it is the day before that is learnt.
    system.put(CANDLES, &sample(CANDLES));
    wait_until("retrained models", || {
        ["regressor_lin", "classifier_log"].iter().all(|model| compared(model, "2025-07-28").is_some())
    });
    let comparison = compared("regressor_lin", "2025-07-28").unwrap();
    assert!(comparison["metricas"]["rmse"].as_f64().unwrap() > 0.0, "{comparison}");

    let mut candles = String::from_utf8(sample(CANDLES)).unwrap();
    let newest: Vec<String> =
        candles.lines().filter(|line| line.contains("|2025-07-29|")).map(ToOwned::to_owned).collect();
    for line in newest {
        candles.push_str(&line.replace("2025-07-29", "2025-07-30"));
        candles.push('\n');
    }
    system.put(CANDLES, candles.as_bytes());
    wait_until("models of the next day", || {
        ["regressor_lin", "classifier_log"].iter().all(|model| compared(model, "2025-07-29").is_some())
    });
    let comparison = compared("regressor_lin", "2025-07-29").unwrap();
    assert_ne!(comparison["anterior"]["versao"], VERSION, "the one in force was trained here");
    let answer = api.json("/symbol/BTC");
    assert_eq!((&answer["dados_ate"], &answer["total_modelos"]), (&"2025-07-30".into(), &5.into()));
    assert_eq!(
        answer["modelos"]["regressor_lin"]["versao"].as_str(),
        api.version("regressor_lin").as_deref()
    );
    assert_eq!(api.version("regressor_gbr").as_deref(), Some(VERSION));
    assert_eq!(api.json("/models")["rejected"].as_array().unwrap().len(), 0);

    let features = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listed = runtime.block_on(system.bucket.store().list("features/")).unwrap();
        listed.into_iter().map(|object| object.key).collect::<Vec<_>>()
    };
    wait_until("the features of the next day", || {
        features().contains(&"features/cripto_features_20250730.parquet".to_owned())
    });
    assert!(features().contains(&"features/latest.parquet".to_owned()));
    // Two models, twice, although the first day's data came twice: as a table and as candles.
    assert_eq!(worker.metric("cripto_scorer_retrainings_total", "accepted"), 4.0);
    assert_eq!(worker.metric("cripto_scorer_retrainings_total", "failed"), 0.0);
    system.settled();
}

#[test]
fn the_region_of_the_cluster_comes_before_the_default_one() {
    let system = System::sample();
    let proxy = Proxy::to(address(Ministack::shared().endpoint().as_str()));
    // The scope of the signature names the region.
    proxy.arm("/sa-east-1/s3/aws4_request", Fault::Slow(Duration::ZERO));
    let output = Command::new(program("scorer"))
        .args(["retrain", "--dry-run", "--model", "regressor_lin", "--bucket-name", &system.bucket.name])
        .envs(system.variables())
        .env("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))
        .env("AWS_REGION", "sa-east-1")
        .output()
        .unwrap();
    assert!(proxy.struck() > 0, "{output:?}");
}
