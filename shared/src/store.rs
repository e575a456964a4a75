use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;

use crate::{Generation, Snapshot};

/// Where the scorer publishes predictions and the API finds them. One of the three seams to the outside world.
///
/// A store holds one *current* snapshot. Publication is atomic: a reader sees the whole of one generation or the
/// whole of the next, and never an older one after a newer one.
#[async_trait]
pub trait PredictionStore: Send + Sync + 'static {
    /// Draws the number for a snapshot whose scoring is about to begin; each is larger than all before it.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn next_generation(&self) -> Result<Generation, StoreError>;

    /// Makes `snapshot` the current one.
    ///
    /// # Errors
    /// [`PublishError::Superseded`] if the current snapshot is of the same or a later generation; nothing changes.
    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError>;

    /// The current snapshot, or nothing before the first publication.
    ///
    /// # Errors
    /// The store could not be reached.
    async fn current(&self) -> Result<Option<Arc<Snapshot>>, StoreError>;

    /// The number of the current generation, followed as it changes. A slow reader sees the newest only.
    fn watch(&self) -> watch::Receiver<Option<Generation>>;
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

/// A store in this process's memory, for a system that is one process.
#[derive(Debug)]
pub struct MemoryStore {
    drawn: AtomicU64,
    current: watch::Sender<Option<Arc<Snapshot>>>,
    generation: watch::Sender<Option<Generation>>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            drawn: AtomicU64::new(0),
            current: watch::Sender::new(None),
            generation: watch::Sender::new(None),
        }
    }
}

#[async_trait]
impl PredictionStore for MemoryStore {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        Ok(Generation(self.drawn.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        let offered = snapshot.generation;
        let mut superseded_by = None;
        // The comparison and the swap happen under the channel's lock, so that two publications cannot interleave.
        self.current.send_if_modified(|current| {
            if let Some(current) = current.as_ref().filter(|current| current.generation >= offered) {
                superseded_by = Some(current.generation);
                return false;
            }
            *current = Some(snapshot);
            self.generation.send_replace(Some(offered));
            true
        });
        match superseded_by {
            Some(current) => Err(PublishError::Superseded { offered, current }),
            None => Ok(()),
        }
    }

    async fn current(&self) -> Result<Option<Arc<Snapshot>>, StoreError> {
        Ok(self.current.borrow().clone())
    }

    fn watch(&self) -> watch::Receiver<Option<Generation>> {
        self.generation.subscribe()
    }
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_memory_store_behaves_as_a_prediction_store() {
        crate::conformance::prediction_store(super::MemoryStore::default).await;
    }
}
