//! Candles from text, by way of polars.
//!
//! polars splits the text into cells; which number or day a cell is, is decided here, so that what pandas takes for
//! missing is missing, and costs no more than its own cell.
//!
//! In `raw.csv`, separators and line ends count even between quotation marks: no candle needs them, and one stray
//! mark must not swallow the lines up to the next one. Marks around a cell are taken off.

use std::{collections::BTreeMap, io::Cursor, sync::Arc};

use jiff::civil::Date;
use polars::prelude::{
    CsvEncoding, CsvReadOptions, DataFrame, DataType, PlSmallStr, PolarsError, Schema, SerReader,
    StringChunked,
};
use rayon::prelude::*;
use shared::Asset;

use super::candles::{Candles, Price};
use crate::tables::{
    ASSET_COLUMN, DATE_COLUMN, TableError, TableLimits, UnusableRows, check, check_content, day,
    parse_instant, without_panic,
};

/// The columns of `raw.csv`, by position.
const RAW_COLUMNS: [&str; 9] = [
    ASSET_COLUMN,
    DATE_COLUMN,
    "timestamp",
    Price::High.column(),
    Price::Low.column(),
    Price::Open.column(),
    Price::Close.column(),
    Price::Volume.column(),
    Price::QuoteVolume.column(),
];
/// Where what follows a line's last column is put.
const SURPLUS: &str = "surplus";

const FORMAT: &str = "CSV";

const NO_ASSET: &str = r#""ativo" is missing"#;
const NO_DAY: &str = r#""data" is missing, or no day as in 2025-02-20"#;
const TOO_LONG: &str = "the line has more than 9 fields";
const OTHER_ASSET: &str = r#""ativo" is another asset than that of the file's name"#;

/// The candles of a `raw.csv`.
///
/// The first line is skipped, whatever it says; columns go by position. A cell that is no number is missing, and so
/// are those that a line is too short for. A row without an asset or a day has no place in any window, and a line
/// that is too long says nothing about which cell is which: they are left out and counted in
/// [`Candles::unusable`]. (For a long line, or a byte that is not UTF-8, pandas refuses the file.)
///
/// # Errors
/// It exceeds a limit (of which that of rows is one of lines), or has no usable row.
pub fn read_raw(content: &[u8], limits: &TableLimits) -> Result<Candles, TableError> {
    check_size(content, limits)?;
    let after_header = content.iter().position(|byte| *byte == b'\n').map_or(content.len(), |end| end + 1);
    let names = RAW_COLUMNS.into_iter().chain([SURPLUS]);
    let schema: Schema = names.map(|name| (PlSmallStr::from_static(name), DataType::String)).collect();
    let frame = cells(content.get(after_header..).unwrap_or_default(), |options| {
        let options = options.with_has_header(false).with_schema(Some(Arc::new(schema.clone())));
        options.map_parse_options(|options| options.with_separator(b'|').with_quote_char(None))
    })?;
    let assets = text(&frame, ASSET_COLUMN)?.iter();
    let surplus = text(&frame, SURPLUS)?.iter();
    let rows = assets.zip(surplus).map(|(asset, surplus)| {
        if surplus.is_some_and(|surplus| !surplus.trim().is_empty()) {
            return Err(TOO_LONG);
        }
        asset.map(unquoted).filter(|asset| !asset.is_empty()).ok_or(NO_ASSET)
    });
    candles(&frame, rows, parse_day)
}

/// The candles of one asset's table, `data/{ATIVO}/{ATIVO}_{YYYY-MM-DD}.csv`: comma-separated, columns by name.
///
/// Other columns than those of candles are of no interest; those of candles have to be there, except for `ativo`,
/// which the file's name says too. Otherwise as [`read_raw`], but that days may be written as instants.
///
/// # Errors
/// It exceeds a limit, lacks a column, or has no usable row.
pub fn read_asset(content: &[u8], asset: &Asset, limits: &TableLimits) -> Result<Candles, TableError> {
    check_size(content, limits)?;
    limits.check_cells_of_csv(content)?;
    let frame = cells(content, |options| options.with_infer_schema_length(Some(0)))?;
    let names = match text(&frame, ASSET_COLUMN) {
        Ok(column) => Some(column),
        Err(TableError::MissingColumn(_)) => None,
        Err(error) => return Err(error),
    };
    let rows = (0..frame.height()).map(|row| {
        let name = names.and_then(|names| names.get(row));
        let is_this = name.is_none_or(|name| name.parse().ok().as_ref() == Some(asset));
        if is_this { Ok(asset.as_str()) } else { Err(OTHER_ASSET) }
    });
    candles(&frame, rows, |cell| parse_instant(cell).map(day))
}

/// Whether a comma-separated table has no other columns than those of candles.
#[must_use]
pub fn are_candles(content: &[u8]) -> bool {
    let header = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
    let Ok(header) = str::from_utf8(header) else { return false };
    let names: Vec<&str> = header.split(',').map(|name| unquoted(name.trim())).collect();
    names.contains(&Price::Close.column()) && names.iter().all(|name| RAW_COLUMNS.contains(name))
}

fn check_size(content: &[u8], limits: &TableLimits) -> Result<(), TableError> {
    check("bytes", content.len(), limits.bytes)?;
    check_content(FORMAT, content)?;
    // Before anything is allocated for a row: a line may be of one byte, and its cells take a hundred and sixty.
    let lines = content.iter().filter(|byte| **byte == b'\n').count();
    check("lines", lines, u64::try_from(limits.rows).unwrap_or(u64::MAX))
}

/// The cells of a table as text; nothing where there is none.
fn cells(
    content: &[u8],
    options: impl FnOnce(CsvReadOptions) -> CsvReadOptions,
) -> Result<DataFrame, TableError> {
    if content.is_empty() {
        return Err(TableError::NoRows { unusable: Vec::new() });
    }
    let general = CsvReadOptions::default().with_rechunk(true).with_raise_if_empty(false).map_parse_options(
        |options| options.with_encoding(CsvEncoding::LossyUtf8).with_truncate_ragged_lines(true),
    );
    without_panic(FORMAT, || {
        options(general).into_reader_with_file_handle(Cursor::new(content)).finish().map_err(unreadable)
    })
}

/// Groups what can be used of the rows.
fn candles<'a>(
    frame: &DataFrame,
    rows: impl Iterator<Item = Result<&'a str, &'static str>>,
    parse_day: fn(&str) -> Option<Date>,
) -> Result<Candles, TableError> {
    let columns = Price::ALL.map(|price| text(frame, price.column()));
    let mut prices = [const { Vec::new() }; Price::ALL.len()];
    prices.par_iter_mut().zip(columns).try_for_each(|(numbers, column)| {
        numbers.extend(column?.iter().map(|cell| cell.map_or(f64::NAN, parse_number)));
        Ok::<(), TableError>(())
    })?;

    let mut days = Vec::with_capacity(frame.height());
    let mut unusable: BTreeMap<&'static str, usize> = BTreeMap::new();
    let cells = text(frame, DATE_COLUMN)?.iter();
    let rows = rows.zip(cells).map(|(asset, cell)| {
        let day = cell.map(unquoted).and_then(parse_day);
        days.push(day.unwrap_or_default());
        let usable = asset.and_then(|asset| day.map(|_| asset).ok_or(NO_DAY));
        usable.inspect_err(|reason| *unusable.entry(reason).or_default() += 1).ok()
    });
    let rows: Vec<Option<&str>> = rows.collect();
    let assets = Candles::grouped(rows.into_iter(), &days, &prices);
    let unusable =
        unusable.into_iter().map(|(reason, rows)| UnusableRows { rows, reason: reason.to_owned() }).collect();
    if assets.is_empty() {
        return Err(TableError::NoRows { unusable });
    }
    Ok(Candles { assets, unusable })
}

fn text<'a>(frame: &'a DataFrame, name: &str) -> Result<&'a StringChunked, TableError> {
    let column = frame.column(name).map_err(|_| TableError::MissingColumn(name.to_owned()))?;
    column.str().map_err(unreadable)
}

/// The cell without the quotation marks around it.
fn unquoted(cell: &str) -> &str {
    cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell)
}

/// The nearest number; NaN if it is none.
fn parse_number(cell: &str) -> f64 {
    // Rust's numbers are those of pandas' `to_numeric`, and correctly rounded; white space is not part of them.
    cell.parse().or_else(|_| unquoted(cell.trim()).trim().parse()).unwrap_or(f64::NAN)
}

/// `YYYY-MM-DD`; leading zeros of the month and the day may be left out, as pandas has it.
fn parse_day(cell: &str) -> Option<Date> {
    let mut parts = cell.split('-');
    let mut number = |least: usize, most: usize| {
        let digits = parts.next()?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<i16>().ok().filter(|_| is_number && (least..=most).contains(&digits.len()))
    };
    let (year, month, day) = (number(4, 4)?, number(1, 2)?, number(1, 2)?);
    if parts.next().is_some() {
        return None;
    }
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

fn unreadable(error: PolarsError) -> TableError {
    TableError::Unreadable { format: FORMAT, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::{parse_day, parse_number};

    #[test]
    fn numbers_are_those_of_pandas() {
        for (cell, number) in [
            ("1.5", 1.5),
            (" +2 \r", 2.0),
            ("\"3\"", 3.0),
            ("1e5", 1e5),
            ("1.", 1.0),
            (".5", 0.5),
            ("-Infinity", f64::NEG_INFINITY),
            ("0.1000000000000000055511151231257827", 0.1),
        ] {
            assert_eq!(parse_number(cell), number, "{cell:?}");
        }
        for cell in ["", "\"", "nan", "n/a", "1,5", "1_0", "0x10", "1e", "1 2", "\u{661}", "\u{fffd}1"] {
            assert!(parse_number(cell).is_nan(), "{cell:?}");
        }
    }

    #[test]
    fn days_are_those_of_pandas() {
        for cell in ["2025-02-01", "2025-2-1"] {
            assert_eq!(parse_day(cell), Some(date(2025, 2, 1)), "{cell:?}");
        }
        for cell in [
            "",
            "nan",
            "2025-02-30",
            "20250201",
            "25-02-01",
            "2025-02-01 ",
            " 2025-02-01",
            "2025-02",
            "2025-02-01-",
            "2025-02-01T00:00",
            "+025-02-01",
            "-2025-02-01",
            "2025-+2-01",
            "2025-002-01",
            "01/02/2025",
        ] {
            assert_eq!(parse_day(cell), None, "{cell:?}");
        }
    }
}
