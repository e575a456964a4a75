//! Predictions as parquet files.

use bytes::Bytes;
use jiff::civil::Date;
use polars::prelude::{
    Column, DataFrame, Float64Chunked, Int32Chunked, Int64Chunked, IntoColumn, IntoSeries, NewChunkedArray,
    ParquetCompression, ParquetWriter, PlSmallStr, PolarsError, StringChunked, TimeUnit,
};
use rayon::prelude::*;
use shared::{ModelKind, ModelName, ModelVersion, Outcome, ServedModel};

use super::PREDICTIONS;
use crate::{
    History, LoadedModel,
    features::days_since_epoch,
    tables::{ASSET_COLUMN, DATE_COLUMN, DatedRow},
};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// What each model says of some rows.
pub(super) struct Answers {
    /// In the models' order; of each model in the rows' order.
    pub(super) by_model: Vec<Vec<Result<Outcome, String>>>,
}

impl Answers {
    pub(super) fn new(models: &[LoadedModel]) -> Self {
        Self { by_model: vec![Vec::new(); models.len()] }
    }

    pub(super) fn append(&mut self, others: Self) {
        for (answers, mut more) in self.by_model.iter_mut().zip(others.by_model) {
            // Reasons were written with the parts, and are not needed again.
            answers.extend(more.drain(..).map(|answer| answer.map_err(|_| String::new())));
        }
    }
}

/// Where the parts of a version and a day are.
pub(super) fn folder_of_day(name: &ModelName, version: &ModelVersion, day: Date) -> String {
    format!("{}dt={day}/", folder_of_version(name, version))
}

/// Where the parts of a version are.
pub(super) fn folder_of_version(name: &ModelName, version: &ModelVersion) -> String {
    format!("{PREDICTIONS}{name}/{version}/")
}

/// Whether a file of a day's folder is a part, of whatever split.
pub(super) fn is_part(file_name: &str) -> bool {
    file_name.starts_with("part-") && file_name.ends_with(".parquet") && !file_name.contains('/')
}

/// The parts of each model and day, with their keys.
///
/// Columns: `ativo`, `data` (an instant in microseconds), `predicao` (the close, or the class), `probabilidade`
/// (classifiers only), `fechamento`, `fechamento_next`, `direction_next`, `falha` (why there is no prediction).
pub(super) fn parts(
    history: &History,
    rows: &[DatedRow],
    answers: &Answers,
    file_name: &str,
) -> Result<Vec<(String, Bytes)>, PolarsError> {
    let days: Vec<&[DatedRow]> = rows.chunk_by(|one, other| one.day == other.day).collect();
    let parts = history.models.par_iter().zip(&answers.by_model).flat_map_iter(|(model, answers)| {
        let mut rest = answers.as_slice();
        days.iter().map(move |rows| {
            let (answers, after) = rest.split_at(rows.len().min(rest.len()));
            rest = after;
            part(history, &model.served, rows, answers, file_name)
        })
    });
    parts.collect()
}

fn part(
    history: &History,
    model: &ServedModel,
    rows: &[DatedRow],
    answers: &[Result<Outcome, String>],
    file_name: &str,
) -> Result<(String, Bytes), PolarsError> {
    let day = rows.first().map(|row| row.day).unwrap_or_default();
    let key = format!("{}{file_name}", folder_of_day(&model.name, &model.version, day));
    let name = PlSmallStr::from_static;
    let mut columns = vec![
        symbols(history, rows),
        Int64Chunked::from_iter_values(
            DATE_COLUMN.into(),
            rows.iter().map(|row| i64::from(days_since_epoch(row.day)).saturating_mul(MICROSECONDS_PER_DAY)),
        )
        .into_datetime(TimeUnit::Microseconds, None)
        .into_series()
        .into_column(),
    ];
    match model.name.kind() {
        ModelKind::Regressor => columns.push(numbers("predicao", answers.iter().map(predicted))),
        ModelKind::Classifier => {
            let classes = answers.iter().map(|answer| match answer {
                Ok(Outcome::Direction { class, .. }) => Some(*class),
                _ => None,
            });
            columns.push(Int64Chunked::from_iter_options(name("predicao"), classes).into_column());
            columns.push(numbers("probabilidade", answers.iter().map(probability)));
        }
    }
    let rises = rows.iter().map(|row| row.rises().map(i32::from));
    let failures = answers.iter().map(|answer| answer.as_ref().err().map(String::as_str));
    columns.extend([
        numbers("fechamento", rows.iter().map(|row| known(row.close))),
        numbers("fechamento_next", rows.iter().map(|row| known(row.next_close))),
        Int32Chunked::from_iter_options(name("direction_next"), rises).into_column(),
        StringChunked::from_iter_options(name("falha"), failures).into_column(),
    ]);
    Ok((key, parquet(rows.len(), columns)?))
}

/// All rows of a shard, with every model's predictions side by side; `data` in days since 1970-01-01.
pub(super) fn sign(history: &History, rows: &[DatedRow], answers: &Answers) -> Result<Bytes, PolarsError> {
    let days = rows.iter().map(|row| days_since_epoch(row.day));
    let mut columns = vec![
        symbols(history, rows),
        Int32Chunked::from_iter_values(DATE_COLUMN.into(), days).into_column(),
        numbers("fechamento", rows.iter().map(|row| known(row.close))),
        numbers("fechamento_next", rows.iter().map(|row| known(row.next_close))),
    ];
    for (place, answers) in answers.by_model.iter().enumerate() {
        let [of_prediction, of_probability] = sign_columns(place);
        columns.push(numbers(&of_prediction, answers.iter().map(predicted)));
        columns.push(numbers(&of_probability, answers.iter().map(probability)));
    }
    parquet(rows.len(), columns)
}

/// The columns of the model at that place: what it predicted, and the probability of class 1.
pub(super) fn sign_columns(place: usize) -> [String; 2] {
    [format!("predicao_{place}"), format!("probabilidade_{place}")]
}

#[expect(clippy::cast_precision_loss, reason = "classes are small whole numbers")]
fn predicted(answer: &Result<Outcome, String>) -> Option<f64> {
    match answer {
        Ok(Outcome::Close(close)) => Some(*close),
        Ok(Outcome::Direction { class, .. }) => Some(*class as f64),
        Err(_) => None,
    }
}

fn probability(answer: &Result<Outcome, String>) -> Option<f64> {
    match answer {
        Ok(Outcome::Direction { probability, .. }) => Some(*probability),
        _ => None,
    }
}

fn known(number: f64) -> Option<f64> {
    (!number.is_nan()).then_some(number)
}

fn numbers(name: &str, values: impl Iterator<Item = Option<f64>>) -> Column {
    Float64Chunked::from_iter_options(name.into(), values).into_column()
}

fn symbols(history: &History, rows: &[DatedRow]) -> Column {
    let symbols = rows.iter().map(|row| history.rows.asset(row).map(shared::Asset::as_str));
    StringChunked::from_iter_options(ASSET_COLUMN.into(), symbols).into_column()
}

fn parquet(rows: usize, columns: Vec<Column>) -> Result<Bytes, PolarsError> {
    let mut frame = DataFrame::new(rows, columns)?;
    let mut content = Vec::new();
    ParquetWriter::new(&mut content).with_compression(ParquetCompression::Snappy).finish(&mut frame)?;
    Ok(content.into())
}

/// The day of a number that [`sign`] has written.
pub(super) fn day_of(days: f64) -> Option<Date> {
    #[expect(clippy::cast_possible_truncation, reason = "what is no day of a calendar becomes none")]
    let hours = (days as i64).checked_mul(24)?;
    Date::constant(1970, 1, 1).checked_add(jiff::SignedDuration::from_hours(hours)).ok()
}
