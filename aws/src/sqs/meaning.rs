//! What a message of the queue means: one pure function, and what it knows of the structures that messages have.

use std::{collections::BTreeSet, str::Utf8Error};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{Change, InvalidRequestId, RequestId};
use thiserror::Error;

use crate::form;

/// The longest message that is read, in bytes: what SQS takes at most.
pub const MAX_BODY: usize = 1024 * 1024;

/// The objects whose changes matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The bucket's name, or the alias or the ARN of an access point. Events name the bucket behind an access point, and
    /// not the access point. So every bucket's events count where this names an access point.
    pub bucket: String,
    /// How their keys begin.
    pub prefixes: Vec<String>,
}

impl Scope {
    /// How the keys begin that the scorer reads.
    pub const DEFAULT_PREFIXES: [&str; 4] = ["models/", "features/", "data/", "raw.csv"];

    /// Everything that the scorer reads in a bucket.
    pub fn of(bucket: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), prefixes: Self::DEFAULT_PREFIXES.map(str::to_owned).into() }
    }
}

/// What a message means for the scorer.
#[derive(Debug)]
pub enum Meaning {
    /// Objects in the scope have changed.
    Changes {
        /// Each at most once.
        changes: BTreeSet<Change>,
        /// When the first of them did, by S3's clock.
        oldest: Option<Timestamp>,
        /// Records of the same message that cannot be understood.
        unreadable: Vec<Poison>,
    },
    /// Somebody asks for a reload.
    Request(RequestId),
    /// Nothing, and why.
    Nothing {
        /// What it tells of, for its first record.
        reason: Irrelevant,
        /// Records of the same message that cannot be understood.
        unreadable: Vec<Poison>,
    },
    /// It cannot be understood, today or ever.
    Poison(Poison),
}

/// Why a message that was understood means nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Irrelevant {
    /// S3 tried whether the queue can be reached.
    TestEvent,
    /// It holds no records.
    NoRecords,
    /// Something happened that neither makes nor removes an object.
    OtherEvent,
    /// It happened in another bucket.
    OtherBucket,
    /// It happened to an object that nobody reads.
    OtherKey,
}

impl Irrelevant {
    /// As it is called in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TestEvent => "test_event",
            Self::NoRecords => "no_records",
            Self::OtherEvent => "other_event",
            Self::OtherBucket => "other_bucket",
            Self::OtherKey => "other_key",
        }
    }
}

/// Why a message or a record cannot be understood.
#[derive(Debug, Error)]
pub enum Poison {
    /// SQS gives nothing that long.
    #[error("{length} bytes are more than the {MAX_BODY} that are read")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Not JSON, or a field is missing or of another type.
    #[error("not as documented: {0}")]
    Malformed(#[from] serde_json::Error),
    /// JSON of none of the known structures.
    #[error("neither an S3 notification, nor one in an SNS or EventBridge message, nor a request to reload")]
    Unknown,
    /// An SNS message in an SNS message.
    #[error("wrapped more than once")]
    Nested,
    /// A later structure, whose fields may mean something else.
    #[error("{structure} of version {found:?}, and only {known} is known")]
    Version {
        /// Which structure.
        structure: &'static str,
        /// Its version.
        found: String,
        /// The major version that is understood.
        known: &'static str,
    },
    /// A key that is not UTF-8 when it is decoded.
    #[error("key {key:?}: {source}")]
    Key {
        /// The key as it came.
        key: String,
        /// What is wrong with it.
        source: Utf8Error,
    },
    /// A request under a name that no request can have.
    #[error(transparent)]
    RequestId(#[from] InvalidRequestId),
}

/// What the body of a message means.
///
/// Understood are, by their documentation in the Amazon S3 User Guide:
///
/// * S3's own notifications of major version 2 ("Event message structure") and its test event. Keys are
///   form-encoded. Sent to the queue by S3, or by SNS with raw delivery.
/// * The same in an SNS notification, once.
/// * S3's events of EventBridge ("EventBridge event message structure"), directly or in an SNS notification. Keys
///   are as they are.
/// * [`ReloadQueue`](crate::ReloadQueue)'s requests: `{"cripto":"reload","version":1,"id":"…"}`.
///
/// Creation, removal and expiry of an object are changes. `versionId`, `eTag` and `sequencer` are not looked at: a
/// change says where to look, and what is there is then seen from the bucket itself.
#[must_use]
pub fn meaning(body: &str, scope: &Scope) -> Meaning {
    if body.len() > MAX_BODY {
        return Meaning::Poison(Poison::TooLong { length: body.len() });
    }
    let understood = || match serde_json::from_str(body)? {
        Envelope { message_type: Some(message_type), message: Some(message), .. }
            if message_type == "Notification" =>
        {
            let wrapped: Envelope = serde_json::from_str(&message)?;
            if wrapped.message_type.is_some() && wrapped.message.is_some() {
                return Err(Poison::Nested);
            }
            wrapped.meaning(scope)
        }
        envelope => envelope.meaning(scope),
    };
    understood().unwrap_or_else(Meaning::Poison)
}

/// The fields by which the structures are told from each other.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Records")]
    records: Option<Vec<Value>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Type")]
    message_type: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    source: Option<String>,
    version: Option<Value>,
    time: Option<String>,
    detail: Option<Value>,
    cripto: Option<String>,
    id: Option<String>,
}

impl Envelope {
    fn meaning(self, scope: &Scope) -> Result<Meaning, Poison> {
        if let Some(records) = self.records {
            return of_records(records, scope);
        }
        if self.event.as_deref() == Some("s3:TestEvent") {
            return Ok(nothing(Irrelevant::TestEvent));
        }
        if self.cripto.as_deref() == Some(ReloadRequest::KIND) {
            let version = self.version.unwrap_or_default();
            if version != ReloadRequest::VERSION {
                return Err(Poison::Version {
                    structure: "a request to reload",
                    found: shown(&version),
                    known: "1",
                });
            }
            return Ok(Meaning::Request(self.id.unwrap_or_default().parse()?));
        }
        let (Some(detail_type), Some(detail)) = (self.detail_type, self.detail) else {
            return Err(Poison::Unknown);
        };
        let version = self.version.unwrap_or_default();
        if version != "0" {
            return Err(Poison::Version { structure: "an event", found: shown(&version), known: "0" });
        }
        if self.source.as_deref() != Some("aws.s3") {
            return Ok(nothing(Irrelevant::OtherEvent));
        }
        of_detail(&detail_type, detail, self.time.as_deref(), scope)
    }
}

fn nothing(reason: Irrelevant) -> Meaning {
    Meaning::Nothing { reason, unreadable: Vec::new() }
}

/// A version as it came, shortened.
fn shown(version: &Value) -> String {
    let text = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
    text.chars().take(32).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Versioned {
    event_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_name: String,
    event_time: Option<String>,
    s3: Place,
}

/// Both structures name an object in the same way, but for the encoding of its key.
#[derive(Deserialize)]
struct Place {
    bucket: BucketName,
    object: ObjectKey,
}

#[derive(Deserialize)]
struct BucketName {
    name: String,
}

#[derive(Deserialize)]
struct ObjectKey {
    key: String,
}

fn of_records(records: Vec<Value>, scope: &Scope) -> Result<Meaning, Poison> {
    let mut changes = BTreeSet::new();
    let mut oldest = None;
    let mut first_irrelevant = None;
    let mut unreadable = Vec::new();
    for record in records {
        match of_record(record, scope) {
            Ok(Ok((change, time))) => {
                changes.insert(change);
                oldest = oldest.into_iter().chain(time).min();
            }
            Ok(Err(irrelevant)) => _ = first_irrelevant.get_or_insert(irrelevant),
            Err(poison) => unreadable.push(poison),
        }
    }
    if !changes.is_empty() {
        return Ok(Meaning::Changes { changes, oldest, unreadable });
    }
    if let Some(reason) = first_irrelevant {
        return Ok(Meaning::Nothing { reason, unreadable });
    }
    unreadable.into_iter().next().map_or_else(|| Ok(nothing(Irrelevant::NoRecords)), Err)
}

type Found = Result<(Change, Option<Timestamp>), Irrelevant>;

fn of_record(record: Value, scope: &Scope) -> Result<Found, Poison> {
    // The version first: what a later one has in its fields is not known.
    let Versioned { event_version } = Versioned::deserialize(&record)?;
    if event_version.split('.').next() != Some("2") {
        let found = shown(&Value::from(event_version));
        return Err(Poison::Version { structure: "a notification", found, known: "2" });
    }
    let Record { event_name, event_time, s3 } = serde_json::from_value(record)?;
    let event = event_name.strip_prefix("s3:").unwrap_or(&event_name);
    let kind = event.split(':').next().unwrap_or_default();
    let change = match kind {
        "ObjectCreated" => Change::Object,
        "ObjectRemoved" | "LifecycleExpiration" => Change::Removed,
        _ => return Ok(Err(Irrelevant::OtherEvent)),
    };
    let key = match form::decoded(&s3.object.key) {
        Ok(key) => key,
        Err(source) => return Err(Poison::Key { key: s3.object.key, source }),
    };
    Ok(scope.change(change, &s3.bucket.name, key, event_time.as_deref()))
}

fn of_detail(kind: &str, detail: Value, time: Option<&str>, scope: &Scope) -> Result<Meaning, Poison> {
    if let Some(version) = detail.get("version").filter(|version| **version != "0") {
        return Err(Poison::Version { structure: "an S3 event", found: shown(version), known: "0" });
    }
    let change = match kind {
        "Object Created" => Change::Object,
        "Object Deleted" => Change::Removed,
        _ => return Ok(nothing(Irrelevant::OtherEvent)),
    };
    let place: Place = serde_json::from_value(detail)?;
    Ok(match scope.change(change, &place.bucket.name, place.object.key, time) {
        Ok((change, oldest)) => Meaning::Changes { changes: [change].into(), oldest, unreadable: Vec::new() },
        Err(reason) => nothing(reason),
    })
}

impl Scope {
    fn change(&self, change: fn(String) -> Change, bucket: &str, key: String, time: Option<&str>) -> Found {
        if bucket != self.bucket && !is_access_point(&self.bucket) {
            return Err(Irrelevant::OtherBucket);
        }
        if !self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            return Err(Irrelevant::OtherKey);
        }
        // The time is for a metric only: a strange one is no reason to lose the change.
        Ok((change(key), time.and_then(|time| time.parse().ok())))
    }
}

/// Whether a bucket's name stands for an access point. S3 reserves these endings: see "Bucket naming rules" in the Amazon S3
/// User Guide.
fn is_access_point(bucket: &str) -> bool {
    ["-s3alias", "--ol-s3", ".mrap"].iter().any(|ending| bucket.ends_with(ending))
        || bucket.starts_with("arn:")
}

/// The message that asks for a reload, as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct ReloadRequest<'a> {
    cripto: &'static str,
    version: u8,
    id: &'a RequestId,
}

impl<'a> ReloadRequest<'a> {
    const KIND: &'static str = "reload";
    const VERSION: u8 = 1;

    pub(super) fn new(id: &'a RequestId) -> Self {
        Self { cripto: Self::KIND, version: Self::VERSION, id }
    }
}

#[cfg(test)]
mod tests;
