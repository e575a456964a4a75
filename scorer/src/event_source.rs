use async_trait::async_trait;
use thiserror::Error;

/// Tells that something in the bucket has changed. One of the three seams to the outside world.
///
/// Events are delivered at least once: what was received and neither acknowledged nor released comes again, by a
/// source that outlives the process. An event says where to look and never what is to be seen there, so that
/// duplicates and a wrong order do no harm.
#[async_trait]
pub trait EventSource: Send + 'static {
    /// What the source needs to acknowledge a batch.
    type Receipt: Send;

    /// Waits for changes, and gives all that are pending.
    ///
    /// May be cancelled: a change that this call would have given is given by the next one.
    ///
    /// # Errors
    /// The source cannot be reached at the moment; the next call tries again.
    async fn receive(&mut self) -> Result<Batch<Self::Receipt>, EventError>;

    /// The effect of these changes is published: they need not come again.
    ///
    /// # Errors
    /// The source cannot be reached; the changes may come again.
    async fn acknowledge(&mut self, batch: Batch<Self::Receipt>) -> Result<(), EventError>;

    /// These changes could not be handled: they come again, to this receiver or to another.
    ///
    /// # Errors
    /// The source cannot be reached; the changes come again when it notices by itself.
    async fn release(&mut self, batch: Batch<Self::Receipt>) -> Result<(), EventError>;
}

/// Changes that were received together.
#[derive(Debug)]
pub struct Batch<Receipt> {
    /// What changed, each at most once.
    pub changes: Vec<Change>,
    /// The source's own note of what it delivered.
    pub receipt: Receipt,
}

/// Something that changed in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The object of this key was created, overwritten or removed.
    Object(String),
    /// Anything may have changed, because events were missed.
    Anything,
}

/// A source of events cannot be reached.
#[derive(Debug, Error)]
#[error("events of {source_name:?}: {message}")]
pub struct EventError {
    /// The folder or the queue.
    pub source_name: String,
    /// What went wrong, for a person to read.
    pub message: String,
    /// What caused it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
