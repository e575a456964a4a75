//! Scoring, measured in bursts that are asked for one by one, so that engines can take turns on a noisy machine.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use models::{Label, Limits, Model, Outcome, Prepared, Table};
use scorer::tables::{TableLimits, read_parquet};
use serde::{Deserialize, Serialize};

/// What a line on standard input asks for. `bench/peers.py` understands the same.
#[derive(Deserialize)]
struct Request {
    work: Work,
    /// Which table.
    rows: usize,
    #[serde(default)]
    burst: Burst,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Work {
    /// A table through everything before the estimator.
    Preprocess,
    /// What that gave through the estimator alone.
    Estimate,
    /// A table through the whole pipeline.
    Score,
    /// No measurement: what the whole pipeline predicts.
    Answers,
}

/// How often something is run.
#[derive(Deserialize, Clone, Copy, Default)]
pub(crate) struct Burst {
    /// Whether one run that is not counted comes first.
    warm_up: bool,
    least_runs: usize,
    /// Short runs are repeated until they have taken this long together.
    least_ms: u64,
}

/// A burst's result.
#[derive(Serialize)]
pub(crate) struct Measured {
    median_ms: f64,
    runs: usize,
}

/// What a model predicts, in the shape of `expected_{n}.json`.
#[derive(Serialize)]
struct Answers<'a> {
    predict: Vec<Label>,
    predict_proba: Option<Vec<&'a [f64]>>,
}

/// Answers requests until standard input ends. The first line of the output says that the worker is ready.
pub(crate) fn work(rows: &Path, threads: usize, models: &[PathBuf]) -> anyhow::Result<()> {
    let read = |path: &PathBuf| {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        Model::read(file, &Limits::default()).with_context(|| path.display().to_string())
    };
    let models: Vec<Model> = models.iter().map(read).collect::<anyhow::Result<_>>()?;
    // Inside of the pool, so that no run pays for the way into it.
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
        answer_with(&serde_json::json!({ "ready": true }))?;
        for line in io::stdin().lines() {
            let request: Request = serde_json::from_str(&line?)?;
            answer(&request, rows, &models)?;
        }
        Ok(())
    })
}

fn answer(request: &Request, rows: &Path, models: &[Model]) -> anyhow::Result<()> {
    let path = rows.join(format!("rows_{}.parquet", request.rows));
    let content = fs::read(&path).with_context(|| path.display().to_string())?;
    let table = read_parquet(&content, None, &TableLimits::default())?;
    let burst = request.burst;
    match request.work {
        Work::Preprocess => answer_with(&burst.measure(|| {
            for model in models {
                black_box(model.prepare(black_box(&table))?);
            }
            Ok(())
        })?),
        Work::Estimate => {
            let prepared: Vec<Prepared<'_>> =
                models.iter().map(|model| model.prepare(&table)).collect::<Result<_, _>>()?;
            answer_with(&burst.measure(|| {
                for (model, prepared) in models.iter().zip(&prepared) {
                    black_box(model.score(black_box(prepared)));
                }
                Ok(())
            })?)
        }
        Work::Score => answer_with(&burst.measure(|| {
            for model in models {
                black_box(model.predict(black_box(&table))?);
            }
            Ok(())
        })?),
        Work::Answers => match models {
            [model] => answer_with_predictions(model, &table),
            _ => bail!("answers are one model's"),
        },
    }
}

fn answer_with_predictions(model: &Model, table: &Table) -> anyhow::Result<()> {
    let predictions = model.predict(table)?;
    if let Some(refused) = predictions.refused.first() {
        bail!("row {} was refused: {}", refused.row, refused.reason);
    }
    match (predictions.outcome, model.classes()) {
        (Outcome::Classes { predicted, probabilities }, Some(classes)) => {
            let label = |place: u32| classes.get(usize::try_from(place).ok()?).cloned();
            let predict = predicted.into_iter().map(label).collect::<Option<_>>();
            answer_with(&Answers {
                predict: predict.context("a predicted class is not one of the model's")?,
                predict_proba: Some(probabilities.chunks(classes.len().max(1)).collect()),
            })
        }
        (Outcome::Values(values), None) => answer_with(&Answers {
            predict: values.into_iter().map(Label::Real).collect(),
            predict_proba: None,
        }),
        _ => bail!("a classifier predicts classes, and a regressor values"),
    }
}

pub(crate) fn answer_with(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, answer)?;
    writeln!(output)?;
    Ok(output.flush()?)
}

impl Burst {
    const MOST_RUNS: usize = 2000;

    pub(crate) fn measure(self, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Measured> {
        if self.warm_up {
            run()?;
        }
        let least_time = Duration::from_millis(self.least_ms);
        let mut times = Vec::new();
        let mut total = Duration::ZERO;
        while times.len() < Self::MOST_RUNS && (times.len() < self.least_runs || total < least_time) {
            let started = Instant::now();
            run()?;
            let elapsed = started.elapsed();
            total += elapsed;
            times.push(elapsed);
        }
        times.sort_unstable();
        // The mean of the two in the middle, which are one if their number is odd.
        let middle = [times.len().saturating_sub(1) / 2, times.len() / 2];
        let middle = middle.map(|place| times.get(place).copied().unwrap_or_default());
        let median: Duration = middle.iter().sum::<Duration>() / 2;
        Ok(Measured { median_ms: median.as_secs_f64() * 1e3, runs: times.len() })
    }
}
