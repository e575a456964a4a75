//! What an operator is told: each event is one struct, with its log line and its metrics.

use std::{sync::LazyLock, time::Duration};

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, exponential_buckets};
use redis::RedisError;
use shared::{Damage, Generation, StoreError, Summary, metrics::registered};

use crate::fault::Fault;

static PUBLISH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let options = HistogramOpts::new("cripto_publish_seconds", "Time to publish a snapshot in Redis.");
    let buckets = exponential_buckets(0.001, 2.0, 15).unwrap_or_default();
    registered(Histogram::with_opts(options.buckets(buckets)))
});

static SNAPSHOT_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new("cripto_snapshot_bytes", "Bytes of all answers of the last published snapshot."))
});

static GENERATION: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new(
        "cripto_store_generation",
        "The current generation of the store, 0 without one.",
    ))
});

static UNREACHABLE: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new("cripto_redis_unreachable", "1 while Redis cannot be reached."))
});

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_redis_errors_total", "Requests to Redis that failed, each try.");
    registered(IntCounterVec::new(options, &["kind"]))
});

/// A snapshot became current.
pub(crate) struct Published<'a> {
    pub(crate) summary: &'a Summary,
    pub(crate) shards: u32,
    pub(crate) took: Duration,
}

impl Published<'_> {
    pub(crate) fn tell(&self) {
        PUBLISH_SECONDS.observe(self.took.as_secs_f64());
        SNAPSHOT_BYTES.set(i64::try_from(self.summary.answer_bytes).unwrap_or(i64::MAX));
        tracing::info!(
            generation = %self.summary.generation,
            trace_id = %self.summary.trace_id,
            assets = self.summary.assets,
            bytes = self.summary.answer_bytes,
            shards = self.shards,
            milliseconds = self.took.as_millis(),
            "published in Redis"
        );
    }
}

/// An operator took the current generation back.
pub(crate) struct RolledBack {
    pub(crate) from: Generation,
    pub(crate) to: Generation,
}

impl RolledBack {
    pub(crate) fn tell(&self) {
        tracing::warn!(from = %self.from, to = %self.to, "rolled back");
    }
}

/// What is no longer needed could not be removed, or what is kept not renewed. It expires, or it is renewed next time.
pub(crate) struct NotTidied<'a> {
    pub(crate) generation: Generation,
    pub(crate) error: &'a StoreError,
}

impl NotTidied<'_> {
    pub(crate) fn tell(&self) {
        tracing::warn!(generation = %self.generation, error = %self.error, "generations were not tidied up");
    }
}

/// The current generation as it was last heard of.
pub(crate) struct Heard(pub(crate) Option<Generation>);

impl Heard {
    pub(crate) fn tell(&self) {
        let number = self.0.map_or(0, |generation| generation.0);
        GENERATION.set(i64::try_from(number).unwrap_or(i64::MAX));
        tracing::debug!(generation = number, "current in Redis");
    }
}

/// Redis stopped answering.
pub(crate) struct Unreachable<'a> {
    pub(crate) error: &'a StoreError,
}

impl Unreachable<'_> {
    pub(crate) fn tell(&self) {
        UNREACHABLE.set(1);
        tracing::error!(error = %self.error, "Redis cannot be reached; tried again until it can");
    }
}

/// Redis answers again.
pub(crate) struct Reachable {
    pub(crate) after: Duration,
}

impl Reachable {
    pub(crate) fn tell(&self) {
        UNREACHABLE.set(0);
        tracing::info!(seconds = self.after.as_secs(), "Redis can be reached again");
    }
}

/// A request failed, be it tried again or not. Whoever asked logs what came of it.
pub(crate) struct Failed<'a>(pub(crate) &'a RedisError);

impl Failed<'_> {
    pub(crate) fn tell(&self) {
        ERRORS.with_label_values(&[Fault::of(self.0).label()]).inc();
    }
}

static SUBSCRIBED: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new(
        "cripto_redis_subscribed",
        "1 while announcements of new generations are listened to, else 0.",
    ))
});

static SUBSCRIPTIONS_LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::new(
        "cripto_redis_subscriptions_lost_total",
        "Subscriptions that ended, or gave no sign of life, and were made again.",
    ))
});

/// Announcements are listened to from now on.
pub(crate) struct Subscribed;

impl Subscribed {
    pub(crate) fn tell(&self) {
        // It is there from the first subscription on, with 0.
        SUBSCRIPTIONS_LOST.inc_by(0);
        SUBSCRIBED.set(1);
        tracing::debug!("subscribed to announcements of generations");
    }
}

/// A subscription ended, or its connection is dead. Another one is made.
pub(crate) struct SubscriptionLost {
    pub(crate) why: &'static str,
}

impl SubscriptionLost {
    pub(crate) fn tell(&self) {
        SUBSCRIPTIONS_LOST.inc();
        SUBSCRIBED.set(0);
        tracing::info!(reason = self.why, "the subscription to Redis is made again");
    }
}

/// Announcements cannot be listened to. Until they can, the server is only asked from time to time.
pub(crate) struct NotSubscribed<'a> {
    pub(crate) channel: &'a str,
    pub(crate) error: &'a RedisError,
    /// Whether this was told before.
    pub(crate) known: bool,
}

impl NotSubscribed<'_> {
    pub(crate) fn tell(&self) {
        SUBSCRIBED.set(0);
        let Self { channel, error, known } = self;
        if *known {
            tracing::debug!(channel, %error, "announcements cannot be listened to");
        } else {
            tracing::warn!(
                channel, %error,
                "announcements cannot be listened to; new generations are found by asking Redis regularly"
            );
        }
    }
}

/// A generation is current, and nobody was told.
pub(crate) struct NotAnnounced<'a> {
    pub(crate) generation: Generation,
    pub(crate) error: &'a StoreError,
}

impl NotAnnounced<'_> {
    pub(crate) fn tell(&self) {
        tracing::warn!(
            generation = %self.generation, error = %self.error,
            "published but not announced; readers find it by asking Redis regularly"
        );
    }
}

static INCOMPLETE: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::new(
        "cripto_redis_incomplete_total",
        "Reads of the current generation that missed a part of it.",
    ))
});

/// A reader missed a part of the current generation.
pub(crate) struct IncompleteGeneration {
    pub(crate) generation: Generation,
}

impl IncompleteGeneration {
    pub(crate) fn tell(&self) {
        INCOMPLETE.inc();
        tracing::warn!(
            generation = %self.generation,
            "a part of the current generation is missing in Redis; the scorer is asked to publish again"
        );
    }
}

/// A reader missed a part of a generation, and could not tell publishers.
pub(crate) struct NotComplained<'a> {
    pub(crate) error: &'a StoreError,
}

impl NotComplained<'_> {
    pub(crate) fn tell(&self) {
        tracing::warn!(error = %self.error, "the scorer could not be asked to publish again");
    }
}

/// The store has lost something of what was published.
pub(crate) struct Damaged {
    pub(crate) damage: Damage,
    pub(crate) generation: Option<Generation>,
}

impl Damaged {
    pub(crate) fn tell(&self) {
        let number = self.generation.map_or(0, |generation| generation.0);
        match self.damage {
            Damage::Behind => tracing::warn!(
                generation = number,
                "Redis holds an older generation than before: it was restored from an older copy, or a lagging replica was promoted"
            ),
            Damage::Incomplete => tracing::warn!(
                generation = number,
                "a reader reports that a part of the current generation is missing in Redis"
            ),
        }
    }
}

static MISSING_RIGHTS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::new("cripto_redis_missing_rights", "Rights that the Redis user needs and lacks."))
});

/// The rights of the user were checked.
pub(crate) struct RightsChecked<'a> {
    /// Commands with their keys or channels, in the order in which they were tried.
    pub(crate) missing: &'a [String],
}

impl RightsChecked<'_> {
    pub(crate) fn tell(&self) {
        MISSING_RIGHTS.set(i64::try_from(self.missing.len()).unwrap_or(i64::MAX));
        if self.missing.is_empty() {
            tracing::debug!("the Redis user has the rights that are needed");
        } else {
            tracing::error!(
                missing = self.missing.join(", "),
                "the Redis user lacks rights; grant those that docs/deploy.md lists"
            );
        }
    }
}

/// The rights of the user could not be checked.
pub(crate) struct RightsNotChecked<'a> {
    pub(crate) error: &'a RedisError,
}

impl RightsNotChecked<'_> {
    pub(crate) fn tell(&self) {
        tracing::warn!(error = %self.error, "the rights of the Redis user could not be checked");
    }
}
