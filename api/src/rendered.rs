//! Answers as bytes, with the headers that say how to keep them.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Write},
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
            LAST_MODIFIED, VARY,
        },
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::{Timestamp, fmt::rfc2822};
use serde::Serialize;

use crate::pieces::Pieces;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Anyone may keep the answer but has to ask whether it is still the newest: a new generation must be seen at
/// once, and an unchanged one costs a 304.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A body that fits one network packet gains nothing from being smaller.
const WORTH_COMPRESSING: usize = 1400;

/// An answer that could not be made, which would be a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("cannot write an answer as JSON")]
    Json(#[from] serde_json::Error),
    #[error("cannot compress an answer or write its headers")]
    Http(#[from] io::Error),
    #[error("the rendering was abandoned")]
    Abandoned(#[from] tokio::task::JoinError),
}

/// A cacheable answer, rendered once and given to everyone who asks.
#[derive(Debug, Clone)]
pub(crate) struct Rendered {
    media_type: HeaderValue,
    /// When what it says was found out, where that is known. Whether the client has it is told by the `ETag`, which
    /// is finer than a second.
    last_modified: Option<HeaderValue>,
    identity: Representation,
    /// Present where the body is large enough to be worth it.
    gzip: Option<Box<Representation>>,
}

#[derive(Debug, Clone)]
struct Representation {
    body: Bytes,
    /// A strong validator, and therefore another one for each encoding.
    etag: HeaderValue,
}

impl Rendered {
    /// What an answer takes in memory beyond its body: an entry of 176 bytes in a table that is between 7/16 and 7/8
    /// full, and the allocations of symbol, headers and shares, 420 to 590 bytes together.
    pub(crate) const OVERHEAD_BYTES: u64 = 512;

    pub(crate) fn json(answer: &impl Serialize) -> Result<Self, RenderError> {
        Ok(Self::new(JSON, serde_json::to_vec(answer)?)?)
    }

    pub(crate) fn new(media_type: HeaderValue, body: impl Into<Bytes>) -> io::Result<Self> {
        let body = body.into();
        let compressed = compressed(&body)?;
        Self::from_parts(media_type, body, compressed, None)
    }

    /// A JSON text about what was found out at a time.
    pub(crate) fn dated(body: Bytes, found_out: Timestamp) -> io::Result<Self> {
        let compressed = compressed(&body)?;
        Self::from_parts(JSON, body, compressed, Some(found_out))
    }

    /// An answer that was compressed before it came here.
    pub(crate) fn from_gzip(media_type: HeaderValue, compressed: &'static [u8]) -> io::Result<Self> {
        let mut body = Vec::new();
        GzDecoder::new(compressed).read_to_end(&mut body)?;
        Self::from_parts(media_type, body.into(), Some(Bytes::from_static(compressed)), None)
    }

    fn from_parts(
        media_type: HeaderValue,
        body: Bytes,
        compressed: Option<Bytes>,
        last_modified: Option<Timestamp>,
    ) -> io::Result<Self> {
        // Two contents with one hash are the only danger, and nobody gains from making them.
        let mut hasher = DefaultHasher::new();
        hasher.write(&body);
        let hash = hasher.finish();
        let date = match last_modified {
            Some(instant) => rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&instant)
                .map_err(io::Error::other)?,
            None => String::new(),
        };
        // All in one allocation of this answer's own: who counts its uses are those who ask for this asset, and not
        // every request there is.
        let mut values = Bytes::from(format!("\"{hash:016x}\"\"{hash:016x}-gzip\"{date}"));
        let mut next =
            |length| HeaderValue::from_maybe_shared(values.split_to(length)).map_err(io::Error::other);
        let [etag, gzip_etag] = [next(18)?, next(23)?];
        let last_modified = if date.is_empty() { None } else { Some(next(date.len())?) };
        let gzip = compressed.map(|body| Box::new(Representation { body, etag: gzip_etag }));
        Ok(Self { media_type, last_modified, identity: Representation { body, etag }, gzip })
    }

    /// The body as it is.
    pub(crate) fn body(&self) -> &Bytes {
        &self.identity.body
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let gzip = self.gzip.as_ref().map_or(0, |gzip| gzip.body.len());
        (self.identity.body.len() as u64).saturating_add(gzip as u64).saturating_add(Self::OVERHEAD_BYTES)
    }

    /// The answer to a request with these headers: 200 or, for one who has it already, 304.
    pub(crate) fn respond(&self, request: &HeaderMap) -> Response {
        let gzip = self.gzip.as_deref().filter(|_| accepts_gzip(request));
        let representation = gzip.unwrap_or(&self.identity);
        let mut response = Response::new(Body::empty());
        if is_known(request, &representation.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::new(Pieces(representation.body.clone()));
            response.headers_mut().insert(CONTENT_TYPE, self.media_type.clone());
            if gzip.is_some() {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
        let headers = response.headers_mut();
        headers.insert(ETAG, representation.etag.clone());
        headers.insert(CACHE_CONTROL, REVALIDATE);
        if let Some(last_modified) = &self.last_modified {
            headers.insert(LAST_MODIFIED, last_modified.clone());
        }
        if self.gzip.is_some() {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}

/// The body in gzip, if that is worth it.
fn compressed(body: &Bytes) -> io::Result<Option<Bytes>> {
    if body.len() < WORTH_COMPRESSING {
        return Ok(None);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(Some(encoder.finish()?.into()))
}

/// An answer about this moment, which nobody may keep.
#[derive(Debug, Clone)]
pub(crate) struct Momentary {
    status: StatusCode,
    body: Bytes,
}

impl Momentary {
    pub(crate) fn json(status: StatusCode, answer: &impl Serialize) -> Self {
        let body = serde_json::to_vec(answer).expect("structs of texts and numbers have a JSON form");
        Self { status, body: body.into() }
    }
}

impl IntoResponse for Momentary {
    fn into_response(self) -> Response {
        (self.status, [(CONTENT_TYPE, JSON), (CACHE_CONTROL, NO_STORE)], self.body).into_response()
    }
}

/// The elements of a header that is a list, however many lines it is on.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

/// Whether `If-None-Match` names this validator. The comparison is the weak one, as RFC 9110 asks for here.
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    elements(request, &IF_NONE_MATCH)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == etag.as_bytes())
}

/// Whether `Accept-Encoding` allows gzip: by its name, or else by `*`, with a weight above zero.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let mut any_other = false;
    for element in elements(request, &ACCEPT_ENCODING) {
        let (coding, parameters) = element.split_once(';').unwrap_or((element, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        let allowed = weight.is_ok_and(|weight| weight > 0.0);
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return allowed,
            "*" => any_other = allowed,
            _ => {}
        }
    }
    any_other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn gzip_is_sent_to_those_who_accept_it() {
        for (lines, accepted) in [
            (&["gzip"][..], true),
            (&["deflate, GZIP;q=0.5, br"], true),
            (&["deflate", "gzip"], true),
            (&["*"], true),
            (&["*;q=0, gzip"], true),
            (&[], false),
            (&[""], false),
            (&["identity"], false),
            (&["gzip; q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["gzip;q=x"], false),
        ] {
            assert_eq!(accepts_gzip(&request(ACCEPT_ENCODING, lines)), accepted, "{lines:?}");
        }
    }

    #[test]
    fn a_validator_is_known_in_every_way_a_client_may_name_it() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (lines, known) in [
            (&["\"abc\""][..], true),
            (&["W/\"abc\""], true),
            (&["\"x\", W/\"y\" ,\"abc\""], true),
            (&["\"x\"", "\"abc\""], true),
            (&["*"], true),
            (&[], false),
            (&["abc"], false),
            (&["\"abc-gzip\""], false),
        ] {
            assert_eq!(is_known(&request(IF_NONE_MATCH, lines), &etag), known, "{lines:?}");
        }
    }

    #[test]
    fn each_encoding_has_its_own_validator_and_small_bodies_have_one_encoding() {
        let large = Rendered::new(JSON, vec![b'a'; WORTH_COMPRESSING]).unwrap();
        assert_ne!(large.gzip.unwrap().etag, large.identity.etag);
        assert!(Rendered::new(JSON, vec![b'a'; WORTH_COMPRESSING - 1]).unwrap().gzip.is_none());
    }

    #[test]
    fn the_validator_follows_from_the_content_alone() {
        let etag = |body: &'static str| Rendered::new(JSON, body).unwrap().identity.etag;
        assert_eq!(etag("a"), etag("a"));
        assert_ne!(etag("a"), etag("b"));
        assert_eq!(etag("a").len(), 18);
    }

    #[test]
    fn headers_are_cut_where_they_end() {
        let dated = Rendered::dated(vec![b'a'; WORTH_COMPRESSING].into(), Timestamp::UNIX_EPOCH).unwrap();
        let [plain, gzip] =
            [&dated.identity.etag, &dated.gzip.as_ref().unwrap().etag].map(|etag| etag.to_str().unwrap());
        assert_eq!(gzip, format!("{}-gzip\"", plain.strip_suffix('"').unwrap()));
        assert_eq!(dated.last_modified.unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
