use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use shared::{Batch, Change, EventError, SourceStatus};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Polled, SqsReceipt, SqsSettings, Told, Visibility,
    heartbeat::heartbeat,
    meaning::{Meaning, Poison, meaning},
    messages::{Delivery, Messages, PER_REQUEST, Received, To, unsettled},
};
use crate::events;

/// A batch has not many more messages than this.
const MAX_BATCH: usize = 1000;

/// Pending messages are fetched for so long after the first ones have come.
const DRAIN: Duration = Duration::from_millis(300);

/// One request for pending messages may take so long. The first messages, which nothing keeps out of others' sight yet,
/// wait for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);

/// How many requests fetch them at once.
const MAX_FETCHERS: usize = 8;

/// A message that cannot be understood and has come more often is deleted. Redrive policies move it away long before.
const MAX_RECEIVES: u32 = 20;

/// One look at the queue.
pub(super) struct Poll {
    pub(super) messages: Messages,
    pub(super) settings: SqsSettings,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) status: watch::Sender<SourceStatus>,
}

impl Poll {
    /// Waits for messages and gives what they mean, or nothing if none came that mean anything.
    pub(super) async fn run(mut self) -> Result<Polled, EventError> {
        let visibility = self.settings.visibility.seconds();
        let reached = self.status.borrow().reached;
        let wait = if reached { self.settings.wait } else { Duration::ZERO };
        let first = tokio::select! {
            // The queue is closed or dropped.
            _ = self.closing.wait_for(|closing| *closing) => {
                return Err(EventError {
                    source_name: self.messages.url().to_owned(),
                    message: "closed".to_owned(),
                    source: None,
                });
            }
            first = self.messages.receive(wait, visibility) => first,
        };
        let first = first.inspect_err(|error| {
            events::ReceiveFailed { error }.emit();
            self.status.send_if_modified(|status| status.failed(error));
        })?;
        let trouble = self.status.borrow().trouble.clone();
        let unreachable_since = trouble.map(|trouble| trouble.since);
        events::Answered { queue: self.messages.url(), unreachable_since }.emit();
        self.status.send_if_modified(SourceStatus::answered);
        if first.is_empty() {
            return Ok(None);
        }
        let sorted = self.sort(self.drain(first).await);
        let Sorted { told, changes, oldest, chores } = sorted;
        if told.is_empty() {
            chores.run(&self.messages).await;
            return Ok(None);
        }
        let beating = Arc::new(Mutex::new(told.iter().map(|message| message.delivery.clone()).collect()));
        let mut beat = JoinSet::new();
        beat.spawn(heartbeat(
            self.messages.clone(),
            Arc::clone(&beating),
            self.settings.visibility,
            self.closing.clone(),
        ));
        if !chores.is_empty() {
            // The batch does not wait for them.
            tokio::spawn(async move {
                let mut closing = self.closing;
                tokio::select! {
                    () = chores.run(&self.messages) => {}
                    _ = closing.wait_for(|closing| *closing) => {}
                }
            });
        }
        let receipt = SqsReceipt { messages: told, beating, heartbeat: beat };
        Ok(Some(Batch { changes: changes.into_iter().collect(), oldest, receipt }))
    }

    /// Fetches what else is pending, with more and more requests at once as long as there is some.
    async fn drain(&self, mut received: Vec<Received>) -> Vec<Received> {
        let deadline = Instant::now() + DRAIN;
        let visibility = self.settings.visibility.seconds();
        let mut fetchers = JoinSet::new();
        let mut wanted = 1;
        loop {
            while fetchers.len() < wanted && received.len() + fetchers.len() * PER_REQUEST < MAX_BATCH {
                let messages = self.messages.clone();
                fetchers.spawn(timeout(FETCH_TIMEOUT, async move {
                    messages.receive(Duration::ZERO, visibility).await
                }));
            }
            // A request that is under way is waited for: its messages would be out of sight for nothing.
            let Some(fetched) = fetchers.join_next().await else { break };
            match fetched {
                Ok(Ok(Ok(fetched))) if !fetched.is_empty() => {
                    received.extend(fetched);
                    wanted = (wanted * 2).min(MAX_FETCHERS);
                }
                Ok(Ok(Err(error))) => {
                    events::ReceiveFailed { error: &error }.emit();
                    wanted = 0;
                }
                // There is nothing more, or it does not come now.
                _ => wanted = 0,
            }
            if Instant::now() >= deadline {
                wanted = 0;
            }
        }
        received
    }

    fn sort(&self, received: Vec<Received>) -> Sorted {
        let queue = self.messages.url();
        let messages = received.len();
        let mut sorted = Sorted::default();
        // A message that came twice is settled by its last delivery.
        let mut latest = HashMap::new();
        for Received { delivery, body, receives, sent } in received {
            let message_id = &delivery.message_id;
            let unreadable = |records: &[Poison]| {
                for reason in records {
                    events::UnreadableRecord { queue, message_id, reason }.emit();
                }
            };
            match meaning(&body, &self.settings.scope) {
                Meaning::Changes { changes, oldest, unreadable: records } => {
                    unreadable(&records);
                    sorted.changes.extend(changes.iter().cloned());
                    sorted.oldest = sorted.oldest.into_iter().chain(oldest.or(sent)).min();
                    latest.insert(message_id.clone(), Told { delivery, changes });
                }
                Meaning::Request(id) => {
                    let change = Change::Requested(id);
                    sorted.changes.insert(change.clone());
                    sorted.oldest = sorted.oldest.into_iter().chain(sent).min();
                    latest.insert(message_id.clone(), Told { delivery, changes: [change].into() });
                }
                Meaning::Nothing { reason, unreadable: records } => {
                    unreadable(&records);
                    let own_bucket = self.settings.scope.bucket.as_str();
                    events::Ignored { queue, message_id, reason, own_bucket, body: &body }.emit();
                    sorted.chores.delete.push(delivery);
                }
                Meaning::Poison(reason) => {
                    let fate =
                        if receives > MAX_RECEIVES { events::Fate::Deleted } else { events::Fate::Returned };
                    events::PoisonReceived {
                        queue,
                        message_id,
                        body: &body,
                        reason: &reason,
                        receives,
                        fate,
                    }
                    .emit();
                    match fate {
                        events::Fate::Deleted => sorted.chores.delete.push(delivery),
                        events::Fate::Returned => {
                            let delay = self.poison_delay(receives);
                            sorted.chores.give_back.entry(delay).or_default().push(delivery);
                        }
                    }
                }
            }
        }
        sorted.told = latest.into_values().collect();
        let Sorted { changes, oldest, .. } = &sorted;
        events::Received { queue, messages, changes: changes.len(), oldest: *oldest }.emit();
        sorted
    }

    /// After how many seconds a message comes again that has come so often.
    fn poison_delay(&self, receives: u32) -> i32 {
        let delay = self.settings.poison_delay.saturating_mul(receives);
        i32::try_from(delay.as_secs()).map_or(Visibility::MAX, |seconds| seconds.min(Visibility::MAX))
    }
}

/// Messages by what they mean.
#[derive(Default)]
struct Sorted {
    told: Vec<Told>,
    changes: BTreeSet<Change>,
    oldest: Option<Timestamp>,
    chores: Chores,
}

/// What is to be done with messages that change nothing.
#[derive(Default)]
struct Chores {
    delete: Vec<Delivery>,
    /// By how many seconds they stay away.
    give_back: BTreeMap<i32, Vec<Delivery>>,
}

impl Chores {
    fn is_empty(&self) -> bool {
        self.delete.is_empty() && self.give_back.is_empty()
    }

    async fn run(self, messages: &Messages) {
        let give_back = self.give_back.into_iter().map(|(delay, them)| (them, To::ReappearAfter(delay)));
        for (deliveries, to) in give_back.chain([(self.delete, To::Delete)]) {
            let all = deliveries.len();
            let left = messages.settle(deliveries, to).await;
            if let Err(error) = unsettled(messages, "settled", all, &left) {
                events::ChoreFailed { error: &error }.emit();
            }
        }
    }
}
