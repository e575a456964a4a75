use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{cmd, pipe};
use serde::{Serialize, de::DeserializeOwned};
use shared::{Asset, HistoryStore, ModelHistory, ModelName, StoreError, TrackRecord};

use crate::{RedisStore, connection::Request};

/// What no backfill has replaced for so long says little of the models in force.
const EXPIRY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

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
        let mut transaction = pipe();
        transaction.atomic().cmd("HSET").arg(&key);
        for (model, history) in models {
            transaction.arg(model.as_str()).arg(self.to_json(&what, history)?);
        }
        transaction.ignore().cmd("EXPIRE").arg(&key).arg(EXPIRY.as_secs()).ignore();
        self.inner.connections.ask(&what, Request::Transaction(transaction)).await
    }

    async fn put_track_record(&self, model: &ModelName, record: &TrackRecord) -> Result<(), StoreError> {
        let key = self.inner.keys.track_record(model);
        let what = format!("writing {key}");
        let mut set = cmd("SET");
        set.arg(&key).arg(self.to_json(&what, record)?).arg("EX").arg(EXPIRY.as_secs());
        self.inner.connections.ask(&what, Request::Command(set)).await
    }

    async fn history(&self, asset: &Asset) -> Result<BTreeMap<ModelName, ModelHistory>, StoreError> {
        let key = self.inner.keys.history(asset);
        let what = format!("reading {key}");
        let mut get = cmd("HGETALL");
        get.arg(&key);
        let fields: Vec<(String, Bytes)> = self.inner.connections.ask(&what, Request::Command(get)).await?;
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
    fn to_json(&self, what: &str, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(value).map_err(|error| self.inner.connections.error(what, &error))
    }

    fn parsed<T: DeserializeOwned>(&self, what: &str, json: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(json).map_err(|error| self.inner.connections.error(what, &error))
    }
}
