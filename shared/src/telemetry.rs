//! Logging, set up the same way in every program.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{InvalidVariable, LogFormat, variable};

/// Logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// `LOG_FORMAT` is neither `text` nor `json`.
    #[error(transparent)]
    Format(#[from] InvalidVariable),
    /// `RUST_LOG` is not a filter.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    /// Another subscriber is installed already.
    #[error(transparent)]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends log lines to standard error: filtered by `RUST_LOG` (default `info`), formatted by `LOG_FORMAT`
/// (`text` or `json`), coloured on a terminal unless `NO_COLOR` is set.
///
/// # Errors
/// A variable has a wrong value, or logging is set up already.
pub fn init() -> Result<(), TelemetryError> {
    let format = variable("LOG_FORMAT")?.unwrap_or_default();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env()?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()?;
        }
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            registry
                .with(fmt::layer().with_ansi(colour).with_target(false).with_writer(std::io::stderr))
                .try_init()?;
        }
    }
    Ok(())
}
