use crate::{ModelName, ModelVersion};

/// What one model says of one asset's next day. Always finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The predicted close, in the quote currency of the table.
    Close(f64),
    /// The predicted direction.
    Direction {
        /// The predicted class, as the model was trained on it: 1 for a rise, and 0 or -1 otherwise. A model of the
        /// classes -1, 0 and 1 says 0 where it expects neither a rise nor a fall.
        class: i64,
        /// The probability of class 1, from 0 to 1.
        probability: f64,
    },
}

/// One model's prediction for one asset.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The model that was asked.
    pub model: ModelName,
    /// The version of it that answered.
    pub version: ModelVersion,
    /// What it said.
    pub outcome: Outcome,
}

/// Why one model has no prediction for one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictionFailure {
    /// The model that was asked.
    pub model: ModelName,
    /// What stood in the way, for a person to read.
    pub reason: String,
}
