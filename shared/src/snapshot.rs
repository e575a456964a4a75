use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{Asset, ModelName, ModelVersion, Prediction, PredictionFailure};

/// The number of a snapshot. It is drawn from the store before scoring begins, so that of two runs the one that
/// began later, and therefore saw the newer bucket, has the larger number, whichever finishes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Everything that is served, as one immutable whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The number that orders snapshots.
    pub generation: Generation,
    /// When the scoring that it holds began.
    pub scored_at: Timestamp,
    /// The models in force, in the order of their names.
    pub models: Vec<ServedModel>,
    /// Artifacts that are not in force although they are the newest of their name, and why.
    pub rejected: Vec<RejectedArtifact>,
    /// Each asset's predictions.
    pub assets: BTreeMap<Asset, AssetPredictions>,
}

/// A model in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name.
    pub name: ModelName,
    /// The version in force.
    pub version: ModelVersion,
    /// When it was read from the bucket.
    pub loaded_at: Timestamp,
}

/// An artifact that could not become, or stay, a model in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedArtifact {
    /// The object's key in the bucket.
    pub key: String,
    /// Why, for a person to read.
    pub reason: String,
}

/// One asset's predictions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetPredictions {
    /// The day of the row that was scored, where the table has one.
    pub data_date: Option<Date>,
    /// What each model said, in the order of the models' names.
    pub predictions: Vec<Prediction>,
    /// Which models said nothing, and why.
    pub failures: Vec<PredictionFailure>,
}

impl Snapshot {
    /// Whether any asset has a prediction.
    #[must_use]
    pub fn has_predictions(&self) -> bool {
        self.assets.values().any(|asset| !asset.predictions.is_empty())
    }
}
