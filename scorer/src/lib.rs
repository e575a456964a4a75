//! From a bucket to a published snapshot of predictions.
//!
//! * **For:** finding out what is in force in a bucket ([`catalogue`]), reading feature tables ([`tables`]) or
//!   computing them from candles ([`features`]), asking
//!   every model about every asset's newest row ([`score`]), keeping the published snapshot up to date as the
//!   bucket changes ([`Engine`], [`follow()`]), scoring days that are over ([`backfill`]) and, where it is wanted,
//!   training models again ([`retrain`]).
//! * **Comes in:** objects by way of a [`shared::ObjectStore`], changes by way of a [`shared::EventSource`]. Both have
//!   an implementation on a folder here ([`FolderStore`], [`FolderWatch`]).
//! * **Goes out:** a [`shared::Snapshot`] by way of a [`shared::PredictionStore`], and a [`Reload`] that says what
//!   was done and what was refused, with reasons.
//! * **Must never know:** HTTP, AWS, Redis, how an answer is rendered, or how a model computes. (The program `scorer`
//!   puts them together for `scorer worker`.)
//!
//! ```
//! use std::sync::Arc;
//!
//! use scorer::{Engine, FolderStore, Progress, Publication, Settings};
//! use shared::{MemoryStore, PredictionStore};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! let bucket = FolderStore::open_folder("../sample/bucket")?;
//! let store = Arc::new(MemoryStore::default());
//! let engine = Engine::new(Arc::new(bucket), store.clone(), Settings::default(), Progress::none());
//!
//! let reload = engine.reload().await?;
//! assert_eq!((reload.publication, reload.snapshot.models.len()), (Publication::Published, 5));
//! let current = store.current().await?.expect("something is published");
//! assert!(store.answer(&current, &"BTC".parse()?).await?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two rules hold throughout. What is broken costs only itself: a model, a table or an asset that cannot be used is
//! reported with its reason and the rest is served. And a reload never takes anything away because something *new*
//! is broken: what was served stays until something usable replaces it, or until its own object is removed.

mod admission;
pub mod backfill;
pub mod catalogue;
mod engine;
mod events;
pub mod features;
mod folder;
mod folder_watch;
mod follow;
mod inspect;
mod markers;
mod overview;
mod progress;
pub mod retrain;
pub mod score;
mod status;
pub mod tables;

pub use admission::{Admission, NotAdmitted};
pub use engine::{
    Data, DataError, Engine, History, HistoryError, InForce, LoadedModel, Look, ModelInForce, Place,
    Publication, Reload, ReloadError, Settings, TrainingRows, Wanted,
};
pub use folder::{FolderStore, tip_on_folder};
pub use folder_watch::FolderWatch;
pub use follow::{Follow, follow};
pub use inspect::{InspectError, Inspection, convert, inspect};
pub use overview::overview;
pub use progress::{AboveBar, Progress};
pub use status::{ReloadStatus, ReloadTrouble};
