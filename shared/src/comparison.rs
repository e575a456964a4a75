use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ModelVersion;

/// How a newly fitted model, the challenger, did beside the model in force: why it replaced it, or did not.
///
/// It is kept as JSON beside the challenger's artifact, or where that would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Whether the challenger is to replace the model in force.
    pub accepted: bool,
    /// The metric that decided, of those of the contenders. Smaller is better.
    pub metric: String,
    /// By which part of the metric of the model in force that of the challenger may be larger.
    pub margin: f64,
    /// The challenger, under the version that it has, or would have.
    pub challenger: Contender,
    /// The model in force at that time; nothing if there was none.
    pub in_force: Option<Contender>,
    /// How many rows they were compared on.
    pub rows: usize,
    /// The day of the first of them.
    pub from: Date,
    /// The day of the last of them.
    pub to: Date,
    /// The newest day of the data.
    pub data_until: Date,
    /// The key of the data in the bucket.
    pub data: String,
}

/// One side of a [`Comparison`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// The model's version.
    pub version: ModelVersion,
    /// Its metrics, by scikit-learn's names. One that is not a finite number is left out.
    pub metrics: BTreeMap<String, f64>,
    /// How many rows, all before those that it was compared on, it was fitted on for that; nothing for a model in force
    /// that was compared as it is.
    pub fitted_rows: Option<usize>,
}
