//! What can be observed of the queue: each event is one struct, which writes its log line and its counter.

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use shared::{Causes, EventError, metrics::registered};

use crate::{
    meaning::{Irrelevant, Poison},
    sqs::QueueDepth,
};

macro_rules! counters {
    ($($name:ident: $metric:literal, $help:literal;)*) => {$(
        static $name: LazyLock<IntCounter> = LazyLock::new(|| registered(IntCounter::new($metric, $help)));
    )*};
}

counters! {
    RECEIVED: "cripto_queue_messages_received_total", "Messages received, again or for the first time";
    ACKNOWLEDGED: "cripto_queue_messages_acknowledged_total", "Messages deleted after their effect was published";
    RELEASED: "cripto_queue_messages_released_total", "Messages given back unhandled";
    UNREADABLE: "cripto_queue_records_unreadable_total", "Records that could not be understood beside others that could";
    HEARTBEAT_FAILURES: "cripto_queue_heartbeat_failures_total", "Messages whose visibility could not be extended";
    CHORE_FAILURES: "cripto_queue_chore_failures_total", "Times that irrelevant messages could not be deleted or given back";
    RECEIVE_ERRORS: "cripto_queue_receive_errors_total", "Times that the queue could not be asked for messages";
}

static UNREACHABLE: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Whether the queue cannot be asked for messages: 1 or 0";
    registered(IntGauge::new("cripto_queue_unreachable", help))
});

static IGNORED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options =
        Opts::new("cripto_queue_messages_ignored_total", "Messages deleted because they mean nothing");
    registered(IntCounterVec::new(options, &["reason"]))
});

static POISON: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "cripto_queue_messages_poison_total",
        "Messages that cannot be understood, by what became of them",
    );
    registered(IntCounterVec::new(options, &["outcome"]))
});

static AGE: LazyLock<Histogram> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "cripto_queue_event_age_seconds",
        "From the oldest change of a batch to its receipt",
    );
    registered(Histogram::with_opts(options.buckets(AGE_BUCKETS.into())))
});

/// From an emulator's milliseconds to the minutes after which the bucket is looked at in any case.
const AGE_BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 3600.0];

static DEPTH: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_queue_depth", "Messages in the queue, about");
    registered(IntGaugeVec::new(options, &["state"]))
});

/// Messages came.
pub(crate) struct Received<'a> {
    pub(crate) queue: &'a str,
    pub(crate) messages: usize,
    /// How many changes they tell of.
    pub(crate) changes: usize,
    /// When the first of these was made.
    pub(crate) oldest: Option<Timestamp>,
}

impl Received<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, messages, changes, oldest } = self;
        // Clocks differ, and nothing is received before it was made.
        let age = oldest.map(|oldest| Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0));
        tracing::debug!(queue, messages, changes, age, "messages received");
        if let Some(age) = age {
            AGE.observe(age);
        }
        RECEIVED.inc_by(messages as u64);
    }
}

/// Messages were deleted because their effect is published.
pub(crate) struct Acknowledged<'a> {
    pub(crate) queue: &'a str,
    pub(crate) messages: usize,
}

impl Acknowledged<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, messages } = self;
        tracing::debug!(queue, messages, "messages acknowledged");
        ACKNOWLEDGED.inc_by(messages as u64);
    }
}

/// Messages were given back.
pub(crate) struct Released<'a> {
    pub(crate) queue: &'a str,
    pub(crate) messages: usize,
}

impl Released<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, messages } = self;
        tracing::info!(queue, messages, "messages released");
        RELEASED.inc_by(messages as u64);
    }
}

/// A message means nothing here.
pub(crate) struct Ignored<'a> {
    pub(crate) queue: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) reason: Irrelevant,
    /// The bucket whose events count.
    pub(crate) own_bucket: &'a str,
    pub(crate) body: &'a str,
}

/// Minimum time between two warnings about events of another bucket.
const OTHER_BUCKET_INTERVAL: Duration = Duration::from_secs(300);

static OTHER_BUCKET_WARNED: Mutex<Option<Instant>> = Mutex::new(None);

impl Ignored<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, message_id, reason, own_bucket, body } = self;
        tracing::debug!(queue, message_id, reason = reason.as_str(), "message ignored");
        IGNORED.with_label_values(&[reason.as_str()]).inc();
        if reason != Irrelevant::OtherBucket {
            return;
        }
        // The other bucket may be a mistake in BUCKET_NAME, and then nothing else tells of it.
        let mut warned = OTHER_BUCKET_WARNED.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_none_or(|at| at.elapsed() >= OTHER_BUCKET_INTERVAL) {
            *warned = Some(Instant::now());
            let body: String = body.chars().take(PoisonReceived::SHOWN).collect();
            tracing::warn!(
                queue,
                message_id,
                own_bucket,
                body,
                "events of another bucket are deleted; check BUCKET_NAME and the bucket's notifications"
            );
        }
    }
}

/// A record cannot be understood; others of its message can.
pub(crate) struct UnreadableRecord<'a> {
    pub(crate) queue: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) reason: &'a Poison,
}

impl UnreadableRecord<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, message_id, reason } = self;
        tracing::warn!(queue, message_id, error = %Causes(reason), "record of a message ignored");
        UNREADABLE.inc();
    }
}

/// What becomes of a message that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is given back, so that the queue's redrive policy moves it away in time.
    Returned,
    /// It came so often that the queue seems to have no redrive policy.
    Deleted,
}

/// A message cannot be understood.
pub(crate) struct PoisonReceived<'a> {
    pub(crate) queue: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) body: &'a str,
    pub(crate) reason: &'a Poison,
    /// How often it came, this time included.
    pub(crate) receives: u32,
    pub(crate) fate: Fate,
}

impl PoisonReceived<'_> {
    /// How much of a body is logged, in characters.
    const SHOWN: usize = 200;

    pub(crate) fn emit(self) {
        let Self { queue, message_id, reason, receives, fate, .. } = self;
        let error = tracing::field::display(Causes(reason));
        let body: String = self.body.chars().take(Self::SHOWN).collect();
        let outcome = match fate {
            Fate::Returned => "returned",
            Fate::Deleted => "deleted",
        };
        match fate {
            Fate::Deleted => tracing::error!(
                queue,
                message_id,
                receives,
                body,
                error,
                "message cannot be understood; deleted, since the queue has no redrive policy"
            ),
            // It has been told of when it came first.
            Fate::Returned if receives > 1 => {
                tracing::debug!(queue, message_id, receives, error, "message cannot be understood");
            }
            Fate::Returned => tracing::warn!(
                queue,
                message_id,
                receives,
                body,
                error,
                "message cannot be understood; left to the dead-letter queue"
            ),
        }
        POISON.with_label_values(&[outcome]).inc();
    }
}

/// The visibility of messages could not be extended: others may receive them while they are worked on.
pub(crate) struct HeartbeatFailed<'a> {
    pub(crate) queue: &'a str,
    pub(crate) messages: usize,
    /// Of the first of them.
    pub(crate) message_id: &'a str,
    /// What is in the way, of the first of them.
    pub(crate) reason: &'a str,
}

impl HeartbeatFailed<'_> {
    pub(crate) fn emit(self) {
        let Self { queue, messages, message_id, reason } = self;
        tracing::warn!(queue, messages, message_id, reason, "visibility not extended");
        HEARTBEAT_FAILURES.inc_by(messages as u64);
    }
}

/// The queue answered a request for messages.
pub(crate) struct Answered<'a> {
    pub(crate) queue: &'a str,
    /// Since when it could not be asked; nothing if it answered the request before, too.
    pub(crate) unreachable_since: Option<Timestamp>,
}

impl Answered<'_> {
    pub(crate) fn emit(self) {
        UNREACHABLE.set(0);
        if let Some(since) = self.unreachable_since {
            let seconds = Timestamp::now().duration_since(since).as_secs_f64();
            tracing::info!(queue = self.queue, failed_for_seconds = seconds, "the queue answers again");
        }
    }
}

/// The queue could not be asked. Whoever asked is told, and logs it.
pub(crate) struct ReceiveFailed<'a> {
    pub(crate) error: &'a EventError,
}

impl ReceiveFailed<'_> {
    pub(crate) fn emit(self) {
        UNREACHABLE.set(1);
        tracing::debug!(error = %Causes(self.error), "receive failed");
        RECEIVE_ERRORS.inc();
    }
}

/// Messages that mean nothing, or that cannot be understood, could not be deleted or given back: they come again.
pub(crate) struct ChoreFailed<'a> {
    pub(crate) error: &'a EventError,
}

impl ChoreFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(error = %Causes(self.error), "irrelevant messages stay in the queue");
        CHORE_FAILURES.inc();
    }
}

/// How full the queue is.
pub(crate) struct DepthMeasured<'a> {
    pub(crate) queue: &'a str,
    pub(crate) depth: QueueDepth,
}

impl DepthMeasured<'_> {
    pub(crate) fn emit(self) {
        let QueueDepth { visible, in_flight } = self.depth;
        tracing::trace!(queue = self.queue, visible, in_flight, "depth of the queue");
        for (state, messages) in [("visible", visible), ("in_flight", in_flight)] {
            DEPTH.with_label_values(&[state]).set(i64::try_from(messages).unwrap_or(i64::MAX));
        }
    }
}
