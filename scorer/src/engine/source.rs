//! Reading objects: bounded, away from the threads that serve, and never twice what cannot be used.

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufReader, Read},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use models::Model;
use shared::{Comparison, Object, ObjectError, ObjectReader, ObjectStore};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{Look, Settings};
use crate::{
    Progress,
    catalogue::Format,
    events,
    progress::TrackedReader,
    tables::{NewestRows, TableError},
};

/// A comparison has a dozen numbers.
const COMPARISON_BYTES: u64 = 64 << 10;

/// How much is asked of the store at a time.
const READ_SIZE: usize = 256 << 10;

/// More objects that cannot be read are counted and not logged, until the next reload.
const MAX_LOGGED: usize = 10;

/// The reason that is published for every fault that may pass. It is the same for all of them, so that a fault that
/// changes its face publishes nothing. The log has the fault itself.
const PASSING: &str = "cannot be read at the moment; it is tried again";

/// Why an object that is being uploaded is not read yet.
const OVERTAKEN: &str = "is being written; it is read when it is complete";

pub(super) struct Source {
    objects: Arc<dyn ObjectStore>,
    settings: Settings,
    progress: Progress,
    permits: Semaphore,
    /// Objects that were found unusable.
    refused: Mutex<HashMap<Object, Refused>>,
    /// Objects that could not be read, until they are tried again.
    unreadable: Mutex<HashMap<Object, Refusal>>,
    /// Reads that were given up, and whose threads may still be at work.
    abandoned: Mutex<HashMap<Object, Weak<()>>>,
    /// Unreadable objects that were logged since the reload began.
    logged: AtomicUsize,
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
    /// Why, for a person to read. The same for every try.
    pub(super) reason: String,
    pub(super) lasts: Lasts,
}

/// How long an object stays unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// For good: its bytes are not what they should be.
    ForGood,
    /// Until somebody acts: it cannot be read, for the lack of a right for instance.
    UntilSomebodyActs,
    /// For a while: trying again may help.
    ForAWhile,
    /// Until the bucket is listed again: it was written again since it was listed, or is being written.
    UntilListedAgain,
}

impl Refusal {
    pub(super) fn for_good(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), lasts: Lasts::ForGood }
    }

    fn until_somebody_acts(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), lasts: Lasts::UntilSomebodyActs }
    }

    fn for_a_while() -> Self {
        Self { reason: PASSING.to_owned(), lasts: Lasts::ForAWhile }
    }

    fn until_listed_again() -> Self {
        Self { reason: OVERTAKEN.to_owned(), lasts: Lasts::UntilListedAgain }
    }

    pub(super) fn may_pass(&self) -> bool {
        matches!(self.lasts, Lasts::ForAWhile | Lasts::UntilListedAgain)
    }

    /// Whether people are told. An upload in progress is no fault of the object.
    pub(super) fn is_reported(&self) -> bool {
        self.lasts != Lasts::UntilListedAgain
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
            unreadable: Mutex::default(),
            abandoned: Mutex::default(),
            logged: AtomicUsize::new(0),
            compared: Mutex::default(),
            comparisons: Mutex::default(),
        }
    }

    /// Begins a reload: what it looks at again is no longer known to be unreadable.
    pub(super) fn begin(&self, look: Look) {
        self.logged.store(0, Ordering::Relaxed);
        match look {
            Look::Changed => {}
            Look::Retry => lock(&self.unreadable).retain(|_, refusal| !refusal.may_pass()),
            Look::Everything => lock(&self.unreadable).clear(),
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
        let (limits, limit) = (self.settings.model_limits.clone(), self.settings.read_timeout);
        // Counted from when the reader begins, as the deadline of the read is.
        let within = move || models::Limits { deadline: Some(Instant::now() + limit), ..limits };
        if Format::of(&object.key) != Some(Format::Parameters) {
            let read = move |reader| {
                Model::read(reader, &within()).map_err(|error| Refusal::for_good(with_causes(&error)))
            };
            return self.read(object, read).await;
        }
        let bytes = self.settings.parameter_bytes;
        self.read_whole(object, bytes, "a parameter file", move |content| {
            Model::read_parameters(&content, &within()).map_err(|error| with_causes(&error))
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
        parse: impl FnOnce(BufReader<Timed>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if let Some(reason) = self.known_refusal(object, None, None) {
            return Err(Refusal::for_good(reason));
        }
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await.ok();
        let limit = self.settings.read_timeout;
        let too_long = || {
            let reason =
                format!("reading it took longer than {} s (MODEL_READ_TIMEOUT)", limit.as_secs_f64());
            Refusal::until_somebody_acts(reason)
        };
        if lock(&self.abandoned).get(object).is_some_and(|at_work| at_work.strong_count() > 0) {
            // One thread that does not end is enough.
            return Err(too_long());
        }
        self.progress.expect(object.size);
        let reader = self.open(object).await?;
        let deadline = Instant::now() + limit;
        let late = Arc::new(AtomicBool::new(false));
        let (reader, interrupted) = TrackedReader::new(reader, &object.key, &self.progress);
        let reader = Timed { reader, deadline, late: Arc::clone(&late) };
        let at_work = Arc::new(());
        let watched = Arc::downgrade(&at_work);
        let parsing = spawn_blocking(move || {
            let _at_work = at_work;
            parse(BufReader::with_capacity(READ_SIZE, reader))
        });
        let Ok(parsed) = timeout(limit, parsing).await else {
            lock(&self.abandoned).insert(object.clone(), watched);
            return Err(self.unreadable(object, too_long()));
        };
        let result = parsed.unwrap_or_else(|_| Err(Refusal::for_good("the reader crashed on it")));
        match result {
            // A parser that has noticed the deadline itself says so in its own words.
            Err(_) if late.load(Ordering::Relaxed) || Instant::now() >= deadline => {
                Err(self.unreadable(object, too_long()))
            }
            // Whatever the parser made of it, the bytes are not to blame.
            Err(refusal) if interrupted.load(Ordering::Relaxed) => {
                events::DownloadInterrupted {
                    key: &object.key,
                    reason: &refusal.reason,
                    is_logged: self.may_log(),
                }
                .emit();
                Err(self.unreadable(object, Refusal::for_a_while()))
            }
            Err(refusal) => {
                if refusal.lasts == Lasts::ForGood {
                    self.refuse(object, &refusal.reason, None, None);
                }
                Err(refusal)
            }
            parsed => parsed,
        }
    }

    /// Opens an object, unless it is known to be unreadable.
    async fn open(&self, object: &Object) -> Result<ObjectReader, Refusal> {
        if let Some(known) = lock(&self.unreadable).get(object) {
            return Err(known.clone());
        }
        // An object that was written again since it was listed is refused for now: the next reload lists it anew.
        let error: ObjectError = match self.objects.open_listed(object).await {
            Ok(reader) => return Ok(reader),
            Err(error) => error,
        };
        events::ObjectUnreadable { key: &object.key, error: &error, is_logged: self.may_log() }.emit();
        let refusal = if matches!(error, ObjectError::Changed { .. } | ObjectError::BeingWritten { .. }) {
            Refusal::until_listed_again()
        } else if error.kind().is_permanent() {
            Refusal::until_somebody_acts(error.reason())
        } else {
            Refusal::for_a_while()
        };
        Err(self.unreadable(object, refusal))
    }

    /// Notes that an object cannot be read.
    fn unreadable(&self, object: &Object, refusal: Refusal) -> Refusal {
        lock(&self.unreadable).insert(object.clone(), refusal.clone());
        refusal
    }

    fn may_log(&self) -> bool {
        self.logged.fetch_add(1, Ordering::Relaxed) < MAX_LOGGED
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
        let (one_reader, other_reader) = (self.open(one).await?, self.open(other).await?);
        let compared = spawn_blocking(move || {
            same_bytes(
                BufReader::with_capacity(READ_SIZE, one_reader),
                BufReader::with_capacity(READ_SIZE, other_reader),
            )
        });
        let same = match compared.await {
            Ok(Ok(same)) => same,
            // Which of the two broke off is not known, so that neither counts as unreadable.
            Ok(Err(_)) | Err(_) => return Err(Refusal::for_a_while()),
        };
        lock(&self.compared).insert(pair, same);
        Ok(same)
    }

    /// Gives up what is known of objects that are no longer there.
    pub(super) fn forget_all_but(&self, listed: &HashSet<Object>) {
        lock(&self.refused).retain(|object, _| listed.contains(object));
        lock(&self.unreadable).retain(|object, _| listed.contains(object));
        lock(&self.abandoned).retain(|_, at_work| at_work.strong_count() > 0);
        lock(&self.comparisons).retain(|object, _| listed.contains(object));
        lock(&self.compared).retain(|(one, other), _| listed.contains(one) && listed.contains(other));
    }
}

/// A reader that ends at a deadline, so that a parser that is given up does not go on for long.
struct Timed {
    reader: TrackedReader,
    deadline: Instant,
    /// Whether it has ended so.
    late: Arc<AtomicBool>,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            self.late.store(true, Ordering::Relaxed);
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.reader.read(buffer)
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
