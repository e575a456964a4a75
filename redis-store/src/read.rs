use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{FromRedisValue, cmd};
use shared::{AnswerError, Asset, Generation, StoreError, Summary};
use tokio::task::spawn_blocking;

use crate::{
    connection::Request,
    keys::{COUNT, shard_of, shards},
    store::Inner,
};

/// So many shards are read at once.
const IN_FLIGHT: usize = 8;

/// So often the pointer is followed again because it was moved, and what it led to removed, before it was reached.
const POINTER_TRIES: u32 = 5;

impl Inner {
    pub(crate) async fn current(&self) -> Result<Option<Arc<Summary>>, StoreError> {
        let pointer = self.keys.current();
        let mut missing = None;
        for _ in 0..POINTER_TRIES {
            let Some(generation) = self.get::<u64>(&pointer).await?.map(Generation) else {
                return Ok(None);
            };
            match self.summary(generation).await? {
                Some(summary) => return Ok(Some(Arc::new(summary))),
                None if missing == Some(generation) => {
                    let what = format!("reading {}", self.keys.summary(generation));
                    let gone = format!("it is gone although {pointer} names it");
                    return Err(self.connections.error(&what, &gone));
                }
                None => missing = Some(generation),
            }
        }
        Err(self.connections.error(&format!("reading {pointer}"), &"it moves faster than it can be followed"))
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
        self.connections.ask(&format!("reading {key}"), Request::Command(get)).await
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
        let (answer, count): (Option<Bytes>, Option<u64>) =
            self.connections.ask(&what, Request::Command(get)).await?;
        if count.is_none() { Err(AnswerError::Gone(summary.generation)) } else { Ok(answer) }
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
        stream::iter(0..shards(summary.assets))
            .map(|number| async move {
                let key = self.keys.shard(generation, number);
                let mut read = cmd(command);
                read.arg(&key);
                let fields: Vec<T> =
                    self.connections.ask(&format!("reading {key}"), Request::Command(read)).await?;
                // There is the number of answers at least.
                if fields.is_empty() { Err(AnswerError::Gone(generation)) } else { Ok((key, fields)) }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    fn asset(&self, key: &str, name: &str) -> Result<Asset, StoreError> {
        name.parse().map_err(|error| self.connections.error(&format!("reading {key}"), &error))
    }
}
