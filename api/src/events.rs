//! What an operator can observe. Each event is one struct, whose `emit` writes its log line and counts it, so that
//! the two cannot tell different stories. What is a state and not an event is in `metrics`.

use std::{array, error::Error, io, sync::LazyLock, time::Duration};

use axum::http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts};
use shared::{Asset, Causes, Summary, metrics::registered};

use crate::rendered::RenderError;

/// The paths by which requests are counted; those of one kind are counted together, so that nobody can make up new
/// ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Root,
    Symbol,
    History,
    Symbols,
    Ranking,
    Models,
    Model,
    Events,
    Painel,
    Health,
    Live,
    Reload,
    Metrics,
    OpenApi,
    Docs,
    /// What there is not.
    Unknown,
}

impl Route {
    const ALL: [Self; 16] = [
        Self::Root,
        Self::Symbol,
        Self::History,
        Self::Symbols,
        Self::Ranking,
        Self::Models,
        Self::Model,
        Self::Events,
        Self::Painel,
        Self::Health,
        Self::Live,
        Self::Reload,
        Self::Metrics,
        Self::OpenApi,
        Self::Docs,
        Self::Unknown,
    ];

    /// The route of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/symbol/") && path.ends_with("/historico") => Self::History,
            // Nearly all.
            _ if path.starts_with("/symbol/") => Self::Symbol,
            "/" => Self::Root,
            "/symbols" => Self::Symbols,
            "/ranking" => Self::Ranking,
            "/models" => Self::Models,
            _ if path.starts_with("/models/") => Self::Model,
            "/eventos" => Self::Events,
            "/painel" => Self::Painel,
            _ if path.starts_with("/painel/") => Self::Painel,
            "/health" => Self::Health,
            "/health/live" => Self::Live,
            "/reload" => Self::Reload,
            "/metrics" => Self::Metrics,
            "/openapi.json" => Self::OpenApi,
            "/docs" => Self::Docs,
            _ if path.starts_with("/docs/") => Self::Docs,
            _ => Self::Unknown,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Symbol => "/symbol/{ativo}",
            Self::History => "/symbol/{ativo}/historico",
            Self::Symbols => "/symbols",
            Self::Ranking => "/ranking",
            Self::Models => "/models",
            Self::Model => "/models/{nome}",
            Self::Events => "/eventos",
            Self::Painel => "/painel",
            Self::Health => "/health",
            Self::Live => "/health/live",
            Self::Reload => "/reload",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Docs => "/docs",
            Self::Unknown => "unknown",
        }
    }
}

/// What a backfill left cannot be read, or cannot be answered.
pub(crate) struct HistoryUnreadable<'a>(pub(crate) &'a dyn Error);

impl HistoryUnreadable<'_> {
    pub(crate) fn emit(self) {
        tracing::warn!(error = self.0.to_string(), "history not read");
    }
}

/// From the fastest look-up to the slowest read from the store; a reload takes longer than any of them.
const SECONDS: [f64; 14] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The statuses of nearly all requests.
const USUAL: [StatusCode; 3] = [StatusCode::OK, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];

/// What is counted of a route. Finding a counter by its labels would take longer than counting, so it is done once.
struct RouteMetrics {
    seconds: Histogram,
    usual: [IntCounter; USUAL.len()],
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new("cripto_requests_total", "Requests answered, by route and status.");
    registered(IntCounterVec::new(options, &["route", "status"]))
});

static BY_ROUTE: LazyLock<[RouteMetrics; Route::ALL.len()]> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "cripto_request_duration_seconds",
        "From a request's head to its answer, without the time on the network.",
    );
    let seconds = registered(HistogramVec::new(options.buckets(SECONDS.into()), &["route"]));
    let of = |route: Route| RouteMetrics {
        seconds: seconds.with_label_values(&[route.label()]),
        usual: USUAL.map(|status| REQUESTS.with_label_values(&[route.label(), status.as_str()])),
    };
    array::from_fn(|place| of(Route::ALL[place]))
});

/// A request has been answered.
pub(crate) struct RequestAnswered {
    pub(crate) route: Route,
    pub(crate) status: StatusCode,
    pub(crate) elapsed: Duration,
    /// What was asked for, if somebody reads the log line.
    pub(crate) asked: Option<(Method, String)>,
}

impl RequestAnswered {
    /// Whether the log line will be written.
    pub(crate) fn is_logged() -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    pub(crate) fn emit(self) {
        let Self { route, status, elapsed, asked } = self;
        let metrics = &BY_ROUTE[route as usize];
        metrics.seconds.observe(elapsed.as_secs_f64());
        match USUAL.iter().position(|usual| *usual == status) {
            Some(place) => metrics.usual[place].inc(),
            None => REQUESTS.with_label_values(&[route.label(), status.as_str()]).inc(),
        }
        if let Some((method, path)) = asked {
            tracing::debug!(%method, path, status = status.as_u16(), micros = elapsed.as_micros(), "request");
        }
    }
}

/// A counter without labels.
fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::new(name, help))
}

/// Another generation has taken the place of what was served.
pub(crate) struct GenerationServed<'a> {
    pub(crate) summary: &'a Summary,
    /// `memory`, or `single` if answers are read one by one.
    pub(crate) mode: &'static str,
    /// From looking into the store to serving.
    pub(crate) elapsed: Duration,
}

static GENERATIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_generations_served_total", "Generations that took the place of what was served.")
});

impl GenerationServed<'_> {
    pub(crate) fn emit(self) {
        GENERATIONS.inc();
        tracing::info!(
            generation = %self.summary.generation,
            trace_id = %self.summary.trace_id,
            assets = self.summary.assets,
            bytes = self.summary.answer_bytes,
            mode = self.mode,
            millis = self.elapsed.as_millis(),
            "serving a new generation"
        );
    }
}

/// What the store holds could not be read. What is served stays.
pub(crate) struct GenerationUnreadable<'a> {
    pub(crate) error: &'a (dyn Error + 'static),
    /// Whether somebody has logged already that this goes on: the store, or this event before.
    pub(crate) known: bool,
}

static GENERATIONS_UNREADABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "cripto_generations_unreadable_total",
        "Failures to read what the store holds; it is tried again.",
    )
});

impl GenerationUnreadable<'_> {
    pub(crate) fn emit(self) {
        GENERATIONS_UNREADABLE.inc();
        if self.known {
            tracing::debug!(error = self.error, "cannot read the published predictions");
        } else {
            tracing::error!(error = self.error, "cannot read the published predictions");
        }
    }
}

/// One answer could not be read from the store.
pub(crate) struct AnswerUnreadable<'a> {
    /// Nothing if it is the list of all, or of many.
    pub(crate) asset: Option<&'a Asset>,
    pub(crate) error: &'a (dyn Error + 'static),
    /// Whether the store has logged already that it cannot be reached.
    pub(crate) known: bool,
}

static ANSWERS_UNREADABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_answers_unreadable_total", "Failures to read one answer from the store for a request.")
});

impl AnswerUnreadable<'_> {
    pub(crate) fn emit(self) {
        let Self { asset, error, known } = self;
        let asset = asset.map(Asset::as_str);
        ANSWERS_UNREADABLE.inc();
        if known {
            tracing::debug!(asset, error, "cannot read an answer");
        } else {
            tracing::warn!(asset, error, "cannot read an answer");
        }
    }
}

/// An answer could not be made, which is a fault of ours.
pub(crate) struct RenderingFailed {
    pub(crate) error: RenderError,
}

static RENDERINGS_FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "cripto_renderings_failed_total",
        "Answers to a request that could not be made by a fault of ours.",
    )
});

impl RenderingFailed {
    pub(crate) fn emit(self) {
        RENDERINGS_FAILED.inc();
        tracing::error!(error = %Causes(&self.error), "cannot make an answer");
    }
}

/// An answer that is not part of what is in memory was looked up in the cache.
pub(crate) struct CacheAsked {
    pub(crate) hit: bool,
}

static CACHE_HITS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("cripto_answer_cache_hits_total", "Single answers found in the cache."));
static CACHE_MISSES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_answer_cache_misses_total", "Single answers that were not in the cache.")
});

impl CacheAsked {
    pub(crate) fn emit(self) {
        let counter = if self.hit { &CACHE_HITS } else { &CACHE_MISSES };
        counter.inc();
    }
}

/// Somebody has asked for a reload.
pub(crate) struct ReloadAsked {
    /// Whether one was running.
    pub(crate) coalesced: bool,
}

static RELOADS_ASKED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("cripto_reloads_asked_total", "Requests for a reload."));
static RELOADS_COALESCED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "cripto_reloads_coalesced_total",
        "Requests for a reload while one was running, which share the next.",
    )
});

impl ReloadAsked {
    pub(crate) fn emit(self) {
        RELOADS_ASKED.inc();
        if self.coalesced {
            RELOADS_COALESCED.inc();
        }
        tracing::debug!(coalesced = self.coalesced, "reload asked for");
    }
}

/// A reload has ended.
pub(crate) struct ReloadEnded<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) failure: Option<&'a (dyn Error + 'static)>,
}

static RELOADS_FAILED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("cripto_reloads_failed_total", "Reloads that failed."));

impl ReloadEnded<'_> {
    pub(crate) fn emit(self) {
        let millis = self.elapsed.as_millis();
        match self.failure {
            None => tracing::info!(millis, "reloaded"),
            Some(error) => {
                RELOADS_FAILED.inc();
                tracing::error!(millis, error, "reload failed");
            }
        }
    }
}

/// A reload was asked for without the token.
pub(crate) struct ReloadRefused;

static RELOADS_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_reloads_refused_total", "Requests for a reload that did not bring the token.")
});

impl ReloadRefused {
    pub(crate) fn emit(self) {
        RELOADS_REFUSED.inc();
        tracing::info!("reload refused: no token, or a wrong one");
    }
}

/// The system gave no connection, for instance because no file descriptor is free.
pub(crate) struct ConnectionRefused {
    pub(crate) error: io::Error,
}

static CONNECTIONS_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_connections_refused_total", "Connections that the system could not accept.")
});

impl ConnectionRefused {
    pub(crate) fn emit(self) {
        CONNECTIONS_REFUSED.inc();
        tracing::warn!(error = %Causes(&self.error), "cannot accept a connection");
    }
}

/// A connection ended in the middle of something, or spoke no HTTP.
pub(crate) struct ConnectionFailed {
    pub(crate) error: hyper::Error,
}

static CONNECTIONS_FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("cripto_connections_failed_total", "Connections that ended amid something or spoke no HTTP.")
});

impl ConnectionFailed {
    pub(crate) fn emit(self) {
        CONNECTIONS_FAILED.inc();
        tracing::debug!(error = %Causes(&self.error), "connection failed");
    }
}

/// Requests were still in progress when the time for them was over.
pub(crate) struct RequestsCutOff {
    pub(crate) waited: Duration,
}

impl RequestsCutOff {
    /// Nobody will ask this process for its metrics any more, so there is nothing to count.
    pub(crate) fn emit(self) {
        tracing::warn!(seconds = self.waited.as_secs(), "requests were still in progress at shutdown");
    }
}

/// Counts from the start on, so that a counter is there, at zero, before its event has happened for the first time.
pub(crate) fn count() {
    let _: &[RouteMetrics] = &*BY_ROUTE;
    for counter in [
        &GENERATIONS,
        &GENERATIONS_UNREADABLE,
        &ANSWERS_UNREADABLE,
        &RENDERINGS_FAILED,
        &CACHE_HITS,
        &CACHE_MISSES,
        &RELOADS_ASKED,
        &RELOADS_COALESCED,
        &RELOADS_FAILED,
        &RELOADS_REFUSED,
        &CONNECTIONS_REFUSED,
        &CONNECTIONS_FAILED,
    ] {
        LazyLock::force(counter);
    }
}
