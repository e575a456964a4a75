//! What is true at this moment, for `GET /metrics`. Nothing here is computed before somebody asks; what has happened
//! is counted in `events`.

use std::sync::LazyLock;

use jiff::{Timestamp, tz::TimeZone};
use prometheus::{Encoder, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use shared::metrics::registered;

use crate::{answers::seconds_between, predictions::Predictions};

static OPEN_CONNECTIONS: LazyLock<IntGauge> =
    LazyLock::new(|| registered(IntGauge::new("cripto_open_connections", "Connections that are open.")));

/// A connection is open as long as this lives.
pub(crate) struct OpenConnection;

impl OpenConnection {
    pub(crate) fn begin() -> Self {
        OPEN_CONNECTIONS.inc();
        Self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN_CONNECTIONS.dec();
    }
}

static LISTENERS: LazyLock<IntGauge> =
    LazyLock::new(|| registered(IntGauge::new("cripto_listeners", "Listeners of /eventos.")));

/// Somebody listens as long as this lives.
pub(crate) struct Listening;

impl Listening {
    pub(crate) fn begin() -> Self {
        LISTENERS.inc();
        Self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        LISTENERS.dec();
    }
}

/// All metrics of this process, and how `predictions` are now.
pub(crate) fn render(predictions: &Predictions, now: Timestamp) -> Vec<u8> {
    let mut text = Vec::new();
    if let Err(error) = of_predictions(predictions, now)
        .and_then(|state| TextEncoder::new().encode(&state.gather(), &mut text))
    {
        tracing::error!(%error, "metrics cannot be written");
    }
    text.extend(shared::metrics::render());
    text
}

/// The state of the predictions, in a registry of its own: a model that is gone is gone from it too.
fn of_predictions(predictions: &Predictions, now: Timestamp) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, value: u64| {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))
    };
    let by_model = |name: &str, help: &str| {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &["model"])?;
        registry.register(Box::new(gauge.clone()))?;
        prometheus::Result::Ok(gauge)
    };
    let reachable = predictions.unreachable_since().is_none();
    gauge(
        "cripto_store_reachable",
        "1 while the store of predictions can be reached, else 0.",
        reachable.into(),
    )?;
    let bytes = predictions.answer_bytes();
    gauge("cripto_answer_memory_bytes", "Memory for answers, as it is counted against the budget.", bytes)?;

    let answers = predictions.now();
    let summary = answers.served().map(|served| &*served.summary);
    let models = summary.map_or(&[][..], |summary| &summary.models);
    gauge("cripto_models_loaded", "Models in force.", models.len() as u64)?;
    let Some(summary) = summary else { return Ok(registry) };
    gauge("cripto_generation", "The number of the publication that is served.", summary.generation.0)?;
    gauge("cripto_assets", "Assets that are served.", summary.assets as u64)?;
    gauge(
        "cripto_stale_assets",
        "Assets whose newest row lies far behind the newest row of all.",
        summary.stale.len() as u64,
    )?;
    let age = seconds_between(summary.scored_at, now);
    gauge("cripto_predictions_age_seconds", "Since the predictions that are served were made.", age)?;
    let errors = by_model("cripto_prediction_errors", "Assets that the model has no prediction for.")?;
    let predicted = by_model("cripto_predictions", "Assets that the model has a prediction for.")?;
    let data_age = by_model(
        "cripto_data_age_seconds",
        "Since the day began, in UTC, of the newest row that the model predicted from.",
    )?;
    let oldest_age = by_model(
        "cripto_oldest_data_age_seconds",
        "Since the day began, in UTC, of the oldest row that the model predicted from.",
    )?;
    for model in models {
        let name = [model.name.as_str()];
        errors.with_label_values(&name).set(i64::try_from(model.failed).unwrap_or(i64::MAX));
        predicted.with_label_values(&name).set(i64::try_from(model.predicted).unwrap_or(i64::MAX));
        for (ages, day) in [(&data_age, model.data_until), (&oldest_age, model.oldest_data)] {
            if let Some(day) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
                let age = seconds_between(day.timestamp(), now);
                ages.with_label_values(&name).set(i64::try_from(age).unwrap_or(i64::MAX));
            }
        }
    }
    Ok(registry)
}
