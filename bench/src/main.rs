//! What `bench/compare.py` measures of this project.
//!
//! Each subcommand is one kind of process of a benchmark: `load` and `decompress` measure once and end, so that
//! their peak memory is their own; `worker`, `features` and `train` measure whatever they are asked for, line by line, in
//! turn with the other engines' workers; `serve` and `constant` are servers for an HTTP load generator. Results are
//! JSON lines.

mod features;
mod load;
mod server;
mod train;
mod worker;

use std::path::PathBuf;

use clap::Parser;

/// The Rust half of the benchmarks. `bench/run.sh` runs everything.
#[derive(Parser)]
#[command(name = "cripto-bench")]
enum Command {
    /// Reads a model; prints the wall time and the process's peak memory.
    Load {
        /// The artifact or parameter file.
        file: PathBuf,
    },
    /// Decompresses an xz file and does nothing else; prints the same.
    Decompress {
        /// The file.
        file: PathBuf,
    },
    /// Measures bursts of runs as asked on standard input.
    Worker {
        /// The folder with `rows_{n}.parquet`.
        #[arg(long, value_name = "DIR")]
        rows: PathBuf,
        /// Threads of the pool that predicts.
        #[arg(long, value_name = "N")]
        threads: usize,
        /// Artifacts. If there are several, a run is all of them, one after the other.
        #[arg(required = true)]
        models: Vec<PathBuf>,
    },
    /// Measures bursts of the feature job as asked on standard input.
    Features {
        /// Threads of the pool that computes.
        #[arg(long, value_name = "N")]
        threads: usize,
        /// The candles.
        raw: PathBuf,
    },
    /// Fits models as asked on standard input.
    Train {
        /// The rows to train on, with both targets.
        #[arg(long, value_name = "PARQUET")]
        rows: PathBuf,
        /// Threads of the pool that fits.
        #[arg(long, value_name = "N")]
        threads: usize,
    },
    /// Scores a bucket once and serves the predictions until standard input ends.
    Serve {
        /// The bucket.
        #[arg(long, value_name = "DIR")]
        bucket: PathBuf,
        /// The port on 127.0.0.1.
        #[arg(long, value_name = "N")]
        port: u16,
    },
    /// Serves one body from an axum route until standard input ends: as fast as such a service can be.
    Constant {
        /// The route.
        #[arg(long)]
        path: String,
        /// The file with the body.
        #[arg(long, value_name = "FILE")]
        body: PathBuf,
        /// The port on 127.0.0.1.
        #[arg(long, value_name = "N")]
        port: u16,
    },
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Load { file } => load::load(&file),
        Command::Decompress { file } => load::decompress(&file),
        Command::Worker { rows, threads, models } => worker::work(&rows, threads, &models),
        Command::Features { threads, raw } => features::work(&raw, threads),
        Command::Train { rows, threads } => train::work(&rows, threads),
        Command::Serve { bucket, port } => server::run(server::api(&bucket, port)),
        Command::Constant { path, body, port } => server::run(server::constant(&path, &body, port)),
    }
}
