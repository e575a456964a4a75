//! What a reload would score, and by which models, for whoever wants more than each asset's newest row scored.

use std::{collections::BTreeSet, sync::Arc};

use models::Model;
use shared::{ModelName, ModelVersion, Object, ServedModel};
use thiserror::Error;
use tokio::task::spawn_blocking;

use super::{Engine, Findings, Look, ReloadError, choice, rows};
use crate::{
    catalogue::{Catalogue, FEATURES, MODELS, RAW},
    features::WriteError,
    tables::DatedTable,
};

/// Which models and which table are wanted, where that is not left to what is in force.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// These versions; of none, those in force.
    pub models: Vec<(ModelName, ModelVersion)>,
    /// The key of the feature table, or `raw.csv`; of none, what is in force.
    pub table: Option<String>,
}

/// Models, and all rows of a feature table or of the features of `raw.csv`.
pub struct History {
    /// In the order of their names, and of a name by version.
    pub models: Vec<LoadedModel>,
    /// Where the rows are from.
    pub table: Object,
    /// The rows.
    pub rows: DatedTable,
}

/// A model in memory.
#[derive(Clone)]
pub struct LoadedModel {
    /// Which one.
    pub served: ServedModel,
    /// What it was read from.
    pub object: Object,
    /// The model itself.
    pub model: Arc<Model>,
}

/// There is no history that could be scored.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// What is in force cannot be found out.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The bucket has neither a feature table nor candles of all assets that can be used.
    #[error("the bucket has no usable feature table, and no usable raw.csv{0}")]
    NoTable(String),
    /// The bucket has no model that can be used.
    #[error("the bucket has no usable model{0}")]
    NoModel(String),
    /// A version that was asked for is not in the bucket.
    #[error("the bucket has no model {name} of version {version}")]
    NoVersion {
        /// The model's name.
        name: ModelName,
        /// The version that was asked for.
        version: ModelVersion,
    },
    /// Something that is needed cannot be used.
    #[error("{key:?} cannot be used: {reason}")]
    Unusable {
        /// The object.
        key: String,
        /// Why.
        reason: String,
    },
    /// The features of candles have no form as a table.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Engine {
    /// Chooses models and table as a reload does, with what is [served](shared::PredictionStore::current) held
    /// against newer versions, and reads all rows of the table. Nothing is published.
    ///
    /// # Errors
    /// The bucket cannot be listed, or has not what is wanted. Where a version in force cannot be told for a reason
    /// that may pass, that is an error too: another process that takes part would choose another one.
    pub async fn history(&self, wanted: &Wanted) -> Result<History, HistoryError> {
        let mut state = self.state.lock().await;
        self.source.begin(Look::Everything);
        self.source.progress().begin();
        let history = self.history_from(&mut state, wanted).await;
        self.source.progress().end();
        history
    }

    async fn history_from(&self, state: &mut super::State, wanted: &Wanted) -> Result<History, HistoryError> {
        let served = self.served(state).await?;
        let mut listing = self.source.list(MODELS).await.map_err(ReloadError::from)?;
        let mut tables = self.source.list(FEATURES).await.map_err(ReloadError::from)?;
        let candles = self.source.list(RAW).await.map_err(ReloadError::from)?;
        tables.extend(candles.into_iter().filter(|object| object.key == RAW));
        tables.retain(|table| wanted.table.as_ref().is_none_or(|key| *key == table.key));
        listing.extend(tables);
        let catalogue = Catalogue::new(listing);
        let mut findings = Findings::default();
        let newest = rows::choose(&self.source, state, &catalogue, &mut findings).await?;

        let models = if wanted.models.is_empty() {
            let (_, choices) =
                self.choose_models(state, &served, &catalogue, newest.clone(), &mut findings).await?;
            let mut models = Vec::new();
            for choice in choices {
                findings.pending.extend(choice.pending);
                findings.unreadable |= choice.unreadable.is_some();
                findings.reject_all(choice.rejected);
                models.extend(choice.in_force);
            }
            models
        } else {
            // Twice the same is once.
            let wanted: BTreeSet<&(ModelName, ModelVersion)> = wanted.models.iter().collect();
            let mut models = Vec::new();
            for (name, version) in wanted {
                let artifacts = catalogue.models.get(name).cloned().unwrap_or_default().newest_first();
                let artifact = artifacts.into_iter().find(|artifact| artifact.version == *version);
                let artifact = artifact.ok_or_else(|| HistoryError::NoVersion {
                    name: name.clone(),
                    version: version.clone(),
                })?;
                let read = choice::read(&self.source, name, &artifact).await;
                models.push(read.map_err(|refusal| unusable(&artifact.object.key, refusal.reason))?);
            }
            models
        };
        // Another process that takes part may be able to read what this one cannot.
        let incomplete = findings.unreadable || !findings.pending.is_empty();
        let pending = findings.pending.pop_first();
        let first = findings.rejected().into_iter().next();
        if incomplete && let Some(first) = &first {
            return Err(HistoryError::Unusable { key: first.key.clone(), reason: first.reason.clone() });
        }
        if incomplete && let Some(key) = pending {
            return Err(HistoryError::Unusable { key, reason: "it cannot be read at the moment".to_owned() });
        }
        let because = first.map(|first| format!(": {}: {}", first.key, first.reason)).unwrap_or_default();
        let Some(table) = newest.as_ref().and_then(rows::Rows::object).cloned() else {
            return Err(HistoryError::NoTable(because));
        };
        if models.is_empty() {
            return Err(HistoryError::NoModel(because));
        }
        let limits = self.source.settings().table_limits.clone();
        let rows = if table.key == RAW {
            self.rows_of_candles(&table).await?
        } else {
            let read = move |content| DatedTable::from_parquet(content, &limits);
            let rows = self.source.read_table(&table, read).await;
            rows.map_err(|refusal| unusable(&table.key, refusal.reason))?
        };
        let loaded = |choice::InForce { served, object, model, .. }| LoadedModel { served, object, model };
        Ok(History { models: models.into_iter().map(loaded).collect(), table, rows })
    }

    /// The rows of the feature table that candles come to, by way of the file that it would be in the bucket.
    async fn rows_of_candles(&self, candles: &Object) -> Result<DatedTable, HistoryError> {
        let features = self.features(candles).await;
        let features = features.map_err(|error| unusable(&candles.key, error.reason))?;
        let written = spawn_blocking(move || {
            let mut table = Vec::new();
            features.write_parquet(&mut table).map(|()| table)
        });
        let table = written.await.map_err(ReloadError::from)??;
        let limits = self.source.settings().table_limits.clone();
        let read = spawn_blocking(move || DatedTable::from_parquet(table, &limits));
        let read = read.await.map_err(ReloadError::from)?;
        read.map_err(|error| unusable(&candles.key, error.to_string()))
    }
}

fn unusable(key: &str, reason: String) -> HistoryError {
    HistoryError::Unusable { key: key.to_owned(), reason }
}
