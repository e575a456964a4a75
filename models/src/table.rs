use std::{collections::HashMap, ops::Range};

use linfa::dataset::Records;
use thiserror::Error;

/// Named columns of equal length: what a pipeline predicts from.
///
/// ```
/// use models::{Column, Table};
/// let table = Table::new([
///     ("ativo", Column::text([Some("BTC"), Some("ETH"), None])),
///     ("fechamento", Column::Number(vec![97_000.0, 2_700.0, f64::NAN])),
/// ])?;
/// assert_eq!(table.rows(), 3);
/// # Ok::<(), models::TableError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    rows: usize,
    columns: Vec<(Box<str>, Column)>,
}

/// One column of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Numbers; NaN is a missing value.
    Number(Vec<f64>),
    /// Text, with every distinct value held once.
    Text(TextColumn),
}

/// A column of text: a dictionary of distinct values and each row's place in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TextColumn {
    dictionary: Vec<Box<str>>,
    codes: Vec<u32>,
}

/// A table that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// Two columns differ in length.
    #[error("column {column:?} has {rows} rows where the columns before it have {expected}")]
    Ragged {
        /// The column's name.
        column: String,
        /// Its length.
        rows: usize,
        /// The length of the columns before it.
        expected: usize,
    },
    /// Two columns have one name.
    #[error("column {0:?} occurs twice")]
    Duplicate(String),
}

impl Table {
    /// A table of these columns, in this order.
    ///
    /// # Errors
    /// The columns differ in length, or two have one name.
    pub fn new<N: Into<Box<str>>>(
        columns: impl IntoIterator<Item = (N, Column)>,
    ) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (name, column) in columns {
            let name: Box<str> = name.into();
            if table.columns.is_empty() {
                table.rows = column.len();
            }
            if column.len() != table.rows {
                return Err(TableError::Ragged {
                    column: name.into(),
                    rows: column.len(),
                    expected: table.rows,
                });
            }
            if table.position(&name).is_some() {
                return Err(TableError::Duplicate(name.into()));
            }
            table.columns.push((name, column));
        }
        Ok(table)
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns with their names, in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Column)> {
        self.columns.iter().map(|(name, column)| (&**name, column))
    }

    /// The column of that name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(known, _)| **known == *name).map(|(_, column)| column)
    }

    /// Some of the rows.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), column.slice(rows.clone())));
        let rows = rows.end.min(self.rows).saturating_sub(rows.start);
        Self { rows, columns: columns.collect() }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(known, _)| **known == *name)
    }
}

impl Records for Table {
    type Elem = f64;

    fn nsamples(&self) -> usize {
        self.rows
    }

    fn nfeatures(&self) -> usize {
        self.columns.len()
    }
}

impl Column {
    /// A column of text; `None` is a missing value.
    pub fn text<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        Self::Text(values.into_iter().collect())
    }

    fn slice(&self, rows: Range<usize>) -> Self {
        let rows = rows.start.min(self.len())..rows.end.min(self.len());
        match self {
            Self::Number(values) => Self::Number(values.get(rows).unwrap_or_default().to_vec()),
            Self::Text(text) => {
                let codes = text.codes.get(rows).unwrap_or_default().to_vec();
                Self::Text(TextColumn { dictionary: text.dictionary.clone(), codes })
            }
        }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Number(values) => values.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TextColumn {
    const MISSING: u32 = u32::MAX;

    /// A column of rows that each name a value of `dictionary` by its place; `None` is a missing value.
    ///
    /// A place outside of the dictionary is a missing value too.
    pub fn from_codes(dictionary: Vec<Box<str>>, codes: impl IntoIterator<Item = Option<u32>>) -> Self {
        let known = |code: &u32| usize::try_from(*code).is_ok_and(|code| code < dictionary.len());
        let codes = codes.into_iter().map(|code| code.filter(known).unwrap_or(Self::MISSING)).collect();
        Self { dictionary, codes }
    }

    /// The distinct values.
    #[must_use]
    pub fn dictionary(&self) -> &[Box<str>] {
        &self.dictionary
    }

    /// Each row's place in the dictionary, or nothing where the value is missing.
    pub fn codes(&self) -> impl ExactSizeIterator<Item = Option<usize>> {
        self.codes.iter().map(|code| (*code != Self::MISSING).then_some(*code as usize))
    }

    /// The codes of some rows; a missing value's is not a place of the dictionary.
    pub(crate) fn code_slice(&self, rows: std::ops::Range<usize>) -> &[u32] {
        self.codes.get(rows).unwrap_or_default()
    }

    /// The value of a row.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&str> {
        let code = *self.codes.get(row)?;
        self.dictionary.get(code as usize).map(|value| &**value)
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }
}

impl<'a> FromIterator<Option<&'a str>> for TextColumn {
    fn from_iter<I: IntoIterator<Item = Option<&'a str>>>(values: I) -> Self {
        let mut places: HashMap<&'a str, u32> = HashMap::new();
        let mut dictionary: Vec<Box<str>> = Vec::new();
        let codes = values
            .into_iter()
            .map(|value| {
                value.map_or(Self::MISSING, |value| {
                    *places.entry(value).or_insert_with(|| {
                        dictionary.push(value.into());
                        // A table of four thousand million distinct texts does not fit into memory.
                        u32::try_from(dictionary.len() - 1).unwrap_or(Self::MISSING)
                    })
                })
            })
            .collect();
        Self { dictionary, codes }
    }
}
