//! Training models again where they are used: a challenger is fitted, compared with the model in force, and written
//! into the bucket if it is not worse.
//!
//! * **For:** [`challenge`], one model's retraining from rows in memory to an artifact's bytes; [`write()`], which leaves
//!   them in the bucket; and [`Retrainer`], which does both in the background by a [`Configuration`] when newer data
//!   are in force.
//! * **Goes out:** `models/{tipo}_{algoritmo}_{versao}.safetensors`, and beside it the [`Comparison`] as
//!   `….comparison.json`. The comparison is written also when the challenger lost, without an artifact.
//! * **Must never know:** how an artifact comes into force. It arrives as every other upload does: training only writes
//!   artifacts, scoring only reads them.
//!
//! # The comparison
//!
//! The challenger is fitted on all parts but the last of scikit-learn's `TimeSeriesSplit(5)`, both predict the last
//! part, and regressors are compared by RMSE, classifiers by log-loss. Log-loss, and not accuracy, since it is the
//! probability that is served, and since accuracy moves in steps of a whole row. Of the two it is also the one that is
//! smaller for the better model, as RMSE is, so that a margin has one meaning: the challenger is accepted if its metric
//! is at most `1 + margin` times that of the model in force. If it is, it is fitted again on all rows.
//!
//! A model that was trained on the part that both predict would win by remembering it: a forest of full depth by a factor
//! of two to five. So that neither has seen it, the model in force is replaced, in the comparison, by what it would have
//! been: **its own hyper-parameters and columns, fitted on rows that end as long before the part as its data end before
//! today's**. What is compared is then what decides in use: other hyper-parameters, other columns, and newer rows. If it is
//! older than the whole part, of a class that cannot be fitted here, or no row would be left, it predicts as it is, and
//! [`Contender::fitted_rows`] is nothing.
//!
//! Data that are broken on all days look alike to both sides. They are for the admission of the artifact to find, which
//! holds its predictions against those that are served.

use std::{
    any::Any,
    collections::BTreeMap,
    fs, io,
    num::NonZero,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread::available_parallelism,
    time::Instant,
};

use futures_util::FutureExt;
use jiff::{SignedDuration, Span, Timestamp, civil::Date};
use linfa::{DatasetBase, ParamGuard, traits::Fit};
use models::{
    Column, InexpressibleError, Model, PredictError, Table,
    evaluation::{Metrics, TimeSeriesSplit},
    fit::{FitError, Specification, SpecificationError, Target, UnsupportedModel},
};
use serde::Deserialize;
use shared::{Comparison, Contender, ModelKind, ModelName, ModelVersion, Object, ObjectError, ObjectWriter};
use thiserror::Error;
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    Data, DataError, Engine, InForce, ModelInForce, TrainingRows,
    catalogue::{artifact_key, comparison_key},
    events,
    features::{Features, LATEST, NEXT_CLOSE, NEXT_DIRECTION, WriteError, key_of},
    score::is_rise_or_not,
    tables::DATE_COLUMN,
};

/// The splits of the training job, of which the last one is used.
const SPLITS: usize = 5;

/// On fewer rows chance decides which of two models is better.
const LEAST_ROWS: usize = 30;

/// So often the same data are seen to again, each time after a reload, where what came of them could not be written or
/// was overtaken.
const TRIES: usize = 3;

/// By which part a challenger may be worse where nothing else is said.
pub const DEFAULT_MARGIN: f64 = 0.02;

/// Which models are retrained, and how: a table in TOML for each.
///
/// ```toml
/// [regressor_lin]
/// policy = "on-features"
///
/// [regressor_rf]
/// policy = "on-features"
/// margin = 2.0
///
/// # Instead of the hyper-parameters of the model in force.
/// [regressor_rf.specification]
/// categorical = ["ativo"]
/// estimator = { class = "RandomForestRegressor", n_estimators = 100, random_state = 42 }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Configuration(BTreeMap<ModelName, Plan>);

/// How one model is retrained.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// When.
    pub policy: Policy,
    /// By which part of the metric of the model in force that of the challenger may be larger.
    pub margin: f64,
    /// What is fitted; nothing for what the model in force is.
    pub specification: Option<Specification>,
}

/// When a model is retrained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Not by itself.
    #[default]
    Never,
    /// When a feature table or candles with a later day than any comparison of the model knows are in force.
    OnFeatures,
}

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// It is not TOML, or says something that is not known.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// A margin that is no number from 0 on.
    #[error("{model}: margin = {margin}: a number from 0 on expected")]
    Margin {
        /// The model.
        model: ModelName,
        /// The margin.
        margin: f64,
    },
    /// A specification that cannot be fitted.
    #[error("{model}: {error}")]
    Specification {
        /// The model.
        model: ModelName,
        /// Why.
        error: ChallengeError,
    },
}

/// A configuration file that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigurationFileError {
    /// It cannot be read.
    #[error("{file:?} cannot be read")]
    Read {
        /// The file.
        file: String,
        /// What stood in the way.
        source: io::Error,
    },
    /// It says something that is not known.
    #[error("{file:?} does not say how to retrain")]
    Content {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: ConfigurationError,
    },
}

/// What is to be fitted for a name, and what it is held against.
#[derive(Clone, Copy)]
pub struct Challenge<'a> {
    /// The model's name.
    pub name: &'a ModelName,
    /// The model in force; nothing accepts every challenger.
    pub in_force: Option<&'a ModelInForce>,
    /// What is fitted; nothing for what the model in force is.
    pub specification: Option<&'a Specification>,
    /// By which part of the metric of the model in force that of the challenger may be larger.
    pub margin: f64,
    /// The challenger's version.
    pub version: &'a ModelVersion,
}

/// What came of a challenge.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenged {
    /// How the two did.
    pub comparison: Comparison,
    /// The challenger, fitted on all rows, as a parameter file; nothing if it was not accepted.
    pub artifact: Option<Vec<u8>>,
}

/// A model that could not be retrained.
#[derive(Debug, Error)]
pub enum ChallengeError {
    /// Neither a specification nor a model in force that has one.
    #[error("no model of this name is in force, so that its hyper-parameters have to be specified")]
    Unspecified,
    /// The model in force cannot be fitted here.
    #[error("it cannot be fitted here: {0}")]
    Unsupported(#[from] UnsupportedModel),
    /// A classifier is specified for a regressor's name, or a regressor for a classifier's.
    #[error("{class} does not fit the name of a {kind}")]
    Kind {
        /// The estimator.
        class: &'static str,
        /// What the name says.
        kind: ModelKind,
    },
    /// A hyper-parameter is out of range.
    #[error(transparent)]
    Specification(#[from] SpecificationError),
    /// Too few rows to be split.
    #[error("{0} rows are too few to be compared on")]
    TooFewRows(usize),
    /// The data have lost rows: both sides of a comparison would be fitted to what is left, and neither is what the model
    /// in force is.
    #[error(
        "the data have {rows} rows, less than half of the {before} of an earlier comparison; `scorer retrain` compares \
         all the same"
    )]
    Shrunk {
        /// How many rows there are.
        rows: usize,
        /// How many there were.
        before: usize,
    },
    /// Another version came into force while the challenger was fitted.
    #[error("version {0} came into force meanwhile")]
    Overtaken(ModelVersion),
    /// Rows without a target, or without a day.
    #[error("the rows lack the column {0:?}")]
    MissingColumn(&'static str),
    /// The columns make no table.
    #[error(transparent)]
    Table(#[from] models::TableError),
    /// Fitting failed.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// One of the two cannot predict from the rows.
    #[error("version {version} cannot predict from the rows: {reason}")]
    Predict {
        /// Which of the two.
        version: ModelVersion,
        /// Why.
        reason: String,
    },
    /// The fitted model has no file form.
    #[error(transparent)]
    Inexpressible(#[from] InexpressibleError),
    /// A mistake of the program.
    #[error("fitting crashed")]
    Crashed,
}

/// A model was not retrained.
#[derive(Debug, Error)]
enum RetrainError {
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

impl RetrainError {
    /// Whether it may succeed with the same data.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Object(_) | Self::Challenge(ChallengeError::Overtaken(_)))
    }
}

/// Something could not be left in the bucket.
#[derive(Debug, Error)]
enum LeaveError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Table(#[from] WriteError),
    #[error("writing crashed")]
    Crashed,
}

impl Default for Plan {
    fn default() -> Self {
        Self { policy: Policy::default(), margin: DEFAULT_MARGIN, specification: None }
    }
}

impl Configuration {
    /// Reads what is written in TOML.
    ///
    /// # Errors
    /// It is not TOML, or names or values in it are not known.
    pub fn from_toml(text: &str) -> Result<Self, ConfigurationError> {
        let configuration: Self = toml::from_str(text)?;
        for (model, Plan { margin, specification, .. }) in &configuration.0 {
            if !(margin.is_finite() && *margin >= 0.0) {
                return Err(ConfigurationError::Margin { model: model.clone(), margin: *margin });
            }
            let checked = specification.as_ref().map_or(Ok(()), |specification| check(model, specification));
            checked.map_err(|error| ConfigurationError::Specification { model: model.clone(), error })?;
        }
        Ok(configuration)
    }

    /// Reads a file in TOML; blocks.
    ///
    /// # Errors
    /// The file cannot be read, or as [`from_toml`](Self::from_toml).
    pub fn from_file(path: &Path) -> Result<Self, ConfigurationFileError> {
        let file = || path.display().to_string();
        let text = fs::read_to_string(path);
        let text = text.map_err(|source| ConfigurationFileError::Read { file: file(), source })?;
        Self::from_toml(&text).map_err(|source| ConfigurationFileError::Content { file: file(), source })
    }

    /// The plan of a model that newer data make due.
    fn due(&self, model: &ModelInForce, data: &Data) -> Option<&Plan> {
        let plan = self.0.get(&model.served.name)?;
        let is_newer = model.compared_until.is_none_or(|until| data.until > until);
        (plan.policy == Policy::OnFeatures && is_newer).then_some(plan)
    }
}

/// Reads a specification written in TOML.
///
/// # Errors
/// It is not TOML, or says something that is not known.
pub fn specification_from_toml(text: &str) -> Result<Specification, toml::de::Error> {
    toml::from_str(text)
}

fn check(name: &ModelName, specification: &Specification) -> Result<(), ChallengeError> {
    specification.check_ref()?;
    let estimator = specification.estimator();
    if estimator.classifies() != (name.kind() == ModelKind::Classifier) {
        return Err(ChallengeError::Kind { class: estimator.class(), kind: name.kind() });
    }
    Ok(())
}

/// Fits a challenger, compares it with the model in force, and fits it on all rows if it is not worse. Computes for
/// long, in the rayon pool in which it is called.
///
/// # Errors
/// There are too few rows, or the model cannot be fitted to them.
pub fn challenge(challenge: Challenge<'_>, rows: &TrainingRows) -> Result<Challenged, ChallengeError> {
    // Whatever a table makes of the fit, it costs this model only.
    catch_unwind(AssertUnwindSafe(|| challenged(challenge, rows))).unwrap_or(Err(ChallengeError::Crashed))
}

fn challenged(challenge: Challenge<'_>, rows: &TrainingRows) -> Result<Challenged, ChallengeError> {
    let Challenge { name, in_force, specification, margin, version } = challenge;
    let specification = match (specification, in_force) {
        (Some(specification), _) => specification.clone(),
        (None, Some(in_force)) => Specification::of(&in_force.model)?,
        (None, None) => return Err(ChallengeError::Unspecified),
    };
    check(name, &specification)?;
    let target = target(name.kind(), &rows.table)?;
    let days = numbers(&rows.table, DATE_COLUMN)?;
    // What says which row it is, and what is not known yet, is nothing to predict from.
    let is_feature = |name: &str| ![DATE_COLUMN, NEXT_CLOSE, NEXT_DIRECTION].contains(&name);
    let features = rows.table.columns().filter(|(name, _)| is_feature(name));
    let features = Table::new(features.map(|(name, column)| (name, column.clone())))?;

    let splits = TimeSeriesSplit::new(SPLITS).split(features.rows());
    let last = splits.last().filter(|(_, last)| last.len() >= LEAST_ROWS);
    let (before, last) = last.ok_or(ChallengeError::TooFewRows(features.rows()))?;
    let held_out = (features.slice(last.clone()), target.slice(last.clone()));
    let fitted = |version: &ModelVersion, specification: &Specification, rows: usize| {
        let dataset = DatasetBase::new(features.slice(0..rows), target.slice(0..rows));
        let model = specification.fit(&dataset)?;
        Ok(Contender { fitted_rows: Some(rows), ..contender(version, &model, &held_out)? })
    };
    let challenger = fitted(version, &specification, before.len())?;
    let of_in_force = |in_force: &ModelInForce| {
        let version = &in_force.served.version;
        match stand_in(in_force, rows.until, days, &last) {
            Some((own, rows)) if (&own, rows) == (&specification, before.len()) => {
                Ok(Contender { version: version.clone(), ..challenger.clone() })
            }
            Some((own, rows)) => fitted(version, &own, rows),
            None => contender(version, &in_force.model, &held_out),
        }
    };
    let in_force = in_force.map(of_in_force).transpose()?;

    let metric = deciding_metric(name.kind());
    let worth = |contender: &Contender| contender.metrics.get(metric).copied();
    let accepted = match &in_force {
        None => worth(&challenger).is_some(),
        Some(in_force) => worth(&challenger)
            .zip(worth(in_force))
            .is_some_and(|(challenger, in_force)| challenger <= in_force * (1.0 + margin)),
    };
    let comparison = Comparison {
        accepted,
        metric: metric.to_owned(),
        margin,
        challenger,
        in_force,
        rows: last.len(),
        from: day_at(days, last.start),
        to: day_at(days, last.end.saturating_sub(1)),
        data_until: rows.until,
        data: rows.key.clone(),
    };
    if !accepted {
        return Ok(Challenged { comparison, artifact: None });
    }
    let model = specification.fit(&DatasetBase::new(features, target))?;
    let artifact = model.write_parameters(concat!("cripto-scorer ", env!("CARGO_PKG_VERSION")))?;
    Ok(Challenged { comparison, artifact: Some(artifact) })
}

/// What takes the place of a model in force that may have seen the part that is held out: its specification, and how many
/// of the rows before the part it is fitted on. `days` are those of the rows, ascending.
fn stand_in(
    in_force: &ModelInForce,
    until: Date,
    days: &[f64],
    held_out: &Range<usize>,
) -> Option<(Specification, usize)> {
    if in_force.trained_until <= day_at(days, held_out.start) {
        return None;
    }
    let specification = Specification::of(&in_force.model).ok()?;
    let age = f64::from((until - in_force.trained_until).get_days().max(0));
    let before = days.get(..held_out.start)?;
    let newest = before.last()? - age;
    let rows = before.partition_point(|day| *day <= newest);
    (rows > 0).then_some((specification, rows))
}

/// The metric by which models of a kind are compared.
fn deciding_metric(kind: ModelKind) -> &'static str {
    match kind {
        ModelKind::Regressor => "rmse",
        ModelKind::Classifier => "log_loss",
    }
}

fn target(kind: ModelKind, table: &Table) -> Result<Target, ChallengeError> {
    match kind {
        ModelKind::Regressor => Ok(Target::Values(numbers(table, NEXT_CLOSE)?.to_vec())),
        ModelKind::Classifier => {
            let directions = numbers(table, NEXT_DIRECTION)?.iter();
            Ok(Target::classes(directions.map(|direction| i64::from(*direction > 0.5))))
        }
    }
}

fn numbers<'a>(table: &'a Table, name: &'static str) -> Result<&'a [f64], ChallengeError> {
    match table.column(name) {
        Some(Column::Number(numbers)) => Ok(numbers),
        _ => Err(ChallengeError::MissingColumn(name)),
    }
}

/// The day of a row; `days` are since 1970-01-01.
fn day_at(days: &[f64], row: usize) -> Date {
    #[expect(clippy::cast_possible_truncation, reason = "days of dates")]
    let days = days.get(row).copied().unwrap_or_default() as i64;
    let since = Span::new().try_days(days).unwrap_or_default();
    Date::constant(1970, 1, 1).checked_add(since).unwrap_or_default()
}

fn contender(
    version: &ModelVersion,
    model: &Model,
    (table, target): &(Table, Target),
) -> Result<Contender, ChallengeError> {
    let failed = |reason: String| ChallengeError::Predict { version: version.clone(), reason };
    let predictions = model.predict(table).map_err(|error: PredictError| failed(error.to_string()))?;
    if let Some(refused) = predictions.refused.first() {
        return Err(failed(format!("row {}: {}", refused.row, refused.reason)));
    }
    if model.classes().is_some_and(|classes| !is_rise_or_not(classes)) {
        return Err(failed("its classes are not those of a rise and of no rise, such as 0 and 1".to_owned()));
    }
    let metrics = Metrics::of(&predictions, target)
        .ok_or_else(|| failed("its predictions are of another kind than the target".to_owned()))?;
    let named = match metrics {
        Metrics::Regression(of) => vec![("mae", of.mae), ("rmse", of.rmse), ("mape", of.mape)],
        Metrics::Classification(of) => {
            vec![("accuracy", of.accuracy), ("f1", of.f1), ("auc", of.auc), ("log_loss", of.log_loss)]
        }
    };
    let finite = named.into_iter().filter(|(_, value)| value.is_finite());
    let metrics = finite.map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Contender { version: version.clone(), metrics, fitted_rows: None })
}

/// Leaves the comparison in the bucket, and then the artifact, if there is one.
///
/// # Errors
/// The bucket cannot be written to.
pub async fn write(
    bucket: &dyn ObjectWriter,
    name: &ModelName,
    challenged: Challenged,
) -> Result<(), ObjectError> {
    let version = &challenged.comparison.challenger.version;
    let comparison = serde_json::to_vec_pretty(&challenged.comparison)
        .expect("a struct of texts and numbers has a JSON form");
    // First, so that it is there when the artifact is found.
    bucket.put(&comparison_key(name, version), comparison.into()).await?;
    let Some(artifact) = challenged.artifact else { return Ok(()) };
    let written = bucket.put(&artifact_key(name, version), artifact.into()).await;
    if let Err(error) = written {
        // Or else these data would count as compared, and nothing would have come of it. Where the bucket refuses this
        // too, why it refused the artifact is what has to be told.
        _ = bucket.delete(&comparison_key(name, version)).await;
        return Err(error);
    }
    Ok(())
}

/// The version of a challenger that is fitted now: later than that of the model in force, whatever clock that was made by.
#[must_use]
pub fn next_version(in_force: Option<&ModelVersion>) -> ModelVersion {
    let now = Timestamp::now();
    let after =
        in_force.and_then(|version| version.trained_at().checked_add(SignedDuration::from_secs(1)).ok());
    ModelVersion::from_upload(after.map_or(now, |after| after.max(now)))
}

/// Retrains in the background, and writes features back.
pub struct Retrainer {
    engine: Arc<Engine>,
    bucket: Arc<dyn ObjectWriter>,
    configuration: Arc<Configuration>,
    write_features: bool,
    /// Why the last retraining came to no end; nothing if it did.
    crash: watch::Sender<Option<String>>,
}

/// The message of a panic.
fn described(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let message: String = message.chars().take(500).collect();
    format!("retraining crashed: {message}")
}

impl Retrainer {
    /// Retrains what an engine has in force.
    #[must_use]
    pub fn new(engine: Arc<Engine>, bucket: Arc<dyn ObjectWriter>, configuration: Configuration) -> Self {
        Self {
            engine,
            bucket,
            configuration: Arc::new(configuration),
            write_features: false,
            crash: watch::Sender::default(),
        }
    }

    /// Whether the feature table that is computed from candles is put into the bucket, by its day and as
    /// [`LATEST`].
    #[must_use]
    pub fn with_features_written(self, write_features: bool) -> Self {
        Self { write_features, ..self }
    }

    /// Why the last retraining crashed; nothing if it did not. It is tried again with the next data.
    #[must_use]
    pub fn crash(&self) -> watch::Receiver<Option<String>> {
        self.crash.subscribe()
    }

    /// Looks at what is in force after every reload, and works whenever newer data are; for ever.
    ///
    /// One model is retrained at a time, with half of the processors, while reloads go on. Data that come meanwhile are
    /// looked at afterwards, the newest of them only. When this is dropped, a fit that is under way is left to itself
    /// and nothing of it is written.
    pub async fn run(&self) {
        let mut in_force = self.engine.in_force();
        // With how often it may be seen to again.
        let mut seen: Option<(Object, usize)> = None;
        let mut compared = BTreeMap::new();
        loop {
            let current = in_force.borrow_and_update().clone();
            if let Some(current) = current
                && let Some(data) = &current.data
            {
                let known = seen.take().filter(|(object, _)| *object == data.object);
                let mut tries_left = known.map_or(TRIES, |(_, left)| left);
                if tries_left > 0 {
                    // Only `compared` is changed meanwhile, and each of its entries in one step.
                    let work = AssertUnwindSafe(self.see_to(&current, data, &mut compared));
                    let outcome = work.catch_unwind().await;
                    let crash = outcome.as_ref().err().map(|panic| described(&**panic));
                    tries_left = match outcome {
                        Ok(Ok(true)) => 0,
                        Ok(Ok(false)) => tries_left.saturating_sub(1),
                        Ok(Err(error)) => {
                            events::TrainingDataFailed { error: &error }.emit();
                            0
                        }
                        Err(_) => {
                            let reason = crash.as_deref().unwrap_or_default();
                            events::RetrainerCrashed { key: &data.object.key, reason }.emit();
                            0
                        }
                    };
                    self.crash.send_replace(crash);
                }
                seen = Some((data.object.clone(), tries_left));
            }
            if in_force.changed().await.is_err() {
                // The engine is held, so that this does not happen.
                return std::future::pending().await;
            }
        }
    }

    /// `compared` has the days until when models were compared here: what was written of it need not have come back
    /// by way of the bucket yet. False if there is something left that trying again may help.
    async fn see_to(
        &self,
        current: &InForce,
        data: &Data,
        compared: &mut BTreeMap<ModelName, Date>,
    ) -> Result<bool, DataError> {
        let is_known =
            |model: &ModelInForce| compared.get(&model.served.name).is_some_and(|until| *until >= data.until);
        let due: Vec<(&ModelInForce, &Plan)> = current
            .models
            .iter()
            .filter(|model| !is_known(model))
            .filter_map(|model| Some((model, self.configuration.due(model, data)?)))
            .collect();
        let key = key_of(data.until);
        let is_written =
            |table: &Object| table.key == key && table.last_modified >= data.object.last_modified;
        let to_be_written =
            self.write_features && data.are_candles() && !current.tables.iter().any(is_written);
        if due.is_empty() && !to_be_written {
            return Ok(true);
        }
        let rows = if data.are_candles() {
            let features = Arc::new(self.engine.features(&data.object).await?);
            if to_be_written {
                self.write_back(&features).await;
            }
            if due.is_empty() {
                return Ok(true);
            }
            TrainingRows::of(&features, &data.object.key)?
        } else {
            self.engine.training_rows(&data.object).await?
        };
        let rows = Arc::new(rows);
        let mut is_done = true;
        for (model, plan) in due {
            let name = &model.served.name;
            match self.retrain(model, plan, &rows).await {
                Ok(()) => _ = compared.insert(name.clone(), data.until),
                Err(error) => {
                    is_done &= !error.may_pass();
                    events::RetrainingFailed { model: name, error: &error }.emit();
                }
            }
        }
        Ok(is_done)
    }

    /// Compares a challenger with the model in force, and leaves what came of it in the bucket.
    async fn retrain(
        &self,
        model: &ModelInForce,
        plan: &Plan,
        rows: &Arc<TrainingRows>,
    ) -> Result<(), RetrainError> {
        let (begun, name) = (Instant::now(), model.served.name.clone());
        let (found, before) = (rows.table.rows(), model.compared_rows);
        if found < before / 2 {
            return Err(ChallengeError::Shrunk { rows: found, before }.into());
        }
        let challenged_version = model.served.version.clone();
        let version = next_version(Some(&challenged_version));
        let (model, plan, rows) = (model.clone(), plan.clone(), Arc::clone(rows));
        let fitted = spawn_blocking(move || {
            let challenge = Challenge {
                name: &model.served.name,
                in_force: Some(&model),
                specification: plan.specification.as_ref(),
                margin: plan.margin,
                version: &version,
            };
            in_pool_of_its_own(|| self::challenge(challenge, &rows))
        });
        let challenged = fitted.await.unwrap_or(Err(ChallengeError::Crashed))?;
        let now = self.engine.in_force().borrow().clone();
        let now = now.and_then(|now| now.models.iter().find(|model| model.served.name == name).cloned());
        if let Some(now) = now
            && now.served.version != challenged_version
        {
            return Err(ChallengeError::Overtaken(now.served.version).into());
        }
        let comparison = challenged.comparison.clone();
        write(&*self.bucket, &name, challenged).await?;
        events::Retrained { model: &name, comparison: &comparison, took: begun.elapsed() }.emit();
        Ok(())
    }

    async fn write_back(&self, features: &Arc<Features>) {
        let Some(key) = features.key() else { return };
        match self.try_to_write_back(features, &key).await {
            Ok(bytes) => events::FeaturesWritten { key: &key, bytes }.emit(),
            Err(error) => events::FeaturesNotWritten { key: &key, error: &error }.emit(),
        }
    }

    async fn try_to_write_back(&self, features: &Arc<Features>, key: &str) -> Result<usize, LeaveError> {
        let features = Arc::clone(features);
        let written = spawn_blocking(move || {
            let mut table = Vec::new();
            features.write_parquet(&mut table).map(|()| bytes::Bytes::from(table))
        });
        let table = written.await.map_err(|_| LeaveError::Crashed)??;
        self.bucket.put(key, table.clone()).await?;
        self.bucket.put(LATEST, table.clone()).await?;
        Ok(table.len())
    }
}

/// Computes beside the pool in which models are scored, so that a reload does not wait behind a fit, and with half of
/// the processors.
fn in_pool_of_its_own<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let threads = available_parallelism().map_or(1, NonZero::get).div_ceil(2);
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // There is no thread to be had; the other pool has some.
        Err(_) => work(),
    }
}
