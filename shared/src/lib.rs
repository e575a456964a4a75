//! What the programs of cripto-prediction agree on.
//!
//! * **For:** the domain's types ([`Asset`], [`ModelName`], [`ModelVersion`], [`Prediction`], [`Snapshot`],
//!   [`Generation`]), the documented answers as they go over the wire ([`answer`]), the three seams to the outside
//!   world ([`ObjectStore`], [`EventSource`], [`PredictionStore`]) and what few need beside them ([`ObjectWriter`],
//!   [`HistoryStore`]), environment variables ([`config`]), logging
//!   ([`telemetry`]), what people at a terminal are told ([`terminal`]) and the place where metrics are collected
//!   ([`metrics`]).
//! * **Comes in, goes out:** text from outside is parsed into these types once, where it enters; a [`Snapshot`] is
//!   what the scorer hands over, a [`Summary`] and the bytes of answers are what the API reads.
//! * **Must never know:** how a model is read or evaluated, what a table is, HTTP, AWS or Redis.
//!
//! ```
//! use shared::{Asset, ModelName, ModelVersion};
//!
//! let asset: Asset = "btc".parse()?;
//! assert_eq!(asset.as_str(), "BTC");
//! let model: ModelName = "regressor_rf".parse()?;
//! let versions: [ModelVersion; 2] = ["20250729-2130".parse()?, "20250730-0000".parse()?];
//! assert!(versions[0] < versions[1]);
//! // What is no name never gets further than this.
//! assert!("../regressor".parse::<ModelName>().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The behaviour that every implementation of a seam must show is in `conformance`, behind the feature of that name.

pub mod answer;
mod asset;
mod comparison;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod event_source;
mod fault;
mod freshness;
mod history;
pub mod metrics;
mod model;
mod object_store;
mod prediction;
mod snapshot;
mod store;
pub mod telemetry;
pub mod terminal;
mod trace;

pub use asset::{Asset, InvalidAsset};
pub use comparison::{Comparison, Contender};
pub use event_source::{
    Batch, Change, EventError, EventSource, InvalidRequestId, IsPublished, RequestId, SourceStatus,
    SourceTrouble,
};
pub use fault::{Causes, Fault, FaultKind};
pub use freshness::{STALE_AFTER_DAYS, mark_stale};
pub use history::{Evaluation, HistoryStore, Metrics, ModelHistory, RunId, ScoredDay, TrackRecord};
pub use model::{InvalidModelName, InvalidModelVersion, ModelKind, ModelName, ModelVersion};
pub use object_store::{Object, ObjectError, ObjectReader, ObjectStore, ObjectWriter};
pub use prediction::{Outcome, Prediction, PredictionFailure};
pub use snapshot::{
    AssetPredictions, Digest, Generation, ModelSummary, RejectedArtifact, ServedModel, Snapshot, Stale,
    Summary,
};
pub use store::{
    AnswerError, Damage, Following, MemoryStore, PredictionStore, PublishError, ReloadReport, ReloadReports,
    StoreError,
};
pub use trace::{InvalidTraceId, TraceId};
