//! What models said of days that are over, and how right they were. Field names are those of the documented answers,
//! since it is stored as it is answered.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{Asset, ModelName, ModelVersion, StoreError, answer::Number};

/// Where a backfill leaves histories and track records, and the API finds them.
///
/// A later backfill of a model takes the place of the one before, asset by asset and model by model; each of them is
/// replaced as a whole, and what one backfill leaves twice is there once.
#[async_trait]
pub trait HistoryStore: Send + Sync + 'static {
    /// Replaces what these models said of an asset; what others said stays.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn put_history(
        &self,
        asset: &Asset,
        models: &BTreeMap<ModelName, ModelHistory>,
    ) -> Result<(), StoreError>;

    /// Replaces a model's track record.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn put_track_record(&self, model: &ModelName, record: &TrackRecord) -> Result<(), StoreError>;

    /// What models said of an asset; of none if nothing is known.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn history(&self, asset: &Asset) -> Result<BTreeMap<ModelName, ModelHistory>, StoreError>;

    /// A model's track record, if there is one.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn track_record(&self, model: &ModelName) -> Result<Option<TrackRecord>, StoreError>;
}

/// Which backfill it was: the same for all processes that take part in it, and for those that repeat it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Box<str>);

impl std::fmt::Display for RunId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What one version of a model said of one asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelHistory {
    /// The version.
    pub versao: ModelVersion,
    /// The backfill that asked it.
    pub execucao: RunId,
    /// Day by day, ascending.
    pub previsoes: Vec<ScoredDay>,
}

/// What a model said at the end of a day, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoredDay {
    /// The day whose row was scored; the prediction is about the next one.
    pub data: Date,
    /// The predicted close, or the predicted class.
    pub predicao: Number,
    /// The probability of class 1; classifiers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilidade: Option<f64>,
    /// The close of the day itself, where the table has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fechamento: Option<f64>,
    /// The asset's next close, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fechamento_next: Option<f64>,
    /// 1 if the next close is above the day's, 0 if not, where both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction_next: Option<u8>,
}

/// How right a model was. What cannot be said of its kind, or of so few predictions, is missing.
///
/// The numbers are scikit-learn's `mean_absolute_error`, `root_mean_squared_error`,
/// `mean_absolute_percentage_error`, `accuracy_score` and `roc_auc_score`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// How many predictions with a known outcome there are.
    pub previsoes: u64,
    /// The mean absolute error of predicted closes, in the quote currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mae: Option<f64>,
    /// The root of the mean squared error of predicted closes, in the quote currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
    /// The mean absolute error as a share of the close that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mape: Option<f64>,
    /// The share of predicted classes that are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acuracia: Option<f64>,
    /// The area under the ROC curve of the probabilities; missing where all outcomes are of one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// The share of predictions on the right side of the day's close: what regressors and classifiers can be compared
    /// by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acerto_direcional: Option<f64>,
}

/// The metrics of one version of a model in one backfill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackRecord {
    /// The version.
    pub versao: ModelVersion,
    /// The backfill.
    pub execucao: RunId,
    /// When the last part of the backfill was done.
    pub avaliado_em: Timestamp,
    /// The first day that was asked for.
    pub de: Date,
    /// The last day that was asked for.
    pub ate: Date,
    /// The metrics themselves.
    #[serde(flatten)]
    pub metricas: Evaluation,
}

/// Metrics over everything, by day and by asset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Of all predictions.
    pub geral: Metrics,
    /// Of all assets' predictions of one day.
    pub por_dia: BTreeMap<Date, Metrics>,
    /// Of one asset's predictions of all days.
    pub por_ativo: BTreeMap<Asset, Metrics>,
}
