use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{FromRedisValue, cmd};
use shared::{AnswerError, Asset, Generation, StoreError, Summary};
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    events::{IncompleteGeneration, NotComplained},
    keys::{COUNT, shard_of, shards},
    ledger::Pointer,
    store::Inner,
};

/// So many shards are read at once.
const IN_FLIGHT: usize = 8;

/// For how long a complaint waits for a publisher.
const COMPLAINT_EXPIRY: Duration = Duration::from_secs(10 * 60);

/// A complaint about the same generation is not repeated sooner.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);

/// The last complaint.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Option<(Generation, Instant)>);

impl Complaints {
    fn is_due(&mut self, generation: Generation) -> bool {
        let is_new = self.0.is_none_or(|(last, at)| last != generation || at.elapsed() >= COMPLAIN_EVERY);
        if is_new {
            self.0 = Some((generation, Instant::now()));
        }
        is_new
    }
}

/// So often the pointer is followed again because it was moved, and what it led to removed, before it was reached.
const POINTER_TRIES: u32 = 5;

impl Inner {
    pub(crate) async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        let pointer = self.keys.current();
        let what = format!("reading {pointer}");
        let mut missing = None;
        for _ in 0..POINTER_TRIES {
            let before = self.standing.until_now();
            let pointed: Pointer = self.connections.ask(&what, self.ledger().pointer()).await?;
            let Some(generation) = pointed.0.map(Generation) else { return Ok(None) };
            if let Err(behind) = self.standing.seen(pointed, before) {
                return Err(self.connections.error(&what, &behind));
            }
            match self.summary(generation).await? {
                Some(summary) => return Ok(Some(Arc::new(summary))),
                None if missing == Some(generation) => {
                    self.complain(generation).await;
                    let what = format!("reading {}", self.keys.summary(generation));
                    let gone = format!("it is gone although {pointer} names it; the scorer publishes again");
                    return Err(self.connections.error(&what, &gone));
                }
                None => missing = Some(generation),
            }
        }
        Err(self.connections.error(&what, &"it moves faster than it can be followed"))
    }

    pub(crate) async fn summary(&self, generation: Generation) -> Result<Option<Summary>, StoreError> {
        let key = self.keys.summary(generation);
        let Some(json) = self.get::<Bytes>(&key).await? else { return Ok(None) };
        serde_json::from_slice(&json).map(Some).map_err(|error| {
            self.connections.error(&format!("reading {key}"), &format_args!("not a summary: {error}"))
        })
    }

    pub(crate) async fn get<T: FromRedisValue>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let mut get = cmd("GET");
        get.arg(key);
        self.connections.ask(&format!("reading {key}"), get).await
    }

    pub(crate) async fn answer(
        &self,
        summary: &Summary,
        asset: &Asset,
    ) -> Result<Option<Bytes>, AnswerError> {
        let key = self.keys.shard(summary.generation, shard_of(asset, shards(summary.assets)));
        let mut get = cmd("HMGET");
        get.arg(&key).arg(asset.as_str()).arg(COUNT);
        let what = format!("reading {asset} in {key}");
        let (answer, count): (Option<Bytes>, Option<u64>) = self.connections.ask(&what, get).await?;
        if count.is_none() { Err(self.gone(summary.generation).await) } else { Ok(answer) }
    }

    pub(crate) async fn assets(&self, summary: &Summary) -> Result<Vec<Asset>, AnswerError> {
        let mut assets = Vec::new();
        for (key, names) in self.all_shards::<String>(summary, "HKEYS").await? {
            for name in names.iter().filter(|name| *name != COUNT) {
                assets.push(self.asset(&key, name)?);
            }
        }
        assets.sort_unstable();
        Ok(assets)
    }

    pub(crate) async fn answers(&self, summary: &Summary) -> Result<BTreeMap<Asset, Bytes>, AnswerError> {
        let mut answers = Vec::new();
        for (key, fields) in self.all_shards::<(String, Bytes)>(summary, "HGETALL").await? {
            let expected = fields.iter().find(|(name, _)| name == COUNT).map(|(_, count)| count.clone());
            let found = fields.len().saturating_sub(1).to_string();
            if expected.as_deref() != Some(found.as_bytes()) {
                return Err(self.gone(summary.generation).await);
            }
            for (name, answer) in fields.into_iter().filter(|(name, _)| name != COUNT) {
                answers.push((self.asset(&key, &name)?, answer));
            }
        }
        // Sorting them takes its time where they are many.
        let sorted = spawn_blocking(|| answers.into_iter().collect()).await;
        let what = format!("reading generation {}", summary.generation);
        Ok(sorted.map_err(|error| self.connections.error(&what, &error))?)
    }

    /// What a command says of each shard of a generation.
    async fn all_shards<T: FromRedisValue + Send>(
        &self,
        summary: &Summary,
        command: &'static str,
    ) -> Result<Vec<(String, Vec<T>)>, AnswerError> {
        let generation = summary.generation;
        let read = stream::iter(0..shards(summary.assets))
            .map(|number| async move {
                let key = self.keys.shard(generation, number);
                let mut read = cmd(command);
                read.arg(&key);
                let fields: Vec<T> = self.connections.ask(&format!("reading {key}"), read).await?;
                // There is the number of answers at least.
                if fields.is_empty() { Err(AnswerError::Gone(generation)) } else { Ok((key, fields)) }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await;
        match read {
            Err(AnswerError::Gone(generation)) => Err(self.gone(generation).await),
            read => read,
        }
    }

    /// Returns the error for a generation that is no longer whole. Publishers are told if it is the current one.
    async fn gone(&self, generation: Generation) -> AnswerError {
        self.complain(generation).await;
        AnswerError::Gone(generation)
    }

    /// Leaves word for publishers that a part of the current generation is missing. It is tried once: a reader that misses
    /// a part asks again.
    async fn complain(&self, generation: Generation) {
        if !self.complaints.lock().unwrap_or_else(PoisonError::into_inner).is_due(generation) {
            return;
        }
        let key = self.keys.incomplete();
        let what = format!("telling in {key} that a part of generation {generation} is missing");
        let told = async {
            let current: Pointer = self.connections.ask(&what, self.ledger().pointer()).await?;
            // A generation that was replaced is expected to vanish.
            if current.0 != Some(generation.0) {
                return Ok(());
            }
            IncompleteGeneration { generation }.tell();
            let mut set = cmd("SET");
            set.arg(&key).arg(generation.0).arg("EX").arg(COMPLAINT_EXPIRY.as_secs());
            self.connections.ask::<()>(&what, set).await?;
            self.announce(generation).await;
            Ok(())
        };
        if let Err(error) = told.await {
            NotComplained { error: &error }.tell();
        }
    }

    fn asset(&self, key: &str, name: &str) -> Result<Asset, StoreError> {
        name.parse().map_err(|error| self.connections.error(&format!("reading {key}"), &error))
    }
}
