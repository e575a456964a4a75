//! The last answers of models that this process cannot read: they stay as they are in the store.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil::Date;
use shared::{
    Asset, AssetPredictions, ModelName, ModelSummary, Prediction, PredictionFailure, PredictionStore,
    ServedModel, Stale, StoreError,
    answer::{InvalidAnswer, PublishedAnswer},
};

use super::ReloadError;

/// What the store held when this process began.
pub(super) struct Last {
    models: BTreeMap<ModelName, ModelSummary>,
    answers: BTreeMap<Asset, PublishedAnswer>,
}

impl Last {
    /// Reads the current generation; nothing if there is none.
    pub(super) async fn read(store: &dyn PredictionStore) -> Result<Option<Arc<Self>>, ReloadError> {
        let Some(summary) = store.current().await? else { return Ok(None) };
        let answers = store.answers(&summary).await.map_err(|error| match error {
            shared::AnswerError::Store(error) => error,
            // Another process has published meanwhile. The next try finds that.
            gone @ shared::AnswerError::Gone(_) => StoreError { message: gone.to_string(), source: None },
        })?;
        let parsed = answers.into_iter().map(|(asset, bytes)| Ok((asset, PublishedAnswer::parse(&bytes)?)));
        let answers: Result<BTreeMap<_, _>, InvalidAnswer> = parsed.collect();
        let answers = answers.map_err(|error| StoreError {
            message: format!("the answers of generation {} cannot be read", summary.generation),
            source: Some(error.into()),
        })?;
        let models = summary.models.iter().map(|model| (model.name.clone(), model.clone())).collect();
        Ok(Some(Arc::new(Self { models, answers })))
    }

    /// A model as it was in force, marked as stale for this reason.
    pub(super) fn served(&self, name: &ModelName, reason: &str) -> Option<ServedModel> {
        let model = self.models.get(name)?;
        let stale = Stale { reason: reason.to_owned(), data_until: model.data_until };
        Some(ServedModel {
            name: model.name.clone(),
            version: model.version.clone(),
            loaded_at: model.loaded_at,
            comparison: model.comparison.clone(),
            lost: model.lost.clone(),
            stale: Some(Box::new(stale)),
        })
    }

    /// The assets as they were, without predictions.
    pub(super) fn assets(&self) -> BTreeMap<Asset, AssetPredictions> {
        let rows = self.answers.iter().map(|(asset, answer)| {
            let (data_date, last_close): (Option<Date>, Option<f64>) =
                (answer.dados_ate, answer.ultimo_fechamento);
            (asset.clone(), AssetPredictions { data_date, last_close, ..AssetPredictions::default() })
        });
        rows.collect()
    }

    /// Adds the last answers of these models to the assets that there are.
    pub(super) fn add(&self, models: &[ServedModel], assets: &mut BTreeMap<Asset, AssetPredictions>) {
        for (asset, predictions) in assets {
            let Some(answer) = self.answers.get(asset) else { continue };
            for model in models {
                let name = &model.name;
                if let Some(outcome) = answer.outcome(name) {
                    let (model, version) = (name.clone(), model.version.clone());
                    predictions.predictions.push(Prediction { model, version, outcome });
                } else if let Some(reason) = answer.falhas.get(name) {
                    let failure = PredictionFailure { model: name.clone(), reason: reason.clone() };
                    predictions.failures.push(failure);
                }
            }
            predictions.predictions.sort_by(|one, other| one.model.cmp(&other.model));
            predictions.failures.sort_by(|one, other| one.model.cmp(&other.model));
        }
    }
}
