//! What an operator can observe of the scorer.
//!
//! Each event is one struct, and its one method writes the log line and moves the metrics, so that the two cannot
//! tell different stories. Lines that belong to one piece of work are written inside a span with its `trace_id`.

use std::{error::Error, sync::LazyLock, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    exponential_buckets,
};
use shared::{
    Causes, Comparison, EventError, ModelName, ObjectError, RejectedArtifact, Snapshot, StoreError, TraceId,
    metrics::registered,
};
use tracing::Span;

use crate::{Publication, ReloadError, features::Update, tables::UnusableRows};

static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_scorer_reloads_total", "Looks at the bucket, by what came of them.");
    registered(IntCounterVec::new(options, &["result"]))
});
static RELOAD_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_scorer_reload_failures_total", "Reloads that failed, by place and kind.");
    registered(IntCounterVec::new(options, &["place", "kind"]))
});
static UNREADABLE: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "cripto_scorer_unreadable_objects_total",
        "Attempts to read an object that the store did not give, by kind of fault.",
    );
    registered(IntCounterVec::new(options, &["kind"]))
});
static STALE: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "cripto_scorer_stale_models",
        "Models in the newest snapshot whose predictions are of an earlier one.",
    )
});
static RELOAD_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "cripto_scorer_reload_seconds",
        "From the beginning of a look at the bucket to its publication.",
    )
});
static EVENT_TO_PUBLISHED: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "cripto_scorer_event_to_published_seconds",
        "From the oldest event of those handled together to the publication of their effect.",
    )
});
static LOAD_SECONDS: LazyLock<HistogramVec> =
    LazyLock::new(|| by_model("cripto_scorer_model_load_seconds", "Reading a model from the bucket."));
static SCORE_SECONDS: LazyLock<HistogramVec> =
    LazyLock::new(|| by_model("cripto_scorer_model_score_seconds", "Asking a model about every asset."));
static FEATURE_SECONDS: LazyLock<Histogram> =
    LazyLock::new(|| histogram("cripto_scorer_features_seconds", "Computing features from candles."));
static MODELS: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("cripto_scorer_models", "Models in force in the newest snapshot."));
static ASSETS: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("cripto_scorer_assets", "Assets in the newest snapshot."));
static REJECTED: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("cripto_scorer_rejected", "Objects that are listed as rejected."));
static GENERATION: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("cripto_scorer_generation", "The newest generation published by this process."));
static CHECKED_AT: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "cripto_scorer_checked_timestamp_seconds",
        "When this process last found what is published to be what the bucket gives.",
    )
});
static DATA_UNTIL: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "cripto_scorer_data_timestamp_seconds",
        "The beginning of the newest day that a model's predictions rest on.",
    );
    registered(IntGaugeVec::new(options, &["model"]))
});
static FAILED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "cripto_scorer_prediction_errors",
        "Assets of the newest snapshot for which a model has no prediction.",
    );
    registered(IntGaugeVec::new(options, &["model"]))
});
static RETRAIN_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    by_model(
        "cripto_scorer_retrain_seconds",
        "Fitting a challenger and comparing it with the model in force.",
    )
});
static RETRAININGS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options =
        Opts::new("cripto_scorer_retrainings_total", "Challengers, by model and what came of them.");
    registered(IntCounterVec::new(options, &["model", "result"]))
});
static RETRAINER_CRASHES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Retrainings that ended in a panic.";
    registered(IntCounter::new("cripto_scorer_retrainer_crashes_total", help))
});
static FEATURES_WRITTEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options =
        Opts::new("cripto_scorer_features_written_total", "Feature tables written back, by what came of it.");
    registered(IntCounterVec::new(options, &["result"]))
});
static BATCHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_scorer_event_batches_total", "Batches of events, by their fate.");
    registered(IntCounterVec::new(options, &["fate"]))
});
static MISSING: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::new(
        "cripto_scorer_missing_objects_total",
        "Objects that an event announced and that were gone when the bucket was looked at.",
    ))
});
static SOURCE_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::new(
        "cripto_scorer_event_source_errors_total",
        "Failed attempts to receive events or to settle them.",
    ))
});

/// In which the lines of one piece of work are written.
pub(crate) fn span(trace_id: TraceId) -> Span {
    tracing::info_span!("work", %trace_id)
}

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(IntGauge::new(name, help))
}

/// From a millisecond to two minutes.
fn buckets() -> Vec<f64> {
    exponential_buckets(0.001, 2.0, 18).unwrap_or_default()
}

fn histogram(name: &str, help: &str) -> Histogram {
    registered(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets())))
}

fn by_model(name: &str, help: &str) -> HistogramVec {
    registered(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets()), &["model"]))
}

/// Counts larger than this are shown as this.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A model was read from the bucket.
pub(crate) struct ModelLoaded<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) key: &'a str,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl ModelLoaded<'_> {
    pub(crate) fn emit(self) {
        LOAD_SECONDS.with_label_values(&[self.model.as_str()]).observe(self.took.as_secs_f64());
        tracing::info!(
            model = %self.model,
            key = self.key,
            bytes = self.bytes,
            seconds = self.took.as_secs_f64(),
            "model loaded"
        );
    }
}

/// Features were computed from candles.
pub(crate) struct FeaturesComputed<'a> {
    pub(crate) key: &'a str,
    pub(crate) update: Update,
    pub(crate) took: Duration,
}

impl FeaturesComputed<'_> {
    pub(crate) fn emit(self) {
        FEATURE_SECONDS.observe(self.took.as_secs_f64());
        let Update { computed, kept } = self.update;
        let seconds = self.took.as_secs_f64();
        tracing::info!(key = self.key, computed, kept, seconds, "features computed");
    }
}

/// A model was asked about every asset.
pub(crate) struct ModelScored<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) assets: usize,
    pub(crate) took: Duration,
}

impl ModelScored<'_> {
    pub(crate) fn emit(self) {
        SCORE_SECONDS.with_label_values(&[self.model.as_str()]).observe(self.took.as_secs_f64());
        tracing::debug!(
            model = %self.model,
            assets = self.assets,
            seconds = self.took.as_secs_f64(),
            "model scored"
        );
    }
}

/// A part of a backfill's shard is written.
pub(crate) struct BackfillProgressed {
    pub(crate) shard: u32,
    pub(crate) rows: usize,
    pub(crate) of: usize,
    /// Since the first row was scored.
    pub(crate) took: Duration,
}

impl BackfillProgressed {
    pub(crate) fn emit(self) {
        let Self { shard, rows, of, took } = self;
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let remaining_seconds = seconds * (of.saturating_sub(rows) as f64 / rows.max(1) as f64);
        tracing::info!(shard, rows, of, seconds, remaining_seconds, "backfill in progress");
    }
}

/// A shard of a backfill is done, now or before.
pub(crate) struct ShardDone<'a> {
    pub(crate) run: &'a shared::RunId,
    pub(crate) shard: u32,
    /// What was scored; nothing if it had been done before.
    pub(crate) scored: Option<crate::backfill::Scored>,
    /// How many shards are not done yet.
    pub(crate) missing: u32,
}

impl ShardDone<'_> {
    pub(crate) fn emit(self) {
        let Self { run, shard, scored, missing } = self;
        let skipped = scored.is_none();
        let scored = scored.unwrap_or_default();
        tracing::info!(
            %run,
            shard,
            skipped,
            missing,
            rows = scored.rows,
            parts = scored.parts,
            scoring_seconds = scored.scoring.as_secs_f64(),
            writing_seconds = scored.writing.as_secs_f64(),
            seconds = scored.took.as_secs_f64(),
            "shard done"
        );
    }
}

/// A backfill was held against the parts of others of the same days.
pub(crate) struct OtherPartsRemoved<'a> {
    pub(crate) run: &'a shared::RunId,
    /// How many parts of other splits were removed.
    pub(crate) removed: usize,
    /// Of how many days and models another backfill has replaced this one's parts since.
    pub(crate) replaced: usize,
}

impl OtherPartsRemoved<'_> {
    pub(crate) fn emit(self) {
        let Self { run, removed, replaced } = self;
        if removed > 0 {
            tracing::info!(%run, removed, "parts of backfills that were split in another way removed");
        }
        if replaced > 0 {
            tracing::warn!(
                %run,
                replaced,
                "days whose parts another backfill has replaced keep those; remove this run's signs to do it again"
            );
        }
    }
}

/// Something is listed as rejected that was not before.
pub(crate) struct Rejected<'a>(pub(crate) &'a RejectedArtifact);

impl Rejected<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(key = self.0.key, reason = self.0.reason, "rejected");
    }
}

/// Rows of a newly read table that belong to no asset.
pub(crate) struct RowsWithoutAsset<'a> {
    pub(crate) table: Option<&'a str>,
    pub(crate) rows: &'a UnusableRows,
}

impl RowsWithoutAsset<'_> {
    pub(crate) fn emit(self) {
        let UnusableRows { rows, reason } = self.rows;
        tracing::warn!(table = self.table, rows, reason, "rows without an asset");
    }
}

/// A reload came to its end.
pub(crate) struct Reloaded<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) publication: Publication,
    pub(crate) incomplete: bool,
    pub(crate) table: Option<&'a str>,
    pub(crate) took: Duration,
}

impl Reloaded<'_> {
    pub(crate) fn emit(self) {
        let Self { snapshot, publication, incomplete, table, took } = self;
        RELOAD_SECONDS.observe(took.as_secs_f64());
        let result = match publication {
            _ if incomplete => "incomplete",
            Publication::Published => "published",
            Publication::Unchanged => "unchanged",
            Publication::Superseded => "superseded",
        };
        RELOADS.with_label_values(&[result]).inc();
        self.set_gauges();
        let (generation, seconds) = (snapshot.generation.0, took.as_secs_f64());
        match publication {
            Publication::Published => tracing::info!(
                generation,
                models = snapshot.models.len(),
                assets = snapshot.assets.len(),
                table,
                incomplete,
                seconds,
                "published"
            ),
            Publication::Unchanged => tracing::debug!(generation, incomplete, seconds, "nothing changed"),
            Publication::Superseded => {
                tracing::info!(generation, incomplete, seconds, "superseded by a later publication");
            }
        }
    }

    fn set_gauges(&self) {
        let summary = self.snapshot.summary(0);
        MODELS.set(count(summary.models.len()));
        ASSETS.set(count(summary.assets));
        REJECTED.set(count(summary.rejected.len()));
        STALE.set(count(summary.models.iter().filter(|model| model.stale.is_some()).count()));
        if self.publication == Publication::Published {
            GENERATION.set(i64::try_from(summary.generation.0).unwrap_or(i64::MAX));
        }
        if !self.incomplete {
            CHECKED_AT.set(jiff::Timestamp::now().as_second());
        }
        // Models that are no longer in force are no longer shown.
        DATA_UNTIL.reset();
        FAILED.reset();
        for model in &summary.models {
            let name = [model.name.as_str()];
            FAILED.with_label_values(&name).set(count(model.failed));
            let midnight = model.data_until.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
            if let Some(midnight) = midnight {
                DATA_UNTIL.with_label_values(&name).set(midnight.timestamp().as_second());
            }
        }
    }
}

/// A reload could not be done.
pub(crate) struct ReloadFailed<'a> {
    pub(crate) error: &'a ReloadError,
    pub(crate) next_in: Duration,
}

impl ReloadFailed<'_> {
    pub(crate) fn emit(self) {
        RELOADS.with_label_values(&["failed"]).inc();
        let (place, kind) = (self.error.place().as_str(), self.error.kind());
        RELOAD_FAILURES.with_label_values(&[place, kind]).inc();
        tracing::error!(
            error = %Causes(self.error),
            place,
            kind,
            next_in_seconds = self.next_in.as_secs_f64(),
            "reload failed; what is served stays"
        );
    }
}

/// Events were received.
pub(crate) struct Received {
    pub(crate) changes: usize,
    /// The time from the oldest of them until now.
    pub(crate) age: Option<Duration>,
}

impl Received {
    pub(crate) fn emit(self) {
        BATCHES.with_label_values(&["received"]).inc();
        tracing::info!(
            changes = self.changes,
            age_seconds = self.age.map(|age| age.as_secs_f64()),
            "events received"
        );
    }
}

/// The effect of events is published.
pub(crate) struct Acknowledged {
    /// The time from the oldest of them until now.
    pub(crate) age: Option<Duration>,
}

impl Acknowledged {
    pub(crate) fn emit(self) {
        BATCHES.with_label_values(&["acknowledged"]).inc();
        if let Some(age) = self.age {
            EVENT_TO_PUBLISHED.observe(age.as_secs_f64());
        }
        tracing::debug!(age_seconds = self.age.map(|age| age.as_secs_f64()), "events acknowledged");
    }
}

/// Objects, and the events that tell of them, wait for the next try.
pub(crate) struct Deferred {
    pub(crate) objects: usize,
    pub(crate) batches: usize,
    pub(crate) next_in: Duration,
}

impl Deferred {
    pub(crate) fn emit(self) {
        BATCHES.with_label_values(&["deferred"]).inc_by(self.batches as u64);
        tracing::info!(
            objects = self.objects,
            batches = self.batches,
            next_in_seconds = self.next_in.as_secs_f64(),
            "something could not be read; it is tried again"
        );
    }
}

/// The store did not give an object.
pub(crate) struct ObjectUnreadable<'a> {
    pub(crate) key: &'a str,
    pub(crate) error: &'a ObjectError,
    /// Not too many have been logged.
    pub(crate) is_logged: bool,
}

impl ObjectUnreadable<'_> {
    pub(crate) fn emit(self) {
        let kind = self.error.kind().as_str();
        UNREADABLE.with_label_values(&[kind]).inc();
        if self.is_logged {
            tracing::warn!(key = self.key, kind, error = %Causes(self.error), "object cannot be read");
        }
    }
}

/// An object broke off while it was read.
pub(crate) struct DownloadInterrupted<'a> {
    pub(crate) key: &'a str,
    pub(crate) reason: &'a str,
    /// Not too many have been logged.
    pub(crate) is_logged: bool,
}

impl DownloadInterrupted<'_> {
    pub(crate) fn emit(self) {
        UNREADABLE.with_label_values(&["interrupted"]).inc();
        if self.is_logged {
            tracing::warn!(
                key = self.key,
                kind = "interrupted",
                error = self.reason,
                "object cannot be read"
            );
        }
    }
}

/// Events are given back to their source.
pub(crate) struct Released;

impl Released {
    pub(crate) fn emit(self) {
        BATCHES.with_label_values(&["released"]).inc();
        tracing::info!("events released; they come again");
    }
}

/// An event announced an object that is not there.
pub(crate) struct Missing<'a> {
    pub(crate) key: &'a str,
}

impl Missing<'_> {
    pub(crate) fn emit(self) {
        MISSING.inc();
        tracing::info!(key = self.key, "the object of an event is not there any more");
    }
}

/// The event source failed.
pub(crate) struct SourceFailed<'a> {
    pub(crate) error: &'a EventError,
    /// The time since the first failure in a row.
    pub(crate) lasts: Duration,
    /// Otherwise the same was logged a short time ago.
    pub(crate) is_logged: bool,
}

impl SourceFailed<'_> {
    pub(crate) fn emit(self) {
        SOURCE_ERRORS.inc();
        if self.is_logged {
            tracing::warn!(
                error = %Causes(self.error),
                kind = self.error.kind().as_str(),
                failed_for_seconds = self.lasts.as_secs_f64(),
                "event source"
            );
        }
    }
}

/// The prediction store holds nothing although something was published.
pub(crate) struct StoreEmptied;

impl StoreEmptied {
    pub(crate) fn emit(self) {
        tracing::warn!("the prediction store lost what was published; publishing again");
    }
}

/// Whoever asked for a reload cannot be told of its outcome.
pub(crate) struct ReportFailed<'a> {
    pub(crate) error: &'a StoreError,
}

impl ReportFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(error = %Causes(self.error), "the outcome of a reload could not be left");
    }
}

/// A challenger was compared with the model in force, and written if it was accepted.
pub(crate) struct Retrained<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) comparison: &'a Comparison,
    pub(crate) took: Duration,
}

impl Retrained<'_> {
    pub(crate) fn emit(self) {
        let Self { model, comparison, took } = self;
        let Comparison { accepted, metric, margin, challenger, in_force, data, .. } = comparison;
        let result = if *accepted { "accepted" } else { "rejected" };
        RETRAININGS.with_label_values(&[model.as_str(), result]).inc();
        RETRAIN_SECONDS.with_label_values(&[model.as_str()]).observe(took.as_secs_f64());
        tracing::info!(
            %model,
            version = challenger.version.as_str(),
            in_force = in_force.as_ref().map(|in_force| in_force.version.as_str()),
            accepted,
            metric,
            margin,
            of_challenger = challenger.metrics.get(metric),
            of_in_force = in_force.as_ref().and_then(|in_force| in_force.metrics.get(metric)),
            data,
            seconds = took.as_secs_f64(),
            "model retrained"
        );
    }
}

/// A model could not be retrained, or what came of it could not be written.
pub(crate) struct RetrainingFailed<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) error: &'a (dyn Error + 'static),
}

impl RetrainingFailed<'_> {
    pub(crate) fn emit(self) {
        RETRAININGS.with_label_values(&[self.model.as_str(), "failed"]).inc();
        tracing::error!(model = %self.model, error = self.error, "model not retrained; what is in force stays");
    }
}

/// The rows to learn from could not be had.
pub(crate) struct TrainingDataFailed<'a> {
    pub(crate) error: &'a (dyn Error + 'static),
}

impl TrainingDataFailed<'_> {
    pub(crate) fn emit(self) {
        tracing::error!(error = self.error, "no rows to learn from; tried again with the next data");
    }
}

/// Retraining ended in a panic, which is a fault of this program.
pub(crate) struct RetrainerCrashed<'a> {
    /// The data that were learnt from.
    pub(crate) key: &'a str,
    pub(crate) reason: &'a str,
}

impl RetrainerCrashed<'_> {
    pub(crate) fn emit(self) {
        RETRAINER_CRASHES.inc();
        tracing::error!(
            key = self.key,
            reason = self.reason,
            "retraining crashed; tried again with the next data"
        );
    }
}

/// A feature table was put into the bucket.
pub(crate) struct FeaturesWritten<'a> {
    pub(crate) key: &'a str,
    pub(crate) bytes: usize,
}

impl FeaturesWritten<'_> {
    pub(crate) fn emit(self) {
        FEATURES_WRITTEN.with_label_values(&["written"]).inc();
        tracing::info!(key = self.key, bytes = self.bytes, "features written back");
    }
}

/// A feature table could not be put into the bucket.
pub(crate) struct FeaturesNotWritten<'a> {
    pub(crate) key: &'a str,
    pub(crate) error: &'a (dyn Error + 'static),
}

impl FeaturesNotWritten<'_> {
    pub(crate) fn emit(self) {
        FEATURES_WRITTEN.with_label_values(&["failed"]).inc();
        tracing::error!(key = self.key, error = self.error, "features not written back");
    }
}
