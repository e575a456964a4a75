//! The program `scorer`: keeps what is published in step with a bucket, scores a bucket once, looks into an artifact,
//! computes a feature table, or trains models again.

#[cfg(feature = "worker")]
mod backfill;
#[cfg(feature = "worker")]
mod deployment;
mod features;
#[cfg(feature = "worker")]
mod observe;
mod retrain;
#[cfg(feature = "worker")]
mod rollback;
#[cfg(feature = "worker")]
mod worker;

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use scorer::{Engine, FolderStore, Progress, Settings, convert, inspect};
use shared::{
    Asset, AssetPredictions, MemoryStore, Snapshot, answer::SymbolAnswer, config::LogFormat,
    telemetry::LogFilter,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done: ended by a signal, at least one asset scored, the artifact read, the feature table written, every model
     compared with its challenger, whichever was better, the backfill (or its shard) done now or before
  1  could not start, nothing could be scored, read or written, a model not be retrained, or a backfill is not done
     and should be repeated; the reasons are on standard error
  2  the command line is wrong

A progress bar is shown on a terminal when reading takes long. NO_COLOR is honoured.";

/// Scores every asset of a bucket with every model in it, without Python.
#[derive(Parser)]
#[command(name = "scorer", version, after_help = EXIT_CODES)]
struct Arguments {
    /// How log lines look: text or json.
    #[arg(long, env, global = true, default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written, such as info or info,scorer=debug.
    #[arg(long, env, global = true, default_value = "info")]
    rust_log: LogFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Consumes the bucket's events and keeps the published predictions up to date, until SIGTERM.
    ///
    /// Settings come from the environment or from flags of the same names. AWS credentials are found as the AWS SDKs
    /// find them. RUST_LOG filters the log lines (default info), LOG_FORMAT is text or json.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Worker(Box<worker::Worker>),
    /// Scores everything now, or, with --from and --to, every asset on every day of a range.
    ///
    /// With a range, predictions go to predictions/{modelo}/{versao}/dt=YYYY-MM-DD/part-{N}-of-{M}.parquet in the
    /// bucket, and, when all shards are done, each asset's last days and each model's metrics to Redis. A shard that was done is
    /// skipped, one that was killed is repeated.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Backfill(Box<backfill::Arguments>),
    /// Serves the generation before the current one again, until a worker has something new to publish.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Rollback(rollback::Redis),
    /// Scores a bucket once and prints one documented /symbol answer per line (JSON lines).
    ///
    /// The newest version of each model that can be used, and each asset's newest row of the newest feature table
    /// (features/*.parquet, or else data/{ATIVO}/*.csv). What could not be used is named on standard error.
    #[command(after_help = EXIT_CODES)]
    Score(Score),
    /// Prints what is inside a .joblib artifact or a parameter file: pipeline steps, columns, parameters, trees, versions.
    #[command(after_help = EXIT_CODES)]
    Inspect(Inspect),
    /// Writes the model of a .joblib artifact as a parameter file (.safetensors), which loads in milliseconds.
    #[command(after_help = EXIT_CODES)]
    Convert(Convert),
    /// Computes the feature table of a raw.csv and writes it as parquet.
    ///
    /// RAW holds daily candles: a header, then lines of
    /// ativo|data|timestamp|maximo|minimo|abertura|fechamento|volumefrom|volumeto.
    #[command(after_help = EXIT_CODES)]
    Features(features::Arguments),
    /// Trains the models of a bucket again, and writes those into it that are not worse than the models in force.
    ///
    /// Both are compared on the last of six parts of the rows in time, by RMSE or log-loss. What came of it is written
    /// beside the artifact, as models/{tipo}_{algoritmo}_{versao}.comparison.json.
    #[command(after_help = EXIT_CODES)]
    Retrain(Box<retrain::Arguments>),
}

#[derive(Args)]
struct Score {
    /// The bucket: a folder with models/ and features/ in it.
    #[arg(long, value_name = "DIR", env = "BUCKET_DIR")]
    bucket: PathBuf,
    /// An asset to print, in any case; may be given several times. All assets without it.
    #[arg(long = "ativo", value_name = "ATIVO")]
    assets: Vec<Asset>,
}

#[derive(Args)]
struct Convert {
    /// The artifact.
    file: PathBuf,
    /// The parameter file to write.
    out: PathBuf,
}

#[derive(Args)]
struct Inspect {
    /// The artifact.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What flags and variables say. A variable that is empty counts as one that is not set.
fn arguments() -> Arguments {
    let unless_empty = |argument: clap::Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) { argument.env(None) } else { argument }
    };
    let command = Arguments::command().mut_args(unless_empty);
    let command = command.mut_subcommands(|command| command.mut_args(unless_empty));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn main() -> ExitCode {
    let Arguments { log_format, rust_log, command } = arguments();
    // The others are for people, who are told what matters in words.
    #[cfg(feature = "worker")]
    let logs = matches!(command, Command::Worker(_) | Command::Backfill(_) | Command::Rollback(_));
    #[cfg(not(feature = "worker"))]
    let logs = false;
    let progress = Progress::on_terminal();
    let above_bar = progress.clone();
    if logs
        && let Err(error) = shared::telemetry::init_with(log_format, &rust_log, move || above_bar.stderr())
    {
        eprintln!("scorer: {error}");
        return ExitCode::FAILURE;
    }
    let result = match command {
        #[cfg(feature = "worker")]
        Command::Worker(arguments) => {
            serve(async { worker::work(*arguments).await.map(|()| ExitCode::SUCCESS) })
        }
        #[cfg(feature = "worker")]
        Command::Backfill(arguments) => serve(backfill::backfill(*arguments, progress)),
        #[cfg(feature = "worker")]
        Command::Rollback(redis) => {
            serve(async { rollback::roll_back(&redis).await.map(|()| ExitCode::SUCCESS) })
        }
        Command::Score(arguments) => score(&arguments, progress),
        Command::Inspect(arguments) => print_inspection(&arguments, &progress),
        Command::Convert(arguments) => convert_artifact(&arguments, &progress),
        Command::Features(arguments) => features::run(&arguments, &progress),
        Command::Retrain(arguments) => retrain::run(&arguments),
    };
    match result {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if is_a_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scorer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "worker")]
fn serve(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A model that is being read on a thread of its own is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

fn score(arguments: &Score, progress: Progress) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let snapshot = runtime.block_on(async {
        let objects = FolderStore::open_folder(&arguments.bucket)?;
        let predictions = Arc::new(MemoryStore::default());
        let engine = Engine::new(Arc::new(objects), predictions, Settings::default(), progress);
        let reload = engine.reload().await?;
        for rows in reload.newly_unusable {
            eprintln!("scorer: {} rows cannot be used: {}", rows.rows, rows.reason);
        }
        anyhow::Ok(reload.snapshot)
    })?;
    for rejected in &snapshot.rejected {
        eprintln!("scorer: {}: {}", rejected.key, rejected.reason);
    }
    let mut output = BufWriter::new(io::stdout().lock());
    let mut scored = 0_usize;
    for (asset, predictions) in chosen(&snapshot, &arguments.assets) {
        let Some(predictions) = predictions else {
            eprintln!("scorer: {asset}: there is no usable row of this asset");
            continue;
        };
        if predictions.predictions.is_empty() {
            for failure in &predictions.failures {
                eprintln!("scorer: {asset}: {}: {}", failure.model, failure.reason);
            }
            continue;
        }
        serde_json::to_writer(&mut output, &SymbolAnswer::new(&snapshot, asset, predictions))
            .map_err(io::Error::from)?;
        output.write_all(b"\n")?;
        scored = scored.saturating_add(1);
    }
    output.flush()?;
    if scored > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let reason = match (snapshot.models.is_empty(), snapshot.assets.is_empty()) {
        (true, true) => "the bucket has neither a usable model nor a usable table",
        (true, false) => "the bucket has no usable model",
        (false, true) => "the bucket has no usable table",
        (false, false) => "no model has a prediction for these assets",
    };
    eprintln!("scorer: {}: nothing could be scored: {reason}", arguments.bucket.display());
    Ok(ExitCode::FAILURE)
}

/// The assets to print; nothing for one that the snapshot does not have.
fn chosen<'a>(snapshot: &'a Snapshot, wanted: &'a [Asset]) -> Vec<(&'a Asset, Option<&'a AssetPredictions>)> {
    if wanted.is_empty() {
        return snapshot.assets.iter().map(|(asset, predictions)| (asset, Some(predictions))).collect();
    }
    wanted.iter().map(|asset| (asset, snapshot.assets.get(asset))).collect()
}

fn print_inspection(arguments: &Inspect, progress: &Progress) -> anyhow::Result<ExitCode> {
    let limits = Settings::default().model_limits;
    let inspection = inspect(&arguments.file, &limits, progress)?;
    let mut output = io::stdout().lock();
    if arguments.json {
        let json = serde_json::to_string_pretty(&inspection).context("the description has no JSON form")?;
        writeln!(output, "{json}")?;
    } else {
        writeln!(output, "{inspection}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn convert_artifact(arguments: &Convert, progress: &Progress) -> anyhow::Result<ExitCode> {
    let limits = Settings::default().model_limits;
    let bytes = convert(&arguments.file, &arguments.out, &limits, progress)?;
    println!("{}: {bytes} bytes", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}

fn is_a_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
