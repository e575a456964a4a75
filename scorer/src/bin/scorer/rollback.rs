//! `scorer rollback`, and where Redis is.

use std::path::PathBuf;

use clap::Args;
use redis_store::{Prefix, RedisStore, Servers, Settings};

#[derive(Args)]
pub(crate) struct Redis {
    /// Where predictions are published: redis:// or rediss:// (TLS), with user and password if need be. Of a cluster one
    /// node will do, or several separated by commas.
    #[arg(long, env, default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    redis_url: String,
    /// Certificates (PEM) to trust a rediss:// server by, instead of the system's.
    #[arg(long, env)]
    redis_ca_file: Option<PathBuf>,
    /// What all keys in Redis begin with.
    #[arg(long, env, default_value = "cripto")]
    redis_prefix: Prefix,
}

impl Redis {
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let servers = Servers::configured(&self.redis_url, self.redis_ca_file.as_deref())?;
        Ok(Settings { prefix: self.redis_prefix.clone(), ..Settings::new(servers) })
    }
}

/// Makes the generation before the current one the current one, until a worker has something new to publish.
pub(crate) async fn roll_back(redis: &Redis) -> anyhow::Result<()> {
    let store = RedisStore::connect(redis.settings()?).await;
    let generation = store.rollback().await?;
    println!("generation {generation} is served again, until something new is published");
    Ok(())
}
