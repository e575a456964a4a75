//! `scorer rollback`, and where Redis is.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use redis_store::{Prefix, RedisStore, Servers, Settings};
use shared::terminal::Exit;

use crate::logging::Logging;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Let what was taken back be published again instead: by a worker when it next compares bucket and store (within
    /// RECONCILE_INTERVAL), by GET /reload or `scorer backfill` at once.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    pub(crate) redis: Redis,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Args)]
pub(crate) struct Redis {
    /// Where predictions are published: redis:// or rediss:// (TLS), with user and password if need be. Of a cluster one
    /// node will do, or several separated by commas.
    #[arg(
        long,
        help_heading = "Redis",
        value_name = "URL",
        env,
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    redis_url: String,
    /// Certificates (PEM) to trust a rediss:// server by, instead of the system's. The file is read again for each
    /// connection.
    #[arg(long, help_heading = "Redis", value_name = "FILE", env)]
    redis_ca_file: Option<PathBuf>,
    /// What all keys in Redis begin with.
    #[arg(long, help_heading = "Redis", value_name = "PREFIX", env, default_value = "cripto")]
    redis_prefix: Prefix,
}

impl Redis {
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let servers = Servers::configured(&self.redis_url, self.redis_ca_file.as_deref())?;
        Ok(Settings { prefix: self.redis_prefix.clone(), ..Settings::new(servers) })
    }
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    if arguments.undo { undo(&arguments.redis).await } else { roll_back(&arguments.redis).await }
}

/// Ends what [`roll_back`] began.
async fn undo(redis: &Redis) -> anyhow::Result<Exit> {
    let store = RedisStore::connect(redis.settings()?).await;
    let said = if store.end_rollback().await? {
        "what was taken back is published again when the bucket is next looked at; GET /reload or `scorer backfill` looks at once"
    } else {
        "nothing is taken back"
    };
    writeln!(io::stdout(), "{said}")?;
    Ok(Exit::Done)
}

/// Makes the generation before the current one the current one, until a worker has something new to publish.
async fn roll_back(redis: &Redis) -> anyhow::Result<Exit> {
    let store = RedisStore::connect(redis.settings()?).await;
    let generation = store.rollback().await?;
    writeln!(
        io::stdout(),
        "generation {generation} is served again, until something new is published or --undo"
    )?;
    Ok(Exit::Done)
}
