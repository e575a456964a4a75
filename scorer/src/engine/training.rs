//! What retraining asks of the engine: what is in force, and the rows to learn from.

use std::sync::Arc;

use jiff::civil::Date;
use models::{Model, Table};
use shared::{Object, ServedModel};
use thiserror::Error;
use tokio::sync::watch;

use super::{Engine, rows::Rows};
use crate::{
    catalogue::RAW,
    features::{Features, LIMITS, read_raw},
    tables::{self, TableError},
};

/// What was in force after a reload.
#[derive(Clone)]
pub struct InForce {
    /// The models, in the order of their names.
    pub models: Vec<ModelInForce>,
    /// The table or the candles that rows are from; nothing if each asset has a table of its own.
    pub data: Option<Data>,
    /// Feature tables in the bucket with a date in their name.
    pub tables: Vec<Object>,
}

/// A model in force, in memory.
#[derive(Clone)]
pub struct ModelInForce {
    /// Which it is.
    pub served: ServedModel,
    /// The model itself.
    pub model: Arc<Model>,
    /// The newest day that it can have learnt from: of its data, if it was retrained here, and of its version otherwise.
    pub trained_until: Date,
    /// Until when the data were on which a challenger was last compared with a model of this name, whichever won.
    pub compared_until: Option<Date>,
    /// How many rows the largest data had on which that was done.
    pub compared_rows: usize,
}

/// Where rows of all days are.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// A feature table, or `raw.csv`.
    pub object: Object,
    /// The newest day of its rows.
    pub until: Date,
}

/// Rows that models are trained on.
#[derive(Debug, Clone)]
pub struct TrainingRows {
    /// As [`Features::training_rows`] gives them.
    pub table: Table,
    /// The newest day of the data, whose rows have no target yet.
    pub until: Date,
    /// The key of the data in the bucket.
    pub key: String,
}

/// There are no rows to learn from.
#[derive(Debug, Clone, Error)]
#[error("{key}: {reason}")]
pub struct DataError {
    /// The object's key.
    pub key: String,
    /// Why, for a person to read.
    pub reason: String,
}

impl Data {
    pub(super) fn of(rows: &Rows) -> Option<Self> {
        Some(Self { object: rows.object()?.clone(), until: rows.rows.newest_date()? })
    }

    /// Whether these are candles, and no features yet.
    #[must_use]
    pub fn are_candles(&self) -> bool {
        self.object.key == RAW
    }
}

impl Engine {
    /// What is in force after each reload; nothing before the first.
    pub fn in_force(&self) -> watch::Receiver<Option<Arc<InForce>>> {
        self.in_force.subscribe()
    }

    /// The features of the bucket's candles, of all days.
    ///
    /// # Errors
    /// The object cannot be read, or has no usable row.
    pub async fn features(&self, candles: &Object) -> Result<Features, DataError> {
        self.read_apart(candles, |content| read_raw(&content, &LIMITS).map(Features::compute)).await
    }

    /// The rows of a feature table to learn from.
    ///
    /// # Errors
    /// The object cannot be read, or has no usable row.
    pub async fn training_rows(&self, table: &Object) -> Result<TrainingRows, DataError> {
        let read = |content| tables::training_rows(content, &LIMITS);
        let (rows, until) = self.read_apart(table, read).await?;
        Ok(TrainingRows { table: rows, until, key: table.key.clone() })
    }

    async fn read_apart<T: Send + 'static>(
        &self,
        object: &Object,
        parse: impl FnOnce(Vec<u8>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, DataError> {
        let failed = |reason| DataError { key: object.key.clone(), reason };
        // What cannot be learnt from may still be scored, so that it is not remembered as unusable.
        let parsed = self.source.read_table(object, |content| Ok(parse(content))).await;
        let parsed = parsed.map_err(|refusal| failed(refusal.reason))?;
        parsed.map_err(|error| failed(error.to_string()))
    }
}

impl TrainingRows {
    /// Those of features that were computed from candles.
    ///
    /// # Errors
    /// There are none.
    pub fn of(features: &Features, key: &str) -> Result<Self, DataError> {
        let unusable = |reason: String| DataError { key: key.to_owned(), reason };
        let table = features.training_rows().map_err(|error| unusable(error.to_string()))?;
        let until = features.newest_day().ok_or_else(|| unusable("there are no rows".to_owned()))?;
        Ok(Self { table, until, key: key.to_owned() })
    }
}
