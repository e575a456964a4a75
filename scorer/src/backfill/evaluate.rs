//! How right a model was.

use std::{collections::BTreeMap, collections::HashMap};

use jiff::civil::Date;
use models::{Column, Table};
use shared::{Asset, Evaluation, Metrics, ModelKind, ScoredDay, answer::Number};

use super::parts::day_of;
use crate::tables::{ASSET_COLUMN, DATE_COLUMN, TableError};

/// One model's predictions, and what came of them.
#[derive(Debug)]
pub(super) struct ModelRows {
    kind: ModelKind,
    assets: Vec<Asset>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    day: Date,
    asset: u32,
    predicted: f64,
    probability: f64,
    close: f64,
    next_close: f64,
}

impl Row {
    fn rises(&self) -> Option<bool> {
        (self.close.is_finite() && self.next_close.is_finite()).then_some(self.next_close > self.close)
    }
}

impl ModelRows {
    pub(super) fn new(kind: ModelKind) -> Self {
        Self { kind, assets: Vec::new(), rows: Vec::new() }
    }

    /// The rows with a prediction of what a shard left.
    pub(super) fn from_sign(
        table: &Table,
        kind: ModelKind,
        predicted: &str,
        probability: &str,
    ) -> Result<Self, TableError> {
        let numbers = |name: &str| match table.column(name) {
            Some(Column::Number(numbers)) => Ok(numbers.as_slice()),
            _ => Err(TableError::MissingColumn(name.to_owned())),
        };
        let Some(Column::Text(symbols)) = table.column(ASSET_COLUMN) else {
            return Err(TableError::MissingColumn(ASSET_COLUMN.to_owned()));
        };
        let assets: Vec<Asset> = symbols.dictionary().iter().filter_map(|text| text.parse().ok()).collect();
        let closes = numbers("fechamento")?.iter().zip(numbers("fechamento_next")?);
        let answers = numbers(predicted)?.iter().zip(numbers(probability)?);
        let rows = symbols.codes().zip(numbers(DATE_COLUMN)?).zip(closes).zip(answers);
        let rows = rows.filter_map(|(((asset, day), (close, next_close)), (predicted, probability))| {
            let asset = u32::try_from(asset?).ok()?;
            let day = day_of(*day)?;
            let (close, next_close, probability) = (*close, *next_close, *probability);
            predicted.is_finite().then_some(Row {
                day,
                asset,
                predicted: *predicted,
                probability,
                close,
                next_close,
            })
        });
        let rows = rows.collect();
        Ok(Self { kind, assets, rows })
    }

    pub(super) fn append(&mut self, others: Self) {
        let mut known: HashMap<Asset, u32> = self.assets.iter().cloned().zip(0..).collect();
        let mut places = Vec::with_capacity(others.assets.len());
        for asset in others.assets {
            places.push(*known.entry(asset).or_insert_with_key(|asset| {
                self.assets.push(asset.clone());
                u32::try_from(self.assets.len() - 1).unwrap_or(u32::MAX)
            }));
        }
        let moved = |row: Row| Some(Row { asset: *places.get(row.asset as usize)?, ..row });
        self.rows.extend(others.rows.into_iter().filter_map(moved));
    }

    /// Each asset's last days, ascending.
    pub(super) fn last_days(mut self, days: usize) -> BTreeMap<Asset, Vec<ScoredDay>> {
        self.rows.sort_unstable_by_key(|row| (row.asset, row.day));
        let of_assets = self.rows.chunk_by(|one, other| one.asset == other.asset);
        let last = of_assets.filter_map(|rows| {
            let asset = self.assets.get(rows.first()?.asset as usize)?.clone();
            let last = rows.get(rows.len().saturating_sub(days)..)?;
            Some((asset, last.iter().map(|row| self.scored_day(row)).collect()))
        });
        last.collect()
    }

    fn scored_day(&self, row: &Row) -> ScoredDay {
        let known = |number: f64| number.is_finite().then_some(number);
        ScoredDay {
            data: row.day,
            predicao: match self.kind {
                ModelKind::Regressor => Number::Close(row.predicted),
                #[expect(clippy::cast_possible_truncation, reason = "it was a whole number")]
                ModelKind::Classifier => Number::Class(row.predicted as i64),
            },
            probabilidade: known(row.probability),
            fechamento: known(row.close),
            fechamento_next: known(row.next_close),
            direction_next: row.rises().map(u8::from),
        }
    }
}

/// The metrics of all rows whose outcome is known.
pub(super) fn evaluate(rows: &ModelRows) -> Evaluation {
    // In an order of their own, so that sums do not depend on the number of shards.
    let mut known: Vec<&Row> = rows.rows.iter().filter(|row| row.rises().is_some()).collect();
    let symbol = |row: &Row| rows.assets.get(row.asset as usize);
    known.sort_unstable_by(|one, other| (one.day, symbol(one)).cmp(&(other.day, symbol(other))));
    let of_days = known.chunk_by(|one, other| one.day == other.day);
    let por_dia = of_days.filter_map(|of_day| Some((of_day.first()?.day, metrics(rows.kind, of_day))));
    let mut evaluation =
        Evaluation { geral: metrics(rows.kind, &known), por_dia: por_dia.collect(), ..Evaluation::default() };
    known.sort_by_key(|row| symbol(row));
    for of_asset in known.chunk_by(|one, other| one.asset == other.asset) {
        if let Some(asset) = of_asset.first().and_then(|row| symbol(row)) {
            evaluation.por_ativo.insert(asset.clone(), metrics(rows.kind, of_asset));
        }
    }
    evaluation
}

#[expect(clippy::cast_precision_loss, reason = "means")]
fn metrics(kind: ModelKind, rows: &[&Row]) -> Metrics {
    let count = rows.len() as f64;
    let mean = |of: &dyn Fn(&Row) -> f64| {
        (!rows.is_empty()).then(|| rows.iter().map(|row| of(row)).sum::<f64>() / count)
    };
    let share = |of: &dyn Fn(&Row) -> bool| mean(&|row| f64::from(u8::from(of(row))));
    let error = |row: &Row| row.predicted - row.next_close;
    let rises = |row: &Row| row.next_close > row.close;
    let previsoes = rows.len() as u64;
    match kind {
        ModelKind::Regressor => Metrics {
            previsoes,
            mae: mean(&|row| error(row).abs()),
            rmse: mean(&|row| error(row) * error(row)).map(f64::sqrt),
            // As scikit-learn, which divides by no less than this.
            mape: mean(&|row| error(row).abs() / row.next_close.abs().max(f64::EPSILON)),
            acerto_direcional: share(&|row| (row.predicted > row.close) == rises(row)),
            ..Metrics::default()
        },
        ModelKind::Classifier => Metrics {
            previsoes,
            acuracia: share(&|row| row.predicted == f64::from(u8::from(rises(row)))),
            auc: auc(rows.iter().map(|row| (row.probability, rises(row))).collect()),
            acerto_direcional: share(&|row| (row.predicted == 1.0) == rises(row)),
            ..Metrics::default()
        },
    }
}

/// The share of pairs of a rise and a fall in which the rise has the larger probability, a tie counting half: the area
/// under the ROC curve. Nothing if there are no such pairs.
#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
fn auc(mut rows: Vec<(f64, bool)>) -> Option<f64> {
    rows.retain(|(probability, _)| probability.is_finite());
    rows.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let rises = rows.iter().filter(|(_, rises)| *rises).count();
    let pairs = rises as f64 * (rows.len() - rises) as f64;
    let (mut falls_below, mut twice_won) = (0_u64, 0_u128);
    for tied in rows.chunk_by(|(one, _), (other, _)| one == other) {
        let rises = tied.iter().filter(|(_, rises)| *rises).count() as u64;
        let falls = tied.len() as u64 - rises;
        twice_won += u128::from(rises) * u128::from(2 * falls_below + falls);
        falls_below += falls;
    }
    (pairs > 0.0).then(|| twice_won as f64 / (2.0 * pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        for (rows, expected) in [
            (vec![(0.1, false), (0.9, true)], Some(1.0)),
            (vec![(0.9, false), (0.1, true)], Some(0.0)),
            (vec![(0.5, false), (0.5, true)], Some(0.5)),
            (vec![(0.1, false), (0.4, false), (0.35, true), (0.8, true)], Some(0.75)),
            (vec![(0.1, true)], None),
            (vec![], None),
        ] {
            assert_eq!(auc(rows.clone()), expected, "{rows:?}");
        }
    }

    #[test]
    fn days_are_read_as_they_were_written() {
        for day in [jiff::civil::date(1969, 12, 31), jiff::civil::date(2025, 2, 20)] {
            assert_eq!(day_of(crate::features::days_since_epoch(day).into()), Some(day));
        }
        assert_eq!((day_of(f64::INFINITY), day_of(1e18)), (None, None));
    }
}
