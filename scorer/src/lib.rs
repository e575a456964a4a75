//! From a bucket to a published snapshot of predictions.
//!
//! * **For:** finding out what is in force in a bucket ([`catalogue`]), reading feature tables ([`tables`]), asking
//!   every model about every asset's newest row ([`score`]), and keeping the published snapshot up to date as the
//!   bucket changes ([`Engine`], [`follow()`]).
//! * **Comes in:** objects by way of an [`ObjectStore`], changes by way of an [`EventSource`]. Both have an
//!   implementation on a folder here ([`FolderStore`], [`FolderWatch`]); the behaviour that every implementation
//!   must show is in `conformance`, behind the feature of that name.
//! * **Goes out:** a [`shared::Snapshot`] by way of a [`shared::PredictionStore`], and a [`Reload`] that says what
//!   was done and what was refused, with reasons.
//! * **Must never know:** HTTP, how an answer is rendered, or how a model computes.
//!
//! Two rules hold throughout. What is broken costs only itself: a model, a table or an asset that cannot be used is
//! reported with its reason and the rest is served. And a reload never takes anything away because something *new*
//! is broken: what was served stays until something usable replaces it, or until its own object is removed.

pub mod catalogue;
#[cfg(feature = "conformance")]
pub mod conformance;
mod engine;
mod event_source;
mod folder;
mod folder_watch;
mod follow;
mod inspect;
mod object_store;
mod progress;
pub mod score;
pub mod tables;

pub use engine::{Engine, Publication, Reload, ReloadError, Settings};
pub use event_source::{Batch, Change, EventError, EventSource};
pub use folder::FolderStore;
pub use folder_watch::FolderWatch;
pub use follow::follow;
pub use inspect::{InspectError, Inspection, inspect};
pub use object_store::{Object, ObjectError, ObjectReader, ObjectStore};
pub use progress::Progress;
