//! `scorer features`.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use scorer::{
    Progress,
    features::{Features, LIMITS, read_raw_file},
};
use shared::terminal::{self, Exit};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The candles.
    raw: PathBuf,
    /// The table to write; folders on the way are made.
    #[arg(long = "out", value_name = "FILE.parquet")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, progress: &Progress) -> anyhow::Result<Exit> {
    let candles = read_raw_file(&arguments.raw, &LIMITS, progress)?;
    for rows in candles.unusable() {
        terminal::say(format_args!(
            "scorer: {}: {} rows cannot be used: {}",
            arguments.raw.display(),
            rows.rows,
            rows.reason
        ));
    }
    progress.busy("computing and saving the table");
    let features = Features::compute(candles);
    let saved = features.save(&arguments.out);
    progress.end();
    saved?;
    let (rows, assets) = (features.rows(), features.assets());
    let newest = features.newest_day().map(|day| format!(" to {day}")).unwrap_or_default();
    writeln!(io::stdout(), "{}: {rows} rows of {assets} assets{newest}", arguments.out.display())?;
    Ok(Exit::Done)
}
