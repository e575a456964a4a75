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
use redis_store::RedisStore;
use scorer::{
    Admission, Engine, Follow, Progress, Settings, follow,
    retrain::{Configuration, Retrainer},
};
use shared::{PredictionStore, config::Seconds};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{observe, rollback::Redis};

#[derive(Args)]
pub(crate) struct Worker {
    /// The bucket with models/, features/ and data/ in it.
    #[arg(long, env, default_value = "criptos-data")]
    bucket_name: String,
    /// The URL of the queue that gets the bucket's events.
    #[arg(long, env)]
    queue_url: HttpUrl,
    /// The region of bucket and queue.
    #[arg(long, env, default_value = aws::Settings::DEFAULT_REGION)]
    aws_default_region: String,
    /// Where AWS' services are, if not at AWS; the bucket is then part of the path.
    #[arg(long, env)]
    aws_endpoint_url: Option<HttpUrl>,
    #[command(flatten)]
    redis: Redis,
    /// How many generations before the current one are kept for a rollback.
    #[arg(long, env, default_value_t = 2)]
    kept_generations: u32,
    /// Seconds after which Redis forgets what no worker has confirmed.
    #[arg(long, env, default_value = "604800")]
    generation_expiry: Seconds,
    /// The port for GET /metrics, /health and /health/live; 0 is any free one.
    #[arg(long, env, default_value_t = 9000)]
    metrics_port: u16,
    /// The address for it.
    #[arg(long, env, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    metrics_host: IpAddr,
    /// Seconds for which a received message is hidden from others; extended while it is worked on.
    #[arg(long, env, default_value = "60")]
    visibility_timeout: Visibility,
    /// Seconds after which the bucket is looked at although nothing was heard of it.
    #[arg(long, env, default_value = "300")]
    reconcile_interval: Seconds,
    /// The share of assets that a new model may have no prediction for although the one in force has (0 to 1), or off.
    #[arg(long, env, default_value = "0.2")]
    admission_max_failures: Share,
    /// The factor by which a new regressor's predictions may differ from those in force, in the median, or off.
    #[arg(long, env, default_value = "10")]
    admission_max_shift: Factor,
    /// Which models are trained again when newer data arrive, in TOML; none without it.
    #[arg(long, env, value_name = "FILE.toml")]
    retrain_config: Option<PathBuf>,
    /// Put the feature table that is computed from raw.csv into the bucket: true or false.
    #[arg(long, env, default_value_t = false, action = clap::ArgAction::Set)]
    write_features: bool,
    /// Seconds for what is in flight to be settled after SIGTERM.
    #[arg(long, env, default_value = "25")]
    shutdown_grace: Seconds,
}

/// A number from 0 to 1, or nothing for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share(Option<f64>);

/// A number above 1, or nothing for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factor(Option<f64>);

impl std::str::FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number_or_off(text, |number| (0.0..=1.0).contains(&number))
            .map(Self)
            .ok_or("a number from 0 to 1, or off")
    }
}

impl std::str::FromStr for Factor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number_or_off(text, |number| number > 1.0).map(Self).ok_or("a number above 1, or off")
    }
}

fn number_or_off(text: &str, allowed: impl Fn(f64) -> bool) -> Option<Option<f64>> {
    match text {
        "off" => Some(None),
        number => number.parse().ok().filter(|number: &f64| number.is_finite() && allowed(*number)).map(Some),
    }
}

/// Works until SIGTERM or SIGINT.
pub(crate) async fn work(arguments: Worker) -> anyhow::Result<()> {
    let configuration = arguments.retrain_config.as_deref().map(Configuration::from_file).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = (arguments.metrics_host, arguments.metrics_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("METRICS_PORT={}: cannot be served on", arguments.metrics_port))?;

    let aws_settings = aws::Settings {
        region: arguments.aws_default_region,
        endpoint: arguments.aws_endpoint_url,
        attempt_timeout: aws::Settings::DEFAULT_ATTEMPT_TIMEOUT,
    };
    let config = aws::config(&aws_settings).await;
    let bucket = arguments.bucket_name;
    let objects = S3Bucket::new(&config, &bucket);
    let queue = SqsSettings {
        visibility: arguments.visibility_timeout,
        ..SqsSettings::new(arguments.queue_url, Scope::of(bucket))
    };
    let events = SqsQueue::new(&config, queue);
    let monitor = events.monitor();
    let redis = redis_store::Settings {
        kept: arguments.kept_generations,
        expiry: arguments.generation_expiry.0,
        ..arguments.redis.settings()?
    };
    let store = Arc::new(RedisStore::connect(redis).await);
    let admission = Admission {
        new_failures: arguments.admission_max_failures.0,
        shift: arguments.admission_max_shift.0,
    };
    let settings = Settings { admission, ..Settings::default() };
    let predictions: Arc<dyn PredictionStore> = Arc::clone(&store) as _;
    let writer = Arc::new(objects.clone());
    let engine = Arc::new(Engine::new(Arc::new(objects), predictions, settings, Progress::none()));
    let retrainer = Retrainer::new(Arc::clone(&engine), writer, configuration.unwrap_or_default())
        .with_features_written(arguments.write_features);
    let settings = Follow { reconcile: arguments.reconcile_interval.0, reports: Some(store) };

    tracing::info!(address = %listener.local_addr()?, "working");
    let watch = engine.watch();
    let observed = tokio::spawn(observe::serve(listener, watch, monitor));
    let retrained = tokio::spawn(async move { retrainer.run().await });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut following = std::pin::pin!(follow(&engine, events, &settings, async {
        let _ = stopped.await;
    }));
    tokio::select! {
        () = &mut following => return Ok(()),
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
    Ok(())
}
