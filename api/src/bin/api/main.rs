//! The program `api`: serves predictions from Redis.
//!
//! * **For:** any number of replicas of the read side of the deployed system.
//! * **Comes in:** [`Arguments`], what the scorer publishes in Redis, requests. **Goes out:** the documented API, and,
//!   when somebody asks for a reload, a message to the scorer's queue.
//! * **Must never know:** how anything is done. It only puts parts together: a [`RedisStore`], a [`ReloadQueue`], and
//!   the API.

mod arguments;
mod queue_reload;

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use api::Api;
use aws::ReloadQueue;
use redis_store::RedisStore;
use shared::{
    HistoryStore, PredictionStore, ReloadReports,
    terminal::{Exit, described, tip_on_listening},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    arguments::{Arguments, wrong_setting},
    queue_reload::QueueReload,
};

/// How long work in the background is waited for at the end. None of it matters to anybody then.
const LAST_TASKS: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let redis = arguments.redis();
    if let Err(error) =
        shared::telemetry::init_with(arguments.log_format, &arguments.rust_log, std::io::stderr)
    {
        wrong_setting(&error);
    }
    match run(&arguments, redis) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let error: &(dyn Error + 'static) = error.as_ref();
            tracing::error!(error = described(error), tip = tip_on_listening(error, "PORT"), "cannot start");
            Exit::Failed.into()
        }
    }
}

fn run(arguments: &Arguments, redis: redis_store::Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(arguments, redis));
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

async fn serve(arguments: &Arguments, redis: redis_store::Settings) -> anyhow::Result<()> {
    let address = (arguments.host, arguments.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve on port {} of {}", arguments.port, arguments.host))?;
    let address = listener.local_addr()?;
    let [mut terminate, mut interrupt] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };

    let settings = arguments.api();
    let store = Arc::new(RedisStore::connect(redis).await);
    let mut api = Api::new(Arc::clone(&store) as Arc<dyn PredictionStore>)
        .with_histories(Arc::clone(&store) as Arc<dyn HistoryStore>);
    if let Some(queue) = &arguments.queue_url {
        let config = aws::config(&arguments.aws()).await;
        api = api.with_reload(Arc::new(QueueReload {
            queue: ReloadQueue::new(&config, queue),
            reports: store as Arc<dyn ReloadReports>,
            patience: 2 * settings.reload_wait,
        }));
    }
    tracing::info!(%address, "serving");
    api.with_settings(settings).serve(listener, stop).await;
    tracing::info!("stopped");
    Ok(())
}
