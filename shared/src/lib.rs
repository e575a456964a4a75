//! What the programs of cripto-prediction agree on.
//!
//! * **For:** the domain's types ([`Asset`], [`ModelName`], [`ModelVersion`], [`Prediction`], [`Snapshot`],
//!   [`Generation`]), the documented answers as they go over the wire ([`answer`]), the interface of the
//!   place where predictions are published ([`PredictionStore`]) with an implementation in memory,
//!   environment variables ([`config`]) and logging ([`telemetry`]).
//! * **Comes in, goes out:** text from outside is parsed into these types once, where it enters; a
//!   [`Snapshot`] is what the scorer hands over and the API reads.
//! * **Must never know:** how a model is read or evaluated, what a table or a bucket is, HTTP, AWS or Redis.

pub mod answer;
mod asset;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod model;
mod prediction;
mod snapshot;
mod store;
pub mod telemetry;

pub use asset::{Asset, InvalidAsset};
pub use model::{InvalidModelName, InvalidModelVersion, ModelKind, ModelName, ModelVersion};
pub use prediction::{Outcome, Prediction, PredictionFailure};
pub use snapshot::{AssetPredictions, Generation, RejectedArtifact, ServedModel, Snapshot};
pub use store::{MemoryStore, PredictionStore, PublishError, StoreError};
