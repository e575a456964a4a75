//! What an operator is told: each event is one struct, with its log line and its metrics.

use std::{sync::LazyLock, time::Duration};

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, exponential_buckets};
use redis::{ErrorKind, RedisError, ServerErrorKind};
use shared::{Generation, StoreError, Summary, metrics::registered};

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
        ERRORS.with_label_values(&[self.kind()]).inc();
    }

    fn kind(&self) -> &'static str {
        match self.0.kind() {
            _ if self.0.is_timeout() => "timeout",
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => "connection",
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => "permission",
            ErrorKind::Server(ServerErrorKind::BusyLoading) => "loading",
            ErrorKind::Server(ServerErrorKind::ReadOnly) => "read_only",
            ErrorKind::Server(_) if self.0.is_cluster_error() => "cluster",
            _ if self.0.code() == Some("OOM") => "out_of_memory",
            ErrorKind::Server(_) | ErrorKind::Extension => "server",
            _ => "client",
        }
    }
}
