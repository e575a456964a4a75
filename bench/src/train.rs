//! Fitting, one fit at a time as `bench/train.py` asks for it, in turn with scikit-learn.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail};
use linfa::{DatasetBase, traits::Fit};
use models::{
    Column, Limits, Model, Table,
    evaluation::{Metrics, TimeSeriesSplit},
    fit::{FitError, Specification, Target},
};
use scorer::tables::{TableLimits, read_parquet};
use serde::{Deserialize, Serialize};

/// What a line on standard input asks for.
#[derive(Deserialize)]
struct Request {
    /// Whose hyper-parameters are taken.
    artifact: PathBuf,
    /// The column that is to be predicted.
    target: String,
    /// Another seed than the artifact's.
    random_state: Option<u32>,
    /// Into how many splits in time the rows are divided for an evaluation; all rows are fitted without one.
    splits: Option<usize>,
}

/// A fit's time, or an evaluation.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Fitted { seconds: f64 },
    Evaluated { folds: Vec<Fold> },
}

/// One split's metrics, by scikit-learn's names.
#[derive(Serialize)]
#[serde(untagged)]
enum Fold {
    Regression { mae: f64, rmse: f64, mape: f64 },
    Classification { accuracy: f64, f1: f64, auc: f64 },
}

/// Answers requests until standard input ends. The first line of the output says that the worker is ready.
pub(crate) fn work(rows: &Path, threads: usize) -> anyhow::Result<()> {
    let content = fs::read(rows).with_context(|| rows.display().to_string())?;
    let table = read_parquet(&content, None, &TableLimits::default())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| {
        answer_with(&serde_json::json!({ "ready": true }))?;
        for line in io::stdin().lines() {
            let request: Request = serde_json::from_str(&line?)?;
            answer_with(&answer(&request, &table)?)?;
        }
        Ok(())
    })
}

fn answer(request: &Request, table: &Table) -> anyhow::Result<Answer> {
    let path = request.artifact.display().to_string();
    let file = File::open(&request.artifact).with_context(|| path.clone())?;
    let model = Model::read(file, &Limits::default()).with_context(|| path.clone())?;
    let mut specification = Specification::of(&model).with_context(|| path)?;
    if let Some(seed) = request.random_state {
        let estimator = specification.estimator().clone().with_random_state(seed);
        specification = specification.with_estimator(estimator);
    }
    let Some(Column::Number(values)) = table.column(&request.target) else {
        bail!("the rows have no numbers in {:?}", request.target);
    };
    let target = if specification.estimator().classifies() {
        // Classes are 0 and 1.
        Target::classes(values.iter().map(|value| i64::from(*value > 0.5)))
    } else {
        Target::Values(values.clone())
    };
    let fit = |table: Table, target| -> Result<Model, FitError> {
        specification.fit(&DatasetBase::new(table, target))
    };
    let Some(splits) = request.splits else {
        let dataset = DatasetBase::new(table.clone(), target);
        let started = Instant::now();
        let model: Result<Model, FitError> = specification.fit(&dataset);
        let seconds = started.elapsed().as_secs_f64();
        model?;
        return Ok(Answer::Fitted { seconds });
    };
    let fold = |(past, future): (std::ops::Range<usize>, std::ops::Range<usize>)| {
        let model = fit(table.slice(past.clone()), target.slice(past))?;
        let predictions = model.predict(&table.slice(future.clone()))?;
        match Metrics::of(&predictions, &target.slice(future)).context("two classes or values")? {
            Metrics::Regression(of) => Ok(Fold::Regression { mae: of.mae, rmse: of.rmse, mape: of.mape }),
            Metrics::Classification(of) => {
                Ok(Fold::Classification { accuracy: of.accuracy, f1: of.f1, auc: of.auc })
            }
        }
    };
    let folds = TimeSeriesSplit::new(splits).split(table.rows()).map(fold).collect::<anyhow::Result<_>>()?;
    Ok(Answer::Evaluated { folds })
}

fn answer_with(answer: &impl Serialize) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, answer)?;
    writeln!(output)?;
    Ok(output.flush()?)
}
