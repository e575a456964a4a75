use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;
use serde::{Serialize, de::DeserializeOwned};
use shared::{Asset, HistoryStore, ModelHistory, ModelName, StoreError, TrackRecord};

use crate::{RedisStore, ledger::script};

/// What no backfill has replaced for so long says little of the models in force.
const EXPIRY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// KEYS: a hash. ARGV: expiry, fields and values. In one step, so that nothing stays without an expiry.
const WRITE: &str = r"
for place = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
";

#[async_trait]
impl HistoryStore for RedisStore {
    async fn put_history(
        &self,
        asset: &Asset,
        models: &BTreeMap<ModelName, ModelHistory>,
    ) -> Result<(), StoreError> {
        if models.is_empty() {
            return Ok(());
        }
        let key = self.inner.keys.history(asset);
        let what = format!("writing {key}");
        let mut arguments = vec![EXPIRY.as_secs().to_string()];
        for (model, history) in models {
            arguments.push(model.to_string());
            arguments.push(self.to_json(&what, history)?);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let write = script(WRITE, std::slice::from_ref(&key), &arguments);
        self.inner.connections.ask(&what, write).await
    }

    async fn put_track_record(&self, model: &ModelName, record: &TrackRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.track_record(model);
        let what = format!("writing {key}");
        let mut set = cmd("SET");
        set.arg(&key).arg(self.to_json(&what, record)?).arg("EX").arg(EXPIRY.as_secs());
        self.inner.connections.ask(&what, set).await
    }

    async fn history(&self, asset: &Asset) -> Result<BTreeMap<ModelName, ModelHistory>, StoreError> {
        let key = self.inner.keys.history(asset);
        let what = format!("reading {key}");
        let mut get = cmd("HGETALL");
        get.arg(&key);
        let fields: Vec<(String, Bytes)> = self.inner.connections.ask(&what, get).await?;
        let mut models = BTreeMap::new();
        for (name, json) in fields {
            let name = name.parse().map_err(|error| self.inner.connections.error(&what, &error))?;
            models.insert(name, self.parsed(&what, &json)?);
        }
        Ok(models)
    }

    async fn track_record(&self, model: &ModelName) -> Result<Option<TrackRecord>, StoreError> {
        let key = self.inner.keys.track_record(model);
        let Some(json) = self.inner.get::<Bytes>(&key).await? else { return Ok(None) };
        self.parsed(&format!("reading {key}"), &json).map(Some)
    }
}

impl RedisStore {
    fn to_json(&self, what: &str, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| self.inner.connections.error(what, &error))
    }

    fn parsed<T: DeserializeOwned>(&self, what: &str, json: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(json).map_err(|error| self.inner.connections.error(what, &error))
    }
}
