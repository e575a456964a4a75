use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One piece of work on its way from the event that caused it to the answers that came of it, in log lines and in
/// what is published: 16 random bytes, written as 32 hexadecimal digits, as the W3C's Trace Context has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId(u128);

/// A text that is no trace id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a trace id: 32 hexadecimal digits expected")]
pub struct InvalidTraceId(String);

impl TraceId {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(fastrand::u128(1..))
    }
}

impl Default for TraceId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl FromStr for TraceId {
    type Err = InvalidTraceId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(Self).ok_or_else(|| InvalidTraceId(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for TraceId {
    type Error = InvalidTraceId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(trace_id: TraceId) -> Self {
        trace_id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_as_it_was_written() {
        let trace_id = TraceId::new();
        assert_eq!(trace_id.to_string().parse(), Ok(trace_id));
        assert_ne!(TraceId::new(), trace_id);
        for text in ["", "1", "+0000000000000000000000000000001", &"g".repeat(32)] {
            assert!(text.parse::<TraceId>().is_err(), "{text:?} was accepted");
        }
    }
}
