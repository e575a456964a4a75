//! `scorer backfill`: everything now, or every day of a range.

use std::{fmt::Display, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::{Context, bail};
use aws::S3Bucket;
use clap::Args;
use jiff::civil::Date;
use scorer::{
    Engine, FolderStore, Progress, Publication, Wanted,
    backfill::{Backfill, Settings, Split},
};
use shared::{
    HistoryStore, ModelName, ModelVersion, ObjectStore, ObjectWriter, PredictionStore, terminal::Exit,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{deployment::Deployment, logging::Logging, wrong_usage};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    deployment: Deployment,
    /// A folder that is the bucket, instead of the one in S3.
    #[arg(long, value_name = "DIR")]
    bucket: Option<PathBuf>,
    /// The first day to score; without --from and --to, everything is scored once as it is now, and published.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "to", value_parser = day)]
    from: Option<Date>,
    /// The last day to score.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from", value_parser = day)]
    to: Option<Date>,
    /// A model to ask, whether or not it is in force; may be given several times. Those in force without it.
    #[arg(long = "model", value_name = "NAME@VERSION", requires = "from")]
    models: Vec<Version>,
    /// The key of the feature table, or raw.csv; what is in force without it. Naming it keeps a run of many shards
    /// together when a newer table comes meanwhile.
    #[arg(long, value_name = "KEY", requires = "from")]
    table: Option<String>,
    /// Into how many shards the work is split, each done by a process of its own.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "from")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: u32,
    /// Which of them to do, from 0. Kubernetes tells the pods of an Indexed Job.
    #[arg(long, value_name = "I", env = "JOB_COMPLETION_INDEX")]
    shard: Option<u32>,
    /// How many of its last days are kept of each asset, for GET /symbol/{ativo}/historico.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=3650))]
    history_days: u16,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

/// `NAME@VERSION`.
#[derive(Debug, Clone)]
struct Version(ModelName, ModelVersion);

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let said = |error: &dyn Display| error.to_string();
        let (name, version) = text.split_once('@').ok_or("NAME@VERSION expected")?;
        let name = name.parse().map_err(|error| said(&error))?;
        Ok(Self(name, version.parse().map_err(|error| said(&error))?))
    }
}

fn day(text: &str) -> Result<Date, &'static str> {
    text.parse().map_err(|_| "a day as YYYY-MM-DD expected")
}

/// Works until it is done, or told to end: what was done until then stays, and is not done again.
pub(crate) async fn backfill(arguments: Arguments, progress: Progress) -> anyhow::Result<Exit> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = work(arguments, progress) => done,
        _ = terminate.recv() => bail!("ended by SIGTERM before it was done; it may be repeated"),
        _ = interrupt.recv() => bail!("ended by SIGINT before it was done; it may be repeated"),
    }
}

async fn work(arguments: Arguments, progress: Progress) -> anyhow::Result<Exit> {
    let days = arguments.from.zip(arguments.to);
    if days.is_some() && arguments.shards > 1 && arguments.shard.is_none() {
        let needed = format!("--shards {} needs --shard, or JOB_COMPLETION_INDEX", arguments.shards);
        return Err(wrong_usage("backfill", needed).into());
    }
    let split = |(from, to)| Split::new(arguments.shard.unwrap_or(0), arguments.shards, from, to);
    let split = days.map(split).transpose().map_err(|wrong| wrong_usage("backfill", wrong))?;
    let deployment = &arguments.deployment;
    let (objects, writer): (Arc<dyn ObjectStore>, Arc<dyn ObjectWriter>) = match &arguments.bucket {
        Some(folder) => {
            let folder = FolderStore::open_folder(folder)?;
            (Arc::new(folder.clone()), Arc::new(folder))
        }
        None => {
            let bucket = S3Bucket::new(&deployment.aws().await, &deployment.bucket_name);
            (Arc::new(bucket.clone()), Arc::new(bucket))
        }
    };
    let store = Arc::new(deployment.store().await?);
    let predictions: Arc<dyn PredictionStore> = Arc::clone(&store) as _;
    let engine = Engine::new(Arc::clone(&objects), predictions, deployment.engine(), progress.clone());

    let (Some((from, to)), Some(split)) = (days, split) else {
        let reload = engine.reload().await?;
        if reload.incomplete {
            bail!("something could not be read; what is served is as new as what could");
        }
        let generation = reload.snapshot.generation;
        match reload.publication {
            Publication::Published => tracing::info!(%generation, "everything was scored and published"),
            Publication::Unchanged => {
                tracing::info!(%generation, "nothing new to publish, what is served stays")
            }
            Publication::Superseded => tracing::info!("another process has published a later state"),
        }
        return Ok(Exit::Done);
    };
    let models = arguments.models.into_iter().map(|Version(name, version)| (name, version)).collect();
    let settings = Settings {
        wanted: Wanted { models, table: arguments.table },
        from,
        to,
        split,
        history_days: arguments.history_days.into(),
    };
    let histories: Arc<dyn HistoryStore> = store;
    let backfill = Backfill { engine, objects, writer, histories, progress };
    backfill
        .run(&settings)
        .await
        .with_context(|| format!("shard {} of {}", split.shard(), split.shards()))?;
    Ok(Exit::Done)
}
