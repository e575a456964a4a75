use std::str::Utf8Error;

use percent_encoding::percent_decode_str;

/// The key that S3 wrote in the form of `application/x-www-form-urlencoded`, as it does in notifications and in
/// listings of `encoding-type=url`.
///
/// # Errors
/// What comes out is not UTF-8, as every key is.
pub(crate) fn decoded(key: &str) -> Result<String, Utf8Error> {
    let spaced = key.replace('+', " ");
    Ok(percent_decode_str(&spaced).decode_utf8()?.into_owned())
}
