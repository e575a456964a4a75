//! The program `scorer`: keeps what is published in step with a bucket, scores a bucket once, looks into an artifact,
//! computes a feature table, or trains models again.

mod advice;
#[cfg(feature = "worker")]
mod backfill;
#[cfg(feature = "worker")]
mod deployment;
mod features;
#[cfg(feature = "worker")]
mod logging;
#[cfg(feature = "worker")]
mod observe;
mod retrain;
#[cfg(feature = "worker")]
mod rollback;
#[cfg(feature = "worker")]
mod worker;

use std::{
    error::Error,
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind};
use clap_complete::Shell;
use scorer::{Engine, FolderStore, Progress, Settings, convert, inspect, overview};
use shared::{
    Asset, AssetPredictions, MemoryStore, Snapshot,
    answer::SymbolAnswer,
    config::InvalidVariable,
    terminal::{self, EXIT_CODES, Exit},
};

/// Scores every asset of a bucket with every model in it, without Python.
#[derive(Parser)]
#[command(name = "scorer", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(after_long_help = format!("{MORE}\n\n{EXIT_CODES}"))]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const MORE: &str = "\
Results go to standard output; progress, reasons and log lines to standard error. Neither is coloured where NO_COLOR \
is set or there is no terminal.

Completions, for bash:
  scorer completions bash >~/.local/share/bash-completion/completions/scorer";

#[derive(Subcommand)]
enum Command {
    /// Keeps what is published in step with the bucket.
    ///
    /// It consumes the bucket's events until SIGTERM. Settings come from the environment or from flags of the same names. AWS
    /// credentials are found as the AWS SDKs find them.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Worker(Box<worker::Worker>),
    /// Scores everything now, or every day of a range.
    ///
    /// With a range (--from and --to), predictions go to
    /// predictions/{modelo}/{versao}/dt=YYYY-MM-DD/part-{N}-of-{M}.parquet in the bucket, and, when all shards are done, each
    /// asset's last days and each model's metrics to Redis. A shard that was done is skipped, one that was killed is
    /// repeated. Exit code 1 means: repeat it.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Backfill(Box<backfill::Arguments>),
    /// Serves the generation before the current one again.
    ///
    /// It stays until a worker has something new to publish, or --undo lets it publish the newer one again. Generations
    /// without predictions are passed over.
    #[cfg(feature = "worker")]
    #[command(after_help = EXIT_CODES)]
    Rollback(rollback::Arguments),
    /// Scores a folder once and prints the predictions.
    ///
    /// They come from the newest version of each model that can be used, and each asset's newest row of the newest
    /// feature table (features/*.parquet, or else data/{ATIVO}/*.csv). What could not be used is named on standard error.
    /// Exit code 0 means that at least one asset was scored.
    #[command(after_help = EXIT_CODES)]
    Score(Score),
    /// Prints what is inside a .joblib artifact or a parameter file.
    ///
    /// Pipeline steps, columns, parameters, trees and versions. The artifact is read, never executed.
    #[command(after_help = EXIT_CODES)]
    Inspect(Inspect),
    /// Writes an artifact's model as a parameter file.
    ///
    /// It predicts the same numbers and loads in milliseconds. docs/parameters.md describes the format.
    #[command(after_help = EXIT_CODES)]
    Convert(Convert),
    /// Computes the feature table of a raw.csv.
    ///
    /// It is written as parquet. RAW holds daily candles: a header, then lines of
    /// ativo|data|timestamp|maximo|minimo|abertura|fechamento|volumefrom|volumeto.
    #[command(after_help = EXIT_CODES)]
    Features(features::Arguments),
    /// Trains models again, and keeps those that are not worse.
    ///
    /// Both are compared on the last of six parts of the rows in time, by RMSE or log-loss. What came of it is written
    /// beside the artifact, as models/{tipo}_{algoritmo}_{versao}.comparison.json. Exit code 0 means that every model was
    /// compared with its challenger, whichever was better.
    #[command(after_help = EXIT_CODES)]
    Retrain(Box<retrain::Arguments>),
    /// Prints completions for a shell.
    ///
    /// For bash: scorer completions bash >~/.local/share/bash-completion/completions/scorer
    #[command(after_help = EXIT_CODES)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Args)]
struct Score {
    /// The bucket: a folder with models/ and features/ in it.
    #[arg(long, value_name = "DIR", env = "BUCKET_DIR")]
    bucket: PathBuf,
    /// An asset to print, in any case; may be given several times, or as A,B. All assets without it.
    #[arg(long = "ativo", value_name = "ATIVO", value_delimiter = ',')]
    assets: Vec<Asset>,
    /// A table, or one documented /symbol answer a line as JSON [default: table on a terminal, else json].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// How predictions are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
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
    let progress = Progress::on_terminal();
    let bar = progress.clone();
    let result = match arguments().command {
        #[cfg(feature = "worker")]
        Command::Worker(arguments) => {
            let begun = arguments.logging.begin(io::stderr);
            begun.and_then(|()| serve(worker::work(*arguments)))
        }
        #[cfg(feature = "worker")]
        Command::Backfill(arguments) => {
            let above_bar = progress.clone();
            let begun = arguments.logging.begin(move || above_bar.stderr());
            begun.and_then(|()| serve(backfill::backfill(*arguments, progress)))
        }
        #[cfg(feature = "worker")]
        Command::Rollback(arguments) => {
            let begun = arguments.logging.begin(io::stderr);
            begun.and_then(|()| serve(rollback::run(&arguments)))
        }
        Command::Score(arguments) => score(&arguments, progress),
        Command::Inspect(arguments) => print_inspection(&arguments, &progress),
        Command::Convert(arguments) => convert_artifact(&arguments, &progress),
        Command::Features(arguments) => features::run(&arguments, &progress),
        Command::Retrain(arguments) => retrain::run(&arguments, &progress),
        Command::Completions { shell } => print_completions(shell),
    };
    // What did not come to its end has left its bar.
    bar.end();
    match result {
        Ok(exit) => exit.into(),
        // Whoever reads the output has seen enough.
        Err(error) if is_a_broken_pipe(&error) => Exit::Done.into(),
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(wrong) => wrong.exit(),
            Err(error) if error.is::<InvalidVariable>() => wrong_usage("", &error).exit(),
            Err(error) => {
                let error: &(dyn Error + 'static) = error.as_ref();
                terminal::tell("scorer", error, advice::tip(error).as_deref());
                Exit::Failed.into()
            }
        },
    }
}

/// What flags and variables say does not go together, or cannot be used.
fn wrong_usage(command: &str, what: impl std::fmt::Display) -> clap::Error {
    let mut program = Arguments::command();
    program.build();
    match program.find_subcommand_mut(command) {
        Some(command) => command.error(ErrorKind::ValueValidation, what),
        None => program.error(ErrorKind::ValueValidation, what),
    }
}

#[cfg(feature = "worker")]
fn serve(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A model that is being read on a thread of its own is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    result
}

fn score(arguments: &Score, progress: Progress) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let snapshot = runtime.block_on(async {
        let objects = FolderStore::open_folder(&arguments.bucket)?;
        let predictions = Arc::new(MemoryStore::default());
        let engine = Engine::new(Arc::new(objects), predictions, Settings::default(), progress);
        let reload = engine.reload().await?;
        for rows in reload.newly_unusable {
            terminal::say(format_args!("scorer: {} rows cannot be used: {}", rows.rows, rows.reason));
        }
        anyhow::Ok(reload.snapshot)
    })?;
    for rejected in &snapshot.rejected {
        terminal::say(format_args!("scorer: {}: {}", rejected.key, rejected.reason));
    }
    let mut scored = Vec::new();
    for (asset, predictions) in chosen(&snapshot, &arguments.assets) {
        let Some(predictions) = predictions else {
            terminal::say(format_args!("scorer: {asset}: there is no usable row of this asset"));
            continue;
        };
        if predictions.predictions.is_empty() {
            for failure in &predictions.failures {
                terminal::say(format_args!("scorer: {asset}: {}: {}", failure.model, failure.reason));
            }
            continue;
        }
        scored.push((asset, predictions));
    }
    if scored.is_empty() {
        let bucket = arguments.bucket.display();
        terminal::say(format_args!(
            "scorer: {bucket}: nothing could be scored: {}",
            nothing_scored(&snapshot)
        ));
        terminal::tip(&advice::on_nothing_scored(&snapshot));
        return Ok(Exit::Failed);
    }
    let for_people = if io::stdout().is_terminal() { Format::Table } else { Format::Json };
    match arguments.format.unwrap_or(for_people) {
        Format::Table => {
            let mut output = anstream::AutoStream::auto(io::stdout());
            writeln!(output, "{}", overview(&snapshot, scored))?;
        }
        Format::Json => {
            let mut output = BufWriter::new(io::stdout().lock());
            for (asset, predictions) in scored {
                serde_json::to_writer(&mut output, &SymbolAnswer::new(&snapshot, asset, predictions))
                    .map_err(io::Error::from)?;
                output.write_all(b"\n")?;
            }
            output.flush()?;
        }
    }
    Ok(Exit::Done)
}

fn nothing_scored(snapshot: &Snapshot) -> &'static str {
    match (snapshot.models.is_empty(), snapshot.assets.is_empty()) {
        (true, true) => "the bucket has neither a usable model nor a usable table",
        (true, false) => "the bucket has no usable model",
        (false, true) => "the bucket has no usable table",
        (false, false) => "no model has a prediction for these assets",
    }
}

/// The assets to print; nothing for one that the snapshot does not have.
fn chosen<'a>(snapshot: &'a Snapshot, wanted: &'a [Asset]) -> Vec<(&'a Asset, Option<&'a AssetPredictions>)> {
    if wanted.is_empty() {
        return snapshot.assets.iter().map(|(asset, predictions)| (asset, Some(predictions))).collect();
    }
    wanted.iter().map(|asset| (asset, snapshot.assets.get(asset))).collect()
}

fn print_inspection(arguments: &Inspect, progress: &Progress) -> anyhow::Result<Exit> {
    let limits = Settings::default().model_limits;
    let inspection = inspect(&arguments.file, &limits, progress)?;
    let mut output = io::stdout().lock();
    if arguments.json {
        let json = serde_json::to_string_pretty(&inspection).context("the description has no JSON form")?;
        writeln!(output, "{json}")?;
    } else {
        writeln!(output, "{inspection}")?;
    }
    Ok(Exit::Done)
}

fn convert_artifact(arguments: &Convert, progress: &Progress) -> anyhow::Result<Exit> {
    let limits = Settings::default().model_limits;
    let bytes = convert(&arguments.file, &arguments.out, &limits, progress)?;
    writeln!(io::stdout(), "{}: {bytes} bytes", arguments.out.display())?;
    Ok(Exit::Done)
}

fn print_completions(shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "scorer", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

fn is_a_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
