//! Metrics of the whole process, in the text format of Prometheus.
//!
//! Whoever counts something registers it with the [default registry](prometheus::default_registry) when it is first
//! used. An event that is worth a log line and a counter is one struct, whose one method writes both, so that they
//! cannot tell different stories.

use prometheus::{Encoder, TextEncoder};

/// What `/metrics` is: its `Content-Type`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics as they are now.
#[must_use]
pub fn render() -> Vec<u8> {
    let mut text = Vec::new();
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut text) {
        // A family without samples, for instance. The others are written.
        tracing::debug!(%error, "metrics cannot be written");
    }
    text
}

/// The registered metric. One of the same name that is registered already, which only a mistake in this program can
/// cause, counts on its own and is not seen.
pub fn registered<M: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the names and labels are constants in the source");
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::error!(%error, "a metric is not registered");
    }
    metric
}
