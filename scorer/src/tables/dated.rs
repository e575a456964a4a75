//! All rows of a feature table, in chunks.

use std::collections::HashMap;

use jiff::civil::Date;
use models::{Column, Table};
use polars::prelude::IdxSize;
use shared::Asset;

use super::{
    DATE_COLUMN, TableError, TableLimits, UnusableRows, convert, day,
    parquet::{File, unreadable},
    without_panic,
};

/// The column with the close of a row's day.
const CLOSE: &str = "fechamento";

/// A feature table of which any rows can be read: its bytes, and of each row asset, day and closes.
///
/// Columns are decoded again for each chunk, one after another, so that memory is that of the file and of one chunk.
pub struct DatedTable {
    file: File,
    assets: Vec<Asset>,
    rows: Vec<DatedRow>,
    unusable: Vec<UnusableRows>,
}

/// A row: an asset at the end of a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DatedRow {
    /// The day.
    pub day: Date,
    /// The asset's place among `DatedTable`'s assets.
    pub asset: u32,
    /// Where it is in the file.
    place: IdxSize,
    /// The day's close; NaN if it is missing.
    pub close: f64,
    /// The close of the asset's next row; NaN if it is missing, or there is none.
    pub next_close: f64,
}

impl DatedTable {
    /// The rows of a parquet file as [`NewestRows`](super::NewestRows::from_parquet) reads it. Of several rows of an
    /// asset and a day the last one counts.
    ///
    /// # Errors
    /// It is no parquet file, lacks `ativo`, `data` or `fechamento`, exceeds a limit, or has no row with an asset
    /// and a day.
    pub fn from_parquet(content: Vec<u8>, limits: &TableLimits) -> Result<Self, TableError> {
        without_panic("parquet", || Self::read(content, limits))
    }

    fn read(content: Vec<u8>, limits: &TableLimits) -> Result<Self, TableError> {
        let file = File::open(content, limits)?;
        let closes = file.series(CLOSE)?;
        let Some(Column::Number(closes)) = convert::column(&closes) else {
            let (column, found) = (CLOSE.to_owned(), closes.dtype().to_string());
            return Err(TableError::WrongType { column, found, expected: "numbers" });
        };
        let instants = convert::instants(DATE_COLUMN, &file.series(DATE_COLUMN)?)?;
        let symbols = file.symbols()?;
        let symbols = symbols.str().map_err(unreadable)?;

        let mut assets: Vec<Asset> = Vec::new();
        // Texts may name one asset in different cases.
        let mut by_asset: HashMap<Asset, u32> = HashMap::new();
        let mut by_text: HashMap<&str, Option<u32>> = HashMap::new();
        let mut rows: Vec<DatedRow> = Vec::with_capacity(closes.len());
        let mut without = 0_usize;
        for (((place, symbol), instant), close) in
            (0 as IdxSize..).zip(symbols.iter()).zip(instants).zip(closes)
        {
            let asset = symbol.and_then(|symbol| {
                *by_text.entry(symbol).or_insert_with(|| {
                    let asset: Asset = symbol.parse().ok()?;
                    let next = u32::try_from(assets.len()).ok()?;
                    Some(*by_asset.entry(asset).or_insert_with_key(|asset| {
                        assets.push(asset.clone());
                        next
                    }))
                })
            });
            match (asset, instant) {
                (Some(asset), Some(instant)) => {
                    rows.push(DatedRow { day: day(instant), asset, place, close, next_close: f64::NAN });
                }
                _ => without = without.saturating_add(1),
            }
        }
        let mut unusable = Vec::new();
        if without > 0 {
            unusable.push(UnusableRows { rows: without, reason: "no asset, or no day".to_owned() });
        }
        if rows.is_empty() {
            return Err(TableError::NoRows { unusable });
        }
        rows.sort_unstable_by_key(|row| (row.asset, row.day, std::cmp::Reverse(row.place)));
        rows.dedup_by_key(|row| (row.asset, row.day));
        let nexts: Vec<(u32, f64)> = rows.iter().skip(1).map(|next| (next.asset, next.close)).collect();
        for (row, (asset, close)) in rows.iter_mut().zip(nexts) {
            if row.asset == asset {
                row.next_close = close;
            }
        }
        // Chunks are of whole days, and in each the assets are in the order of their symbols.
        rows.sort_unstable_by(|one, other| {
            let symbol = |row: &DatedRow| assets.get(row.asset as usize);
            one.day.cmp(&other.day).then_with(|| symbol(one).cmp(&symbol(other)))
        });
        Ok(Self { file, assets, rows, unusable })
    }

    /// The rows, by day and by asset.
    #[must_use]
    pub fn rows(&self) -> &[DatedRow] {
        &self.rows
    }

    /// The asset of a row.
    #[must_use]
    pub fn asset(&self, row: &DatedRow) -> Option<&Asset> {
        self.assets.get(row.asset as usize)
    }

    /// Rows that cannot be used.
    #[must_use]
    pub fn unusable(&self) -> &[UnusableRows] {
        &self.unusable
    }

    /// Some rows as models read them.
    ///
    /// # Errors
    /// A column cannot be decoded.
    pub fn table(&self, rows: &[DatedRow]) -> Result<Table, TableError> {
        let places: Vec<IdxSize> = rows.iter().map(|row| row.place).collect();
        without_panic("parquet", || self.file.rows(&places))
    }
}

impl DatedRow {
    /// Whether the next close is higher, as classifiers are trained to predict, where both closes are known.
    #[must_use]
    pub fn rises(&self) -> Option<bool> {
        let known = self.close.is_finite() && self.next_close.is_finite();
        known.then_some(self.next_close > self.close)
    }
}
