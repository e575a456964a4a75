//! Scores every asset on every day of a range, and finds out how right the models were.
//!
//! * **For:** `scorer backfill --from … --to …`, by one process or by many that know nothing of each other.
//! * **Comes in:** models and a feature table, or candles, as [`Engine::history`] chooses them. A row of the table only uses data
//!   to its own day, so each prediction is one that could have been made then.
//! * **Goes out:** `predictions/{modelo}/{versao}/dt=YYYY-MM-DD/part-{part}-of-{parts}.parquet` (see [`Split::part`]),
//!   and, when all shards are done, each asset's last days and each model's metrics by way of a [`HistoryStore`].
//! * **Must never know:** who starts the processes, or which of them is the last.
//!
//! # How many processes do one backfill
//!
//! What is scored follows from the table, the versions and the range; their digest and the number of shards make the
//! [`RunId`], which all processes of a backfill compute for themselves. A shard has the days and assets that
//! [`Split`] gives it. It writes its parts first, and then
//! `predictions/_backfill/{run}/shard-{shard}.parquet` with all of its rows, which is the sign that it is done: one
//! that was killed before is repeated and overwrites its parts with the same bytes, one that has it is skipped.
//! Names that begin with `_` are passed over by what reads the parts as a data set (pyarrow, Spark).
//!
//! Whoever finds the signs of all shards there after its own work publishes, from those objects alone. Since listings
//! of S3 are consistent, one of the processes does; if two do, they write the same.
//!
//! Publishing begins with a removal: where all of this run's parts of a day are there and the newest of them is newer than
//! any other, whatever else lies beside them is of a backfill that was split in another way, and would count assets twice.
//! Otherwise another backfill has written or removed parts since, and its parts stay. So a day has the parts of exactly one
//! split once the run that wrote last has published, and no run removes what a later one wrote.
//!
//! If the table or a version in force
//! changes while shards run, those that start later belong to another run, which their repetition completes; naming
//! the table and the versions ([`Wanted`]) keeps them together.

mod evaluate;
mod parts;
mod split;

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use jiff::{Timestamp, civil::Date};
use models::{Column, Table};
use polars::prelude::PolarsError;
use shared::{
    Asset, HistoryStore, ModelHistory, ModelName, ModelVersion, Object, ObjectError, ObjectReader,
    ObjectStore, ObjectWriter, RunId, StoreError, TrackRecord,
};
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};

pub use self::split::{InvalidSplit, Split};
use self::{
    evaluate::{ModelRows, evaluate},
    parts::Answers,
};
use crate::{
    Engine, History, HistoryError, LoadedModel, Progress, Wanted, events,
    score::{ScoreError, score},
    tables::{DatedRow, TableError, TableLimits, read_parquet},
};

/// Where predictions are.
pub const PREDICTIONS: &str = "predictions/";

/// A chunk has as many whole days as have about so many rows: 40 features of them take 20 MB.
const CHUNK_ROWS: usize = 1 << 16;

/// It has no more days than this, each a part for each model, so that there is progress to tell of where assets are few.
const CHUNK_DAYS: usize = 128;

/// So many parts are written or removed at once; S3 takes some 30 ms for each.
const REQUESTS_IN_FLIGHT: usize = 16;

/// So often progress is logged.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The models and the table.
    pub wanted: Wanted,
    /// The first day.
    pub from: Date,
    /// The last day.
    pub to: Date,
    /// Which part of it.
    pub split: Split,
    /// How many of its last days are kept of each asset.
    pub history_days: usize,
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The backfill that the shard is of.
    pub run: RunId,
    /// What was scored; nothing if the shard had been done before.
    pub scored: Option<Scored>,
    /// How many shards are not done yet.
    pub missing: u32,
}

/// What a shard came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scored {
    /// Assets and days; each was scored by every model.
    pub rows: usize,
    /// The parts that were written.
    pub parts: usize,
    /// The time that went into decoding and scoring.
    pub scoring: Duration,
    /// The time in which parts were written; the next rows are scored in it.
    pub writing: Duration,
    /// All of the time.
    pub took: Duration,
}

/// A shard was not done, or the whole not published. It may be tried again.
#[derive(Debug, Error)]
pub enum BackfillError {
    /// There is nothing to score, or nothing to score it with.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The range has no row, so that nothing would be known of any model.
    #[error("{key:?} has no row from {from} to {to}: its days are {first} to {last}")]
    NoRows {
        /// The table.
        key: String,
        /// The first day that was asked for.
        from: Date,
        /// The last one.
        to: Date,
        /// The first day of the table.
        first: Date,
        /// The last one.
        last: Date,
    },
    /// The bucket could not be read or written.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The results could not be published.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Rows could not be decoded.
    #[error("{key:?} cannot be used")]
    Table {
        /// The object.
        key: String,
        /// What is wrong with it.
        source: TableError,
    },
    /// An object could not be read to its end.
    #[error("{key:?} cannot be read")]
    Read {
        /// The object.
        key: String,
        /// What stood in the way.
        source: std::io::Error,
    },
    /// A model cannot be asked about these rows.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// Predictions have no parquet form.
    #[error("predictions cannot be written as parquet")]
    Parquet(#[from] PolarsError),
    /// A task ended before its time.
    #[error("the backfill was interrupted")]
    Interrupted(#[from] JoinError),
}

/// Does one shard of a backfill, and publishes the whole if all others are done.
pub struct Backfill {
    /// What chooses the models and reads the table.
    pub engine: Engine,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// The same bucket.
    pub writer: Arc<dyn ObjectWriter>,
    /// Where what was found out goes.
    pub histories: Arc<dyn HistoryStore>,
    /// Shown on a terminal.
    pub progress: Progress,
}

impl Backfill {
    /// Does it. May be cancelled, and repeated, at any time.
    ///
    /// # Errors
    /// As [`BackfillError`] says. What was published before is untouched, or replaced in part by the same run.
    pub async fn run(&self, settings: &Settings) -> Result<Done, BackfillError> {
        let history = Arc::new(self.engine.history(&settings.wanted).await?);
        check_range(settings, &history)?;
        let run = run_id(settings, &history);
        let shard = settings.split.shard();
        let prefix = format!("{PREDICTIONS}_backfill/{run}/");
        let sign = sign(&prefix, shard);
        let is_done = self.objects.list(&sign).await?.iter().any(|object| object.key == sign);
        let scored = if is_done { None } else { Some(self.shard(settings, &history, &sign).await?) };

        let mut done_at = Timestamp::UNIX_EPOCH;
        let signs = self.objects.list(&prefix).await?;
        let mut missing = 0_u32;
        // In the order of the shards, as they were listed.
        let mut done: Vec<Object> = Vec::new();
        for shard in 0..settings.split.shards() {
            let sign = self::sign(&prefix, shard);
            match signs
                .binary_search_by(|object| object.key.cmp(&sign))
                .ok()
                .and_then(|place| signs.get(place))
            {
                Some(object) => {
                    done_at = done_at.max(object.last_modified);
                    done.push(object.clone());
                }
                None => missing = missing.saturating_add(1),
            }
        }
        events::ShardDone { run: &run, shard, scored, missing }.emit();
        if missing == 0 {
            let versions =
                history.models.iter().map(|model| (model.served.name.clone(), model.served.version.clone()));
            self.publish(settings, &run, &done, done_at, &versions.collect::<Vec<_>>()).await?;
        }
        Ok(Done { run, scored, missing })
    }

    async fn shard(
        &self,
        settings: &Settings,
        history: &Arc<History>,
        sign: &str,
    ) -> Result<Scored, BackfillError> {
        let begun = Instant::now();
        let (split, shard) = (settings.split, settings.split.shard());
        let is_mine = |row: &&DatedRow| {
            (settings.from..=settings.to).contains(&row.day)
                && history.rows.asset(row).is_some_and(|asset| split.has(row.day, asset))
        };
        let rows: Vec<DatedRow> = history.rows.rows().iter().filter(is_mine).copied().collect();
        let mut answers = Answers::new(&history.models);
        let mut scored = Scored::default();
        let mut logged = begun;
        self.progress.begin_rows(rows.len());
        let mut chunks = chunks(&rows);
        let mut start_next = || {
            let chunk = chunks.next()?;
            let (history, rows, part) = (Arc::clone(history), chunk.to_vec(), split.part());
            Some((chunk, spawn_blocking(move || score_chunk(&history, &rows, &part))))
        };
        let mut next = start_next();
        while let Some((chunk, scoring)) = next {
            let ScoredChunk { answers: of_chunk, parts, took } = scoring.await??;
            // It is scored while this one is written.
            next = start_next();
            scored.scoring += took;
            scored.parts = scored.parts.saturating_add(parts.len());
            answers.append(of_chunk);
            let writing = Instant::now();
            self.write(parts).await?;
            scored.writing += writing.elapsed();
            scored.rows = scored.rows.saturating_add(chunk.len());
            self.progress.rows_done(chunk.len(), chunk.last().map(|row| row.day).unwrap_or_default());
            if logged.elapsed() >= LOG_EVERY {
                logged = Instant::now();
                let (rows, of) = (scored.rows, rows.len());
                events::BackfillProgressed { shard, rows, of, took: begun.elapsed() }.emit();
            }
        }
        drop(chunks);
        self.progress.end();
        let history = Arc::clone(history);
        let content = spawn_blocking(move || parts::sign(&history, &rows, &answers)).await??;
        self.writer.put(sign, content).await?;
        scored.took = begun.elapsed();
        Ok(scored)
    }

    async fn write(&self, parts: Vec<(String, Bytes)>) -> Result<(), ObjectError> {
        let put = async |(key, content): (String, Bytes)| self.writer.put(&key, content).await;
        stream::iter(parts.into_iter().map(Ok)).try_for_each_concurrent(REQUESTS_IN_FLIGHT, put).await
    }

    /// Removes what lies beside this run's parts of a day, where they are all there and the newest.
    async fn remove_others(
        &self,
        settings: &Settings,
        run: &RunId,
        signs: &[Object],
        versions: &[(ModelName, ModelVersion)],
    ) -> Result<(), BackfillError> {
        let mut parts: BTreeMap<Date, BTreeSet<String>> = BTreeMap::new();
        for (shard, sign) in (0..settings.split.shards()).zip(signs) {
            let reader = self.objects.open_listed(sign).await?;
            let key = sign.key.clone();
            for day in spawn_blocking(move || read_days(reader, key)).await?? {
                parts.entry(day).or_default().insert(settings.split.of_shard(shard).part());
            }
        }
        let mut others = Vec::new();
        let mut replaced = 0_usize;
        for (name, version) in versions {
            let listed = self.objects.list(&parts::folder_of_version(name, version)).await?;
            for (day, parts) in &parts {
                let folder = parts::folder_of_day(name, version, *day);
                let from = listed.partition_point(|object| object.key < folder);
                let there = listed.iter().skip(from).map_while(|object| {
                    object.key.strip_prefix(&folder).map(|name| (object.last_modified, name))
                });
                let there = there.filter(|(_, name)| parts::is_part(name));
                let (own, beside): (Vec<_>, Vec<_>) = there.partition(|(_, name)| parts.contains(*name));
                // By what both see, so that two that publish at once do not remove each other's.
                if own.len() == parts.len() && own.iter().max() > beside.iter().max() {
                    others.extend(beside.iter().map(|(_, name)| format!("{folder}{name}")));
                } else {
                    replaced = replaced.saturating_add(1);
                }
            }
        }
        let removed = others.len();
        let remove = async |key: String| self.writer.delete(&key).await;
        stream::iter(others.into_iter().map(Ok)).try_for_each_concurrent(REQUESTS_IN_FLIGHT, remove).await?;
        events::OtherPartsRemoved { run, removed, replaced }.emit();
        Ok(())
    }

    /// Publishes what the shards left, beginning with the removal of other parts. What comes last is each model's record,
    /// so that a run whose records are there is there as a whole.
    ///
    /// `signs` are those of all shards, in their order. A shard that was written again since they were listed is an error.
    async fn publish(
        &self,
        settings: &Settings,
        run: &RunId,
        signs: &[Object],
        done_at: Timestamp,
        versions: &[(ModelName, ModelVersion)],
    ) -> Result<(), BackfillError> {
        self.remove_others(settings, run, signs, versions).await?;
        let mut records = Vec::new();
        let mut histories: BTreeMap<Asset, BTreeMap<ModelName, ModelHistory>> = BTreeMap::new();
        // One model after another: rows are many, and metrics need all of a model's at once.
        for (place, (name, version)) in versions.iter().enumerate() {
            let mut rows = ModelRows::new(name.kind());
            for sign in signs {
                let reader = self.objects.open_listed(sign).await?;
                let (of_shard, kind, key) = (place, name.kind(), sign.key.clone());
                let read = spawn_blocking(move || read_rows(reader, key, of_shard, kind));
                rows.append(read.await??);
            }
            let days = settings.history_days;
            let (evaluation, last) = spawn_blocking(move || (evaluate(&rows), rows.last_days(days))).await?;
            for (asset, previsoes) in last {
                let history = ModelHistory { versao: version.clone(), execucao: run.clone(), previsoes };
                // The newer one of two versions, since they are in that order.
                histories.entry(asset).or_default().insert(name.clone(), history);
            }
            let record = TrackRecord {
                versao: version.clone(),
                execucao: run.clone(),
                avaliado_em: done_at,
                de: settings.from,
                ate: settings.to,
                metricas: evaluation,
            };
            records.push((name, record));
        }
        for (asset, models) in &histories {
            self.histories.put_history(asset, models).await?;
        }
        for (name, record) in &records {
            self.histories.put_track_record(name, record).await?;
        }
        tracing::info!(%run, assets = histories.len(), models = records.len(), "history and metrics published");
        Ok(())
    }
}

/// All shards together must have a row: a range that was mistyped would publish that nothing is known of any model.
fn check_range(settings: &Settings, history: &History) -> Result<(), BackfillError> {
    let Settings { from, to, .. } = *settings;
    let days = || history.rows.rows().iter().map(|row| row.day);
    let (Some(first), Some(last)) = (days().min(), days().max()) else { return Ok(()) };
    if days().any(|day| (from..=to).contains(&day)) {
        return Ok(());
    }
    Err(BackfillError::NoRows { key: history.table.key.clone(), from, to, first, last })
}

fn sign(prefix: &str, shard: u32) -> String {
    format!("{prefix}shard-{shard:05}.parquet")
}

fn run_id(settings: &Settings, history: &History) -> RunId {
    // Two builds may hash differently. That costs one backfill done again.
    let mut hasher = DefaultHasher::new();
    (&history.table.key, &history.table.etag, history.table.size).hash(&mut hasher);
    for LoadedModel { served, object, .. } in &history.models {
        (served.name.as_str(), served.version.as_str()).hash(&mut hasher);
        // A version may be uploaded again. Its shards must not be mixed with those of the upload before.
        (&object.key, &object.etag, object.size).hash(&mut hasher);
    }
    (settings.from, settings.to, settings.split.shards(), settings.history_days).hash(&mut hasher);
    let (from, to) = (settings.from.strftime("%Y%m%d"), settings.to.strftime("%Y%m%d"));
    RunId(format!("{from}-{to}-{:016x}", hasher.finish()).into())
}

/// Whole days with at most [`CHUNK_ROWS`] rows and [`CHUNK_DAYS`] days together, at least one.
fn chunks(rows: &[DatedRow]) -> impl Iterator<Item = &[DatedRow]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut end = 0_usize;
        for day in rest.chunk_by(|one, other| one.day == other.day).take(CHUNK_DAYS) {
            let with_day = end.saturating_add(day.len());
            if end > 0 && with_day > CHUNK_ROWS {
                break;
            }
            end = with_day;
        }
        let (chunk, after) = rest.split_at(end);
        rest = after;
        (!chunk.is_empty()).then_some(chunk)
    })
}

struct ScoredChunk {
    answers: Answers,
    parts: Vec<(String, Bytes)>,
    took: Duration,
}

fn score_chunk(history: &History, rows: &[DatedRow], file_name: &str) -> Result<ScoredChunk, BackfillError> {
    let begun = Instant::now();
    let unusable = |source| BackfillError::Table { key: history.table.key.clone(), source };
    let table = history.rows.table(rows).map_err(unusable)?;
    let mut answers = Answers::new(&history.models);
    for (LoadedModel { served, model, .. }, answers) in history.models.iter().zip(&mut answers.by_model) {
        *answers = score(&served.name, model, &table)?.into_rows();
    }
    let took = begun.elapsed();
    let parts = parts::parts(history, rows, &answers, file_name)?;
    Ok(ScoredChunk { answers, parts, took })
}

/// One model's rows of a shard.
fn read_rows(
    reader: ObjectReader,
    key: String,
    model: usize,
    kind: shared::ModelKind,
) -> Result<ModelRows, BackfillError> {
    let [predicted, probability] = parts::sign_columns(model);
    let columns = ["ativo", "data", "fechamento", "fechamento_next", &predicted, &probability];
    let table = read_sign(reader, &key, &columns)?;
    ModelRows::from_sign(&table, kind, &predicted, &probability)
        .map_err(|source| BackfillError::Table { key, source })
}

/// The days of which a shard has rows, and so has left parts.
fn read_days(reader: ObjectReader, key: String) -> Result<BTreeSet<Date>, BackfillError> {
    match read_sign(reader, &key, &["data"])?.column("data") {
        Some(Column::Number(days)) => Ok(days.iter().filter_map(|day| parts::day_of(*day)).collect()),
        _ => Err(BackfillError::Table { key, source: TableError::MissingColumn("data".to_owned()) }),
    }
}

fn read_sign(mut reader: ObjectReader, key: &str, columns: &[&str]) -> Result<Table, BackfillError> {
    let mut content = Vec::new();
    // Our own object; what is there of a foreign one is not read beyond any bound.
    let limits = TableLimits::default();
    let mut bounded = std::io::Read::take(&mut reader, limits.bytes.saturating_add(1));
    if let Err(source) = std::io::Read::read_to_end(&mut bounded, &mut content) {
        return Err(BackfillError::Read { key: key.to_owned(), source });
    }
    read_parquet(&content, Some(columns), &limits)
        .map_err(|source| BackfillError::Table { key: key.to_owned(), source })
}
