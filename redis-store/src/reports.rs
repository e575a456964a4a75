use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;
use shared::{ReloadReport, ReloadReports, RequestId, StoreError};

use crate::RedisStore;

/// For how long an outcome waits for whoever asked.
const EXPIRY: Duration = Duration::from_secs(10 * 60);

#[async_trait]
impl ReloadReports for RedisStore {
    async fn report(&self, request: &RequestId, report: &ReloadReport) -> Result<(), StoreError> {
        let key = self.inner.keys.report(request);
        let what = format!("writing {key}");
        let json = serde_json::to_vec(report).map_err(|error| self.inner.connections.error(&what, &error))?;
        let mut set = cmd("SET");
        set.arg(key).arg(json).arg("EX").arg(EXPIRY.as_secs());
        self.inner.connections.ask(&what, set).await
    }

    async fn report_of(&self, request: &RequestId) -> Result<Option<ReloadReport>, StoreError> {
        let key = self.inner.keys.report(request);
        let Some(json) = self.inner.get::<Bytes>(&key).await? else { return Ok(None) };
        let what = format!("reading {key}");
        serde_json::from_slice(&json).map_err(|error| self.inner.connections.error(&what, &error))
    }
}
