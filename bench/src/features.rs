//! The feature job, measured in bursts that are asked for one by one, in turn with pandas.

use std::{fs, hint::black_box, io, path::Path};

use anyhow::Context;
use scorer::features::{Candles, Features, LIMITS, read_raw};
use serde::Deserialize;

use crate::worker::{Burst, answer_with};

/// What a line on standard input asks for. `bench/features.py` asks.
#[derive(Deserialize)]
struct Request {
    work: Work,
    burst: Burst,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// From the bytes of raw.csv to candles.
    Read,
    /// From candles to features. A copy of the candles is part of it.
    Compute,
    /// The newest day taken from the features, and given back.
    Update,
}

/// Answers requests until standard input ends. The first line of the output says how many rows there are.
pub(crate) fn work(raw: &Path, threads: usize) -> anyhow::Result<()> {
    let content = fs::read(raw).with_context(|| raw.display().to_string())?;
    let candles = read_raw(&content, &LIMITS)?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
        let mut features = Features::compute(candles.clone());
        let day_before = day_before(&content, &features)?;
        answer_with(&serde_json::json!({ "rows": features.rows() }))?;
        for line in io::stdin().lines() {
            let request: Request = serde_json::from_str(&line?)?;
            let measured = match request.work {
                Work::Read => request.burst.measure(|| {
                    black_box(read_raw(black_box(&content), &LIMITS)?);
                    Ok(())
                }),
                Work::Compute => request.burst.measure(|| {
                    black_box(Features::compute(black_box(&candles).clone()));
                    Ok(())
                }),
                Work::Update => request.burst.measure(|| {
                    features.update(black_box(&day_before).clone());
                    features.update(black_box(&candles).clone());
                    Ok(())
                }),
            };
            answer_with(&measured?)?;
        }
        Ok(())
    })
}

/// The candles without those of the newest day.
fn day_before(content: &[u8], features: &Features) -> anyhow::Result<Candles> {
    let newest = features.newest_day().context("there are no rows")?.to_string();
    let text = std::str::from_utf8(content)?;
    let lines: Vec<&str> = text.lines().filter(|line| line.split('|').nth(1) != Some(&newest)).collect();
    Ok(read_raw(lines.join("\n").as_bytes(), &LIMITS)?)
}
