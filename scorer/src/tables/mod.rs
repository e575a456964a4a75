//! Tables, as pandas and Spark write them, for models to predict from.
//!
//! A table's bytes come in whole, since the index of a parquet file is at its end; [`TableLimits`] bounds them.
//! Out come a [`models::Table`] and a note of every row that could not be used. Columns keep their type: numbers,
//! truth values and decimals become numbers, text stays text (the models know what they were trained on), and
//! columns of any other type, which no model can use, are left out. Columns are read one after another, so that a
//! table costs the memory of its answer and of one column.
//!
//! polars asserts here and there where a file contradicts itself. Such a panic is caught and becomes an error.

mod convert;
mod csv;
mod dated;
mod parquet;

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use models::{Column, Table};
use shared::Asset;
use thiserror::Error;

pub(crate) use convert::parse_instant;
pub use csv::{AssetRow, newest_row_of_csv};
pub use dated::{DatedRow, DatedTable};
pub(crate) use parquet::unusable_rows;

/// The column that says which asset a row is about.
pub const ASSET_COLUMN: &str = "ativo";
/// The column that says which day a row is about.
pub const DATE_COLUMN: &str = "data";
/// The column of closes, which regressors predict the next of.
pub const CLOSE_COLUMN: &str = "fechamento";

/// Bounds on what reading a table may cost.
#[derive(Debug, Clone)]
pub struct TableLimits {
    /// The largest table, in bytes as it is stored. It is held in memory while it is read.
    pub bytes: u64,
    /// The most rows; a column of them is held in memory while it is read.
    pub rows: usize,
    /// The most rows times columns. A small file can declare many of both, since equal cells take no room in it.
    pub cells: u64,
}

impl TableLimits {
    /// The most cells of a comma-separated table, or of the rows of many, all of which are in memory at once.
    const CSV_CELLS: u64 = 1 << 24;

    /// The most columns of one asset's table. The contract has 45; each adds a cell to the rows of all assets.
    const ASSET_COLUMNS: u64 = 1000;

    pub(crate) fn check_cells(&self, rows: usize, columns: usize) -> Result<(), TableError> {
        check("cells", rows.saturating_mul(columns), self.cells)
    }

    /// Checks the lines and columns of a comma-separated table before anything is allocated for a cell. polars makes a cell
    /// for each line and each column of the header, also where the line has none.
    pub(crate) fn check_cells_of_csv(&self, content: &[u8]) -> Result<(), TableError> {
        let lines = content.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        let columns = columns_of_csv(content);
        let limits = Self { cells: self.cells.min(Self::CSV_CELLS), ..*self };
        limits.check_cells(lines, columns)
    }
}

impl Default for TableLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30, rows: 50_000_000, cells: 1 << 30 }
    }
}

/// Each asset's newest row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewestRows {
    /// The rows.
    pub table: Table,
    /// Which asset each row is about, in ascending order, and on which day.
    pub assets: Vec<(Asset, Option<Date>)>,
    /// What could not be used.
    pub unusable: Vec<UnusableRows>,
}

/// Rows that belong to no asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableRows {
    /// How many.
    pub rows: usize,
    /// Why, for a person to read.
    pub reason: String,
}

/// A table that cannot be used.
#[derive(Debug, Error)]
pub enum TableError {
    /// The bytes are no table, or a broken one.
    #[error("not a readable {format} table: {message}")]
    Unreadable {
        /// `parquet` or `CSV`.
        format: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The table has no column of that name.
    #[error("the table lacks the column {0:?}")]
    MissingColumn(String),
    /// A column holds something that cannot be used as what it should be.
    #[error("column {column:?} holds {found} where {expected} is expected")]
    WrongType {
        /// The column's name.
        column: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// There is no row that could be scored.
    #[error("the table has no usable row{}", first_reason(.unusable))]
    NoRows {
        /// What is wrong with the rows that it has.
        unusable: Vec<UnusableRows>,
    },
    /// The table exceeds a limit.
    #[error("the table has {found} {unit}, and at most {limit} are read")]
    TooLarge {
        /// `bytes`, `rows`, `lines`, `columns` or `cells`.
        unit: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The columns do not make a table.
    #[error(transparent)]
    Columns(#[from] models::TableError),
}

fn first_reason(unusable: &[UnusableRows]) -> String {
    unusable.first().map(|rows| format!(": {}", rows.reason)).unwrap_or_default()
}

impl NewestRows {
    /// Each asset's newest row of a parquet file that holds rows of many assets and days.
    ///
    /// The newest row is the one with the latest `data`; of several the last one. A row whose `data` is missing, or
    /// is text that names no day, is older than every other. Instants count in UTC.
    ///
    /// # Errors
    /// It is no parquet file, lacks `ativo` or `data`, exceeds a limit, or has no row with an asset.
    pub fn from_parquet(content: Vec<u8>, limits: &TableLimits) -> Result<Self, TableError> {
        without_panic("parquet", || parquet::newest_rows(content, limits))
    }

    /// The rows of tables of one asset each.
    ///
    /// A column that some tables lack is missing in their rows.
    ///
    /// # Errors
    /// There are no rows, or too many rows times columns.
    pub fn from_asset_rows<'a>(rows: impl IntoIterator<Item = &'a AssetRow>) -> Result<Self, TableError> {
        csv::newest_rows(rows)
    }

    /// Whether models are told the same by both. Missing values are alike, which they are not to `==`.
    pub(crate) fn say_the_same_as(&self, other: &Self) -> bool {
        let same = |(one, other): (&Column, &Column)| match (one, other) {
            (Column::Number(one), Column::Number(other)) => {
                one.iter().zip(other).all(|(one, other)| one == other || (one.is_nan() && other.is_nan()))
            }
            (one, other) => one == other,
        };
        let (ours, theirs) = (self.table.columns(), other.table.columns());
        self.assets == other.assets
            && ours.len() == theirs.len()
            && ours
                .zip(theirs)
                .all(|((name, one), (other_name, other))| name == other_name && same((one, other)))
    }

    /// The close of a row, where it has one.
    #[must_use]
    pub fn close(&self, row: usize) -> Option<f64> {
        let close = match self.table.column(CLOSE_COLUMN)? {
            Column::Number(closes) => closes.get(row).copied(),
            Column::Text(closes) => closes.get(row).and_then(|close| close.trim().parse().ok()),
        };
        close.filter(|close: &f64| close.is_finite())
    }

    /// The day of the newest of the rows.
    #[must_use]
    pub fn newest_date(&self) -> Option<Date> {
        self.assets.iter().filter_map(|(_, date)| *date).max()
    }
}

/// A whole parquet file as a table: every column that a model can use, or those of `columns` that there are.
///
/// # Errors
/// It is no parquet file, or exceeds a limit.
pub fn read_parquet(
    content: &[u8],
    columns: Option<&[&str]>,
    limits: &TableLimits,
) -> Result<Table, TableError> {
    without_panic("parquet", || parquet::whole(content.to_vec(), columns, limits))
}

/// The rows of a feature table in parquet that models are trained on, with their targets, as
/// [`Features::training_rows`](crate::features::Features::training_rows) gives them; and the newest day of all rows.
///
/// # Errors
/// It is no parquet file, lacks `ativo`, `data` or `fechamento`, exceeds a limit, or no asset has two rows.
pub fn training_rows(content: Vec<u8>, limits: &TableLimits) -> Result<(Table, Date), TableError> {
    without_panic("parquet", || parquet::training_rows(content, limits))
}

pub(crate) fn without_panic<T>(
    format: &'static str,
    read: impl FnOnce() -> Result<T, TableError>,
) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        let message = "it contradicts itself in a way that the reader does not expect".to_owned();
        Err(TableError::Unreadable { format, message })
    })
}

/// The columns of the header of a comma-separated table, which may have line ends and commas between quotation marks.
fn columns_of_csv(content: &[u8]) -> usize {
    let header = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    let mut is_quoted = false;
    let mut columns = 1_usize;
    for byte in header {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            b',' => columns = columns.saturating_add(1),
            _ => {}
        }
    }
    columns
}

pub(crate) fn check(unit: &'static str, found: usize, limit: u64) -> Result<(), TableError> {
    match u64::try_from(found) {
        Ok(found) if found <= limit => Ok(()),
        found => Err(TableError::TooLarge { unit, found: found.unwrap_or(u64::MAX), limit }),
    }
}

/// Refuses a pointer of Git LFS, which would be an odd table of the format otherwise.
pub(crate) fn check_content(format: &'static str, content: &[u8]) -> Result<(), TableError> {
    match models::is_git_lfs_pointer(content) {
        true => Err(TableError::Unreadable { format, message: models::GIT_LFS_POINTER.to_owned() }),
        false => Ok(()),
    }
}

pub(crate) fn day(instant: Timestamp) -> Date {
    instant.to_zoned(TimeZone::UTC).date()
}
