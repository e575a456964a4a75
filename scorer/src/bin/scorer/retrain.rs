//! `scorer retrain`, and how the other programs are told what to retrain.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use models::fit::Specification;
use scorer::{
    Engine, FolderStore, InForce, ModelInForce, Progress, Settings, TrainingRows,
    retrain::{Challenge, Challenged, challenge, next_version, specification_from_toml, write},
};
use shared::{
    Comparison, MemoryStore, ModelName, ObjectStore, ObjectWriter,
    terminal::{self, Exit, described},
};

use crate::wrong_usage;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The bucket: a folder with models/ and features/ or raw.csv in it.
    #[arg(long, value_name = "DIR")]
    bucket: Option<PathBuf>,
    /// The bucket in S3; AWS_DEFAULT_REGION and AWS_ENDPOINT_URL as for the worker.
    #[cfg(feature = "worker")]
    #[arg(long, value_name = "NAME", conflicts_with = "bucket")]
    bucket_name: Option<String>,
    /// The region of the bucket. AWS_REGION comes first.
    #[cfg(feature = "worker")]
    #[arg(long, value_name = "REGION", env, default_value = aws::Settings::DEFAULT_REGION)]
    aws_default_region: String,
    /// Where S3 is, if not at AWS.
    #[cfg(feature = "worker")]
    #[arg(long, value_name = "URL", env)]
    aws_endpoint_url: Option<aws::HttpUrl>,
    /// A model to retrain, such as regressor_rf; may be given several times. All models in force without it.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<ModelName>,
    /// By which part a challenger's RMSE or log-loss may be larger than that of the model in force.
    #[arg(long, value_name = "SHARE", default_value_t = scorer::retrain::DEFAULT_MARGIN, value_parser = margin)]
    margin: f64,
    /// What to fit instead of what the model in force is, in TOML; of one --model.
    #[arg(long, value_name = "FILE.toml")]
    specification: Option<PathBuf>,
    /// Compare, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

fn margin(text: &str) -> Result<f64, &'static str> {
    let margin = text.parse().ok().filter(|margin: &f64| margin.is_finite() && *margin >= 0.0);
    margin.ok_or("a number from 0 on expected")
}

/// A bucket from both sides.
struct Bucket {
    objects: Arc<dyn ObjectStore>,
    writer: Arc<dyn ObjectWriter>,
}

pub(crate) fn run(arguments: &Arguments, progress: &Progress) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(retrain(arguments, progress))
}

async fn retrain(arguments: &Arguments, progress: &Progress) -> anyhow::Result<Exit> {
    let specification = match (&arguments.specification, arguments.models.as_slice()) {
        (None, _) => None,
        (Some(file), [_]) => Some(read_specification(file)?),
        (Some(_), _) => {
            return Err(
                wrong_usage("retrain", "--specification is of one model, and needs one --model").into()
            );
        }
    };
    let bucket = open(arguments).await?;
    let predictions = Arc::new(MemoryStore::default());
    let settings = Settings::default();
    let engine = Engine::new(Arc::clone(&bucket.objects), predictions, settings, progress.clone());
    engine.reload().await?;
    let in_force = engine.in_force().borrow().clone().context("nothing is in force")?;
    let rows = training_rows(&engine, &in_force).await?;

    let names = match arguments.models.as_slice() {
        [] => in_force.models.iter().map(|model| model.served.name.clone()).collect(),
        names => names.to_vec(),
    };
    ensure!(!names.is_empty(), "the bucket has no usable model");
    let (mut exit, mut compared) = (Exit::Done, 0_usize);
    for (place, name) in names.iter().enumerate() {
        let model = in_force.models.iter().find(|model| model.served.name == *name);
        progress.busy(&format!("fitting {name} ({} of {})", place.saturating_add(1), names.len()));
        let comparison = retrain_one(arguments, &bucket, name, model, specification.as_ref(), &rows).await;
        progress.end();
        match comparison {
            Ok(comparison) => {
                match print(name, &comparison, arguments.dry_run, compared == 0) {
                    // Nobody reads any more; the models are trained all the same.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    printed => printed?,
                }
                compared = compared.saturating_add(1);
            }
            Err(error) => {
                terminal::say(format_args!("scorer: {name}: {}", described(error.as_ref())));
                exit = Exit::Failed;
            }
        }
    }
    Ok(exit)
}

async fn open(arguments: &Arguments) -> anyhow::Result<Bucket> {
    #[cfg(feature = "worker")]
    if let Some(name) = &arguments.bucket_name {
        let settings = aws::Settings::new(&arguments.aws_default_region, arguments.aws_endpoint_url.clone());
        let bucket = aws::S3Bucket::new(&aws::config(&settings).await, name);
        return Ok(Bucket { objects: Arc::new(bucket.clone()), writer: Arc::new(bucket) });
    }
    let needed = || wrong_usage("retrain", "--bucket DIR or, with S3, --bucket-name NAME is needed");
    let folder = arguments.bucket.as_ref().ok_or_else(needed)?;
    let bucket = FolderStore::open_folder(folder)?;
    Ok(Bucket { objects: Arc::new(bucket.clone()), writer: Arc::new(bucket) })
}

async fn training_rows(engine: &Engine, in_force: &InForce) -> anyhow::Result<TrainingRows> {
    let data = in_force.data.as_ref().context("the bucket has neither a feature table nor a raw.csv")?;
    if !data.are_candles() {
        return Ok(engine.training_rows(&data.object).await?);
    }
    let features = engine.features(&data.object).await?;
    Ok(TrainingRows::of(&features, &data.object.key)?)
}

async fn retrain_one(
    arguments: &Arguments,
    bucket: &Bucket,
    name: &ModelName,
    model: Option<&ModelInForce>,
    specification: Option<&Specification>,
    rows: &TrainingRows,
) -> anyhow::Result<Comparison> {
    let version = next_version(model.map(|model| &model.served.version));
    let of = Challenge { name, in_force: model, specification, margin: arguments.margin, version: &version };
    // Nothing else is to be done meanwhile.
    let challenged: Challenged = tokio::task::block_in_place(|| challenge(of, rows))?;
    let comparison = challenged.comparison.clone();
    if !arguments.dry_run {
        write(&*bucket.writer, name, challenged).await.map_err(|error| anyhow!(error))?;
    }
    Ok(comparison)
}

/// A line of the table, under its heading if it is the first.
fn print(name: &ModelName, comparison: &Comparison, dry_run: bool, first: bool) -> io::Result<()> {
    let Comparison { metric, challenger, in_force, rows, accepted, .. } = comparison;
    let value = |metrics: &std::collections::BTreeMap<String, f64>| {
        metrics.get(metric).map_or("-".to_owned(), |value| format!("{value:.6}"))
    };
    let of_in_force = in_force.as_ref().map_or("-".to_owned(), |in_force| value(&in_force.metrics));
    let version = challenger.version.as_str();
    let outcome = match (accepted, dry_run) {
        (true, true) => "would be accepted".to_owned(),
        (true, false) => format!("written {version}"),
        (false, _) => "worse, not written".to_owned(),
    };
    let of_challenger = value(&challenger.metrics);
    let mut output = io::stdout().lock();
    if first {
        writeln!(
            output,
            "{:<15} {:>8} {:>11} {:>11} {:>6}  outcome",
            "model", "metric", "in force", "challenger", "rows"
        )?;
    }
    writeln!(output, "{name:<15} {metric:>8} {of_in_force:>11} {of_challenger:>11} {rows:>6}  {outcome}")
}

fn read_specification(file: &Path) -> anyhow::Result<Specification> {
    let text = fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    specification_from_toml(&text).with_context(|| format!("{}: cannot be used", file.display()))
}
