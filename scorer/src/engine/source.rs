//! Reading objects: bounded, away from the threads that serve, and never twice what cannot be used.

use std::{
    collections::{HashMap, HashSet},
    io::{BufReader, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
};

use models::Model;
use shared::{Comparison, Object, ObjectError, ObjectStore};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::Settings;
use crate::{
    Progress,
    catalogue::Format,
    progress::TrackedReader,
    tables::{NewestRows, TableError},
};

/// A comparison has a dozen numbers.
const COMPARISON_BYTES: u64 = 64 << 10;

/// How much is asked of the store at a time.
const READ_SIZE: usize = 256 << 10;

pub(super) struct Source {
    objects: Arc<dyn ObjectStore>,
    settings: Settings,
    progress: Progress,
    permits: Semaphore,
    /// Objects that were found unusable.
    refused: Mutex<HashMap<Object, Refused>>,
    /// Pairs of objects whose bytes were compared.
    compared: Mutex<HashMap<(Object, Object), bool>>,
    /// Comparisons that were read.
    comparisons: Mutex<HashMap<Object, Arc<Comparison>>>,
}

/// Why an object was found unusable, and for how long that holds.
#[derive(Clone)]
struct Refused {
    reason: String,
    /// Only in this situation; nothing if the object cannot even be read.
    when: Option<Situation>,
}

/// What an object was asked about, and what it was held against.
#[derive(Clone)]
struct Situation {
    /// Weak, since the rows may be many and are only to be recognised.
    rows: Weak<NewestRows>,
    /// The version that it would have replaced.
    in_force: Option<Object>,
}

/// An object cannot be used.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    /// Why, for a person to read.
    pub(super) reason: String,
    /// Trying again may help.
    pub(super) may_pass: bool,
}

impl Refusal {
    pub(super) fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), may_pass: false }
    }

    fn for_now(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), may_pass: true }
    }
}

impl From<ObjectError> for Refusal {
    fn from(error: ObjectError) -> Self {
        Self::for_now(with_causes(&error))
    }
}

impl Source {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, settings: Settings, progress: Progress) -> Self {
        let permits = Semaphore::new(settings.concurrent_reads.clamp(1, Semaphore::MAX_PERMITS));
        Self {
            objects,
            settings,
            progress,
            permits,
            refused: Mutex::default(),
            compared: Mutex::default(),
            comparisons: Mutex::default(),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        self.objects.list(prefix).await
    }

    pub(super) async fn read_model(&self, object: &Object) -> Result<Model, Refusal> {
        let limits = self.settings.model_limits.clone();
        if Format::of(&object.key) != Some(Format::Parameters) {
            let read = move |reader| {
                Model::read(reader, &limits).map_err(|error| Refusal::for_good(with_causes(&error)))
            };
            return self.read(object, read).await;
        }
        let bytes = self.settings.parameter_bytes;
        self.read_whole(object, bytes, "a parameter file", move |content| {
            Model::read_parameters(&content, &limits).map_err(|error| with_causes(&error))
        })
        .await
    }

    /// Reads a table's bytes, as far as the limit, and makes something of them.
    pub(super) async fn read_table<T: Send + 'static>(
        &self,
        object: &Object,
        parse: impl FnOnce(Vec<u8>) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let limit = self.settings.table_limits.bytes;
        self.read_whole(object, limit, "a table", |content| {
            parse(content).map_err(|error| with_causes(&error))
        })
        .await
    }

    /// Reads what was noted when two models were compared.
    pub(super) async fn comparison(&self, object: &Object) -> Result<Arc<Comparison>, Refusal> {
        if let Some(known) = lock(&self.comparisons).get(object) {
            return Ok(Arc::clone(known));
        }
        let read = |content: Vec<u8>| serde_json::from_slice(&content).map_err(|error| with_causes(&error));
        let comparison: Comparison = self.read_whole(object, COMPARISON_BYTES, "a comparison", read).await?;
        let comparison = Arc::new(comparison);
        lock(&self.comparisons).insert(object.clone(), Arc::clone(&comparison));
        Ok(comparison)
    }

    /// Reads an object of at most `limit` bytes, and makes something of them.
    async fn read_whole<T: Send + 'static>(
        &self,
        object: &Object,
        limit: u64,
        what: &'static str,
        parse: impl FnOnce(Vec<u8>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Refusal> {
        let size = object.size;
        let too_large =
            move |found| Refusal::for_good(format!("{what} of {found} bytes, and at most {limit} are read"));
        if size > limit {
            return Err(too_large(size));
        }
        self.read(object, move |reader| {
            let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            // One byte more than is allowed, so that an object that grew meanwhile is noticed.
            let mut bounded = reader.take(limit.saturating_add(1));
            let read = bounded.read_to_end(&mut content);
            let read = read.map_err(|error| Refusal::for_good(with_causes(&error)))? as u64;
            if read > limit {
                return Err(too_large(read));
            }
            parse(content).map_err(Refusal::for_good)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        object: &Object,
        parse: impl FnOnce(BufReader<TrackedReader>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if let Some(reason) = self.known_refusal(object, None, None) {
            return Err(Refusal::for_good(reason));
        }
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        self.progress.expect(object.size);
        // An object that was written again since it was listed is refused for now: the next reload lists it anew.
        let reader = self.objects.open_listed(object).await?;
        let (reader, interrupted) = TrackedReader::new(reader, &object.key, &self.progress);
        let parsed = spawn_blocking(move || parse(BufReader::with_capacity(READ_SIZE, reader))).await;
        let result = parsed.unwrap_or_else(|_| Err(Refusal::for_good("the reader crashed on it")));
        match result {
            // Whatever the parser made of it, the bytes are not to blame.
            Err(refusal) if interrupted.load(Ordering::Relaxed) => Err(Refusal::for_now(refusal.reason)),
            Err(refusal) => {
                if !refusal.may_pass {
                    self.refuse(object, &refusal.reason, None, None);
                }
                Err(refusal)
            }
            parsed => parsed,
        }
    }

    /// Why the object is known to be unusable: by itself, or with these rows instead of this version in force.
    pub(super) fn known_refusal(
        &self,
        object: &Object,
        rows: Option<&Arc<NewestRows>>,
        in_force: Option<&Object>,
    ) -> Option<String> {
        let refused = lock(&self.refused);
        let known = refused.get(object)?;
        let holds = match (&known.when, rows) {
            (None, _) => true,
            (Some(then), Some(now)) => {
                std::ptr::eq(then.rows.as_ptr(), Arc::as_ptr(now)) && then.in_force.as_ref() == in_force
            }
            (Some(_), None) => false,
        };
        holds.then(|| known.reason.clone())
    }

    pub(super) fn refuse(
        &self,
        object: &Object,
        reason: &str,
        rows: Option<&Arc<NewestRows>>,
        in_force: Option<&Object>,
    ) {
        let when = rows.map(|rows| Situation { rows: Arc::downgrade(rows), in_force: in_force.cloned() });
        let refused = Refused { reason: reason.to_owned(), when };
        lock(&self.refused).insert(object.clone(), refused);
    }

    /// Whether two objects have the same bytes.
    pub(super) async fn have_same_bytes(&self, one: &Object, other: &Object) -> Result<bool, Refusal> {
        if one.size != other.size {
            return Ok(false);
        }
        let pair = (one.clone(), other.clone());
        if let Some(known) = lock(&self.compared).get(&pair) {
            return Ok(*known);
        }
        let _permit = self.permits.acquire().await.ok();
        let (one, other) = (self.objects.open_listed(one).await?, self.objects.open_listed(other).await?);
        let compared = spawn_blocking(move || {
            same_bytes(BufReader::with_capacity(READ_SIZE, one), BufReader::with_capacity(READ_SIZE, other))
        });
        let same = match compared.await {
            Ok(Ok(same)) => same,
            Ok(Err(error)) => return Err(Refusal::for_now(with_causes(&error))),
            Err(error) => return Err(Refusal::for_now(with_causes(&error))),
        };
        lock(&self.compared).insert(pair, same);
        Ok(same)
    }

    /// Gives up what is known of objects that are no longer there.
    pub(super) fn forget_all_but(&self, listed: &HashSet<Object>) {
        lock(&self.refused).retain(|object, _| listed.contains(object));
        lock(&self.comparisons).retain(|object, _| listed.contains(object));
        lock(&self.compared).retain(|(one, other), _| listed.contains(one) && listed.contains(other));
    }
}

fn same_bytes(mut one: impl std::io::BufRead, mut other: impl std::io::BufRead) -> std::io::Result<bool> {
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.len() == right.len());
        }
        if left.get(..length) != right.get(..length) {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

/// The maps are consistent after every single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors repeat their cause in their own message.
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::same_bytes;

    #[test]
    fn bytes_are_compared_whatever_the_pieces_they_come_in() {
        let content: Vec<u8> = (0..10_000_u32).map(|number| (number % 251) as u8).collect();
        let compare = |one: &[u8], other: &[u8]| {
            let pieces = |content: &[u8], size| {
                std::io::BufReader::with_capacity(size, std::io::Cursor::new(content.to_vec()))
            };
            same_bytes(pieces(one, 7), pieces(other, 64)).unwrap()
        };
        assert!(compare(&content, &content) && compare(&[], &[]));
        assert!(!compare(&content, &content[..9_999]) && !compare(&[], &content));
        let mut other = content.clone();
        other[9_999] ^= 1;
        assert!(!compare(&content, &other));
    }
}
