use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    Asset, Digest, Generation, HistoryStore, ModelHistory, ModelName, RequestId, Snapshot, Summary,
    TrackRecord, answer,
};

/// Where the scorer publishes predictions and the API finds them. One of the three seams to the outside world.
///
/// A store holds one *current* generation: a [`Summary`] and, for each asset, the bytes of the documented answer,
/// which never change. Publication is atomic: a reader sees the whole of one generation or the whole of the next,
/// and, unless an operator takes a generation back, never an older one after a newer one.
#[async_trait]
pub trait PredictionStore: Send + Sync + 'static {
    /// Draws the number for a snapshot whose scoring is about to begin; each is larger than all before it, also than
    /// those of a store whose content was lost.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn next_generation(&self) -> Result<Generation, StoreError>;

    /// Makes `snapshot` the current generation.
    ///
    /// # Errors
    /// [`PublishError::Superseded`] if a snapshot of the same or a later generation was published; nothing changes.
    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError>;

    /// Returns the current generation if a snapshot of this content need not be published: the generation says the same
    /// and is still there as a whole. It also need not be if an operator took this content back, or any content of the same
    /// [bucket](Digest::is_of_the_same_bucket). Nothing is
    /// confirmed while the store is [behind](Damage::Behind). A store that forgets what is old keeps what was confirmed for
    /// as long as what was published.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError>;

    /// The summary of the current generation, or nothing before the first publication.
    ///
    /// # Errors
    /// The store could not be reached, or has [lost](Damage::Behind) what this process has seen in it.
    async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError>;

    /// The assets of a generation, in their order.
    ///
    /// # Errors
    /// The store could not be reached, or has given the generation up meanwhile.
    async fn assets(&self, generation: &Summary) -> Result<Vec<Asset>, AnswerError>;

    /// The documented answer for one asset, as JSON; nothing if the generation has no such asset.
    ///
    /// # Errors
    /// The store could not be reached, or has given the generation up meanwhile.
    async fn answer(&self, generation: &Summary, asset: &Asset) -> Result<Option<Bytes>, AnswerError>;

    /// All answers of a generation. They have [`Summary::answer_bytes`] together.
    ///
    /// # Errors
    /// The store could not be reached, or has given the generation up meanwhile.
    async fn answers(&self, generation: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError>;

    /// What the store holds and whether it can be reached, followed as it changes. A slow reader sees the newest
    /// only.
    fn watch(&self) -> watch::Receiver<Following>;
}

/// What is known of a store without asking it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Following {
    /// The number of the current generation when the store was last heard of.
    pub generation: Option<Generation>,
    /// Since when the store cannot be reached; nothing if it can.
    pub unreachable_since: Option<Timestamp>,
    /// The damage to the content of the store; nothing if the content is whole, or if the store is empty.
    pub damage: Option<Damage>,
}

/// Damage to the content of a store. Publishing again repairs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The store holds an older generation than it did, and no operator took one back. It was restored from an older
    /// copy, or a replica that lagged was promoted.
    Behind,
    /// A part of the current generation is missing, as a reader found.
    Incomplete,
}

impl Following {
    /// Whether the store can be reached and does not hold what was published: it is empty or damaged.
    #[must_use]
    pub fn has_lost_what_was_published(&self) -> bool {
        self.unreachable_since.is_none() && (self.generation.is_none() || self.damage.is_some())
    }
}

/// The store could not do what it was asked.
#[derive(Debug, Error)]
#[error("prediction store: {message}")]
pub struct StoreError {
    /// What went wrong, for a person to read.
    pub message: String,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A snapshot was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Another run has published a later state of the bucket meanwhile.
    #[error("generation {offered} is superseded by generation {current}")]
    Superseded {
        /// The generation that was offered.
        offered: Generation,
        /// The generation that is served.
        current: Generation,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers could not be read.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The generation is no longer kept. The current one is.
    #[error("generation {0} is no longer kept")]
    Gone(Generation),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the outcome of a reload that somebody [asked for](crate::Change::Requested) is left for them.
#[async_trait]
pub trait ReloadReports: Send + Sync + 'static {
    /// Leaves an outcome, for some minutes.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn report(&self, request: &RequestId, report: &ReloadReport) -> Result<(), StoreError>;

    /// The outcome, if it is there already.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn report_of(&self, request: &RequestId) -> Result<Option<ReloadReport>, StoreError>;
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadReport {
    /// What is in the bucket is served, as this generation.
    Done(Generation),
    /// It could not be done, for this reason.
    Failed(String),
}

/// A store in this process's memory, for a system that is one process.
#[derive(Debug)]
pub struct MemoryStore {
    drawn: AtomicU64,
    current: RwLock<Option<Arc<Published>>>,
    following: watch::Sender<Following>,
    histories: RwLock<BTreeMap<Asset, BTreeMap<ModelName, ModelHistory>>>,
    track_records: RwLock<BTreeMap<ModelName, TrackRecord>>,
}

#[derive(Debug)]
struct Published {
    summary: Arc<Summary>,
    answers: BTreeMap<Asset, Bytes>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            drawn: AtomicU64::new(0),
            current: RwLock::new(None),
            following: watch::Sender::new(Following::default()),
            histories: RwLock::default(),
            track_records: RwLock::default(),
        }
    }
}

impl MemoryStore {
    fn published(&self) -> Option<Arc<Published>> {
        // It is replaced in one step, whatever happens around it.
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn generation(&self, generation: &Summary) -> Result<Arc<Published>, AnswerError> {
        let gone = AnswerError::Gone(generation.generation);
        self.published().filter(|held| held.summary.generation == generation.generation).ok_or(gone)
    }
}

#[async_trait]
impl PredictionStore for MemoryStore {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        Ok(Generation(self.drawn.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        let offered = snapshot.generation;
        let rendered = tokio::task::spawn_blocking(move || Published::render(&snapshot)).await;
        let published = Arc::new(rendered.map_err(|error| StoreError {
            message: "the answers could not be rendered".to_owned(),
            source: Some(error.into()),
        })?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_ref().map(|held| held.summary.generation)
            && current >= offered
        {
            return Err(PublishError::Superseded { offered, current });
        }
        *current = Some(published);
        // Under the lock, so that two publications tell of themselves in their order.
        self.following.send_replace(Following { generation: Some(offered), ..Following::default() });
        Ok(())
    }

    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        let held = self.published().filter(|held| held.summary.digest == digest);
        Ok(held.map(|held| held.summary.generation))
    }

    async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        Ok(self.published().map(|held| Arc::clone(&held.summary)))
    }

    async fn assets(&self, generation: &Summary) -> Result<Vec<Asset>, AnswerError> {
        Ok(self.generation(generation)?.answers.keys().cloned().collect())
    }

    async fn answer(&self, generation: &Summary, asset: &Asset) -> Result<Option<Bytes>, AnswerError> {
        Ok(self.generation(generation)?.answers.get(asset).cloned())
    }

    async fn answers(&self, generation: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        Ok(self.generation(generation)?.answers.clone())
    }

    fn watch(&self) -> watch::Receiver<Following> {
        self.following.subscribe()
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn put_history(
        &self,
        asset: &Asset,
        models: &BTreeMap<ModelName, ModelHistory>,
    ) -> Result<(), StoreError> {
        let mut histories = self.histories.write().unwrap_or_else(PoisonError::into_inner);
        histories.entry(asset.clone()).or_default().extend(models.clone());
        Ok(())
    }

    async fn put_track_record(&self, model: &ModelName, record: &TrackRecord) -> Result<(), StoreError> {
        let mut records = self.track_records.write().unwrap_or_else(PoisonError::into_inner);
        records.insert(model.clone(), record.clone());
        Ok(())
    }

    async fn history(&self, asset: &Asset) -> Result<BTreeMap<ModelName, ModelHistory>, StoreError> {
        let histories = self.histories.read().unwrap_or_else(PoisonError::into_inner);
        Ok(histories.get(asset).cloned().unwrap_or_default())
    }

    async fn track_record(&self, model: &ModelName) -> Result<Option<TrackRecord>, StoreError> {
        Ok(self.track_records.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned())
    }
}

impl Published {
    fn render(snapshot: &Snapshot) -> Self {
        let render = |(asset, predictions)| {
            let asset: &Asset = asset;
            (asset.clone(), Bytes::from(answer::render(snapshot, asset, predictions)))
        };
        let answers: BTreeMap<Asset, Bytes> = snapshot.assets.iter().map(render).collect();
        let bytes: usize = answers.values().map(Bytes::len).sum();
        Self { summary: Arc::new(snapshot.summary(bytes as u64)), answers }
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_memory_store_behaves_as_a_prediction_store() {
        crate::conformance::prediction_store(async || super::MemoryStore::default()).await;
    }

    #[tokio::test]
    async fn the_memory_store_behaves_as_a_history_store() {
        crate::conformance::history_store(async || super::MemoryStore::default()).await;
    }
}
