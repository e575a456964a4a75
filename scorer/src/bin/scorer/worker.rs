//! `scorer worker`: the deployed scorer. S3 and SQS on one side, Redis on the other, the engine in between.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use aws::{HttpUrl, S3Bucket, SqsQueue, SqsSettings, Visibility, meaning::Scope};
use clap::Args;
use scorer::{
    Engine, Follow, Progress, follow,
    retrain::{Configuration, Retrainer},
};
use shared::{PredictionStore, config::Seconds, terminal::Exit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{deployment::Deployment, logging::Logging, observe};

#[derive(Args)]
pub(crate) struct Worker {
    #[command(flatten)]
    deployment: Deployment,
    /// The URL of the queue that gets the bucket's events.
    #[arg(long, value_name = "URL", env)]
    queue_url: HttpUrl,
    /// The port for GET /metrics, /health and /health/live; 0 is any free one.
    #[arg(long, value_name = "PORT", env, default_value_t = 9000)]
    metrics_port: u16,
    /// The address for it.
    #[arg(long, value_name = "ADDRESS", env, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    metrics_host: IpAddr,
    /// Seconds for which a received message is hidden from others; extended while it is worked on.
    #[arg(long, value_name = "SECONDS", env, default_value = "60")]
    visibility_timeout: Visibility,
    /// Seconds after which the bucket is looked at although nothing was heard of it.
    #[arg(long, value_name = "SECONDS", env, default_value = "300")]
    reconcile_interval: Seconds,
    /// Which models are trained again when newer data arrive, in TOML; none without it.
    #[arg(long, env, value_name = "FILE.toml")]
    retrain_config: Option<PathBuf>,
    /// Put the feature table that is computed from raw.csv into the bucket.
    #[arg(long, value_name = "BOOL", env, default_value_t = false, action = clap::ArgAction::Set)]
    write_features: bool,
    /// Seconds for what is in flight to be settled after SIGTERM.
    #[arg(long, value_name = "SECONDS", env, default_value = "25")]
    shutdown_grace: Seconds,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

/// Works until SIGTERM or SIGINT.
pub(crate) async fn work(arguments: Worker) -> anyhow::Result<Exit> {
    let configuration = arguments.retrain_config.as_deref().map(Configuration::from_file).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = (arguments.metrics_host, arguments.metrics_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve metrics on port {} of {}", address.1, address.0))?;

    let deployment = arguments.deployment;
    let config = deployment.aws().await;
    let bucket = deployment.bucket_name.clone();
    let objects = S3Bucket::new(&config, &bucket);
    let queue = SqsSettings {
        visibility: arguments.visibility_timeout,
        ..SqsSettings::new(arguments.queue_url, Scope::of(bucket))
    };
    let events = SqsQueue::new(&config, queue);
    let (monitor, queue) = (events.monitor(), events.status());
    let store = Arc::new(deployment.store().await?);
    let settings = deployment.engine();
    let predictions: Arc<dyn PredictionStore> = Arc::clone(&store) as _;
    let writer = Arc::new(objects.clone());
    let engine = Arc::new(Engine::new(Arc::new(objects), predictions, settings, Progress::none()));
    let retrainer = Retrainer::new(Arc::clone(&engine), writer, configuration.unwrap_or_default())
        .with_features_written(arguments.write_features);
    let settings =
        Follow { reconcile: arguments.reconcile_interval.0, reports: Some(store), ..Follow::default() };

    tracing::info!(address = %listener.local_addr()?, "working");
    let crash = retrainer.crash();
    let parts = observe::Parts { store: engine.watch(), reloads: settings.status.subscribe(), queue, crash };
    let observed = tokio::spawn(observe::serve(listener, parts, monitor));
    let retrained = tokio::spawn(async move { retrainer.run().await });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut following = std::pin::pin!(follow(&engine, events, &settings, async {
        let _ = stopped.await;
    }));
    tokio::select! {
        () = &mut following => return Ok(Exit::Done),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    retrained.abort();
    let _ = stop.send(());
    let grace: Duration = arguments.shutdown_grace.0;
    if timeout(grace, following).await.is_err() {
        tracing::warn!(
            seconds = grace.as_secs(),
            "not everything was settled in time; it comes again by itself"
        );
    }
    observed.abort();
    tracing::info!("stopped");
    Ok(Exit::Done)
}
