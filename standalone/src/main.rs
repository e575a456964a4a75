//! The program `cripto`: the whole system in one process.
//!
//! * **For:** trying the system, developing on it, and running it where one machine is enough.
//! * **Comes in:** a folder in the shape of the bucket, watched for changes. **Goes out:** the documented API.
//! * **Must never know:** how anything is done. It only puts parts together: a [`FolderStore`] and a
//!   [`FolderWatch`] for the bucket, the scorer's [`Engine`], a [`MemoryStore`] in between, and the API. It depends
//!   neither on AWS nor on Redis.

mod overview;

use std::{
    error::Error,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use api::Api;
use async_trait::async_trait;
use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};
use clap_complete::Shell;
use scorer::{
    Engine, FolderStore, FolderWatch, Follow, Progress, ReloadError, Settings, follow,
    retrain::{Configuration, Retrainer},
    tip_on_folder,
};
use shared::{
    Causes, MemoryStore, PredictionStore,
    config::LogFormat,
    telemetry::LogFilter,
    terminal::{self, EXIT_CODES, Exit},
};
use tokio::{net::TcpListener, sync::watch};

/// Where the sample bucket is in the repository.
const SAMPLE: &str = "sample/bucket";

/// How long a model that is being read at shutdown is waited for.
const LAST_READS: Duration = Duration::from_millis(100);

/// Predicts with scikit-learn models and serves the predictions, all in one process.
///
/// Models (models/*.joblib) and feature tables (features/*.parquet) that are put into the folder while it runs are
/// picked up within a second of the last write. What is broken is reported and changes nothing else.
#[derive(Parser)]
#[command(name = "cripto", version, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{MORE}\n\n{EXIT_CODES}"))]
struct Arguments {
    /// The bucket: a folder with models/ and features/ in it [default: the repository's sample/bucket].
    #[arg(long, value_name = "DIR", env = "BUCKET_DIR")]
    bucket: Option<PathBuf>,
    /// The port to serve on; 0 is any free one.
    #[arg(long, value_name = "N", env = "PORT", default_value_t = 8000)]
    port: u16,
    /// The address to serve on; 0.0.0.0 is every network of this machine.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Which models are trained again when newer data arrive, in TOML; none without it.
    #[arg(long, value_name = "FILE.toml", env)]
    retrain_config: Option<PathBuf>,
    /// Put the feature table that is computed from raw.csv into the bucket.
    #[arg(long, value_name = "BOOL", env, default_value_t = false, action = clap::ArgAction::Set)]
    write_features: bool,
    /// How log lines look: text or json.
    #[arg(long, value_name = "FORMAT", env, default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written, such as warn or info,scorer=debug.
    #[arg(long, value_name = "FILTER", env, default_value = "info")]
    rust_log: LogFilter,
    /// Print completions for a shell, and end.
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

const MORE: &str = "\
Ctrl-C or SIGTERM ends it after the requests in progress. Predictions go to standard output, log lines to standard \
error; neither is coloured where NO_COLOR is set or there is no terminal.

Completions, for bash:
  cripto --completions bash >~/.local/share/bash-completion/completions/cripto";

fn main() -> ExitCode {
    let arguments = arguments();
    if let Some(shell) = arguments.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "cripto", &mut script);
        // Whoever reads it has seen enough.
        let _ = std::io::stdout().write_all(&script);
        return Exit::Done.into();
    }
    let progress = Progress::on_terminal();
    let above_bar = progress.clone();
    let stderr = move || above_bar.stderr();
    if let Err(error) = shared::telemetry::init_with(arguments.log_format, &arguments.rust_log, stderr) {
        Arguments::command().error(ErrorKind::ValueValidation, error).exit();
    }
    let bar = progress.clone();
    let result = run(&arguments, progress);
    // What did not come to its end has left its bar.
    bar.end();
    match result {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let error: &(dyn Error + 'static) = error.as_ref();
            terminal::tell("cripto", error, tip(error).as_deref());
            Exit::Failed.into()
        }
    }
}

/// What flags and variables say. A variable that is empty counts as one that is not set.
fn arguments() -> Arguments {
    let command = Arguments::command().mut_args(|argument| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) { argument.env(None) } else { argument }
    });
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// What can be done about an error.
fn tip(error: &(dyn Error + 'static)) -> Option<String> {
    let bucket = terminal::causes(error).find_map(|cause| match cause.downcast_ref() {
        // It shows the bucket's error in its own place, and so leaves it out of the causes.
        Some(ReloadError::Objects(error)) => tip_on_folder(error),
        _ => cause.downcast_ref().and_then(tip_on_folder),
    });
    bucket.or_else(|| terminal::tip_on_listening(error, "--port N"))
}

fn run(arguments: &Arguments, progress: Progress) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(arguments, progress));
    runtime.shutdown_timeout(LAST_READS);
    result
}

async fn serve(arguments: &Arguments, progress: Progress) -> anyhow::Result<()> {
    let configuration = arguments.retrain_config.as_deref().map(Configuration::from_file).transpose()?;
    let bucket = match &arguments.bucket {
        Some(folder) => folder.clone(),
        None => sample_bucket()?,
    };
    let objects = FolderStore::open_folder(&bucket)?;
    let address = (arguments.host, arguments.port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot serve on port {} of {}", arguments.port, arguments.host))?;
    let address = listener.local_addr()?;
    let stop = stop_on_signal()?;

    // The watch comes before the first look, so that nothing falls between them.
    let events = FolderWatch::start(objects.clone()).await?;
    let writer = Arc::new(objects.clone());
    let store = Arc::new(MemoryStore::default());
    let engine = Arc::new(Engine::new(
        Arc::new(objects),
        Arc::clone(&store) as Arc<dyn PredictionStore>,
        Settings::default(),
        progress,
    ));
    let retrainer = Retrainer::new(Arc::clone(&engine), writer, configuration.unwrap_or_default())
        .with_features_written(arguments.write_features);
    let api = Api::new(Arc::clone(&store) as Arc<dyn PredictionStore>)
        .with_histories(store)
        .with_reload(Arc::new(Reloading(Arc::clone(&engine))));
    let keep_up = async {
        let first = tokio::select! {
            () = stopped(stop.clone()) => return Ok(()),
            first = engine.reload() => first?,
        };
        // It serves on, whether or not anybody reads this.
        let _ = writeln!(anstream::stdout(), "{}", overview::overview(&first.snapshot, &bucket, address));
        let settings = Follow::default();
        tokio::select! {
            () = follow(&engine, events, &settings, stopped(stop.clone())) => Ok(()),
            () = retrainer.run() => Ok(()),
        }
    };
    // Requests are answered from the start: until the first models are read, with 503 and the reason.
    let answer = async {
        api.serve(listener, stopped(stop.clone())).await;
        anyhow::Ok(())
    };
    tokio::try_join!(keep_up, answer)?;
    tracing::info!("stopped");
    Ok(())
}

/// `GET /reload`.
struct Reloading(Arc<Engine>);

#[async_trait]
impl api::Reload for Reloading {
    async fn reload(&self) -> Result<(), api::ReloadError> {
        match self.0.reload().await {
            Ok(_) => Ok(()),
            Err(error) => Err(api::ReloadError {
                message: format!("não foi possível recarregar: {}", Causes(&error)),
                source: Some(Arc::new(error) as Arc<dyn Error + Send + Sync>),
            }),
        }
    }
}

/// The sample bucket, from the folder where the program was started or from where it was built.
fn sample_bucket() -> anyhow::Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(SAMPLE);
    let places = [PathBuf::from(SAMPLE), built];
    let found = places.iter().find(|folder| folder.is_dir()).cloned();
    found.with_context(|| {
        let [here, built] = places.map(|place| place.display().to_string());
        format!("no sample bucket in {here} or {built}; name a bucket with --bucket DIR")
    })
}

/// Becomes true with the first signal to stop.
fn stop_on_signal() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        tracing::info!("stopping");
        sender.send_replace(true);
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone can no longer tell; then it is time to stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
