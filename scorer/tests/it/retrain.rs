//! Models are trained again: by hand, and when newer data come.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{ToSpan, civil::Date};
use scorer::{
    Engine, FolderStore, FolderWatch, Follow, ModelInForce, TrainingRows,
    features::{Features, LIMITS, read_raw},
    follow,
    retrain::{
        Challenge, ChallengeError, Challenged, Configuration, Policy, Retrainer, challenge, next_version,
        specification_from_toml, write,
    },
};
use shared::{
    Comparison, MemoryStore, ModelName, ModelSummary, ModelVersion, ObjectError, ObjectWriter, Outcome,
    PredictionStore,
};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    until,
    world::{FolderBucket, SAMPLE_TABLE, SAMPLE_VERSION, sample_bucket},
};

/// A forest that is fitted in a moment.
const SMALL_FOREST: &str = r#"
    categorical = ["ativo"]
    estimator = { class = "RandomForestRegressor", n_estimators = 4, max_depth = 6, random_state = 7 }
"#;

/// Of all columns that there are.
const BOOSTING: &str = r#"
    categorical = ["ativo"]
    estimator = { class = "GradientBoostingRegressor", n_estimators = 20, random_state = 7 }
"#;

/// One that knows nothing but the mean.
const STUMP: &str = r#"
    categorical = ["ativo"]
    estimator = { class = "RandomForestRegressor", n_estimators = 1, max_depth = 1, random_state = 7 }
"#;

fn raw() -> String {
    fs::read_to_string(sample_bucket().join("raw.csv")).unwrap()
}

/// The sample's candles, and those of another day.
fn a_day_later() -> String {
    let mut candles = raw();
    let last = candles.lines().last().unwrap().split('|').nth(1).unwrap().to_owned();
    let next: jiff::civil::Date = last.parse().unwrap();
    let next = next.tomorrow().unwrap().to_string();
    let rows: Vec<String> = candles
        .lines()
        .filter(|line| line.split('|').nth(1) == Some(&last))
        .map(|line| line.replacen(&last, &next, 1) + "\n")
        .collect();
    assert!(rows.len() > 1);
    candles.extend(rows);
    candles
}

fn rows() -> TrainingRows {
    let features = Features::compute(read_raw(raw().as_bytes(), &LIMITS).unwrap());
    TrainingRows::of(&features, "raw.csv").unwrap()
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn version(text: &str) -> ModelVersion {
    text.parse().unwrap()
}

/// A model of the sample bucket.
async fn sample_model(name: &str) -> ModelInForce {
    let bucket = FolderBucket::sample();
    let (engine, _) = bucket.engine();
    engine.reload().await.unwrap();
    let in_force = engine.in_force().borrow().clone().unwrap();
    in_force.models.iter().find(|known| known.served.name.as_str() == name).unwrap().clone()
}

fn challenged(
    model: &ModelInForce,
    specification: Option<&str>,
    margin: f64,
) -> Result<Challenged, ChallengeError> {
    challenged_on(&rows(), model, specification, margin)
}

fn challenged_on(
    rows: &TrainingRows,
    model: &ModelInForce,
    specification: Option<&str>,
    margin: f64,
) -> Result<Challenged, ChallengeError> {
    let specification = specification.map(|text| specification_from_toml(text).unwrap());
    let of = Challenge {
        name: &model.served.name,
        in_force: Some(model),
        specification: specification.as_ref(),
        margin,
        version: &version("20260101-000000"),
    };
    challenge(of, rows)
}

fn metric(comparison: &Comparison) -> (f64, f64) {
    let in_force = comparison.in_force.as_ref().unwrap();
    (comparison.challenger.metrics[&comparison.metric], in_force.metrics[&comparison.metric])
}

#[tokio::test]
async fn a_challenger_has_the_hyper_parameters_of_the_model_in_force_and_all_columns_but_the_targets() {
    for (model, decided_by) in [("regressor_lin", "rmse"), ("classifier_log", "log_loss")] {
        let in_force = sample_model(model).await;
        let Challenged { comparison, artifact } = challenged(&in_force, None, 0.02).unwrap();
        assert_eq!((comparison.accepted, comparison.metric.as_str()), (true, decided_by));
        assert_eq!(comparison.in_force.as_ref().unwrap().version.as_str(), SAMPLE_VERSION);
        let fitted_rows = comparison.challenger.fitted_rows.unwrap();
        assert_eq!(comparison.rows, (comparison.rows + fitted_rows) / 6, "a sixth of them");
        assert!(comparison.from < comparison.to && comparison.to < comparison.data_until, "{comparison:?}");
        let limits = scorer::Settings::default().model_limits;
        let fitted = models::Model::read_parameters(&artifact.unwrap(), &limits).unwrap();
        let columns = fitted.columns().unwrap();
        assert!(columns.iter().any(|column| **column == *"ativo"));
        for column in ["data", "max_acum", "fechamento_next", "direction_next"] {
            assert!(columns.iter().all(|known| **known != *column), "{model} {column}");
        }
    }
}

#[tokio::test]
async fn a_worse_challenger_is_refused_and_the_comparison_says_so() {
    let in_force = sample_model("regressor_lin").await;
    let Challenged { comparison, artifact } = challenged(&in_force, Some(STUMP), 0.02).unwrap();
    let (challenger, in_force) = metric(&comparison);
    assert!(challenger > 1.02 * in_force, "{comparison:?}");
    assert!(!comparison.accepted && artifact.is_none());
    // Written, and passed over by the catalogue.
    let bucket = FolderBucket::sample();
    let key = "models/regressor_lin_20260101-000000";
    write(&bucket.store(), &name("regressor_lin"), Challenged { comparison: comparison.clone(), artifact })
        .await
        .unwrap();
    let kept: Comparison =
        serde_json::from_slice(&fs::read(bucket.path().join(format!("{key}.comparison.json"))).unwrap())
            .unwrap();
    assert_eq!(kept, comparison);
    assert!(!bucket.path().join(format!("{key}.safetensors")).exists());
    let (engine, _) = bucket.engine();
    let reload = engine.reload().await.unwrap();
    assert_eq!(reload.snapshot.rejected, []);
    let lin = reload.snapshot.models.iter().find(|model| model.name.as_str() == "regressor_lin").unwrap();
    assert_eq!((lin.version.as_str(), &lin.comparison), (SAMPLE_VERSION, &None));
}

#[tokio::test]
async fn the_margin_is_how_much_worse_a_challenger_may_be() {
    let lin = sample_model("regressor_lin").await;
    let (challenger, in_force) = metric(&challenged(&lin, Some(STUMP), 0.0).unwrap().comparison);
    let exact = challenger / in_force - 1.0;
    assert!(exact > 0.0, "{exact}");
    for (margin, accepted) in [(exact * 0.999, false), (exact * 1.001, true)] {
        let Challenged { comparison, artifact } = challenged(&lin, Some(STUMP), margin).unwrap();
        assert_eq!((comparison.accepted, artifact.is_some()), (accepted, accepted), "{margin}");
    }
}

#[tokio::test]
async fn neither_contender_has_seen_the_days_that_they_are_compared_on() {
    let model = sample_model("regressor_rf").await;
    let trained = |trained_until| ModelInForce { trained_until, ..model.clone() };
    let rows = rows();
    let of = |trained_until| challenged(&trained(trained_until), None, 0.0).unwrap().comparison;

    // Of the same data, a forest would win by the rows that it remembers. It is the same forest.
    let same = of(rows.until);
    assert!(same.accepted, "{same:?}");
    let of_same = same.in_force.unwrap();
    assert_eq!(
        (&of_same.metrics, of_same.fitted_rows),
        (&same.challenger.metrics, same.challenger.fitted_rows)
    );
    // A version may be newer than the data.
    assert_eq!(of(rows.until.tomorrow().unwrap()).in_force.unwrap(), of_same);

    // Two weeks older, it gets two weeks less.
    let older = of(rows.until - 14.days()).in_force.unwrap();
    let models::Column::Number(days) = rows.table.column("data").unwrap() else { panic!("days") };
    let newest = days[of_same.fitted_rows.unwrap() - 1] - 14.0;
    let expected = days.iter().filter(|day| **day <= newest).count();
    assert!(expected > 0);
    assert_eq!(older.fitted_rows, Some(expected));
    assert_ne!(older.metrics, of_same.metrics);

    // Older than all of these days, it is compared as it is.
    let as_it_is = of(same.from).in_force.unwrap();
    assert_eq!((as_it_is.fitted_rows, &as_it_is.version), (None, &model.served.version));
    assert!(as_it_is.metrics["rmse"] < 0.7 * of_same.metrics["rmse"], "this one has seen them: {as_it_is:?}");
}

#[tokio::test]
async fn a_model_in_force_is_compared_by_the_columns_that_it_knows() {
    let model = sample_model("regressor_gbr").await;
    let same = rows();
    let before = challenged_on(&same, &model, Some(BOOSTING), 0.0).unwrap().comparison;
    let models::Column::Number(next) = same.table.column("fechamento_next").unwrap() else {
        panic!("numbers")
    };
    let told = ("contado", models::Column::Number(next.clone()));
    let columns = same.table.columns().map(|(name, column)| (name, column.clone()));
    let table = models::Table::new(columns.chain([told])).unwrap();
    let after = challenged_on(&TrainingRows { table, ..same.clone() }, &model, Some(BOOSTING), 0.0)
        .unwrap()
        .comparison;
    assert_eq!(after.in_force, before.in_force);
    assert_ne!(metric(&after).0, metric(&before).0, "the challenger knows the column");
}

#[test]
fn a_model_without_one_in_force_is_accepted_if_it_is_specified() {
    let specification = specification_from_toml(SMALL_FOREST).unwrap();
    let (regressor, classifier) = (name("regressor_new"), name("classifier_new"));
    let version = version("20260101-000000");
    let of = |name, specification| Challenge {
        name,
        in_force: None,
        specification,
        margin: 0.0,
        version: &version,
    };
    let made = challenge(of(&regressor, Some(&specification)), &rows()).unwrap();
    assert!(made.artifact.is_some() && made.comparison.in_force.is_none());
    assert!(matches!(challenge(of(&regressor, None), &rows()), Err(ChallengeError::Unspecified)));
    let wrong = challenge(of(&classifier, Some(&specification)), &rows());
    assert!(matches!(wrong, Err(ChallengeError::Kind { .. })), "{wrong:?}");
}

#[test]
fn a_feature_table_teaches_what_its_candles_teach() {
    let features = Features::compute(read_raw(raw().as_bytes(), &LIMITS).unwrap());
    let mut parquet = Vec::new();
    features.write_parquet(&mut parquet).unwrap();
    let (of_table, until) = scorer::tables::training_rows(parquet, &LIMITS).unwrap();
    let of_candles = rows();
    assert_eq!((of_table.rows(), until), (of_candles.table.rows(), of_candles.until));
    let bits = |table: &models::Table, name: &str| -> Vec<String> {
        match table.column(name).unwrap() {
            models::Column::Number(numbers) => numbers.iter().map(|number| format!("{number:?}")).collect(),
            models::Column::Text(text) => (0..text.len()).map(|row| format!("{:?}", text.get(row))).collect(),
        }
    };
    let names =
        |table: &models::Table| -> Vec<String> { table.columns().map(|(name, _)| name.to_owned()).collect() };
    assert_eq!(names(&of_table), names(&of_candles.table));
    for column in names(&of_table) {
        assert_eq!(bits(&of_table, &column), bits(&of_candles.table, &column), "{column}");
    }
}

#[test]
fn the_configuration_of_the_manifests_is_understood() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../k8s/components/retraining/retraining.toml");
    Configuration::from_file(file.as_ref()).unwrap();
}

#[test]
fn configurations_that_say_something_else_are_refused_with_the_reason() {
    let good = "[regressor_rf]\npolicy = \"on-features\"\nmargin = 2\n[regressor_lin]\n";
    assert!(Configuration::from_toml(good).is_ok());
    assert_eq!(Policy::default(), Policy::Never);
    let specified = |specification: &str| format!("[classifier_rf.specification]\n{specification}");
    for (text, reason) in [
        ("[transformer_rf]\n", "is not a model name"),
        ("[regressor_rf]\npolicy = \"always\"\n", "on-features"),
        ("[regressor_rf]\nmargins = 1.0\n", "margins"),
        ("[regressor_rf]\nmargin = -1.0\n", "a number from 0 on expected"),
        ("[regressor_rf]\nmargin = nan\n", "a number from 0 on expected"),
        (&specified(SMALL_FOREST), "does not fit the name of a classifier"),
        ("regressor_rf", "TOML"),
    ] {
        let error = Configuration::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

/// A bucket with candles that is followed, with retraining.
struct Followed {
    bucket: FolderBucket,
    store: Arc<MemoryStore>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    async fn start(configuration: &str, write_features: bool) -> Self {
        let bucket = FolderBucket::sample();
        bucket.write("raw.csv", raw().as_bytes());
        let (engine, store) = bucket.engine();
        let engine: Arc<Engine> = Arc::new(engine);
        let configuration = Configuration::from_toml(configuration).unwrap();
        let retrainer = Retrainer::new(Arc::clone(&engine), Arc::new(bucket.store()), configuration)
            .with_features_written(write_features);
        let events = FolderWatch::start(bucket.store()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let settings = Follow::default();
            tokio::select! {
                () = follow(&engine, events, &settings, async { _ = stopped.await }) => {}
                () = retrainer.run() => {}
            }
        });
        let followed = Self { bucket, store, stop, task };
        followed.until("the first predictions", async |followed| !followed.models().await.is_empty()).await;
        followed
    }

    async fn models(&self) -> Vec<ModelSummary> {
        self.store.current().await.unwrap().map_or_else(Vec::new, |summary| summary.models.clone())
    }

    async fn model(&self, name: &str) -> ModelSummary {
        self.models().await.into_iter().find(|model| model.name.as_str() == name).unwrap()
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        until(&format!("{what}; {:?}", self.keys()), async || holds(self).await).await;
    }

    fn keys(&self) -> Vec<String> {
        let names = |folder: &str| {
            let entries = fs::read_dir(self.bucket.path().join(folder)).unwrap();
            entries
                .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().display()))
                .collect::<Vec<_>>()
        };
        let mut keys = [names("models"), names("features")].concat();
        keys.retain(|key| !key.contains("/."));
        keys.sort();
        keys
    }

    fn comparisons(&self) -> usize {
        self.keys().iter().filter(|key| key.ends_with(".comparison.json")).count()
    }

    async fn end(self) {
        _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

/// Time for what must not happen. A slow machine may overlook it, and never invents it.
const NOTHING_MORE: Duration = Duration::from_millis(1500);

const ON_FEATURES: &str = "[regressor_lin]\npolicy = \"on-features\"\n";

#[tokio::test]
async fn another_day_of_candles_comes_back_as_a_model_with_its_comparison() {
    let followed = Followed::start(ON_FEATURES, false).await;
    // Nobody has compared anything on the days that are there already.
    let of_first = async |followed: &Followed| followed.model("regressor_lin").await.comparison.is_some();
    followed.until("the first challenger", of_first).await;
    let first = followed.model("regressor_lin").await;
    let comparison = first.comparison.clone().unwrap();
    assert!(comparison.accepted && comparison.challenger.version == first.version, "{comparison:?}");
    assert_eq!(comparison.in_force.as_ref().unwrap().version.as_str(), SAMPLE_VERSION);

    // Versions are told apart by the second.
    sleep(Duration::from_millis(1100)).await;
    followed.bucket.write("raw.csv", a_day_later().as_bytes());
    let is_next = async |followed: &Followed| followed.model("regressor_lin").await.version != first.version;
    followed.until("the second challenger", is_next).await;
    let second = followed.model("regressor_lin").await;
    let next = second.comparison.clone().unwrap();
    assert_eq!(next.data_until, comparison.data_until.tomorrow().unwrap());
    assert_eq!(next.in_force.as_ref().unwrap().version, first.version);
    assert_eq!(second.data_until, Some(next.data_until));
    // Others are left alone, and the same data again are no reason to begin again.
    assert_eq!(followed.model("regressor_gbr").await.version.as_str(), SAMPLE_VERSION);
    followed.bucket.write("raw.csv", (a_day_later() + "\n").as_bytes());
    sleep(NOTHING_MORE).await;
    assert_eq!((followed.comparisons(), followed.model("regressor_lin").await), (2, second));
    followed.end().await;
}

#[tokio::test]
async fn a_challenger_that_loses_is_not_repeated_after_a_restart() {
    let losing = format!("{ON_FEATURES}[regressor_lin.specification]\n{STUMP}");
    let followed = Followed::start(&losing, false).await;
    followed.until("a comparison", async |followed| followed.comparisons() == 1).await;
    // Versions are told apart by the second.
    sleep(Duration::from_millis(1100)).await;
    let lin = followed.model("regressor_lin").await;
    assert_eq!((lin.version.as_str(), lin.comparison), (SAMPLE_VERSION, None));
    assert!(!followed.keys().iter().any(|key| key.ends_with(".safetensors")));
    // It is told from the next look at the bucket on.
    followed.bucket.write("raw.csv", a_day_later().as_bytes());
    let is_told = async |followed: &Followed| followed.model("regressor_lin").await.lost.is_some();
    followed.until("the comparison that was lost", is_told).await;
    followed.until("another comparison", async |followed| followed.comparisons() == 2).await;

    let (again, _) = followed.bucket.engine();
    let again = Arc::new(again);
    let configuration = Configuration::from_toml(&losing).unwrap();
    let retrainer = Retrainer::new(Arc::clone(&again), Arc::new(followed.bucket.store()), configuration);
    again.reload().await.unwrap();
    assert!(tokio::time::timeout(NOTHING_MORE, retrainer.run()).await.is_err());
    assert_eq!(followed.comparisons(), 2);
    followed.end().await;
}

#[tokio::test]
async fn candles_that_lost_their_past_replace_no_model() {
    let followed = Followed::start(ON_FEATURES, false).await;
    let of_first = async |followed: &Followed| followed.model("regressor_lin").await.comparison.is_some();
    followed.until("the first challenger", of_first).await;
    let first = followed.model("regressor_lin").await;
    let later = a_day_later();
    let day = |line: &str| line.split('|').nth(1).and_then(|day| day.parse::<Date>().ok());
    let newest = later.lines().filter_map(day).max().unwrap();
    let is_kept = |line: &&str| day(line).is_none_or(|day| (newest - day).get_days() < 60);
    let truncated: String = later.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    followed.bucket.write("raw.csv", truncated.as_bytes());
    let is_there =
        async |followed: &Followed| followed.model("regressor_lin").await.data_until == Some(newest);
    followed.until("the new day", is_there).await;
    sleep(NOTHING_MORE).await;
    assert_eq!((followed.comparisons(), followed.model("regressor_lin").await.version), (1, first.version));
    followed.end().await;
}

#[test]
fn a_challenger_is_newer_than_the_model_in_force_whatever_clock_that_was_made_by() {
    let ahead = version("20991231-2130");
    assert_eq!(next_version(Some(&ahead)).as_str(), "20991231-213001");
    let now = next_version(None);
    assert!(now > version("20260101-0000") && next_version(Some(&version("20250729-2130"))) >= now);
}

#[tokio::test]
async fn the_policy_never_does_nothing() {
    for configuration in ["", "[regressor_lin]\n", "[regressor_lin]\npolicy = \"never\"\n"] {
        let followed = Followed::start(configuration, false).await;
        let before = followed.keys();
        followed.bucket.write("raw.csv", a_day_later().as_bytes());
        let day = a_day_later().lines().last().unwrap().split('|').nth(1).unwrap().parse().unwrap();
        let is_there =
            async |followed: &Followed| followed.model("regressor_lin").await.data_until == Some(day);
        followed.until("the new day", is_there).await;
        sleep(NOTHING_MORE / 2).await;
        assert_eq!(followed.keys(), before, "{configuration:?}");
        followed.end().await;
    }
}

#[tokio::test]
async fn features_that_are_written_back_change_nothing_that_is_served() {
    let followed = Followed::start("", true).await;
    let key = |candles: &str| {
        let last = candles.lines().last().unwrap().split('|').nth(1).unwrap().replace('-', "");
        format!("features/cripto_features_{last}.parquet")
    };
    let is_written = |followed: &Followed, key: &str| followed.keys().contains(&key.to_owned());
    let first = key(&raw());
    followed.until("the first table", async |followed| is_written(followed, &first)).await;
    followed.bucket.write("raw.csv", a_day_later().as_bytes());
    let second = key(&a_day_later());
    followed.until("the second table", async |followed| is_written(followed, &second)).await;
    let latest =
        |followed: &Followed| fs::read(followed.bucket.path().join("features/latest.parquet")).unwrap();
    let written = fs::read(followed.bucket.path().join(&second)).unwrap();
    followed.until("the copy", async |followed| latest(followed) == written).await;

    // The table says what the candles say, so that it makes no generation of its own.
    let generation = followed.store.current().await.unwrap().unwrap().generation;
    let times =
        |followed: &Followed| fs::metadata(followed.bucket.path().join(&second)).unwrap().modified().unwrap();
    let before = times(&followed);
    sleep(NOTHING_MORE).await;
    assert_eq!(followed.store.current().await.unwrap().unwrap().generation, generation);
    assert_eq!(times(&followed), before);
    let (engine, _) = followed.bucket.engine();
    let reload = engine.reload().await.unwrap();
    assert_eq!(reload.table.as_deref(), Some("raw.csv"));
    // Without the candles, the table is as good.
    followed.bucket.delete("raw.csv");
    let of_table = followed.bucket.engine().0.reload().await.unwrap();
    assert_eq!(of_table.table.as_deref(), Some(second.as_str()));
    assert_eq!(of_table.snapshot.assets, reload.snapshot.assets);
    followed.end().await;
}

#[tokio::test]
async fn a_model_may_be_trained_from_a_feature_table_alone() {
    let bucket = FolderBucket::sample();
    let (engine, _) = bucket.engine();
    let reload = engine.reload().await.unwrap();
    assert_eq!(reload.table.as_deref(), Some(SAMPLE_TABLE));
    let in_force = engine.in_force().borrow().clone().unwrap();
    let data = in_force.data.clone().unwrap();
    assert!(!data.are_candles());
    let rows = engine.training_rows(&data.object).await.unwrap();
    assert_eq!((rows.until, rows.key.as_str()), (data.until, SAMPLE_TABLE));
    let lin = in_force.models.iter().find(|model| model.served.name.as_str() == "regressor_lin").unwrap();
    let of = Challenge {
        name: &lin.served.name,
        in_force: Some(lin),
        specification: None,
        margin: 0.02,
        version: &version("20260101-000000"),
    };
    let challenged = challenge(of, &rows).unwrap();
    write(&bucket.store(), &lin.served.name, challenged.clone()).await.unwrap();
    let served = engine.reload().await.unwrap().snapshot;
    let lin = served.models.iter().find(|model| model.name.as_str() == "regressor_lin").unwrap();
    assert_eq!(lin.version.as_str(), "20260101-000000");
    assert_eq!(lin.comparison.as_deref(), Some(&challenged.comparison));
    let btc = &served.assets[&"BTC".parse().unwrap()];
    let said = btc.predictions.iter().find(|prediction| prediction.model == lin.name).unwrap();
    assert!(matches!(said.outcome, Outcome::Close(close) if close > 0.0) && said.version == lin.version);
    // A broken comparison costs itself only.
    bucket.write("models/regressor_lin_20260101-000000.comparison.json", b"{}");
    let broken = engine.reload().await.unwrap().snapshot;
    assert_eq!(broken.assets, served.assets);
    assert_eq!(broken.rejected[0].key, "models/regressor_lin_20260101-000000.comparison.json");
}

/// A bucket that panics when something is put into it, as long as it is told to.
struct Panicking {
    bucket: FolderStore,
    panics: AtomicBool,
}

#[async_trait]
impl ObjectWriter for Panicking {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), ObjectError> {
        assert!(!self.panics.load(Ordering::SeqCst), "a fault of the program");
        self.bucket.put(key, content).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.bucket.delete(key).await
    }
}

#[tokio::test]
async fn a_retraining_that_panics_is_told_and_does_not_end_retraining() {
    let bucket = FolderBucket::sample();
    let (engine, _) = bucket.engine();
    let engine: Arc<Engine> = Arc::new(engine);
    let writer = Arc::new(Panicking { bucket: bucket.store(), panics: AtomicBool::new(true) });
    let configuration = Configuration::from_toml(ON_FEATURES).unwrap();
    let retrainer = Retrainer::new(Arc::clone(&engine), Arc::clone(&writer) as _, configuration);
    let mut crash = retrainer.crash();
    let running = tokio::spawn(async move { retrainer.run().await });
    bucket.write("raw.csv", raw().as_bytes());
    engine.reload().await.unwrap();
    let patience = Duration::from_secs(120);
    let told =
        tokio::time::timeout(patience, crash.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert_eq!(told.as_deref(), Some("retraining crashed: a fault of the program"));

    // The next data are learnt from.
    writer.panics.store(false, Ordering::SeqCst);
    bucket.write("raw.csv", a_day_later().as_bytes());
    engine.reload().await.unwrap();
    tokio::time::timeout(patience, crash.wait_for(Option::is_none)).await.unwrap().unwrap();
    let written = fs::read_dir(bucket.path().join("models")).unwrap();
    assert!(written.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".comparison.json")));
    running.abort();
}
