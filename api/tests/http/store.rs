//! A store with the faults of one across a network.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use shared::{
    AnswerError, Asset, Damage, Digest, Following, Generation, MemoryStore, PredictionStore, PublishError,
    Snapshot, StoreError, Summary,
};
use tokio::sync::watch;

/// How many generations are kept beside the current one.
const KEPT: usize = 2;

/// One generation.
type Kept = (Arc<Summary>, BTreeMap<Asset, Bytes>);

/// What a memory store makes of each snapshot, kept for a while after it was superseded, as Redis does. It can be
/// away, slow, emptied, and taken back to an older generation.
#[derive(Default)]
pub(crate) struct Distant {
    generations: Mutex<Vec<Kept>>,
    following: watch::Sender<Following>,
    delay: Mutex<Duration>,
    /// How many answers and lists were read.
    pub(crate) reads: AtomicUsize,
}

impl Distant {
    /// Away from now on, or back.
    pub(crate) fn set_away(&self, away: bool) {
        let since = away.then(Timestamp::now);
        self.following.send_modify(|following| following.unreachable_since = since);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// From now on it holds an older generation than it did, and refuses to give it; or not any more.
    pub(crate) fn set_behind(&self, behind: bool) {
        self.following.send_modify(|following| following.damage = behind.then_some(Damage::Behind));
    }

    /// Forgets the newest generation: the one before is current.
    pub(crate) fn take_back(&self) {
        self.generations.lock().unwrap().pop();
        self.tell();
    }

    pub(crate) fn forget_all(&self) {
        self.generations.lock().unwrap().clear();
        self.tell();
    }

    /// Publishes, forgets all generations before, and tells nobody.
    pub(crate) async fn replace_in_silence(&self, snapshot: Snapshot) {
        let rendered = render(snapshot).await;
        *self.generations.lock().unwrap() = vec![rendered];
    }

    fn tell(&self) {
        let generation = self.generations.lock().unwrap().last().map(|(summary, _)| summary.generation);
        self.following.send_modify(|following| following.generation = generation);
    }

    async fn reach(&self) -> Result<(), StoreError> {
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            // The store itself is slow.
            tokio::time::sleep(delay).await;
        }
        if self.following.borrow().unreachable_since.is_some() {
            return Err(StoreError { message: "connection refused".to_owned(), source: None });
        }
        if self.following.borrow().damage == Some(Damage::Behind) {
            return Err(StoreError { message: "restored from an older copy".to_owned(), source: None });
        }
        Ok(())
    }

    async fn generation(&self, summary: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        self.reach().await?;
        let generations = self.generations.lock().unwrap();
        let found = generations.iter().find(|(kept, _)| kept.generation == summary.generation);
        Ok(found.ok_or(AnswerError::Gone(summary.generation))?.1.clone())
    }
}

async fn render(snapshot: Snapshot) -> Kept {
    let memory = MemoryStore::default();
    memory.publish(Arc::new(snapshot)).await.unwrap();
    let summary = memory.current().await.unwrap().unwrap();
    let answers = memory.answers(&summary).await.unwrap();
    (summary, answers)
}

#[async_trait]
impl PredictionStore for Distant {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        let last = self.generations.lock().unwrap().last().map(|(summary, _)| summary.generation.0);
        Ok(Generation(last.unwrap_or(0) + 1))
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        let rendered = render((*snapshot).clone()).await;
        {
            let mut generations = self.generations.lock().unwrap();
            let surplus = generations.len().saturating_sub(KEPT);
            generations.drain(..surplus);
            generations.push(rendered);
        }
        self.tell();
        Ok(())
    }

    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        Ok(self.current().await?.filter(|summary| summary.digest == digest).map(|summary| summary.generation))
    }

    async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        self.reach().await?;
        Ok(self.generations.lock().unwrap().last().map(|(summary, _)| Arc::clone(summary)))
    }

    async fn assets(&self, generation: &Summary) -> Result<Vec<Asset>, AnswerError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.generation(generation).await?.into_keys().collect())
    }

    async fn answer(&self, generation: &Summary, asset: &Asset) -> Result<Option<Bytes>, AnswerError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.generation(generation).await?.remove(asset))
    }

    async fn answers(&self, generation: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        self.generation(generation).await
    }

    fn watch(&self) -> watch::Receiver<Following> {
        self.following.subscribe()
    }
}
