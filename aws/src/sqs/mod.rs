mod heartbeat;
pub mod meaning;
mod messages;
mod poll;
mod reload;

use std::{
    collections::{BTreeSet, HashSet},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use shared::{Batch, Change, EventError, EventSource, IsPublished, SourceStatus};
use thiserror::Error;
use tokio::{
    sync::{Mutex, watch},
    task::{JoinError, JoinSet},
};

use crate::{HttpUrl, events};
use meaning::Scope;
use messages::{Delivery, Messages, To, unsettled};
use poll::Poll;
pub use reload::ReloadQueue;

/// What is received from a queue, and how.
#[derive(Debug, Clone)]
pub struct SqsSettings {
    /// The queue's address. It names the queue; requests go to the region or the endpoint of the configuration.
    pub url: HttpUrl,
    /// Whose events are listened to.
    pub scope: Scope,
    /// How long a message stays out of others' sight unless this is renewed, which a heartbeat does.
    pub visibility: Visibility,
    /// How long the queue holds an answer back until there is a message. SQS allows 20 s, and the longer, the fewer
    /// requests an idle queue costs.
    pub wait: Duration,
    /// A message that cannot be understood comes again after this time for every time that it has come.
    pub poison_delay: Duration,
}

impl SqsSettings {
    /// The settings for a queue, with default times.
    #[must_use]
    pub fn new(url: HttpUrl, scope: Scope) -> Self {
        Self {
            url,
            scope,
            visibility: Visibility::default(),
            wait: Duration::from_secs(20),
            poison_delay: Duration::from_secs(30),
        }
    }
}

/// A visibility timeout: 2 to 43 200 whole seconds, by default 60.
///
/// It is how long a message of a worker that was killed stays unhandled, and three times the pause between
/// heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visibility(i32);

/// A text that is no visibility timeout.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("2 to 43200 seconds")]
pub struct InvalidVisibility;

impl Visibility {
    /// SQS hides no message for longer than 12 hours.
    const MAX: i32 = 43_200;

    fn seconds(self) -> i32 {
        self.0
    }
}

impl Default for Visibility {
    fn default() -> Self {
        Self(60)
    }
}

impl FromStr for Visibility {
    type Err = InvalidVisibility;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text.parse().ok().filter(|seconds| (2..=Self::MAX).contains(seconds));
        seconds.map(Self).ok_or(InvalidVisibility)
    }
}

/// Changes of a bucket, as messages of a queue in SQS tell them.
///
/// * **Receiving** runs in a task of its own, which a cancelled [`receive`](EventSource::receive) leaves for the next
///   one. When a first message has come, what else is pending is fetched, up to a thousand messages or 300 ms, so that
///   a flood of uploads becomes a few batches.
/// * **Visibility** of what was received is extended by a heartbeat for as long as the batch's receipt lives, however
///   long the work takes.
/// * **What means nothing** is deleted at once.
/// * **Poison**, which cannot be understood, is logged once and given back with a growing delay, so that the queue's
///   redrive policy moves it to the dead-letter queue. Nothing is lost with it: events are hints, and the bucket is
///   the truth. After twenty receives there seems to be no such policy, and it is deleted.
///
/// A message that is released counts as received, too. A redrive policy should let it come ten times or more, so that
/// a few restarts of the scorer do not make it a dead letter.
///
/// Dropping the queue stops everything, heartbeats included.
#[derive(Debug)]
pub struct SqsQueue {
    messages: Messages,
    settings: SqsSettings,
    /// At most one.
    polls: JoinSet<Result<Polled, EventError>>,
    /// Tells the tasks whether to stop; they end when it is dropped.
    closing: watch::Sender<bool>,
    status: watch::Sender<SourceStatus>,
}

/// What one poll gives, unless there was nothing.
type Polled = Option<Batch<SqsReceipt>>;

/// The messages of a batch, whose visibility is extended while this lives.
#[derive(Debug)]
pub struct SqsReceipt {
    messages: Vec<Told>,
    /// The messages whose visibility the heartbeat extends. A beat holds the lock until it is over.
    beating: Arc<Mutex<Vec<Delivery>>>,
    /// Ends with the receipt.
    heartbeat: JoinSet<()>,
}

/// A message and what it tells of.
#[derive(Debug)]
struct Told {
    delivery: Delivery,
    changes: BTreeSet<Change>,
}

impl SqsReceipt {
    /// Ends the heartbeat, so that it does not hide again what is given back.
    async fn settled(mut self) -> Vec<Delivery> {
        self.heartbeat.shutdown().await;
        self.messages.into_iter().map(|message| message.delivery).collect()
    }

    fn changes(&self) -> Vec<Change> {
        let changes: BTreeSet<&Change> = self.messages.iter().flat_map(|message| &message.changes).collect();
        changes.into_iter().cloned().collect()
    }
}

impl SqsQueue {
    /// The queue at the settings' address. Nothing is asked of SQS yet.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: SqsSettings) -> Self {
        Self {
            messages: Messages::new(config, settings.url.as_str(), settings.wait),
            settings,
            polls: JoinSet::new(),
            closing: watch::Sender::new(false),
            status: watch::Sender::default(),
        }
    }

    /// What tells how full the queue is.
    #[must_use]
    pub fn monitor(&self) -> QueueMonitor {
        QueueMonitor { messages: self.messages.clone() }
    }

    /// Whether the queue lets itself be asked for messages. The first poll does not wait for any, so that this is known
    /// soon after the first [`receive`](EventSource::receive) begins.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    fn broken(&self, error: JoinError) -> EventError {
        self.messages.error("receiving ended", error)
    }
}

#[async_trait]
impl EventSource for SqsQueue {
    type Receipt = SqsReceipt;

    async fn receive(&mut self) -> Result<Batch<SqsReceipt>, EventError> {
        loop {
            if self.polls.is_empty() {
                let poll = Poll {
                    messages: self.messages.clone(),
                    settings: self.settings.clone(),
                    closing: self.closing.subscribe(),
                    status: self.status.clone(),
                };
                self.polls.spawn(poll.run());
            }
            // Safe to cancel: the task stays in the set until its result is taken.
            match self.polls.join_next().await {
                Some(Ok(Ok(Some(batch)))) => return Ok(batch),
                Some(Ok(Ok(None))) | None => {}
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(error)) => return Err(self.broken(error)),
            }
        }
    }

    async fn acknowledge(&mut self, batch: Batch<SqsReceipt>) -> Result<(), EventError> {
        let deliveries = batch.receipt.settled().await;
        let all = deliveries.len();
        let left = self.messages.settle(deliveries, To::Delete).await;
        events::Acknowledged { queue: self.messages.url(), messages: all.saturating_sub(left.len()) }.emit();
        unsettled(&self.messages, "deleted", all, &left)
    }

    async fn split(
        &mut self,
        batch: Batch<SqsReceipt>,
        is_published: &IsPublished<'_>,
    ) -> (Option<Batch<SqsReceipt>>, Option<Batch<SqsReceipt>>) {
        let Batch { oldest, receipt: SqsReceipt { messages, beating, heartbeat }, changes } = batch;
        let (done, left): (Vec<Told>, Vec<Told>) =
            messages.into_iter().partition(|message| message.changes.iter().all(is_published));
        if left.is_empty() {
            return (
                Some(Batch { changes, oldest, receipt: SqsReceipt { messages: done, beating, heartbeat } }),
                None,
            );
        }
        let left = SqsReceipt { messages: left, beating, heartbeat };
        let left = Batch { changes: left.changes(), oldest, receipt: left };
        if done.is_empty() {
            return (None, Some(left));
        }
        let ids: HashSet<&str> = done.iter().map(|message| message.delivery.message_id.as_str()).collect();
        left.receipt.beating.lock().await.retain(|delivery| !ids.contains(delivery.message_id.as_str()));
        let done = SqsReceipt { messages: done, beating: Arc::default(), heartbeat: JoinSet::new() };
        (Some(Batch { changes: done.changes(), oldest, receipt: done }), Some(left))
    }

    async fn release(&mut self, batch: Batch<SqsReceipt>) -> Result<(), EventError> {
        let deliveries = batch.receipt.settled().await;
        let all = deliveries.len();
        let mut left = self.messages.settle(deliveries, To::ReappearAfter(0)).await;
        // They are visible already, or with another receiver: what was wanted.
        left.retain(|left| !left.receipt_is_invalid);
        events::Released { queue: self.messages.url(), messages: all.saturating_sub(left.len()) }.emit();
        unsettled(&self.messages, "given back", all, &left)
    }

    async fn close(&mut self) {
        self.closing.send_replace(true);
        while let Some(result) = self.polls.join_next().await {
            let Ok(Ok(Some(batch))) = result else { continue };
            if let Err(error) = self.release(batch).await {
                events::ChoreFailed { error: &error }.emit();
            }
        }
    }
}

/// Tells how full a queue is.
#[derive(Debug, Clone)]
pub struct QueueMonitor {
    messages: Messages,
}

/// How many messages a queue has, about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Those that wait to be received.
    pub visible: u64,
    /// Those that were received and are neither deleted nor visible again.
    pub in_flight: u64,
}

impl QueueMonitor {
    /// Asks the queue, and sets the gauge.
    ///
    /// # Errors
    /// The queue cannot be asked.
    pub async fn depth(&self) -> Result<QueueDepth, EventError> {
        let depth = self.messages.depth().await?;
        events::DepthMeasured { queue: self.messages.url(), depth }.emit();
        Ok(depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visibility_timeout_is_what_sqs_takes_and_a_heartbeat_can_keep_up_with() {
        assert_eq!("90".parse(), Ok(Visibility(90)));
        for text in ["", "0", "1", "43201", "-60", "1m", "99999999999"] {
            assert_eq!(text.parse::<Visibility>(), Err(InvalidVisibility), "{text}");
        }
    }
}
