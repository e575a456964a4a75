use std::{
    collections::{HashMap, HashSet},
    io::Cursor,
};

use jiff::civil::Date;
use models::{Column, Table};
use polars::prelude::{CsvReadOptions, PolarsError, SerReader};
use shared::Asset;

use super::{
    ASSET_COLUMN, DATE_COLUMN, NewestRows, TableError, TableLimits, check, check_content, convert, day,
    without_panic,
};

/// The newest row of a table of one asset, `data/{ATIVO}/{ATIVO}_{YYYY-MM-DD}.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetRow {
    asset: Asset,
    date: Option<Date>,
    /// By the column's name. All text, from which the models coerce as they would a number's text.
    cells: Vec<(Box<str>, Option<Box<str>>)>,
}

impl AssetRow {
    /// The asset.
    #[must_use]
    pub fn asset(&self) -> &Asset {
        &self.asset
    }

    /// The first of some rows, as its own table would have said it; nothing if there is none.
    pub(crate) fn first_of(rows: &NewestRows) -> Option<Self> {
        let (asset, date) = rows.assets.first()?;
        let cells = rows.table.columns().map(|(name, column)| {
            let cell: Option<Box<str>> = match column {
                // The shortest text that reads back as the same number.
                Column::Number(numbers) => {
                    let number = numbers.first().filter(|number| !number.is_nan());
                    number.map(|number| number.to_string().into())
                }
                Column::Text(text) => text.get(0).map(Into::into),
            };
            (name.into(), cell)
        });
        Some(Self { asset: asset.clone(), date: *date, cells: cells.collect() })
    }

    /// The day of the row, if its `data` names one.
    #[must_use]
    pub fn date(&self) -> Option<Date> {
        self.date
    }
}

/// The last row of a comma-separated table of one asset, in UTF-8 with a header.
///
/// # Errors
/// It cannot be read, exceeds a limit, has no row, or its last row is about another asset.
pub fn newest_row_of_csv(
    content: &[u8],
    asset: &Asset,
    limits: &TableLimits,
) -> Result<AssetRow, TableError> {
    check("bytes", content.len(), limits.bytes)?;
    check_content("CSV", content)?;
    limits.check_cells_of_csv(content)?;
    let cells = without_panic("CSV", || last_row(content, limits))?;
    let cell =
        |name: &str| cells.iter().find(|(known, _)| **known == *name).and_then(|(_, value)| value.as_deref());
    if let Some(other) = cell(ASSET_COLUMN).filter(|text| text.parse().ok().as_ref() != Some(asset)) {
        return Err(TableError::WrongType {
            column: ASSET_COLUMN.to_owned(),
            found: format!("{other:?}"),
            expected: "the asset of the file's name",
        });
    }
    check("columns", cells.len(), TableLimits::ASSET_COLUMNS)?;
    let date = cell(DATE_COLUMN).and_then(convert::parse_instant).map(day);
    Ok(AssetRow { asset: asset.clone(), date, cells })
}

type Cells = Vec<(Box<str>, Option<Box<str>>)>;

fn last_row(content: &[u8], limits: &TableLimits) -> Result<Cells, TableError> {
    // Without an inferred schema every column is text, and nothing is lost.
    let frame = CsvReadOptions::default()
        .with_infer_schema_length(Some(0))
        .into_reader_with_file_handle(Cursor::new(content))
        .finish()
        .map_err(unreadable)?;
    check("rows", frame.height(), u64::try_from(limits.rows).unwrap_or(u64::MAX))?;
    let Some(last) = frame.height().checked_sub(1) else {
        return Err(TableError::NoRows { unusable: Vec::new() });
    };
    let mut cells = Cells::new();
    for column in frame.columns() {
        let values = column.str().map_err(unreadable)?;
        cells.push((column.name().as_str().into(), values.get(last).map(Into::into)));
    }
    Ok(cells)
}

pub(super) fn newest_rows<'a>(
    rows: impl IntoIterator<Item = &'a AssetRow>,
) -> Result<NewestRows, TableError> {
    let mut rows: Vec<&AssetRow> = rows.into_iter().collect();
    if rows.is_empty() {
        return Err(TableError::NoRows { unusable: Vec::new() });
    }
    rows.sort_by(|one, other| one.asset.cmp(&other.asset));

    // The asset's name is known even where the table does not repeat it in a column.
    let mut names: Vec<&str> = vec![ASSET_COLUMN];
    let mut known: HashSet<&str> = names.iter().copied().collect();
    names.extend(
        rows.iter().flat_map(|row| &row.cells).map(|(name, _)| &**name).filter(|name| known.insert(name)),
    );

    check("cells", rows.len().saturating_mul(names.len()), TableLimits::CSV_CELLS)?;

    let by_name: Vec<HashMap<&str, Option<&str>>> = rows
        .iter()
        .map(|row| {
            let symbol = (ASSET_COLUMN, Some(row.asset.as_str()));
            let cells = row.cells.iter().map(|(name, value)| (&**name, value.as_deref()));
            let filled = cells.filter(|(name, value)| *name != ASSET_COLUMN || value.is_some());
            std::iter::once(symbol).chain(filled).collect()
        })
        .collect();
    let column = |name: &str| Column::text(by_name.iter().map(|cells| cells.get(name).copied().flatten()));
    let table = Table::new(names.into_iter().map(|name| (name, column(name))))?;
    let assets = rows.iter().map(|row| (row.asset.clone(), row.date)).collect();
    Ok(NewestRows { table, assets, unusable: Vec::new() })
}

fn unreadable(error: PolarsError) -> TableError {
    TableError::Unreadable { format: "CSV", message: error.to_string() }
}
