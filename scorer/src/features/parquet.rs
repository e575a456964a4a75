//! The feature table as a parquet file, as pandas and pyarrow write it.

use std::io::Write;

use jiff::civil::Date;
use polars::prelude::{
    Column, DataFrame, Float64Chunked, Int32Chunked, Int64Chunked, IntoColumn, IntoSeries, NewChunkedArray,
    ParquetCompression, ParquetWriter, PlSmallStr, PolarsError, StringChunked, TimeUnit,
};
use rayon::prelude::*;
use thiserror::Error;

use super::{Features, columns::Values, rows::days_since_epoch};
use crate::tables::{ASSET_COLUMN, DATE_COLUMN};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

/// The table could not be written.
#[derive(Debug, Error)]
#[error("the feature table cannot be written as parquet")]
pub struct WriteError(#[from] PolarsError);

impl Features {
    /// Writes the table as parquet, compressed with snappy. `data` is an instant in microseconds, numbers are
    /// float64, `dia_semana` and `mes` int32; missing values are null.
    ///
    /// Many small pieces are written; `output` should be buffered.
    ///
    /// # Errors
    /// `output` refuses a write.
    pub fn write_parquet(&self, output: impl Write) -> Result<(), WriteError> {
        let names: Vec<&'static str> = self.column_names().collect();
        let features = names.into_par_iter().enumerate().map(|(place, name)| self.column(place, name));
        let mut columns = vec![self.symbols(), self.days()];
        columns.par_extend(features);
        let mut frame = DataFrame::new(self.rows(), columns)?;
        ParquetWriter::new(output).with_compression(ParquetCompression::Snappy).finish(&mut frame)?;
        Ok(())
    }

    fn symbols(&self) -> Column {
        let symbols = self
            .assets
            .iter()
            .flat_map(|asset| std::iter::repeat_n(&*asset.candles.symbol, asset.candles.rows()));
        StringChunked::from_iter_values(ASSET_COLUMN.into(), symbols).into_column()
    }

    fn days(&self) -> Column {
        let microseconds = |day: &Date| i64::from(days_since_epoch(*day)) * MICROSECONDS_PER_DAY;
        let days = self.assets.iter().flat_map(|asset| &asset.candles.days).map(microseconds);
        let days = Int64Chunked::from_iter_values(DATE_COLUMN.into(), days);
        days.into_datetime(TimeUnit::Microseconds, None).into_series().into_column()
    }

    /// The column of features at that place.
    fn column(&self, place: usize, name: &'static str) -> Column {
        let name = PlSmallStr::from_static(name);
        let values =
            || self.assets.iter().filter_map(|asset| asset.columns.get(place).map(|(_, values)| values));
        match values().next() {
            Some(Values::Words(_)) => {
                let words = values().flat_map(|values| match values {
                    Values::Words(words) => words.as_slice(),
                    _ => &[],
                });
                StringChunked::from_iter_values(name, words.copied()).into_column()
            }
            Some(Values::Integers(_)) => {
                let integers = values().flat_map(|values| match values {
                    Values::Integers(integers) => integers.as_slice(),
                    _ => &[],
                });
                Int32Chunked::from_iter_values(name, integers.copied()).into_column()
            }
            _ => {
                let numbers = values().flat_map(|values| match values {
                    Values::Numbers(numbers) => numbers.as_slice(),
                    _ => &[],
                });
                let known = numbers.map(|number| (!number.is_nan()).then_some(*number));
                Float64Chunked::from_iter_options(name, known).into_column()
            }
        }
    }
}
