//! Parquet files by way of polars, after two precautions.
//!
//! * pyarrow notes its own types beside those of the parquet schema: dictionaries, large strings, names of zones.
//!   They make no difference here and the reader trusts the note, so it is dropped. Numbers of 8 and 16 bits, which
//!   are stored in 32 bits, are read as what they are stored in. Both spare polars code for each of these types.
//! * The reader takes the lengths that a page declares for true, and a false one can end the process (an allocation
//!   that fails cannot be caught, other than a panic). So the pages of a column are checked before it is read.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    io::Cursor,
    sync::Arc,
};

use jiff::{Timestamp, civil::Date};
use models::{Column, Table};
use polars::prelude::{
    FileMetadata, IdxSize, ParquetReader, PlSmallStr, PolarsError, PolarsResult, SerReader, Series,
};
use polars_buffer::Buffer;
use polars_parquet::{
    parquet::{
        metadata::{RowGroupMetadata, SchemaDescriptor},
        page::CompressedPage,
        schema::types::IntegerType,
    },
    read::{ColumnChunkMetadata, PageReader, ParquetType, PrimitiveConvertedType, PrimitiveLogicalType},
};
use shared::{Asset, InvalidAsset};

use super::{
    ASSET_COLUMN, DATE_COLUMN, NewestRows, TableError, TableLimits, UnusableRows, check, check_content,
    convert, day,
};
use crate::features;

/// The column with the close of a row's day.
const CLOSE: &str = "fechamento";

/// The most symbols that are each reported as unusable by name.
const MAX_REPORTED: usize = 20;

pub(super) fn newest_rows(content: Vec<u8>, limits: &TableLimits) -> Result<NewestRows, TableError> {
    let file = File::open(content, limits)?;
    let (newest, unusable) = file.newest()?;
    if newest.is_empty() {
        return Err(TableError::NoRows { unusable });
    }
    let places: Vec<IdxSize> = newest.values().map(|(_, row)| *row).collect();
    let table = file.rows(&places)?;
    let assets = newest.into_iter().map(|(asset, (instant, _))| (asset, instant.map(day))).collect();
    Ok(NewestRows { table, assets, unusable })
}

pub(super) fn whole(
    content: Vec<u8>,
    columns: Option<&[&str]>,
    limits: &TableLimits,
) -> Result<Table, TableError> {
    File::open(content, limits)?.table(columns, |series| Ok(series.clone()))
}

/// The rows to learn from, and the newest day of all rows; see [`super::training_rows`].
pub(super) fn training_rows(content: Vec<u8>, limits: &TableLimits) -> Result<(Table, Date), TableError> {
    let file = File::open(content, limits)?;
    let assets = file.series(ASSET_COLUMN)?;
    let symbols = convert::text(&assets).ok_or_else(|| TableError::WrongType {
        column: ASSET_COLUMN.to_owned(),
        found: assets.dtype().to_string(),
        expected: "text",
    })?;
    let symbols = symbols.str().map_err(unreadable)?;
    let closes = file.series(CLOSE)?;
    let Some(Column::Number(closes)) = convert::column(&closes) else {
        let (column, found) = (CLOSE.to_owned(), closes.dtype().to_string());
        return Err(TableError::WrongType { column, found, expected: "numbers" });
    };
    let instants = convert::instants(DATE_COLUMN, &file.series(DATE_COLUMN)?)?;
    let rows = (0 as IdxSize..).zip(symbols.iter()).zip(instants).zip(closes);
    let mut rows: Vec<(&str, Timestamp, IdxSize, f64)> =
        rows.filter_map(|(((row, symbol), instant), close)| Some((symbol?, instant?, row, close))).collect();
    // Of several rows of an asset and a day the last one counts, or else a row would be followed by one of its own day.
    rows.sort_unstable_by_key(|(symbol, instant, row, _)| (*symbol, day(*instant), Reverse(*row)));
    rows.dedup_by_key(|(symbol, instant, ..)| (*symbol, day(*instant)));
    let followed =
        rows.iter().zip(rows.iter().skip(1)).filter(|(row, next)| row.0 == next.0 && !next.3.is_nan());
    let mut learnt: Vec<(Timestamp, &str, IdxSize, f64, f64)> = followed
        .map(|((symbol, instant, row, close), (.., next))| (*instant, *symbol, *row, *close, *next))
        .collect();
    let newest = rows.iter().map(|(_, instant, ..)| *instant).max().map(day);
    let Some(newest) = newest.filter(|_| !learnt.is_empty()) else {
        return Err(TableError::NoRows { unusable: Vec::new() });
    };
    learnt.sort_unstable_by_key(|(instant, symbol, row, ..)| (*instant, *symbol, *row));
    let places: Vec<IdxSize> = learnt.iter().map(|(_, _, row, ..)| *row).collect();
    let table = file.table(None, |series| series.take_slice(&places))?;
    let targets = learnt.iter().map(|(instant, _, _, close, next)| (day(*instant), *close, *next));
    Ok((features::with_targets(table, targets)?, newest))
}

/// A parquet file whose index is read.
pub(super) struct File {
    content: Buffer<u8>,
    metadata: Arc<FileMetadata>,
    /// The most bytes that a page may unpack to.
    page_limit: usize,
}

/// Each asset's newest row: when it is and where it is.
type Newest = BTreeMap<Asset, (Option<Timestamp>, IdxSize)>;

impl File {
    pub(super) fn open(content: Vec<u8>, limits: &TableLimits) -> Result<Self, TableError> {
        check("bytes", content.len(), limits.bytes)?;
        check_content("parquet", &content)?;
        let content = Buffer::from_vec(content);
        let mut reader = ParquetReader::new(Cursor::new(content.clone()));
        let metadata = simplified(reader.get_metadata().map_err(unreadable)?);
        let limit = u64::try_from(limits.rows).unwrap_or(u64::MAX).min(IdxSize::MAX.into());
        check("rows", metadata.num_rows, limit)?;
        limits.check_cells(metadata.num_rows, metadata.schema().fields().len())?;
        let rows =
            metadata.row_groups.iter().try_fold(0_usize, |rows, group| rows.checked_add(group.num_rows()));
        if rows != Some(metadata.num_rows) {
            return Err(contradiction("the numbers of rows do not add up"));
        }
        let page_limit = usize::try_from(limits.bytes).unwrap_or(usize::MAX);
        Ok(Self { content, metadata: Arc::new(metadata), page_limit })
    }

    /// The type of a column of single values; nothing if there is no such column, or it holds lists or structures.
    fn is_flat(&self, name: &str) -> Option<bool> {
        let field = self.metadata.schema().fields().iter().find(|field| field.name() == name)?;
        Some(matches!(field, ParquetType::PrimitiveType(_)))
    }

    /// Reads one column.
    pub(super) fn series(&self, name: &str) -> Result<Series, TableError> {
        match self.is_flat(name) {
            None => return Err(TableError::MissingColumn(name.to_owned())),
            Some(false) => {
                let (column, found) = (name.to_owned(), "lists or structures".to_owned());
                return Err(TableError::WrongType { column, found, expected: "single values" });
            }
            Some(true) => {}
        }
        for group in &self.metadata.row_groups {
            for chunk in group.columns_under_root_iter(name).into_iter().flatten() {
                self.check_pages(group, chunk)?;
            }
        }
        let mut reader = ParquetReader::new(Cursor::new(self.content.clone()));
        reader.set_metadata(Arc::clone(&self.metadata));
        let frame = reader.with_columns(Some(vec![name.to_owned()])).finish().map_err(unreadable)?;
        let column = frame.column(name).map_err(unreadable)?;
        if column.len() != self.metadata.num_rows {
            return Err(contradiction("a column has another number of values than the file of rows"));
        }
        Ok(column.as_materialized_series().rechunk())
    }

    /// Whether the pages of a column are of believable lengths.
    fn check_pages(&self, group: &RowGroupMetadata, chunk: &ColumnChunkMetadata) -> Result<(), TableError> {
        let range = chunk.byte_range();
        let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let Some((start, end)) = range.filter(|(start, end)| start <= end && *end <= self.content.len())
        else {
            return Err(contradiction("a column lies outside of the file"));
        };
        let bytes = self.content.clone().sliced(start..end);
        let mut values = 0_usize;
        for page in PageReader::new(Cursor::new(bytes), chunk, Vec::new(), self.page_limit) {
            // What the dictionary of a column declares is checked by the reader.
            let CompressedPage::Data(page) = page.map_err(|error| unreadable(error.into()))? else {
                continue;
            };
            values = values.saturating_add(page.num_values());
            if page.num_values() > group.num_rows() || page.uncompressed_size() > self.page_limit {
                return Err(contradiction("a page declares more than there can be in it"));
            }
        }
        if values != group.num_rows() {
            return Err(contradiction("a column has another number of values than its group of rows"));
        }
        Ok(())
    }

    /// `ativo` as text.
    pub(super) fn symbols(&self) -> Result<Series, TableError> {
        let assets = self.series(ASSET_COLUMN)?;
        convert::text(&assets).ok_or_else(|| TableError::WrongType {
            column: ASSET_COLUMN.to_owned(),
            found: assets.dtype().to_string(),
            expected: "text",
        })
    }

    fn newest(&self) -> Result<(Newest, Vec<UnusableRows>), TableError> {
        let symbols = self.symbols()?;
        let symbols = symbols.str().map_err(unreadable)?;
        let instants = convert::instants(DATE_COLUMN, &self.series(DATE_COLUMN)?)?;

        // Many rows and few symbols: each text is parsed once. Texts may name one asset in different cases.
        let mut by_text: HashMap<&str, Result<Asset, InvalidAsset>> = HashMap::new();
        let mut newest = Newest::new();
        let mut without_asset = 0_usize;
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        for ((row, symbol), instant) in (0 as IdxSize..).zip(symbols.iter()).zip(instants) {
            let Some(symbol) = symbol else {
                without_asset = without_asset.saturating_add(1);
                continue;
            };
            match by_text.entry(symbol).or_insert_with(|| symbol.parse()) {
                Ok(asset) => match newest.get_mut(asset) {
                    Some(found) => *found = (*found).max((instant, row)),
                    None => _ = newest.insert(asset.clone(), (instant, row)),
                },
                Err(error) => {
                    let rows = refused.entry(error.to_string()).or_default();
                    *rows = rows.saturating_add(1);
                }
            }
        }
        Ok((newest, unusable_rows(without_asset, refused)))
    }

    /// A table of some rows, with every column that a model can use.
    pub(super) fn rows(&self, places: &[IdxSize]) -> Result<Table, TableError> {
        self.table(None, |series| series.take_slice(places))
    }

    /// A table of what `choose` takes of each column.
    fn table(
        &self,
        columns: Option<&[&str]>,
        choose: impl Fn(&Series) -> PolarsResult<Series>,
    ) -> Result<Table, TableError> {
        let mut chosen: Vec<(&str, Column)> = Vec::new();
        for field in self.metadata.schema().fields() {
            let name = field.name();
            let is_wanted = columns.is_none_or(|columns| columns.contains(&name));
            if !is_wanted || self.is_flat(name) == Some(false) {
                continue;
            }
            let series = choose(&self.series(name)?).map_err(unreadable)?;
            if let Some(column) = convert::column(&series) {
                chosen.push((name, column));
            }
        }
        Ok(Table::new(chosen)?)
    }
}

/// Rows without an asset, and rows of texts that are none, as reports: the first of them one by one.
pub(crate) fn unusable_rows(without_asset: usize, refused: BTreeMap<String, usize>) -> Vec<UnusableRows> {
    let mut reports = Vec::new();
    if without_asset > 0 {
        reports.push(UnusableRows { rows: without_asset, reason: format!("{ASSET_COLUMN:?} is missing") });
    }
    let others = refused.len().saturating_sub(MAX_REPORTED);
    let rows_of_others = refused.values().skip(MAX_REPORTED).sum();
    reports
        .extend(refused.into_iter().take(MAX_REPORTED).map(|(reason, rows)| UnusableRows { rows, reason }));
    if others > 0 {
        let reason = format!("{others} more texts that are no asset symbols");
        reports.push(UnusableRows { rows: rows_of_others, reason });
    }
    reports
}

/// The same index without pyarrow's note and without numbers of less than 32 bits.
fn simplified(metadata: &FileMetadata) -> FileMetadata {
    let mut fields = metadata.schema().fields().to_vec();
    for field in &mut fields {
        let ParquetType::PrimitiveType(primitive) = field else { continue };
        let is_short = match (primitive.logical_type, primitive.converted_type) {
            (Some(PrimitiveLogicalType::Integer(integer)), _) => matches!(
                integer,
                IntegerType::Int8 | IntegerType::Int16 | IntegerType::UInt8 | IntegerType::UInt16
            ),
            (None, Some(converted)) => matches!(
                converted,
                PrimitiveConvertedType::Int8
                    | PrimitiveConvertedType::Int16
                    | PrimitiveConvertedType::Uint8
                    | PrimitiveConvertedType::Uint16
            ),
            _ => false,
        };
        if is_short {
            (primitive.logical_type, primitive.converted_type) = (None, None);
        }
    }
    FileMetadata {
        schema_descr: SchemaDescriptor::new(PlSmallStr::from_static("schema"), fields),
        key_value_metadata: None,
        ..metadata.clone()
    }
}

fn contradiction(message: &str) -> TableError {
    TableError::Unreadable { format: "parquet", message: message.to_owned() }
}

pub(super) fn unreadable(error: PolarsError) -> TableError {
    TableError::Unreadable { format: "parquet", message: error.to_string() }
}
