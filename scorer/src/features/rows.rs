//! The feature table as models read it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, civil::Date};
use models::{Column, Table, TextColumn};
use rayon::prelude::*;
use shared::Asset;

use super::{
    AssetFeatures, Features,
    candles::Price,
    columns::{HIGHEST_CLOSE, Values},
};
use crate::tables::{ASSET_COLUMN, DATE_COLUMN, NewestRows, TableError, unusable_rows};

/// The close of the asset's next row, which regressors are trained to predict.
pub const NEXT_CLOSE: &str = "fechamento_next";
/// Whether the next close is higher (1) or not (0), which classifiers are trained to predict.
pub const NEXT_DIRECTION: &str = "direction_next";

/// A row: the place of its asset, and its own among those of the asset.
type Place = (usize, usize);

impl Features {
    /// Each asset's newest row, the same as [`NewestRows::from_parquet`] reads from this table's parquet file.
    ///
    /// # Errors
    /// No row has an asset's symbol.
    pub fn newest_rows(&self) -> Result<NewestRows, TableError> {
        let mut newest: BTreeMap<Asset, (Date, Place)> = BTreeMap::new();
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        for (place, asset) in self.assets.iter().enumerate() {
            let rows = asset.candles.rows();
            let (Some(day), Some(row)) = (asset.candles.days.last(), rows.checked_sub(1)) else { continue };
            match asset.candles.symbol.parse::<Asset>() {
                // Symbols in different cases may name one asset.
                Ok(symbol) => {
                    let found = (*day, (place, row));
                    newest.entry(symbol).and_modify(|known| *known = (*known).max(found)).or_insert(found);
                }
                Err(error) => _ = refused.insert(error.to_string(), rows),
            }
        }
        let mut unusable = self.unusable.clone();
        unusable.extend(unusable_rows(0, refused));
        if newest.is_empty() {
            return Err(TableError::NoRows { unusable });
        }
        let places: Vec<Place> = newest.values().map(|(_, place)| *place).collect();
        let table = Table::new(self.columns(&places))?;
        let assets = newest.into_iter().map(|(asset, (day, _))| (asset, Some(day))).collect();
        Ok(NewestRows { table, assets, unusable })
    }

    /// The rows that models are trained on: those whose asset has a next row with a close.
    ///
    /// Sorted by day and asset. Of several rows of an asset and a day the last one counts. The columns are those of the
    /// feature table, `data` in days since 1970-01-01, without `max_acum`, and the targets [`NEXT_CLOSE`] and
    /// [`NEXT_DIRECTION`].
    ///
    /// # Errors
    /// There is no such row.
    pub fn training_rows(&self) -> Result<Table, TableError> {
        let mut rows: Vec<(Date, Place, f64, f64)> = Vec::new();
        for (place, asset) in self.assets.iter().enumerate() {
            let closes = asset.numbers(Price::Close.column());
            let days = &asset.candles.days;
            let is_last_of_day = |row: &usize| days.get(row + 1) != Some(&days[*row]);
            let last_rows: Vec<usize> = (0..days.len()).filter(is_last_of_day).collect();
            for (row, next_row) in last_rows.iter().zip(last_rows.iter().skip(1)) {
                let next_close = closes[*next_row];
                if !next_close.is_nan() {
                    rows.push((days[*row], (place, *row), closes[*row], next_close));
                }
            }
        }
        if rows.is_empty() {
            return Err(TableError::NoRows { unusable: self.unusable.clone() });
        }
        // Places are in the order of assets.
        rows.sort_unstable_by_key(|(day, place, ..)| (*day, *place));
        let places: Vec<Place> = rows.iter().map(|(_, place, ..)| *place).collect();
        let table = Table::new(self.columns(&places))?;
        with_targets(table, rows.iter().map(|(day, _, close, next)| (*day, *close, *next)))
    }

    /// `ativo` and all columns of features, of these rows.
    fn columns(&self, places: &[Place]) -> Vec<(&'static str, Column)> {
        let symbols =
            places.iter().map(|(asset, _)| self.assets.get(*asset).map(|asset| &*asset.candles.symbol));
        let names: Vec<&'static str> = self.column_names().collect();
        let columns = names.into_par_iter().enumerate().map(|(place, name)| {
            let columns: Vec<Option<&Values>> =
                self.assets.iter().map(|asset| asset.columns.get(place).map(|(_, values)| values)).collect();
            (name, gathered(&columns, places))
        });
        let mut columns: Vec<(&'static str, Column)> = columns.collect();
        columns.insert(0, (ASSET_COLUMN, Column::Text(symbols.collect::<TextColumn>())));
        columns
    }

    /// The names of the columns of features, in order.
    pub(super) fn column_names(&self) -> impl Iterator<Item = &'static str> {
        self.assets.first().into_iter().flat_map(|asset| asset.columns.iter().map(|(name, _)| *name))
    }
}

/// The rows of a feature table with day, close and next close: without the column that models are not trained on, with
/// `data` in days since 1970-01-01, and with the targets.
pub(crate) fn with_targets(
    table: Table,
    rows: impl Iterator<Item = (Date, f64, f64)>,
) -> Result<Table, TableError> {
    let (mut days, mut next_close, mut next_direction) = (Vec::new(), Vec::new(), Vec::new());
    for (day, close, next) in rows {
        days.push(days_since_epoch(day).into());
        next_close.push(next);
        next_direction.push(f64::from(next > close));
    }
    let added = [(DATE_COLUMN, days), (NEXT_CLOSE, next_close), (NEXT_DIRECTION, next_direction)];
    let is_added = |name: &str| added.iter().any(|(added, _)| *added == name);
    let kept = table.columns().filter(|(name, _)| *name != HIGHEST_CLOSE && !is_added(name));
    let mut columns: Vec<(&str, Column)> = kept.map(|(name, column)| (name, column.clone())).collect();
    let [days, next_close, next_direction] =
        added.clone().map(|(name, numbers)| (name, Column::Number(numbers)));
    columns.insert(columns.len().min(1), days);
    columns.extend([next_close, next_direction]);
    Ok(Table::new(columns)?)
}

impl AssetFeatures {
    fn numbers(&self, name: &str) -> &[f64] {
        match self.columns.iter().find(|(known, _)| *known == name) {
            Some((_, Values::Numbers(numbers))) => numbers,
            _ => &[],
        }
    }
}

/// The values of one column in these rows; `columns` has that column of each asset.
fn gathered(columns: &[Option<&Values>], places: &[Place]) -> Column {
    let values = || places.iter().map(|(asset, row)| (columns.get(*asset).copied().flatten(), *row));
    if matches!(columns.first(), Some(Some(Values::Words(_)))) {
        return Column::text(values().map(|(values, row)| match values {
            Some(Values::Words(words)) => words.get(row).copied(),
            _ => None,
        }));
    }
    let number = |(values, row): (Option<&Values>, usize)| match values {
        Some(Values::Numbers(numbers)) => numbers.get(row).copied(),
        Some(Values::Integers(integers)) => integers.get(row).map(|integer| f64::from(*integer)),
        _ => None,
    };
    Column::Number(values().map(|place| number(place).unwrap_or(f64::NAN)).collect())
}

/// Days since 1970-01-01.
pub(crate) fn days_since_epoch(day: Date) -> i32 {
    let since_epoch: SignedDuration = day.duration_since(Date::constant(1970, 1, 1));
    // Years have at most four digits.
    i32::try_from(since_epoch.as_hours() / 24).unwrap_or_default()
}
