//! Following a bucket whose store has bad moments.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use scorer::{Engine, FolderStore, Follow, Progress, ReloadError, Settings, follow};
use shared::{
    Batch, Change, EventError, EventSource, MemoryStore, Object, ObjectError, ObjectReader, ObjectStore,
    PredictionStore, ReloadReport, ReloadReports, RequestId, StoreError, Summary,
};
use tokio::sync::{mpsc, oneshot};

use crate::{SOON, until, world::FolderBucket};

/// A folder that writes down what is opened, and fails when it is told to.
struct Moody {
    folder: FolderStore,
    opened: Mutex<Vec<String>>,
    refusals: AtomicUsize,
    interruptions: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Moody {
    fn bucket(&self) -> &str {
        self.folder.bucket()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        self.folder.list(prefix).await
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        self.folder.open(key).await
    }

    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError> {
        let key = &object.key;
        self.opened.lock().unwrap().push(key.to_owned());
        if take_one(&self.refusals) {
            let source = io::Error::other("service unavailable").into();
            return Err(ObjectError::Read { bucket: self.bucket().to_owned(), key: key.to_owned(), source });
        }
        let reader = self.folder.open_listed(object).await?;
        if take_one(&self.interruptions) {
            return Ok(Box::new(Interrupted(reader.take(100))));
        }
        Ok(reader)
    }
}

fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// A connection that breaks after some bytes.
struct Interrupted(io::Take<ObjectReader>);

impl Read for Interrupted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("connection reset")),
            bytes => Ok(bytes),
        }
    }
}

impl Moody {
    fn opened(&self) -> Vec<String> {
        std::mem::take(&mut self.opened.lock().unwrap())
    }
}

fn engine(bucket: &FolderBucket) -> (Arc<Moody>, Arc<MemoryStore>, Engine) {
    let moody = Arc::new(Moody {
        folder: bucket.store(),
        opened: Mutex::default(),
        refusals: AtomicUsize::new(0),
        interruptions: AtomicUsize::new(0),
    });
    let store = Arc::new(MemoryStore::default());
    let (objects, predictions) = (Arc::clone(&moody), Arc::clone(&store));
    (moody, store, Engine::new(objects, predictions, Settings::default(), Progress::none()))
}

const NEWER: &str = "models/regressor_lin_20250801-0000.joblib";

fn put_newer(bucket: &FolderBucket) {
    bucket.copy(&bucket.path().join("models/regressor_lin_20250729-2130.joblib"), NEWER);
}

#[tokio::test]
async fn only_what_changed_is_read_and_garbage_only_once() {
    let bucket = FolderBucket::sample();
    let (moody, _, engine) = engine(&bucket);
    engine.reload().await.unwrap();
    assert_eq!(moody.opened().len(), 6, "five models and a table");
    engine.reload().await.unwrap();
    assert_eq!(moody.opened(), [""; 0]);
    put_newer(&bucket);
    bucket.write("models/regressor_rf_20250801-0000.joblib", b"garbage");
    engine.reload().await.unwrap();
    let mut opened = moody.opened();
    opened.sort();
    assert_eq!(opened, [NEWER, "models/regressor_rf_20250801-0000.joblib"]);
    engine.reload().await.unwrap();
    assert_eq!(moody.opened(), [""; 0]);
}

#[tokio::test]
async fn a_fault_of_the_store_is_not_held_against_the_object() {
    let bucket = FolderBucket::sample();
    let (moody, _, engine) = engine(&bucket);
    engine.reload().await.unwrap();
    put_newer(&bucket);
    for fault in [&moody.refusals, &moody.interruptions] {
        fault.store(1, Ordering::SeqCst);
        let faulty = engine.reload().await.unwrap();
        assert!(faulty.incomplete);
        assert_eq!(faulty.snapshot.models.len(), 5);
        assert_eq!(faulty.snapshot.rejected[0].key, NEWER);
    }
    let healed = engine.reload().await.unwrap();
    assert!(!healed.incomplete && healed.snapshot.rejected.is_empty());
    assert!(healed.snapshot.models.iter().any(|model| model.version.as_str() == "20250801-0000"));
}

#[tokio::test]
async fn a_fault_at_the_start_takes_nothing_away_from_what_another_process_published() {
    let bucket = FolderBucket::sample();
    let (_, store, first) = engine(&bucket);
    first.reload().await.unwrap();
    let before = store.current().await.unwrap().unwrap();
    let (moody, _, _) = engine(&bucket);
    let (objects, predictions) = (Arc::clone(&moody), Arc::clone(&store));
    let second = Engine::new(objects, predictions, Settings::default(), Progress::none());
    moody.refusals.store(1, Ordering::SeqCst);
    let faulty = second.reload().await.unwrap_err();
    assert!(matches!(faulty, ReloadError::Incomplete { .. }), "{faulty}");
    assert_eq!(store.current().await.unwrap().unwrap(), before);
    moody.opened();
    let healed = second.reload().await.unwrap();
    assert_eq!(healed.snapshot.generation, before.generation, "it says what is published already");
    assert!(moody.opened().len() < 6, "what could be read is not read again");
}

/// Events that the test sends, and what became of them.
struct Scripted {
    events: mpsc::Receiver<Change>,
    fates: Arc<Mutex<VecDeque<&'static str>>>,
}

#[async_trait]
impl EventSource for Scripted {
    type Receipt = ();

    async fn receive(&mut self) -> Result<Batch<()>, EventError> {
        match self.events.recv().await {
            Some(change) => Ok(Batch { changes: vec![change], oldest: None, receipt: () }),
            None => std::future::pending().await,
        }
    }

    async fn acknowledge(&mut self, _: Batch<()>) -> Result<(), EventError> {
        self.fates.lock().unwrap().push_back("acknowledged");
        Ok(())
    }

    async fn release(&mut self, _: Batch<()>) -> Result<(), EventError> {
        self.fates.lock().unwrap().push_back("released");
        Ok(())
    }
}

/// Outcomes of reloads, for those who asked.
#[derive(Default)]
struct Reports(Mutex<HashMap<RequestId, ReloadReport>>);

#[async_trait]
impl ReloadReports for Reports {
    async fn report(&self, request: &RequestId, report: &ReloadReport) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(request.clone(), report.clone());
        Ok(())
    }

    async fn report_of(&self, request: &RequestId) -> Result<Option<ReloadReport>, StoreError> {
        Ok(self.0.lock().unwrap().get(request).cloned())
    }
}

async fn published(store: &MemoryStore, holds: impl Fn(&Summary) -> bool) {
    let mut watch = store.watch();
    let wait = async {
        loop {
            if store.current().await.unwrap().is_some_and(|summary| holds(&summary)) {
                return;
            }
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap();
}

#[tokio::test]
async fn a_change_is_acknowledged_when_its_effect_is_published_and_released_at_the_end() {
    let bucket = FolderBucket::sample();
    let (moody, store, engine) = engine(&bucket);
    let (send, events) = mpsc::channel(8);
    let fates = Arc::new(Mutex::new(VecDeque::new()));
    let (stop, stopped) = oneshot::channel::<()>();
    let source = Scripted { events, fates: Arc::clone(&fates) };
    let reports = Arc::new(Reports::default());
    let settings = Follow { reports: Some(Arc::clone(&reports) as _), ..Follow::default() };
    let task = tokio::spawn(async move {
        follow(&engine, source, &settings, async {
            let _ = stopped.await;
        })
        .await;
    });
    published(&store, |snapshot| snapshot.models.len() == 5).await;

    // Two faults, and then it works: by itself, without another event.
    moody.refusals.store(2, Ordering::SeqCst);
    put_newer(&bucket);
    send.send(Change::Object(NEWER.to_owned())).await.unwrap();
    published(&store, |snapshot| !snapshot.rejected.is_empty()).await;
    assert_eq!(fates.lock().unwrap().len(), 0);
    published(&store, |snapshot| {
        snapshot.rejected.is_empty()
            && snapshot.models.iter().any(|model| model.version.as_str() == "20250801-0000")
    })
    .await;
    until("its fate", async || !fates.lock().unwrap().is_empty()).await;
    assert_eq!(fates.lock().unwrap().pop_front(), Some("acknowledged"));

    // Who asks for a reload is told of its outcome, even if it changes nothing.
    let request: RequestId = "a-1".parse().unwrap();
    send.send(Change::Requested(request.clone())).await.unwrap();
    until("a report", async || reports.report_of(&request).await.unwrap().is_some()).await;
    let generation = store.current().await.unwrap().unwrap().generation;
    assert_eq!(reports.report_of(&request).await.unwrap(), Some(ReloadReport::Done(generation)));
    until("its fate", async || fates.lock().unwrap().pop_front() == Some("acknowledged")).await;

    // What cannot be handled before the end is for the next process.
    moody.refusals.store(1000, Ordering::SeqCst);
    bucket.copy(&bucket.path().join(NEWER), "models/regressor_lin_20250802-0000.joblib");
    send.send(Change::Anything).await.unwrap();
    published(&store, |snapshot| !snapshot.rejected.is_empty()).await;
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(fates.lock().unwrap().pop_front(), Some("released"));
}
