//! Settings that are read from the environment, once, at the start.

use std::{env, fmt::Display, str::FromStr, time::Duration};

use thiserror::Error;

/// An environment variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{variable}={value:?}: {expected} expected")]
pub struct InvalidVariable {
    /// The variable's name.
    pub variable: &'static str,
    /// The value it has.
    pub value: String,
    /// What it should be.
    pub expected: String,
}

/// The value of an environment variable, or nothing if it is unset or empty.
///
/// # Errors
/// It is set to something that does not parse.
pub fn variable<T>(name: &'static str) -> Result<Option<T>, InvalidVariable>
where
    T: FromStr,
    T::Err: Display,
{
    match env::var_os(name) {
        None => Ok(None),
        Some(value) => parse(name, &value.to_string_lossy()),
    }
}

fn parse<T>(variable: &'static str, value: &str) -> Result<Option<T>, InvalidVariable>
where
    T: FromStr,
    T::Err: Display,
{
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|error: T::Err| InvalidVariable {
        variable,
        value: value.to_owned(),
        expected: error.to_string(),
    })
}

/// A time in whole seconds, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(seconds @ 1..=31_536_000) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err("whole seconds, from 1 to a year's"),
        }
    }
}

/// How log lines look: the variable `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for a log collector.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("text or json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_names_the_variable_what_it_got_and_what_it_wants() {
        let error = parse::<LogFormat>("LOG_FORMAT", "xml").unwrap_err();
        assert_eq!(error.to_string(), r#"LOG_FORMAT="xml": text or json expected"#);
        assert_eq!(parse::<LogFormat>("LOG_FORMAT", ""), Ok(None));
        assert_eq!(parse("LOG_FORMAT", "json"), Ok(Some(LogFormat::Json)));
        assert_eq!(parse("RELOAD_WAIT", "30"), Ok(Some(Seconds(Duration::from_secs(30)))));
        for text in ["0", "-1", "1.5", "1s", "31536001"] {
            assert!(parse::<Seconds>("RELOAD_WAIT", text).is_err(), "{text:?} was accepted");
        }
    }
}
