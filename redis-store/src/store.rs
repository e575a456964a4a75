use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;
use shared::{
    AnswerError, Asset, Digest, Following, Generation, PredictionStore, PublishError, Snapshot, StoreError,
    Summary,
};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Access, Settings,
    connection::Connections,
    events::RolledBack,
    follow::Follower,
    keys::Keys,
    ledger::{Entry, Ledger, Pointer},
    read::Complaints,
    standing::{Behind, Standing},
};

/// So often a pointer that others move is read again.
const ROLLBACK_TRIES: u32 = 5;

/// Predictions in Redis. See the [crate's documentation](crate).
pub struct RedisStore {
    pub(crate) inner: Arc<Inner>,
    following: watch::Receiver<Following>,
    follower: JoinHandle<()>,
}

/// What the store and its follower share.
pub(crate) struct Inner {
    pub(crate) connections: Connections,
    pub(crate) keys: Arc<Keys>,
    pub(crate) kept: u32,
    pub(crate) expiry: Duration,
    pub(crate) access: Access,
    pub(crate) standing: Standing,
    pub(crate) complaints: Mutex<Complaints>,
}

/// Nothing was rolled back.
#[derive(Debug, Error)]
pub enum RollbackError {
    /// No earlier generation is there any more that predicts something.
    #[error("no generation with predictions is kept before the current one")]
    NothingKept,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RedisStore {
    /// Looks for the servers, and follows what is current in them from then on, in a task of the current Tokio
    /// runtime that ends with the store. If none can be reached the store says so ([`watch`](PredictionStore::watch))
    /// and keeps looking.
    pub async fn connect(settings: Settings) -> Self {
        let Settings { servers, prefix, kept, expiry, poll, access } = settings;
        // Another part of the program may have chosen a provider. Any will do.
        _ = rustls::crypto::ring::default_provider().install_default();
        let inner = Arc::new(Inner {
            connections: Connections::new(servers),
            keys: Arc::new(Keys::new(prefix)),
            kept,
            expiry,
            access,
            standing: Standing::default(),
            complaints: Mutex::default(),
        });
        let (sender, following) = watch::channel(Following::default());
        let mut follower = Follower::new(Arc::clone(&inner), poll, sender);
        follower.look().await;
        Self { inner, following, follower: tokio::spawn(follower.run()) }
    }

    /// Makes the newest generation before the current one that is kept the current one, at once, and removes the one
    /// that was. It is for an operator who sees that what was published last is wrong: publications that began
    /// earlier are refused, [`confirm`](PredictionStore::confirm) holds for what was taken back, and the next
    /// publication ends that, or [`end_rollback`](Self::end_rollback). A generation without predictions, such as that of
    /// a bucket that was empty still, is passed over: going back to it would be an outage.
    ///
    /// # Errors
    /// No earlier generation with predictions is there as a whole, or the servers could not be reached.
    pub async fn rollback(&self) -> Result<Generation, RollbackError> {
        for _ in 0..ROLLBACK_TRIES {
            let state = self.inner.ledger().state().await?;
            let Some((from, entry, digest)) = state.current.and_then(|current| {
                let entry = state.kept.get(&current)?;
                Some((current, entry, entry.digest?))
            }) else {
                return Err(RollbackError::NothingKept);
            };
            let mut target = None;
            for (generation, entry) in state.kept.range(..from).rev() {
                if self.inner.renew(*generation, entry.shards).await?
                    && self.inner.summary(*generation).await?.is_some_and(|summary| summary.has_predictions())
                {
                    target = Some(*generation);
                    break;
                }
            }
            let to = target.ok_or(RollbackError::NothingKept)?;
            if self.inner.roll_back((from, entry, digest), to).await? {
                return Ok(to);
            }
        }
        let what = format!("rolling back {}", self.inner.keys.current());
        Err(self.inner.connections.error(&what, &"it moves faster than it can be read").into())
    }

    /// The rights that the user of the URL lacks, each as a command with the key or channel that it was tried on. Nothing is
    /// executed. The same is logged once after the servers were first reached. It needs the right to `MULTI`.
    ///
    /// # Errors
    /// The servers could not be reached, or the rights cannot be checked.
    pub async fn missing_rights(&self) -> Result<Vec<String>, StoreError> {
        let missing = self.inner.missing_rights().await;
        missing.map_err(|error| self.inner.connections.failed("checking the rights of the user", &error))
    }

    /// Lets what was [taken back](Self::rollback) be published again, and says whether anything was. Whoever scores the
    /// bucket next does.
    ///
    /// # Errors
    /// The servers could not be reached.
    pub async fn end_rollback(&self) -> Result<bool, StoreError> {
        self.inner.ledger().forget_withdrawn().await
    }
}

impl Inner {
    pub(crate) fn ledger(&self) -> Ledger<'_> {
        Ledger { connections: &self.connections, keys: &self.keys }
    }

    /// Whether the pointer was moved; it is not if it has been moved meanwhile.
    async fn roll_back(
        &self,
        (from, entry, digest): (Generation, &Entry, Digest),
        to: Generation,
    ) -> Result<bool, StoreError> {
        let known = self.standing.largest();
        if !self.ledger().roll_back((from, digest), to, known, self.expiry).await? {
            return Ok(false);
        }
        RolledBack { from, to }.tell();
        self.announce(to).await;
        self.unlink(from, entry.shards).await?;
        Ok(true)
    }

    /// After the store went back to a state before a rollback, makes the same rollback again if `digest` is what was taken
    /// back. A rollback lasts until there is something else to publish. In all other cases something has to be published,
    /// since readers have a newer state than the store.
    async fn repeat_rollback(
        &self,
        behind: Behind,
        digest: Digest,
    ) -> Result<Option<Generation>, StoreError> {
        let Some(to) = behind.rolled_back_to() else { return Ok(None) };
        let state = self.ledger().state().await?;
        let Some((from, entry)) = state.current.and_then(|current| state.kept.get_key_value(&current)) else {
            return Ok(None);
        };
        let (Some(current), Some(target)) = (entry.digest, state.kept.get(&to)) else { return Ok(None) };
        let is_taken_back = current == digest || state.withdrawn.contains(&String::from(digest));
        if *from <= to || !is_taken_back || !self.renew(to, target.shards).await? {
            return Ok(None);
        }
        let is_done = self.roll_back((*from, entry, current), to).await?;
        Ok(is_done.then_some(to))
    }

    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        let what = format!("reading {}", self.keys.current());
        let before = self.standing.until_now();
        let pointer: Pointer = self.connections.ask(&what, self.ledger().pointer()).await?;
        if let Err(behind) = self.standing.seen(pointer, before) {
            return self.repeat_rollback(behind, digest).await;
        }
        let state = self.ledger().state().await?;
        let Some((current, entry)) = state.current.and_then(|current| state.kept.get_key_value(&current))
        else {
            return Ok(None);
        };
        let withdrawn = state.withdrawn.iter().filter_map(|text| Digest::try_from(text.clone()).ok());
        // A fault that comes or goes does not end a rollback. A change of the bucket does.
        let withdrawn =
            withdrawn.into_iter().any(|taken| taken == digest || taken.is_of_the_same_bucket(&digest));
        if !withdrawn && entry.digest != Some(digest) {
            return Ok(None);
        }
        let mut whole = false;
        for (generation, entry) in &state.kept {
            let there = self.renew(*generation, entry.shards).await?;
            whole |= there && generation == current;
        }
        if !whole {
            return Ok(None);
        }
        self.ledger().renew(self.expiry).await?;
        // Complaints about this generation are settled.
        let key = self.keys.incomplete();
        let mut remove = cmd("UNLINK");
        remove.arg(&key);
        self.connections.ask::<()>(&format!("removing {key}"), remove).await?;
        Ok(Some(*current))
    }
}

#[async_trait]
impl PredictionStore for RedisStore {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        self.inner.ledger().draw(self.inner.standing.largest(), self.inner.expiry).await
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        self.inner.publish(snapshot).await
    }

    async fn confirm(&self, digest: Digest) -> Result<Option<Generation>, StoreError> {
        self.inner.confirm(digest).await
    }

    async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        self.inner.current().await
    }

    async fn assets(&self, generation: &Summary) -> Result<Vec<Asset>, AnswerError> {
        self.inner.assets(generation).await
    }

    async fn answer(&self, generation: &Summary, asset: &Asset) -> Result<Option<Bytes>, AnswerError> {
        self.inner.answer(generation, asset).await
    }

    async fn answers(&self, generation: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        self.inner.answers(generation).await
    }

    fn watch(&self) -> watch::Receiver<Following> {
        self.following.clone()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.follower.abort();
    }
}
