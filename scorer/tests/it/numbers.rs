//! Numbers that are easily wrong without a word, against scikit-learn's own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use async_trait::async_trait;
use jiff::civil::date;
use models::Column;
use scorer::{
    Engine, FolderStore, Progress, Settings, Wanted,
    backfill::{self, Backfill, Split},
    tables::{TableLimits, training_rows},
};
use serde::Deserialize;
use shared::{
    AssetPredictions, MemoryStore, Object, ObjectError, ObjectReader, ObjectStore, Outcome, Snapshot,
};
use tempfile::TempDir;

use crate::world::{FolderBucket, SAMPLE_TABLE, made_by, sample_bucket};

/// The folder that `make_numbers.py` writes, made once.
fn made() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| made_by("make_numbers.py", &sample_bucket().join(SAMPLE_TABLE))).path()
}

fn json<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_slice(&fs::read(made().join(name)).unwrap()).unwrap()
}

/// What comes of one model and a table.
async fn scored(key: &str, model: &str, table: &Path) -> Snapshot {
    let bucket = FolderBucket::empty();
    bucket.copy(&made().join(model), key);
    bucket.copy(table, SAMPLE_TABLE);
    let (engine, _) = bucket.engine();
    let reload = engine.reload().await.unwrap();
    Snapshot::clone(&reload.snapshot)
}

fn outcome(predictions: &AssetPredictions) -> Result<Outcome, &str> {
    match (predictions.predictions.first(), predictions.failures.first()) {
        (Some(prediction), _) => Ok(prediction.outcome),
        (None, Some(failure)) => Err(&failure.reason),
        (None, None) => panic!("neither a prediction nor a failure"),
    }
}

#[derive(Deserialize)]
struct Said {
    class: f64,
    probability: Option<f64>,
}

#[tokio::test]
async fn the_chance_of_a_rise_is_the_probability_of_class_1_and_other_classes_are_refused() {
    let said: BTreeMap<String, BTreeMap<String, Said>> = json("classes.json");
    let table = sample_bucket().join(SAMPLE_TABLE);
    for name in
        ["0_1", "bool", "minus_1_1", "minus_1_0_1", "float_0_1", "float_minus_1_1", "float_minus_1_0_1"]
    {
        let artifact = format!("classes_{name}.joblib");
        let snapshot = scored("models/classifier_new_20250801-0000.joblib", &artifact, &table).await;
        assert!(snapshot.rejected.is_empty(), "{name}: {:?}", snapshot.rejected);
        assert_eq!(snapshot.assets.len(), said[name].len());
        for (asset, predictions) in &snapshot.assets {
            let expected = &said[name][asset.as_str()];
            let Ok(Outcome::Direction { class, probability }) = outcome(predictions) else {
                panic!("{name} of {asset}: {:?}", outcome(predictions));
            };
            assert_eq!(class as f64, expected.class, "{name} of {asset}");
            assert_eq!(Some(probability), expected.probability, "{name} of {asset}");
        }
    }
    for (name, named) in [
        ("0_1_2", "(0, 1, 2)"),
        ("1_2", "(1, 2)"),
        ("text", r#"("down", "up")"#),
        ("float_1_2", "(1.0, 2.0)"),
        ("only_0", "(0)"),
        ("only_1", "(1)"),
    ] {
        let artifact = format!("classes_{name}.joblib");
        let snapshot = scored("models/classifier_new_20250801-0000.joblib", &artifact, &table).await;
        let reason = &snapshot.rejected[0].reason;
        assert!(reason.contains(named) && reason.contains("1 is a rise"), "{name}: {reason}");
        assert!(snapshot.models.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn text_that_is_no_number_costs_its_row_and_says_so() {
    let texts: BTreeMap<String, Option<String>> = json("text.json");
    let said: BTreeMap<String, Option<f64>> = json("text_predictions.json");
    let table = made().join("text.parquet");
    let snapshot = scored("models/regressor_new_20250801-0000.joblib", "text.joblib", &table).await;
    assert_eq!(snapshot.assets.len(), texts.len());
    assert!(said.values().any(Option::is_none) && said.values().any(Option::is_some));
    for (asset, predictions) in &snapshot.assets {
        let (text, expected) = (&texts[asset.as_str()], said[asset.as_str()]);
        match (outcome(predictions), expected) {
            (Ok(Outcome::Close(close)), Some(expected)) => assert_eq!(close, expected, "{asset}: {text:?}"),
            (Err(reason), None) => {
                let text = text.as_ref().unwrap();
                let expected = format!("column \"volumefrom\" holds {text:?}, which is not a number");
                assert_eq!(reason, expected);
            }
            other => panic!("{asset} of {text:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn text_in_a_table_of_one_asset_is_read_as_text_in_a_table_of_all() {
    let texts: BTreeMap<String, Option<String>> = json("text.json");
    let bucket = FolderBucket::empty();
    bucket.copy(&made().join("text.joblib"), "models/regressor_new_20250801-0000.joblib");
    for (asset, text) in &texts {
        let cell = text.as_deref().unwrap_or_default();
        // Columns that play no part may hold anything.
        let table =
            format!("ativo,data,fechamento,volumefrom,nota\n{asset},2025-07-29,10.5,\"{cell}\",1.2.3\n");
        bucket.write(&format!("data/{asset}/{asset}_2025-07-29.csv"), table.as_bytes());
    }
    let (engine, _) = bucket.engine();
    let reload = engine.reload().await.unwrap();
    let said: BTreeMap<String, Option<f64>> = json("text_predictions.json");
    assert_eq!(reload.snapshot.assets.len(), texts.len());
    for (asset, predictions) in &reload.snapshot.assets {
        let is_refused = said[asset.as_str()].is_none();
        match outcome(predictions) {
            Ok(_) => assert!(!is_refused, "{asset}"),
            Err(reason) => {
                assert!(is_refused && reason.contains("column \"volumefrom\""), "{asset}: {reason}")
            }
        }
    }
}

#[tokio::test]
async fn a_model_that_was_fitted_on_an_array_is_refused_and_columns_are_never_taken_by_place() {
    let table = sample_bucket().join(SAMPLE_TABLE);
    let snapshot = scored("models/regressor_new_20250801-0000.joblib", "array.joblib", &table).await;
    let reason = &snapshot.rejected[0].reason;
    assert!(
        reason.contains("the names of its 2 columns") && reason.contains("fit it on a DataFrame"),
        "{reason}"
    );
    // A table of as many columns, of which the first two say which row it is.
    let bucket = FolderBucket::empty();
    bucket.copy(&made().join("array.joblib"), "models/regressor_new_20250801-0000.joblib");
    bucket.write("data/BTC/BTC_2025-07-29.csv", b"ativo,nota\nBTC,10.5\n");
    let (engine, _) = bucket.engine();
    let reload = engine.reload().await.unwrap();
    assert!(reload.snapshot.models.is_empty());
    let reason = &reload.snapshot.rejected[0].reason;
    assert!(reason.contains("fit it on a DataFrame"), "{reason}");
}

#[tokio::test]
async fn a_model_of_numbers_in_the_place_of_assets_answers_none_of_them() {
    let table = sample_bucket().join(SAMPLE_TABLE);
    let snapshot = scored("models/regressor_new_20250801-0000.joblib", "encoded.joblib", &table).await;
    assert_eq!(snapshot.assets.len(), 8);
    for (asset, predictions) in &snapshot.assets {
        let expected = format!("column \"ativo\" holds \"{asset}\", which is not a number");
        assert_eq!(outcome(predictions), Err(&*expected));
    }
}

#[test]
fn of_two_rows_of_an_asset_and_a_day_the_last_one_is_learnt_from() {
    let limits = TableLimits::default();
    let read = |name: &str| training_rows(fs::read(made().join(name)).unwrap(), &limits).unwrap();
    let ((twice, until), (once, until_of_once)) = (read("twice.parquet"), read("once.parquet"));
    assert_eq!((twice.rows(), until), (once.rows(), until_of_once));
    for ((name, column), (name_of_once, of_once)) in twice.columns().zip(once.columns()) {
        assert_eq!(name, name_of_once);
        match (column, of_once) {
            (Column::Number(column), Column::Number(of_once)) => {
                let bits =
                    |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                assert!(bits(column) == bits(of_once), "{name}");
            }
            _ => assert_eq!(column, of_once, "{name}"),
        }
    }
}

#[tokio::test]
async fn a_table_of_nothing_but_text_is_rejected_with_the_first_text_that_is_no_number() {
    let bucket = FolderBucket::sample();
    let (engine, _) = bucket.engine();
    let before = engine.reload().await.unwrap();
    // Of all models only this one is asked for the column.
    for model in fs::read_dir(bucket.path().join("models")).unwrap() {
        fs::remove_file(model.unwrap().path()).unwrap();
    }
    bucket.copy(&made().join("text.joblib"), "models/regressor_rf_20250801-0000.joblib");
    let of_text = engine.reload().await.unwrap();
    assert_eq!(of_text.snapshot.assets.len(), before.snapshot.assets.len());
    bucket.copy(&made().join("only_text.parquet"), "features/cripto_features_20250801.parquet");
    let after = engine.reload().await.unwrap();
    assert_eq!(after.snapshot.assets, of_text.snapshot.assets, "the rows before it stay");
    let rejected = &after.snapshot.rejected[0];
    assert_eq!(rejected.key, "features/cripto_features_20250801.parquet");
    assert_eq!(
        rejected.reason,
        r#"no model can predict from this table: column "volumefrom" holds "1,234.50", which is not a number"#
    );
}

/// A folder in which a file is replaced right before it is opened.
struct Overtaken {
    folder: FolderStore,
    by: Mutex<Option<(PathBuf, Vec<u8>)>>,
}

#[async_trait]
impl ObjectStore for Overtaken {
    fn bucket(&self) -> &str {
        self.folder.bucket()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        self.folder.list(prefix).await
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        self.folder.open(key).await
    }

    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError> {
        let mut by = self.by.lock().unwrap().take_if(|(path, _)| path.ends_with(&object.key));
        if let Some((path, content)) = by.take() {
            fs::write(path, content).unwrap();
        }
        self.folder.open_listed(object).await
    }
}

#[tokio::test]
async fn a_model_that_is_uploaded_again_after_it_was_listed_is_read_at_the_next_reload() {
    let bucket = FolderBucket::sample();
    let key = "models/regressor_lin_20250801-0000.joblib";
    let store = Arc::new(Overtaken { folder: bucket.store(), by: Mutex::default() });
    let predictions = Arc::new(MemoryStore::default());
    let engine = Engine::new(Arc::clone(&store) as _, predictions, Settings::default(), Progress::none());
    engine.reload().await.unwrap();
    let linear = fs::read(bucket.path().join("models/regressor_lin_20250729-2130.joblib")).unwrap();
    let boosted = fs::read(bucket.path().join("models/regressor_gbr_20250729-2130.joblib")).unwrap();
    bucket.write(key, &linear);
    *store.by.lock().unwrap() = Some((bucket.path().join(key), boosted));
    let overtaken = engine.reload().await.unwrap();
    // It is read again, and nobody is told of a fault that the object does not have.
    assert!(
        overtaken.incomplete && overtaken.snapshot.rejected.is_empty(),
        "{:?}",
        overtaken.snapshot.rejected
    );
    let next = engine.reload().await.unwrap();
    assert!(!next.incomplete && next.snapshot.rejected.is_empty(), "{:?}", next.snapshot.rejected);
    for predictions in next.snapshot.assets.values() {
        let of = |model: &str| {
            predictions
                .predictions
                .iter()
                .find(|prediction| prediction.model.as_str() == model)
                .unwrap()
                .outcome
        };
        assert_eq!(of("regressor_lin"), of("regressor_gbr"));
    }
}

#[tokio::test]
async fn a_backfill_begins_anew_when_a_model_is_uploaded_again_under_its_version() {
    let bucket = FolderBucket::sample();
    let run = async || {
        let (engine, histories) = bucket.engine();
        let (objects, writer) = (Arc::new(bucket.store()), Arc::new(bucket.store()));
        let backfill = Backfill { engine, objects, writer, histories, progress: Progress::none() };
        let (from, to) = (date(2025, 7, 27), date(2025, 7, 28));
        let name = "regressor_lin".parse().unwrap();
        let settings = backfill::Settings {
            wanted: Wanted { models: vec![(name, "20250729-2130".parse().unwrap())], table: None },
            from,
            to,
            split: Split::new(0, 1, from, to).unwrap(),
            history_days: 10,
        };
        backfill.run(&settings).await.unwrap()
    };
    let first = run().await;
    assert!(first.scored.is_some() && first.missing == 0);
    let repeated = run().await;
    assert_eq!((&repeated.run, repeated.scored), (&first.run, None), "it was done before");
    let boosted = fs::read(bucket.path().join("models/regressor_gbr_20250729-2130.joblib")).unwrap();
    bucket.write("models/regressor_lin_20250729-2130.joblib", &boosted);
    let anew = run().await;
    assert!(anew.run != first.run && anew.scored.is_some(), "{anew:?}");
}
