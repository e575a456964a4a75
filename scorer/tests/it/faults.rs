//! A bucket, an event source and a store with faults that last: what goes on, what is told, and how often it is tried.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Read},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use scorer::{Engine, FolderStore, Follow, Progress, Publication, ReloadError, Settings, follow};
use shared::{
    AnswerError, Asset, AssetPredictions, Batch, Change, Digest, EventError, EventSource, Fault, FaultKind,
    Following, Generation, MemoryStore, Object, ObjectError, ObjectReader, ObjectStore, PredictionStore,
    PublishError, Snapshot, StoreError, Summary,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::world::FolderBucket;

const LIN: &str = "models/regressor_lin_20250729-2130.joblib";
const NEWER: &str = "models/regressor_lin_20250801-0000.joblib";
const OTHER: &str = "models/regressor_new_20250801-0000.joblib";

/// A folder whose objects are answered with faults.
struct Faulty {
    folder: FolderStore,
    faults: Mutex<BTreeMap<String, FaultKind>>,
    /// Objects that come some bytes at a time.
    slow: Mutex<BTreeSet<String>>,
    opened: Mutex<Vec<String>>,
    unlisted: AtomicBool,
    listings: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Faulty {
    fn bucket(&self) -> &str {
        self.folder.bucket()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        if self.unlisted.load(Ordering::SeqCst) {
            let source = fault(FaultKind::Denied).into();
            return Err(ObjectError::List { bucket: self.bucket().to_owned(), source });
        }
        self.folder.list(prefix).await
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        self.folder.open(key).await
    }

    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError> {
        let key = &object.key;
        self.opened.lock().unwrap().push(key.clone());
        if let Some(kind) = self.faults.lock().unwrap().get(key) {
            let (bucket, key, source) = (self.bucket().to_owned(), key.clone(), fault(*kind).into());
            return Err(ObjectError::Read { bucket, key, source });
        }
        let reader = self.folder.open_listed(object).await?;
        let is_slow = self.slow.lock().unwrap().contains(key);
        Ok(if is_slow { Box::new(Slow(reader)) } else { reader })
    }
}

/// A fault whose source is another one each time, as with the id of a request.
fn fault(kind: FaultKind) -> Fault {
    static REQUEST: AtomicUsize = AtomicUsize::new(0);
    let request = REQUEST.fetch_add(1, Ordering::SeqCst);
    let source = format!("service error: request id {request}");
    Fault { kind, message: format!("the object is {kind}"), source: Some(source.into()) }
}

/// Gives some bytes now and then.
struct Slow(ObjectReader);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::thread::sleep(Duration::from_millis(200));
        self.0.read(&mut buffer[..16])
    }
}

impl Faulty {
    fn new(bucket: &FolderBucket) -> Arc<Self> {
        Arc::new(Self {
            folder: bucket.store(),
            faults: Mutex::default(),
            slow: Mutex::default(),
            opened: Mutex::default(),
            unlisted: AtomicBool::new(false),
            listings: AtomicUsize::new(0),
        })
    }

    fn engine(self: &Arc<Self>, store: &Arc<impl PredictionStore>) -> Engine {
        self.engine_with(store, Settings::default())
    }

    fn engine_with(self: &Arc<Self>, store: &Arc<impl PredictionStore>, settings: Settings) -> Engine {
        Engine::new(Arc::clone(self) as _, Arc::clone(store) as _, settings, Progress::none())
    }

    fn set(&self, key: &str, kind: FaultKind) {
        self.faults.lock().unwrap().insert(key.to_owned(), kind);
    }

    fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// How often a key was opened since the last call for any key.
    fn opened(&self, key: &str) -> usize {
        std::mem::take(&mut *self.opened.lock().unwrap()).iter().filter(|opened| *opened == key).count()
    }
}

/// A store that says that it holds nothing when it is told to, whatever is published.
struct Losing {
    store: MemoryStore,
    following: watch::Sender<Following>,
    is_lost: AtomicBool,
}

impl Losing {
    fn new() -> Arc<Self> {
        let (store, following) = (MemoryStore::default(), watch::Sender::default());
        Arc::new(Self { store, following, is_lost: AtomicBool::new(false) })
    }

    fn lose(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
        self.following.send_replace(Following::default());
    }
}

#[async_trait]
impl PredictionStore for Losing {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        self.store.next_generation().await
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        if self.is_lost.load(Ordering::SeqCst) {
            let message = "READONLY You can't write against a read only replica".to_owned();
            return Err(StoreError { message, source: None }.into());
        }
        let generation = Some(snapshot.generation);
        self.store.publish(snapshot).await?;
        self.following.send_replace(Following { generation, ..Following::default() });
        Ok(())
    }

    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        if self.is_lost.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.store.confirm(digest).await
    }

    async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        self.store.current().await
    }

    async fn assets(&self, generation: &Summary) -> Result<Vec<Asset>, AnswerError> {
        self.store.assets(generation).await
    }

    async fn answer(&self, generation: &Summary, asset: &Asset) -> Result<Option<Bytes>, AnswerError> {
        self.store.answer(generation, asset).await
    }

    async fn answers(&self, generation: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        self.store.answers(generation).await
    }

    fn watch(&self) -> watch::Receiver<Following> {
        self.following.subscribe()
    }
}

/// Events that the test sends, each a batch. Tells of those that are acknowledged.
struct Scripted {
    events: mpsc::UnboundedReceiver<Change>,
    acknowledged: mpsc::UnboundedSender<Change>,
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

    async fn acknowledge(&mut self, batch: Batch<()>) -> Result<(), EventError> {
        for change in batch.changes {
            _ = self.acknowledged.send(change);
        }
        Ok(())
    }

    async fn release(&mut self, _: Batch<()>) -> Result<(), EventError> {
        Ok(())
    }
}

/// An engine that follows its bucket.
struct Follower {
    events: mpsc::UnboundedSender<Change>,
    acknowledged: mpsc::UnboundedReceiver<Change>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    fn start(engine: Engine) -> Self {
        Self::start_with(engine, Follow::default())
    }

    fn start_with(engine: Engine, settings: Follow) -> Self {
        let (events, received) = mpsc::unbounded_channel();
        let (tell, acknowledged) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let source = Scripted { events: received, acknowledged: tell };
        let task = tokio::spawn(async move {
            follow(&engine, source, &settings, async { _ = stopped.await }).await;
        });
        Self { events, acknowledged, stop, task }
    }

    fn send(&self, key: &str) {
        self.events.send(Change::Object(key.to_owned())).unwrap();
    }

    async fn acknowledged(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(120), self.acknowledged.recv());
        match next.await.unwrap().unwrap() {
            Change::Object(key) => key,
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

async fn published(store: &Losing, holds: impl Fn(&Summary) -> bool) {
    let mut watch = store.watch();
    while !store.current().await.unwrap().is_some_and(|summary| holds(&summary)) {
        watch.changed().await.unwrap();
    }
}

fn put(bucket: &FolderBucket, key: &str) {
    bucket.copy(&bucket.path().join(LIN), key);
}

/// How long tries are counted. A busy machine has fewer of them, and a loop without a backoff has thousands.
const WINDOW: Duration = Duration::from_secs(8);

/// What the backoff allows for in this time: tries after 0.5, 1, 2 and 4 s, each pause up to a quarter shorter, and the one
/// that found the fault.
const MOST_TRIES: usize = 6;

/// In a window, this interval has passed two or three times.
const RECONCILE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_store_that_lost_everything_is_tried_by_the_backoff_while_the_bucket_is_denied() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Losing::new());
    let following = Follower::start(objects.engine(&store));
    published(&store, |summary| summary.models.len() == 5).await;
    objects.unlisted.store(true, Ordering::SeqCst);
    store.lose();
    let before = objects.listings.load(Ordering::SeqCst);
    // Neither the loss nor new events make it faster.
    for _ in 0..600 {
        following.send(NEWER);
        tokio::time::sleep(WINDOW / 600).await;
    }
    // Three prefixes are listed at once.
    let tries = (objects.listings.load(Ordering::SeqCst) - before).div_ceil(3);
    assert!((2..=MOST_TRIES).contains(&tries), "{tries} tries");
    following.stop().await;
}

#[tokio::test]
async fn a_store_that_lost_everything_and_takes_nothing_is_tried_by_the_backoff() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Losing::new());
    let following = Follower::start(objects.engine(&store));
    published(&store, |summary| summary.models.len() == 5).await;
    store.lose();
    let before = objects.listings.load(Ordering::SeqCst);
    tokio::time::sleep(WINDOW).await;
    let tries = (objects.listings.load(Ordering::SeqCst) - before).div_ceil(3);
    assert!((2..=MOST_TRIES + 1).contains(&tries), "{tries} tries");
    following.stop().await;
}

#[tokio::test]
async fn an_object_that_is_denied_is_told_once_and_tried_again_at_the_reconciliation() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Losing::new());
    let settings = Follow { reconcile: RECONCILE, ..Follow::default() };
    let mut following = Follower::start_with(objects.engine(&store), settings);
    published(&store, |summary| summary.models.len() == 5).await;
    for kind in [FaultKind::Denied, FaultKind::Archived, FaultKind::Missing] {
        objects.set(NEWER, kind);
        put(&bucket, NEWER);
        following.send(NEWER);
        let reason = format!("the object is {kind}");
        published(&store, |summary| summary.rejected.iter().any(|one| one.reason.ends_with(&reason))).await;
        assert_eq!(following.acknowledged().await, NEWER, "it is listed as rejected");
        let generation = store.current().await.unwrap().unwrap().generation;
        objects.opened(NEWER);
        // Other uploads are published and acknowledged, and do not try it again.
        put(&bucket, OTHER);
        following.send(OTHER);
        assert_eq!(following.acknowledged().await, OTHER);
        let tries = objects.opened(NEWER);
        assert!(tries <= 1, "{tries} tries, and one reconciliation at most");
        bucket.delete(OTHER);
        following.send(OTHER);
        following.acknowledged().await;
        let quiet = store.current().await.unwrap().unwrap();
        assert!(quiet.generation > generation);
        tokio::time::sleep(WINDOW).await;
        assert_eq!(store.current().await.unwrap().unwrap().generation, quiet.generation, "nothing changed");
        let tries = objects.opened(NEWER);
        assert!((1..=4).contains(&tries), "{tries} tries in {WINDOW:?}");
    }
    objects.heal();
    published(&store, |summary| summary.rejected.is_empty()).await;
    following.stop().await;
}

#[tokio::test]
async fn an_object_that_fails_for_a_while_keeps_its_own_event_waiting_and_no_other() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Losing::new());
    let mut following = Follower::start(objects.engine(&store));
    published(&store, |summary| summary.models.len() == 5).await;
    objects.set(NEWER, FaultKind::Throttled);
    put(&bucket, NEWER);
    // More than are held.
    for _ in 0..100 {
        following.send(NEWER);
    }
    published(&store, |summary| !summary.rejected.is_empty()).await;
    let generation = store.current().await.unwrap().unwrap().generation;
    objects.set(NEWER, FaultKind::TimedOut);
    let listings = objects.listings.load(Ordering::SeqCst);
    objects.opened(NEWER);
    tokio::time::sleep(WINDOW).await;
    let tries = objects.opened(NEWER);
    assert!((2..=MOST_TRIES + 2).contains(&tries), "{tries} tries");
    let reloads = (objects.listings.load(Ordering::SeqCst) - listings) / 3;
    assert!(reloads <= 64 + MOST_TRIES + 2, "{reloads} reloads");
    let quiet = store.current().await.unwrap().unwrap();
    assert_eq!(quiet.generation, generation, "another fault of the same object is nothing new");
    assert!(following.acknowledged.try_recv().is_err());

    objects.heal();
    for _ in 0..100 {
        assert_eq!(following.acknowledged().await, NEWER);
    }
    // One batch is waiting: the others are not.
    objects.set(NEWER, FaultKind::Server);
    bucket.delete(NEWER);
    put(&bucket, NEWER);
    following.send(NEWER);
    published(&store, |summary| !summary.rejected.is_empty()).await;
    put(&bucket, OTHER);
    following.send(OTHER);
    assert_eq!(following.acknowledged().await, OTHER);
    following.stop().await;
}

fn of<'a>(snapshot: &'a Snapshot, model: &str) -> Vec<&'a shared::Prediction> {
    let of_asset =
        |asset: &'a AssetPredictions| asset.predictions.iter().find(|one| one.model.as_str() == model);
    snapshot.assets.values().filter_map(of_asset).collect()
}

fn stale(snapshot: &Snapshot) -> Vec<(&str, &str)> {
    let stale = snapshot.models.iter().filter_map(|model| Some((model, model.stale.as_ref()?)));
    stale.map(|(model, stale)| (model.name.as_str(), stale.reason.as_str())).collect()
}

#[tokio::test]
async fn after_a_restart_a_model_that_is_denied_keeps_its_last_answers_and_the_others_go_on() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Arc::new(MemoryStore::default()));
    // An older version is there, too, and does not take the place of the newer one.
    put(&bucket, NEWER);
    let first = objects.engine(&store).reload().await.unwrap();
    objects.set(NEWER, FaultKind::Denied);
    for restart in 0..2 {
        let engine = objects.engine(&store);
        let reload = engine.reload().await.unwrap();
        let expected = if restart == 0 { Publication::Published } else { Publication::Unchanged };
        assert_eq!((reload.publication, reload.incomplete), (expected, false));
        assert_eq!(of(&reload.snapshot, "regressor_lin"), of(&first.snapshot, "regressor_lin"));
        assert_eq!(reload.snapshot.models.len(), 5);
        let marked = stale(&reload.snapshot);
        assert_eq!((marked.len(), marked[0].0), (1, "regressor_lin"), "{marked:?}");
        assert!(marked[0].1.ends_with("the object is denied"), "{marked:?}");
        assert_eq!(reload.snapshot.rejected[0].key, NEWER);
        let summary = store.current().await.unwrap().unwrap();
        assert_eq!(summary.models.iter().filter(|model| model.stale.is_some()).count(), 1);
        let answer = store.answer(&summary, &"BTC".parse().unwrap()).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["modelos"]["regressor_lin"]["desatualizado"], true);
        assert_eq!(answer["modelos"]["regressor_rf"].get("desatualizado"), None);

        // The next reloads of the same process keep them, and publish what else is new.
        assert_eq!(engine.reload().await.unwrap().publication, Publication::Unchanged);
        put(&bucket, OTHER);
        let other = engine.reload().await.unwrap();
        assert_eq!((other.publication, other.snapshot.models.len()), (Publication::Published, 6));
        assert_eq!(of(&other.snapshot, "regressor_lin"), of(&first.snapshot, "regressor_lin"));
        bucket.delete(OTHER);
        assert_eq!(engine.reload().await.unwrap().publication, Publication::Published);
    }
    let engine = objects.engine(&store);
    engine.reload().await.unwrap();
    objects.heal();
    let healed = engine.reload().await.unwrap();
    assert_eq!((healed.publication, stale(&healed.snapshot)), (Publication::Published, vec![]));
    assert_eq!(healed.snapshot.assets, first.snapshot.assets);
    // A model that is removed is gone, whatever was wrong with it.
    objects.set(NEWER, FaultKind::Denied);
    let engine = objects.engine(&store);
    engine.reload().await.unwrap();
    bucket.delete(NEWER);
    bucket.delete(LIN);
    let removed = engine.reload().await.unwrap();
    assert_eq!((removed.snapshot.models.len(), stale(&removed.snapshot)), (4, vec![]));
}

#[tokio::test]
async fn after_a_restart_a_fault_that_may_pass_is_waited_for_and_then_the_others_go_on() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Arc::new(MemoryStore::default()));
    let first = objects.engine(&store).reload().await.unwrap();
    objects.set(LIN, FaultKind::TimedOut);
    put(&bucket, OTHER);
    let engine = objects.engine(&store);
    for _ in 0..3 {
        let waits = engine.reload().await.unwrap_err();
        assert!(matches!(waits, ReloadError::Incomplete { .. }), "{waits}");
        let generation = store.current().await.unwrap().unwrap().generation;
        assert_eq!(generation, first.snapshot.generation);
    }
    let goes_on = engine.reload().await.unwrap();
    assert_eq!((goes_on.publication, goes_on.incomplete), (Publication::Published, true));
    assert_eq!(goes_on.pending, [LIN.to_owned()].into());
    assert_eq!(goes_on.snapshot.models.len(), 6);
    assert_eq!(of(&goes_on.snapshot, "regressor_lin"), of(&first.snapshot, "regressor_lin"));
    assert_eq!(stale(&goes_on.snapshot)[0].0, "regressor_lin");
    objects.heal();
    let healed = engine.reload().await.unwrap();
    assert_eq!((healed.incomplete, stale(&healed.snapshot)), (false, vec![]));
}

#[tokio::test]
async fn after_a_restart_without_a_readable_table_all_last_answers_stay() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Arc::new(MemoryStore::default()));
    let first = objects.engine(&store).reload().await.unwrap();
    objects.set(crate::world::SAMPLE_TABLE, FaultKind::Denied);
    let engine = objects.engine(&store);
    let reload = engine.reload().await.unwrap();
    assert_eq!(reload.snapshot.assets, first.snapshot.assets);
    assert_eq!(stale(&reload.snapshot).len(), 5);
    assert_eq!(reload.snapshot.rejected[0].key, crate::world::SAMPLE_TABLE);
    assert_eq!(engine.reload().await.unwrap().publication, Publication::Unchanged);
    objects.heal();
    assert_eq!(stale(&engine.reload().await.unwrap().snapshot), vec![]);
}

#[tokio::test]
async fn a_read_that_outlives_its_deadline_is_given_up_and_told() {
    let bucket = FolderBucket::sample();
    let (objects, store) = (Faulty::new(&bucket), Arc::new(MemoryStore::default()));
    put(&bucket, NEWER);
    objects.slow.lock().unwrap().insert(NEWER.to_owned());
    let settings = Settings { read_timeout: Duration::from_secs(2), ..Settings::default() };
    let engine = objects.engine_with(&store, settings);
    let reload = engine.reload().await.unwrap();
    assert_eq!((reload.snapshot.models.len(), reload.incomplete), (5, false));
    let rejected = &reload.snapshot.rejected;
    assert_eq!((rejected.len(), rejected[0].key.as_str()), (1, NEWER));
    assert_eq!(rejected[0].reason, "reading it took longer than 2 s (MODEL_READ_TIMEOUT)");
    let again = engine.reload().await.unwrap();
    assert_eq!((again.publication, &again.snapshot.rejected), (Publication::Unchanged, rejected));
    objects.slow.lock().unwrap().clear();
    // As soon as the thread that was given up has ended.
    let mut versions = VecDeque::new();
    for _ in 0..300 {
        let healed = engine.reload().await.unwrap();
        versions.extend(healed.snapshot.rejected.is_empty().then_some(()));
        if !versions.is_empty() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it is not read again");
}
