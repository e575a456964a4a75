use std::{fmt, str::FromStr};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::FaultKind;

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

    /// Splits a batch into the part whose changes are all published and the rest. Neither is acknowledged by this.
    ///
    /// A source that cannot acknowledge a part leaves the batch whole: it is published when all of its changes are.
    async fn split(
        &mut self,
        batch: Batch<Self::Receipt>,
        is_published: &IsPublished<'_>,
    ) -> (Option<Batch<Self::Receipt>>, Option<Batch<Self::Receipt>>) {
        let all = batch.changes.iter().all(is_published);
        if all { (Some(batch), None) } else { (None, Some(batch)) }
    }

    /// These changes could not be handled: they come again, to this receiver or to another.
    ///
    /// # Errors
    /// The source cannot be reached; the changes come again when it notices by itself.
    async fn release(&mut self, batch: Batch<Self::Receipt>) -> Result<(), EventError>;

    /// Stops receiving, and gives back what no call of [`receive`](Self::receive) has given out. The last call but
    /// for those that acknowledge and release.
    ///
    /// A source that delivers nothing before it is asked has nothing to do.
    async fn close(&mut self) {}
}

/// Whether an event source can be asked for events, as its last answer shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source has answered at least once since the start.
    pub reached: bool,
    /// The fault that stands in the way at the moment.
    pub trouble: Option<SourceTrouble>,
}

/// A fault of an event source that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTrouble {
    /// The time of the first failure since the last answer.
    pub since: Timestamp,
    /// The kind of the last failure.
    pub kind: FaultKind,
    /// The last failure and what to do about it.
    pub reason: String,
}

impl SourceStatus {
    /// Notes an answer. Returns whether that changes the status.
    pub fn answered(&mut self) -> bool {
        let after = Self { reached: true, trouble: None };
        std::mem::replace(self, after.clone()) != after
    }

    /// Notes a failure. Returns whether that changes the status.
    pub fn failed(&mut self, error: &EventError) -> bool {
        let since = self.trouble.as_ref().map_or_else(Timestamp::now, |trouble| trouble.since);
        let trouble = Some(SourceTrouble { since, kind: error.kind(), reason: error.reason() });
        let after = Self { reached: self.reached, trouble };
        std::mem::replace(self, after.clone()) != after
    }
}

/// Tells whether the effect of a change is published.
pub type IsPublished<'a> = dyn Fn(&Change) -> bool + Send + Sync + 'a;

/// Changes that were received together.
#[derive(Debug)]
pub struct Batch<Receipt> {
    /// What changed, each at most once.
    pub changes: Vec<Change>,
    /// When the first of these changes was made, by the clock of whoever reported it, if the source knows.
    pub oldest: Option<Timestamp>,
    /// The source's own note of what it delivered.
    pub receipt: Receipt,
}

/// Something that changed in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// The object of this key was created or overwritten.
    Object(String),
    /// The object of this key was removed.
    Removed(String),
    /// Anything may have changed, because events were missed.
    Anything,
    /// Somebody asks for the whole bucket to be looked at, and waits for the outcome.
    Requested(RequestId),
}

/// What a request for a reload is called, by which its outcome is found: 1 to 64 ASCII letters, digits or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(Box<str>);

/// A text that cannot be the name of a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not the name of a request: 1 to 64 letters, digits or '-' expected")]
pub struct InvalidRequestId(String);

impl RequestId {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = (1..=Self::MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !well_formed {
            return Err(InvalidRequestId(text.chars().take(2 * Self::MAX_LEN).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for RequestId {
    type Error = InvalidRequestId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
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
