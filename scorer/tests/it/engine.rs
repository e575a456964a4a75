//! Reloads of a bucket that changes.

use std::{collections::BTreeMap, sync::Arc};

use scorer::{Admission, Engine, Publication, Reload, Settings};
use shared::{MemoryStore, Outcome, PredictionStore, Snapshot};

use crate::world::{FolderBucket, SAMPLE_TABLE, SAMPLE_VERSION, python_models, python_tables};

const LIN: &str = "models/regressor_lin_20250729-2130.joblib";

async fn reload(engine: &Engine) -> Reload {
    engine.reload().await.unwrap()
}

fn versions(snapshot: &Snapshot) -> BTreeMap<&str, &str> {
    snapshot.models.iter().map(|model| (model.name.as_str(), model.version.as_str())).collect()
}

fn rejected(snapshot: &Snapshot) -> Vec<(&str, &str)> {
    snapshot.rejected.iter().map(|rejected| (rejected.key.as_str(), rejected.reason.as_str())).collect()
}

/// What a regressor says of BTC.
fn btc(snapshot: &Snapshot, model: &str) -> Option<f64> {
    let btc = snapshot.assets.get(&"BTC".parse().unwrap())?;
    btc.predictions.iter().find(|prediction| prediction.model.as_str() == model).map(|prediction| {
        match prediction.outcome {
            Outcome::Close(close) => close,
            Outcome::Direction { probability, .. } => probability,
        }
    })
}

fn bytes(bucket: &FolderBucket, key: &str) -> Vec<u8> {
    std::fs::read(bucket.path().join(key)).unwrap()
}

/// A sample bucket that has been loaded.
async fn loaded() -> (FolderBucket, Engine, Arc<MemoryStore>, Reload) {
    let bucket = FolderBucket::sample();
    let (engine, store) = bucket.engine();
    let first = reload(&engine).await;
    assert_eq!((first.publication, first.incomplete), (Publication::Published, false));
    assert_eq!((first.snapshot.models.len(), first.snapshot.assets.len()), (5, 8));
    assert_eq!(rejected(&first.snapshot), []);
    (bucket, engine, store, first)
}

#[tokio::test]
async fn a_reload_without_changes_publishes_nothing() {
    let (_bucket, engine, store, first) = loaded().await;
    let second = reload(&engine).await;
    assert_eq!(second.publication, Publication::Unchanged);
    assert_eq!(second.snapshot.generation, first.snapshot.generation);
    assert_eq!(store.current().await.unwrap().unwrap().generation, first.snapshot.generation);
}

#[tokio::test]
async fn only_what_changed_is_loaded_again() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.write("models/regressor_lin_20250730-0000.joblib", &bytes(&bucket, LIN));
    let second = reload(&engine).await;
    assert_eq!(versions(&second.snapshot)["regressor_lin"], "20250730-0000");
    for (before, after) in first.snapshot.models.iter().zip(&second.snapshot.models) {
        assert_eq!(before == after, before.name.as_str() != "regressor_lin", "{}", before.name);
    }
    assert!(second.snapshot.generation > first.snapshot.generation);
}

#[tokio::test]
async fn removing_the_newest_version_rolls_back_to_the_one_before() {
    let (bucket, engine, _, first) = loaded().await;
    let gbr = bytes(&bucket, "models/regressor_gbr_20250729-2130.joblib");
    bucket.write("models/regressor_lin_20250730-000000.joblib", &gbr);
    let newer = reload(&engine).await;
    assert_eq!(btc(&newer.snapshot, "regressor_lin"), btc(&first.snapshot, "regressor_gbr"));
    bucket.delete("models/regressor_lin_20250730-000000.joblib");
    let back = reload(&engine).await;
    assert_eq!(versions(&back.snapshot)["regressor_lin"], SAMPLE_VERSION);
    assert_eq!(btc(&back.snapshot, "regressor_lin"), btc(&first.snapshot, "regressor_lin"));
}

#[tokio::test]
async fn a_broken_newer_version_is_rejected_and_the_older_one_stays() {
    let (bucket, engine, _, first) = loaded().await;
    let lin = bytes(&bucket, LIN);
    let broken: [(&str, &[u8]); 4] = [
        ("20250801-0000", b"garbage"),
        ("20250801-0001", &lin[..lin.len() / 2]),
        ("20250801-0002", b""),
        // A table is no model.
        ("20250801-0003", &bytes(&bucket, SAMPLE_TABLE)),
    ];
    for (version, content) in broken {
        bucket.write(&format!("models/regressor_lin_{version}.joblib"), content);
    }
    for round in ["in memory", "unchanged"] {
        let again = reload(&engine).await;
        let keys: Vec<&str> = rejected(&again.snapshot).iter().map(|(key, _)| *key).collect();
        // More versions are broken than are tried; what is in force is still found.
        assert_eq!(
            keys,
            ["20250801-0001", "20250801-0002", "20250801-0003"]
                .map(|version| format!("models/regressor_lin_{version}.joblib")),
            "{round}"
        );
        assert_eq!(again.snapshot.models, first.snapshot.models, "{round}");
        assert_eq!(again.newly_rejected.len(), if round == "unchanged" { 0 } else { 3 });
    }
}

#[tokio::test]
async fn a_fresh_start_falls_back_too() {
    let bucket = FolderBucket::sample();
    bucket.write("models/regressor_lin_20250801-0000.joblib", b"garbage");
    let (engine, _) = bucket.engine();
    let first = reload(&engine).await;
    assert_eq!(versions(&first.snapshot)["regressor_lin"], SAMPLE_VERSION);
    assert_eq!(rejected(&first.snapshot)[0].0, "models/regressor_lin_20250801-0000.joblib");
}

#[tokio::test]
async fn what_is_overwritten_by_garbage_stays_from_memory() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.write(LIN, b"garbage");
    bucket.write(SAMPLE_TABLE, b"garbage");
    let again = reload(&engine).await;
    assert_eq!(again.snapshot.models, first.snapshot.models);
    assert_eq!(again.snapshot.assets, first.snapshot.assets);
    let keys: Vec<&str> = rejected(&again.snapshot).iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, [SAMPLE_TABLE, LIN]);
}

#[tokio::test]
async fn a_removed_model_is_gone_and_a_removed_table_is_not() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.delete(LIN);
    bucket.delete(SAMPLE_TABLE);
    let again = reload(&engine).await;
    assert!(!versions(&again.snapshot).contains_key("regressor_lin"));
    assert_eq!(btc(&again.snapshot, "regressor_rf"), btc(&first.snapshot, "regressor_rf"));
}

#[tokio::test]
async fn a_copy_without_a_version_counts_only_if_no_versioned_object_has_its_bytes() {
    let (bucket, engine, _, _) = loaded().await;
    bucket.write("models/latest/regressor_lin.joblib", &bytes(&bucket, LIN));
    let copied = reload(&engine).await;
    assert_eq!(copied.publication, Publication::Unchanged);

    let gbr = bytes(&bucket, "models/regressor_gbr_20250729-2130.joblib");
    bucket.write("models/latest/regressor_lin.joblib", &gbr);
    let own = reload(&engine).await;
    let version = versions(&own.snapshot)["regressor_lin"];
    assert!(version > "20260101-000000" && version.len() == 15, "{version}");
    assert_eq!(btc(&own.snapshot, "regressor_lin"), btc(&own.snapshot, "regressor_gbr"));
}

#[tokio::test]
async fn of_two_copies_without_a_version_the_newest_upload_is_in_force_whatever_its_format() {
    let (bucket, engine, _, _) = loaded().await;
    let limits = Settings::default().model_limits;
    let gbr = "models/regressor_gbr_20250729-2130.joblib";
    let parameters = bucket.path().join("models/latest/regressor_lin.safetensors");
    std::fs::create_dir_all(parameters.parent().unwrap()).unwrap();
    scorer::convert(&bucket.path().join(gbr), &parameters, &limits, &scorer::Progress::none()).unwrap();
    let first = reload(&engine).await;
    assert_eq!(btc(&first.snapshot, "regressor_lin"), btc(&first.snapshot, "regressor_gbr"));
    // A later upload in the other format, whose name comes first.
    let joblib = "models/latest/regressor_lin.joblib";
    bucket.write(joblib, &bytes(&bucket, "models/regressor_rf_20250729-2130.joblib"));
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options()
        .write(true)
        .open(bucket.path().join(joblib))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let second = reload(&engine).await;
    assert_eq!(btc(&second.snapshot, "regressor_lin"), btc(&second.snapshot, "regressor_rf"));
    assert_eq!(rejected(&second.snapshot), []);
    bucket.write(joblib, b"garbage");
    std::fs::File::options()
        .write(true)
        .open(bucket.path().join(joblib))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let (fresh, _) = bucket.engine();
    let third = reload(&fresh).await;
    assert_eq!(
        btc(&third.snapshot, "regressor_lin"),
        btc(&first.snapshot, "regressor_gbr"),
        "the one before it"
    );
    assert_eq!(rejected(&third.snapshot)[0].0, joblib);
}

#[tokio::test]
async fn a_model_that_is_not_what_its_name_says_is_rejected() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.write("models/classifier_rf_20250801-0000.joblib", &bytes(&bucket, LIN));
    let classifier = bytes(&bucket, "models/classifier_log_20250729-2130.joblib");
    bucket.write("models/regressor_new_20250801-0000.joblib", &classifier);
    let again = reload(&engine).await;
    assert_eq!(again.snapshot.models, first.snapshot.models);
    let reasons = rejected(&again.snapshot);
    assert!(
        reasons[0].1.contains("a classifier by its name, and the artifact holds a regressor"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].1.contains("a regressor by its name, and the artifact holds a classifier"),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn the_newest_table_that_can_be_read_is_in_force() {
    let (bucket, engine, _, first) = loaded().await;
    let tables = python_tables();
    bucket.copy(&tables.join("broken/truncated.parquet"), "features/cripto_features_20250731.parquet");
    let broken = reload(&engine).await;
    assert_eq!(broken.snapshot.assets, first.snapshot.assets);
    assert_eq!(rejected(&broken.snapshot)[0].0, "features/cripto_features_20250731.parquet");
    assert_eq!(broken.table.as_deref(), Some(SAMPLE_TABLE));

    bucket.copy(&tables.join("sample/day_later.parquet"), "features/cripto_features_20250730.parquet");
    let newer = reload(&engine).await;
    assert_eq!(newer.table.as_deref(), Some("features/cripto_features_20250730.parquet"));
    assert_ne!(btc(&newer.snapshot, "regressor_lin"), btc(&first.snapshot, "regressor_lin"));
    let dates = |snapshot: &Snapshot| -> Vec<String> {
        ["BTC", "ETH"]
            .map(|symbol| snapshot.assets[&symbol.parse().unwrap()].data_date.unwrap().to_string())
            .to_vec()
    };
    assert_eq!(dates(&newer.snapshot), ["2025-07-30", "2025-07-29"]);
}

#[tokio::test]
async fn a_copy_of_the_table_without_a_date_is_in_force_if_its_data_are_newer() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.write("features/latest.parquet", &bytes(&bucket, SAMPLE_TABLE));
    assert_eq!(reload(&engine).await.publication, Publication::Unchanged);
    let tables = python_tables();
    bucket.copy(&tables.join("sample/day_earlier.parquet"), "features/latest.parquet");
    assert_eq!(reload(&engine).await.publication, Publication::Unchanged);
    bucket.copy(&tables.join("sample/day_later.parquet"), "features/latest.parquet");
    let newer = reload(&engine).await;
    assert_eq!(newer.table.as_deref(), Some("features/latest.parquet"));
    assert_ne!(newer.snapshot.assets, first.snapshot.assets);
    bucket.write("features/latest.parquet", b"garbage");
    assert_eq!(reload(&engine).await.snapshot.assets, newer.snapshot.assets);
    bucket.delete("features/latest.parquet");
    let back = reload(&engine).await;
    assert_eq!(back.snapshot.assets, first.snapshot.assets);
}

#[tokio::test]
async fn a_table_that_no_model_can_use_leaves_the_one_in_force() {
    let (bucket, engine, _, first) = loaded().await;
    let key = "features/cripto_features_20250801.parquet";
    bucket.copy(&python_tables().join("sample/lacks_columns.parquet"), key);
    for _ in 0..2 {
        let again = reload(&engine).await;
        assert_eq!(again.snapshot.assets, first.snapshot.assets);
        assert_eq!(again.snapshot.models, first.snapshot.models);
        let reasons = rejected(&again.snapshot);
        assert_eq!((reasons.len(), reasons[0].0), (1, key));
        assert!(reasons[0].1.contains("fechamento") && reasons[0].1.contains("mes"), "{reasons:?}");
    }
}

#[tokio::test]
async fn an_unusable_value_costs_only_that_model_for_that_asset() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.copy(
        &python_tables().join("sample/infinite_btc.parquet"),
        "features/cripto_features_20250801.parquet",
    );
    let again = reload(&engine).await;
    let btc = &again.snapshot.assets[&"BTC".parse().unwrap()];
    assert!(!btc.failures.is_empty() && btc.failures.iter().all(|failure| !failure.reason.is_empty()));
    assert_eq!(btc.failures.len() + btc.predictions.len(), 5);
    let eth = "ETH".parse().unwrap();
    assert_eq!(again.snapshot.assets[&eth], first.snapshot.assets[&eth]);
    assert_eq!(again.snapshot.models, first.snapshot.models);
}

#[tokio::test]
async fn without_a_feature_table_the_tables_of_the_assets_are_used() {
    let (bucket, _, _, first) = loaded().await;
    bucket.delete(SAMPLE_TABLE);
    for symbol in ["BTC", "ETH"] {
        let name = format!("{symbol}/{symbol}_2025-07-29.csv");
        bucket.copy(&python_tables().join("sample/data").join(&name), &format!("data/{name}"));
    }
    bucket.write("data/BTC/BTC_2025-07-28.csv", b"older, and not even a table");
    bucket.write("data/XRP/XRP_2025-07-29.csv", b"ativo,data\n");
    let (engine, _) = bucket.engine();
    let second = reload(&engine).await;
    assert_eq!(second.snapshot.assets.len(), 2);
    assert_eq!(rejected(&second.snapshot), [("data/XRP/XRP_2025-07-29.csv", "the table has no usable row")]);
    for (asset, predictions) in &second.snapshot.assets {
        let of_parquet = &first.snapshot.assets[asset];
        assert_eq!(predictions, of_parquet, "{asset}: pandas writes numbers that read back the same");
    }
    // Each table on its own: a broken one leaves its asset's row as it was.
    bucket.write("data/BTC/BTC_2025-07-30.csv", b"ativo,data\nETH,2025-07-30\n");
    let third = reload(&engine).await;
    assert_eq!(third.snapshot.assets, second.snapshot.assets);
    assert_eq!(third.newly_rejected.len(), 1);
}

#[tokio::test]
async fn names_that_do_not_fit_are_reported() {
    let (bucket, engine, _, first) = loaded().await;
    for key in ["models/notes.txt", "models/regressor_rf.joblib", "features/part.parquet"] {
        bucket.write(key, b"x");
    }
    let again = reload(&engine).await;
    assert_eq!(again.snapshot.models, first.snapshot.models);
    let keys: Vec<&str> = rejected(&again.snapshot).iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["features/part.parquet", "models/notes.txt", "models/regressor_rf.joblib"]);
}

#[tokio::test]
async fn an_empty_bucket_is_served_as_what_it_is() {
    let bucket = FolderBucket::empty();
    let (engine, store) = bucket.engine();
    let first = reload(&engine).await;
    assert_eq!((first.publication, first.snapshot.has_predictions()), (Publication::Published, false));
    assert!(store.current().await.unwrap().is_some());
}

#[tokio::test]
async fn a_bucket_that_cannot_be_listed_changes_nothing() {
    let (bucket, engine, store, first) = loaded().await;
    let elsewhere = bucket.path().with_extension("elsewhere");
    std::fs::rename(bucket.path(), &elsewhere).unwrap();
    assert!(engine.reload().await.is_err());
    assert_eq!(store.current().await.unwrap().unwrap().generation, first.snapshot.generation);
    std::fs::rename(elsewhere, bucket.path()).unwrap();
    assert_eq!(reload(&engine).await.publication, Publication::Unchanged);
}

#[tokio::test]
async fn concurrent_reloads_agree() {
    let bucket = FolderBucket::sample();
    let (engine, store) = bucket.engine();
    let engine = Arc::new(engine);
    let reloads: Vec<_> = (0..4)
        .map(|_| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { reload(&engine).await })
        })
        .collect();
    let mut published = 0;
    for task in reloads {
        published += usize::from(task.await.unwrap().publication == Publication::Published);
    }
    assert_eq!(published, 1);
    assert_eq!(store.current().await.unwrap().unwrap().models.len(), 5);
}

/// A version of `regressor_lin` that says something else altogether: the closes of the table are a thousandth.
const SHIFTED: &str = "models/regressor_lin_20250801-0000.joblib";

fn shifted() -> Vec<u8> {
    std::fs::read(python_models().join("shifted.joblib")).unwrap()
}

#[tokio::test]
async fn a_version_that_says_something_else_altogether_is_not_admitted() {
    let (bucket, engine, _, first) = loaded().await;
    bucket.write(SHIFTED, &shifted());
    for _ in 0..2 {
        let again = reload(&engine).await;
        assert_eq!(again.snapshot.models, first.snapshot.models);
        assert_eq!(btc(&again.snapshot, "regressor_lin"), btc(&first.snapshot, "regressor_lin"));
        let reasons = rejected(&again.snapshot);
        assert_eq!((reasons.len(), reasons[0].0), (1, SHIFTED));
        assert!(reasons[0].1.contains("by a factor of 1000.000 in the median of 8 assets"), "{reasons:?}");
    }
    // Who removes the version in force wants another.
    bucket.delete(LIN);
    let removed = reload(&engine).await;
    assert_eq!(versions(&removed.snapshot)["regressor_lin"], "20250801-0000");
    assert_eq!(rejected(&removed.snapshot), []);
}

#[tokio::test]
async fn admission_can_be_switched_off() {
    let bucket = FolderBucket::sample();
    let store = Arc::new(MemoryStore::default());
    let off = Admission { shift: None, new_failures: None };
    let engine = bucket.engine_on(&store, Settings { admission: off, ..Settings::default() });
    reload(&engine).await;
    bucket.write(SHIFTED, &shifted());
    assert_eq!(versions(&reload(&engine).await.snapshot)["regressor_lin"], "20250801-0000");
}

#[tokio::test]
async fn a_restarted_process_holds_new_versions_against_what_is_published() {
    let (bucket, _, store, first) = loaded().await;
    bucket.write(SHIFTED, &shifted());
    let restarted = bucket.engine_on(&store, Settings::default());
    let again = reload(&restarted).await;
    assert_eq!(versions(&again.snapshot), versions(&first.snapshot));
    assert_eq!(rejected(&again.snapshot)[0].0, SHIFTED);
    // Without anything published there is nothing to hold it against.
    let (fresh, _) = bucket.engine();
    assert_eq!(versions(&reload(&fresh).await.snapshot)["regressor_lin"], "20250801-0000");
}

#[tokio::test]
async fn two_processes_that_see_the_same_publish_it_once() {
    let (bucket, one, store, first) = loaded().await;
    let other = bucket.engine_on(&store, Settings::default());
    for engine in [&other, &one, &other] {
        let again = reload(engine).await;
        assert_eq!(again.publication, Publication::Unchanged);
        assert_eq!(again.snapshot.generation, first.snapshot.generation);
    }
}

#[tokio::test]
async fn features_are_computed_from_candles_that_know_more_than_the_table() {
    let (bucket, engine, _, first) = loaded().await;
    // The candles of the sample's own table: the same day, and uploaded later.
    let candles = python_tables().join("sample/raw.csv");
    bucket.copy(&candles, "raw.csv");
    let same = reload(&engine).await;
    assert_eq!(same.table.as_deref(), Some("raw.csv"));
    assert_eq!(same.snapshot.assets.len(), first.snapshot.assets.len());

    // A day more of one asset, ten times as high.
    let mut longer = std::fs::read_to_string(&candles).unwrap();
    longer.push_str("BTC|2025-07-30|0|1100000|900000|950000|1000000|10|10000000\n");
    bucket.write("raw.csv", longer.as_bytes());
    let newer = reload(&engine).await;
    let date = |reload: &Reload, symbol: &str| {
        reload.snapshot.assets[&symbol.parse().unwrap()].data_date.unwrap().to_string()
    };
    assert_eq!((date(&newer, "BTC").as_str(), date(&newer, "ETH").as_str()), ("2025-07-30", "2025-07-29"));
    assert_ne!(btc(&newer.snapshot, "regressor_lin"), btc(&same.snapshot, "regressor_lin"));
    assert_eq!(newer.snapshot.assets[&"ETH".parse().unwrap()], same.snapshot.assets[&"ETH".parse().unwrap()]);
    // Garbage leaves what is computed, and no file leaves the table.
    bucket.write("raw.csv", b"garbage");
    let garbage = reload(&engine).await;
    assert_eq!(garbage.snapshot.assets, newer.snapshot.assets);
    assert_eq!(rejected(&garbage.snapshot)[0].0, "raw.csv");
    bucket.delete("raw.csv");
    assert_eq!(reload(&engine).await.snapshot.assets, first.snapshot.assets);
}

#[tokio::test]
async fn candles_alone_are_enough() {
    let (bucket, _, _, _) = loaded().await;
    let candles = python_tables().join("sample/raw.csv");
    bucket.copy(&candles, "raw.csv");
    bucket.delete(SAMPLE_TABLE);
    let (engine, _) = bucket.engine();
    let of_raw = reload(&engine).await;
    // The same candles, asset by asset.
    bucket.delete("raw.csv");
    let text = std::fs::read_to_string(&candles).unwrap();
    let header = "ativo,data,timestamp,maximo,minimo,abertura,fechamento,volumefrom,volumeto\n";
    for symbol in ["BTC", "ETH"] {
        let rows = text.lines().filter(|line| line.split('|').next() == Some(symbol));
        let rows: String = rows.map(|line| line.replace('|', ",") + "\n").collect();
        bucket.write(&format!("data/{symbol}/{symbol}_2025-07-29.csv"), format!("{header}{rows}").as_bytes());
    }
    let (engine, _) = bucket.engine();
    let of_assets = reload(&engine).await;
    assert_eq!(of_assets.snapshot.assets.len(), 2);
    for (asset, predictions) in &of_assets.snapshot.assets {
        assert_eq!(predictions, &of_raw.snapshot.assets[asset], "{asset}");
    }
}

#[tokio::test]
async fn an_asset_that_gets_no_more_rows_is_scored_and_marked_as_stale() {
    let (bucket, _, _, first) = loaded().await;
    assert!(first.snapshot.assets.values().all(|asset| !asset.is_stale));
    let candles = std::fs::read_to_string(python_tables().join("sample/raw.csv")).unwrap();
    // The newest rows are of 2025-07-29.
    let without_doge_after = |day: &str| {
        let is_kept = |line: &&str| {
            let mut fields = line.split('|');
            fields.next() != Some("DOGE") || fields.next() <= Some(day)
        };
        candles.lines().filter(is_kept).map(|line| format!("{line}\n")).collect::<String>()
    };
    bucket.delete(SAMPLE_TABLE);
    for (last, is_stale) in [("2025-07-26", false), ("2025-07-25", true)] {
        bucket.write("raw.csv", without_doge_after(last).as_bytes());
        let (engine, _) = bucket.engine();
        let snapshot = reload(&engine).await.snapshot;
        let doge = &snapshot.assets[&"DOGE".parse().unwrap()];
        assert_eq!(doge.data_date.unwrap().to_string(), last);
        assert_eq!(doge.is_stale, is_stale, "{last}");
        assert!(!doge.predictions.is_empty());
        assert_eq!(snapshot.assets.values().filter(|asset| asset.is_stale).count(), usize::from(is_stale));
    }
}

#[tokio::test]
async fn parameters_are_a_model_like_any_other() {
    let (bucket, engine, _, first) = loaded().await;
    let parameters = |key: &str| bucket.path().join(key).with_extension("safetensors");
    let limits = Settings::default().model_limits;
    for name in ["regressor_rf", "regressor_lin", "classifier_log"] {
        let artifact = bucket.path().join(format!("models/{name}_{SAMPLE_VERSION}.joblib"));
        let out = parameters(&format!("models/{name}_{SAMPLE_VERSION}.joblib"));
        scorer::convert(&artifact, &out, &limits, &scorer::Progress::none()).unwrap();
        std::fs::remove_file(artifact).unwrap();
    }
    let again = reload(&engine).await;
    assert_eq!(
        (again.snapshot.assets.clone(), rejected(&again.snapshot)),
        (first.snapshot.assets.clone(), vec![])
    );
    assert_eq!(versions(&again.snapshot), versions(&first.snapshot));
    bucket.write("models/regressor_lin_20250801-0000.safetensors", b"garbage");
    let broken = reload(&engine).await;
    assert_eq!(broken.snapshot.assets, first.snapshot.assets);
    assert_eq!(rejected(&broken.snapshot)[0].0, "models/regressor_lin_20250801-0000.safetensors");
}
