//! The feature table, computed from daily candles.
//!
//! * **For:** what the feature job (`glue/features.py`) does, without Python: from candles ([`read_raw`],
//!   [`read_asset`]) to [`Features`], and from there to a parquet file, to the rows that are scored, or to the rows
//!   that models are trained on.
//! * **Comes in:** bytes. **Goes out:** the table of `glue/features.py`, the same columns in the same order, and the
//!   same cells missing.
//! * **Must never know:** where the bytes are kept, or which model wants which column.
//!
//! # What polars does, and what it does not
//!
//! polars reads the cells and makes the parquet file. The windows in between are our own, for two reasons that were
//! measured on 59 626 rows of real candles with two threads. Its rolling functions carry sums from row to row: 66
//! rolling means of volumes differ from the mean of their own rows by more than 1e-9 (pandas' do too, and so do 2 008
//! of pandas' deviations). And the windows alone took them 160 ms, where all columns take less than half of that here.
//! A window is computed from its own rows, so the table after [`Features::update`] is to the bit the one that is
//! computed from scratch, and no value leaves a trace where it is no longer seen.

mod candles;
mod columns;
mod file;
mod parquet;
mod raw;
mod rows;
mod windows;

use std::collections::HashMap;

use jiff::civil::Date;
use rayon::prelude::*;
use shared::Asset;

pub use candles::Candles;
pub use file::{FileError, read_raw_file};
pub use parquet::WriteError;
pub use raw::{are_candles, read_asset, read_raw};
pub use rows::{NEXT_CLOSE, NEXT_DIRECTION};
pub(crate) use rows::{days_since_epoch, with_targets};

use self::{
    candles::AssetCandles,
    columns::{LOOK_BACK, Running, Values},
};
use crate::{
    catalogue::FEATURES,
    tables::{AssetRow, TableError, TableLimits, UnusableRows},
};

/// The key of a copy of the newest table.
pub const LATEST: &str = "features/latest.parquet";

/// Bounds on candles that are read: a row of features takes some 400 bytes of memory.
pub const LIMITS: TableLimits = TableLimits { bytes: 1 << 30, rows: 5_000_000, cells: 1 << 30 };

/// The feature table: one row for an asset and a day, in the order of assets and days.
#[derive(Debug, Default)]
pub struct Features {
    /// In the order of their symbols' bytes.
    assets: Vec<AssetFeatures>,
    unusable: Vec<UnusableRows>,
}

/// One asset's rows of the table, and the candles that they are computed from.
#[derive(Debug, Default)]
struct AssetFeatures {
    candles: AssetCandles,
    /// All columns but `ativo` and `data`, in the table's order.
    columns: Vec<(&'static str, Values)>,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// The rows that were computed.
    pub computed: usize,
    /// The rows that were kept as they were.
    pub kept: usize,
}

impl Features {
    /// The features of these candles.
    #[must_use]
    pub fn compute(candles: Candles) -> Self {
        let mut features = Self::default();
        features.update(candles);
        features
    }

    /// Makes this the features of `candles`, computing only what differs from the candles it was computed from.
    ///
    /// The rows of an asset are kept up to its first row that is another one, or is new: a later day, a correction,
    /// a day that was missing. An asset that is not among `candles` is gone. The result is to the bit
    /// [`compute`](Self::compute)'s.
    pub fn update(&mut self, candles: Candles) -> Update {
        let assets = std::mem::take(&mut self.assets);
        let mut known: HashMap<Box<str>, AssetFeatures> =
            assets.into_iter().map(|asset| (asset.candles.symbol.clone(), asset)).collect();
        let changes: Vec<(AssetFeatures, AssetCandles)> = candles
            .assets
            .into_iter()
            .map(|candles| (known.remove(&candles.symbol).unwrap_or_default(), candles))
            .collect();
        let kept: usize = changes.iter().map(|(known, candles)| known.candles.rows_in_common(candles)).sum();
        self.assets = changes.into_par_iter().map(|(known, candles)| known.updated(candles)).collect();
        self.unusable = candles.unusable;
        Update { computed: self.rows().saturating_sub(kept), kept }
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.assets.iter().map(|asset| asset.candles.rows()).sum()
    }

    /// How many assets there are.
    #[must_use]
    pub fn assets(&self) -> usize {
        self.assets.len()
    }

    /// The newest day of any asset, by which the table's file is named.
    #[must_use]
    pub fn newest_day(&self) -> Option<Date> {
        self.assets.iter().filter_map(|asset| asset.candles.days.last()).max().copied()
    }

    /// The key that the table's parquet file has in the bucket; none without rows.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        self.newest_day().map(key_of)
    }

    /// The candles that have no place in the table, with reasons.
    #[must_use]
    pub fn unusable(&self) -> &[UnusableRows] {
        &self.unusable
    }
}

/// The key of the table whose newest day is this.
pub(crate) fn key_of(day: Date) -> String {
    format!("{FEATURES}cripto_features_{:04}{:02}{:02}.parquet", day.year(), day.month(), day.day())
}

/// The newest row of features of one asset's candles, `data/{ATIVO}/{ATIVO}_{YYYY-MM-DD}.csv`.
///
/// # Errors
/// As [`read_asset`].
pub fn newest_row(content: &[u8], asset: &Asset, limits: &TableLimits) -> Result<AssetRow, TableError> {
    let rows = Features::compute(read_asset(content, asset, limits)?).newest_rows()?;
    AssetRow::first_of(&rows).ok_or(TableError::NoRows { unusable: rows.unusable })
}

impl AssetFeatures {
    fn updated(mut self, candles: AssetCandles) -> Self {
        let kept = self.candles.rows_in_common(&candles);
        for (_, values) in &mut self.columns {
            values.truncate(kept);
        }
        if kept < candles.rows() {
            // Sums and maxima over all days are cheap enough to be computed again.
            let running = Running::of(candles.since(0));
            let first = kept.saturating_sub(LOOK_BACK);
            let computed = columns::compute(candles.since(first), &running, first);
            if self.columns.is_empty() {
                self.columns = computed;
            } else {
                for ((_, values), (_, new)) in self.columns.iter_mut().zip(&computed) {
                    values.append(new, kept - first);
                }
            }
        }
        self.candles = candles;
        self
    }
}
