//! How right a model was.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use models::{
    Column, Table,
    evaluation::{ClassificationMetrics, RegressionMetrics},
};
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
        // Several texts may name one asset, and a text that names none must not move the places of the others.
        let mut assets: Vec<Asset> = Vec::new();
        let mut known: HashMap<Asset, u32> = HashMap::new();
        let mut place = |text: &str| -> Option<u32> {
            let asset: Asset = text.parse().ok()?;
            let next = u32::try_from(assets.len()).ok()?;
            Some(*known.entry(asset).or_insert_with_key(|asset| {
                assets.push(asset.clone());
                next
            }))
        };
        let places: Vec<Option<u32>> = symbols.dictionary().iter().map(|text| place(text)).collect();
        let closes = numbers("fechamento")?.iter().zip(numbers("fechamento_next")?);
        let answers = numbers(predicted)?.iter().zip(numbers(probability)?);
        let rows = symbols.codes().zip(numbers(DATE_COLUMN)?).zip(closes).zip(answers);
        let rows = rows.filter_map(|(((asset, day), (close, next_close)), (predicted, probability))| {
            let asset = places[asset?]?;
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

fn metrics(kind: ModelKind, rows: &[&Row]) -> Metrics {
    let previsoes = rows.len() as u64;
    if rows.is_empty() {
        return Metrics { previsoes, ..Metrics::default() };
    }
    let rises = |row: &Row| row.next_close > row.close;
    let right_side = |is_predicted: fn(&Row) -> bool| {
        let right = rows.iter().filter(|row| is_predicted(row) == rises(row)).count();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let share = right as f64 / rows.len() as f64;
        Some(share)
    };
    match kind {
        ModelKind::Regressor => {
            let (predicted, came): (Vec<f64>, Vec<f64>) =
                rows.iter().map(|row| (row.predicted, row.next_close)).unzip();
            let RegressionMetrics { mae, rmse, mape } = RegressionMetrics::of(&predicted, &came);
            Metrics {
                previsoes,
                mae: Some(mae),
                rmse: Some(rmse),
                mape: Some(mape),
                acerto_direcional: right_side(|row| row.predicted > row.close),
                ..Metrics::default()
            }
        }
        ModelKind::Classifier => {
            // Every class but 1 says that there is no rise: 0, and -1 of a model that has it.
            let predicted: Vec<u32> = rows.iter().map(|row| u32::from(row.predicted == 1.0)).collect();
            let came: Vec<u32> = rows.iter().map(|row| u32::from(rises(row))).collect();
            let probabilities: Vec<f64> = rows.iter().map(|row| row.probability).collect();
            let found = ClassificationMetrics::of(&predicted, &probabilities, &came);
            Metrics {
                previsoes,
                acuracia: Some(found.accuracy),
                // There is none where all outcomes are of one class.
                auc: Some(found.auc).filter(|auc| auc.is_finite()),
                acerto_direcional: right_side(|row| row.predicted == 1.0),
                ..Metrics::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_names_no_asset_moves_no_row_to_another() {
        let texts = ["BTC", "not an asset", "ETH", "btc", "ETH"];
        let numbers = |values: [f64; 5]| Column::Number(values.to_vec());
        let table = Table::new([
            (ASSET_COLUMN, Column::text(texts.map(Some))),
            (DATE_COLUMN, numbers([1.0, 1.0, 1.0, 2.0, 2.0])),
            ("fechamento", numbers([10.0, 20.0, 30.0, 40.0, 50.0])),
            ("fechamento_next", numbers([11.0, 21.0, 31.0, 41.0, 51.0])),
            ("predicao", numbers([1.0, 2.0, 3.0, 4.0, 5.0])),
            ("probabilidade", numbers([f64::NAN; 5])),
        ])
        .unwrap();
        let rows = ModelRows::from_sign(&table, ModelKind::Regressor, "predicao", "probabilidade").unwrap();
        let mut all = ModelRows::new(ModelKind::Regressor);
        all.append(rows);
        let days = all.last_days(9);
        let closes: Vec<(&str, Vec<Option<f64>>)> = days
            .iter()
            .map(|(asset, days)| (asset.as_str(), days.iter().map(|day| day.fechamento).collect()))
            .collect();
        assert_eq!(
            closes,
            [("BTC", vec![Some(10.0), Some(40.0)]), ("ETH", vec![Some(30.0), Some(50.0)])],
            "texts in another case name the same asset"
        );
    }

    #[test]
    fn a_class_of_minus_one_says_that_there_is_no_rise() {
        let row = |predicted: f64, next_close: f64| Row {
            day: Date::default(),
            asset: 0,
            predicted,
            probability: 0.5,
            close: 1.0,
            next_close,
        };
        let rows = [row(-1.0, 0.5), row(0.0, 1.0), row(1.0, 2.0), row(-1.0, 2.0)];
        let found = metrics(ModelKind::Classifier, &rows.iter().collect::<Vec<_>>());
        assert_eq!((found.acuracia, found.acerto_direcional), (Some(0.75), Some(0.75)));
    }

    #[test]
    fn days_are_read_as_they_were_written() {
        for day in [jiff::civil::date(1969, 12, 31), jiff::civil::date(2025, 2, 20)] {
            assert_eq!(day_of(crate::features::days_since_epoch(day).into()), Some(day));
        }
        assert_eq!((day_of(f64::INFINITY), day_of(1e18)), (None, None));
    }
}
