//! Logging, set up the same way in every program.

use std::{io, str::FromStr};

use anstream::{AutoStream, ColorChoice};
use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{InvalidVariable, LogFormat, variable};

/// Logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// `LOG_FORMAT` or `RUST_LOG` has a wrong value.
    #[error(transparent)]
    Variable(#[from] InvalidVariable),
    /// Another subscriber is installed already.
    #[error(transparent)]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Which log lines are written: the variable `RUST_LOG`, such as `info` or `info,scorer=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// What is written where nothing is said.
const USUAL: &str = "info";

impl LogFilter {
    fn filter(text: &str) -> Option<EnvFilter> {
        let filter =
            EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).parse(text).ok()?;
        // Credentials that cannot be had fail the call that needs them, and that is logged with its causes. The SDK's own
        // account of it, several hundred characters at each try, is for who asks for more than is usual.
        if text == USUAL {
            Some(filter.add_directive("aws_config=error".parse().ok()?))
        } else {
            Some(filter)
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self(USUAL.to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::filter(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err("directives such as info or info,scorer=debug"),
        }
    }
}

/// Sends log lines to standard error: filtered by `RUST_LOG` (default `info`), formatted by `LOG_FORMAT`
/// (`text` or `json`), coloured on a terminal unless `NO_COLOR` is set.
///
/// `stderr` gives what writes there: [`io::stderr`], or what keeps lines apart from what else is drawn on a terminal.
///
/// # Errors
/// A variable has a wrong value, or logging is set up already.
pub fn init<W: io::Write>(stderr: impl Fn() -> W + Send + Sync + 'static) -> Result<(), TelemetryError> {
    let (format, filter) =
        (variable("LOG_FORMAT")?.unwrap_or_default(), variable("RUST_LOG")?.unwrap_or_default());
    init_with(format, &filter, stderr)
}

/// As [`init`], whatever the variables say.
///
/// # Errors
/// Logging is set up already.
pub fn init_with<W: io::Write>(
    format: LogFormat,
    filter: &LogFilter,
    stderr: impl Fn() -> W + Send + Sync + 'static,
) -> Result<(), TelemetryError> {
    let registry = tracing_subscriber::registry().with(LogFilter::filter(&filter.0));
    match format {
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(stderr);
            registry.with(layer).try_init()?;
        }
        LogFormat::Text => {
            let colour = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
            registry
                .with(fmt::layer().with_ansi(colour).with_target(false).with_writer(stderr))
                .try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::LogFilter;

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        for text in ["info", "info,scorer=debug", "off", "warn,aws_sdk_s3[span]=trace"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text:?} was refused");
        }
        assert!("info,scorer=loud".parse::<LogFilter>().is_err());
    }
}
