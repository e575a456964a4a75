//! What stands behind the question mark of an address.

use std::{borrow::Cow, str::FromStr};

use crate::error::ApiError;

/// How much of a text that is not as expected is repeated to the one who sent it.
const SHOWN_CHARS: usize = 64;

/// The parameters in the order in which they stand there. One may occur several times.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(query.as_bytes())
}

/// The value of a parameter, as what is expected.
pub(crate) fn parsed<T: FromStr>(name: &str, value: &str, expected: &'static str) -> Result<T, ApiError> {
    value.parse().map_err(|_| wrong(name, value, expected))
}

/// A parameter is not as expected.
pub(crate) fn wrong(name: &str, value: &str, expected: &'static str) -> ApiError {
    ApiError::BadParameter { name: name.to_owned(), value: shown(value), expected }
}

/// The beginning of a text that somebody sent.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
