//! What happens to a table before the estimator sees it: scikit-learn's transformers over blocks of rows.
//!
//! A [`Block`] holds a few hundred rows column by column, so that a whole chain of transformers works in cache.
//! Rows that scikit-learn would raise for are noted in [`Refusals`] and go on as missing values.

mod encode;
mod impute;
mod scale;

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

pub(crate) use encode::{Categories, OneHotColumn, OneHotEncoder, OrdinalColumn, OrdinalEncoder, Unknown};
pub(crate) use impute::{Fill, Imputer, MissingIndicator, MissingValue};
pub(crate) use scale::Scaler;

use crate::{
    predictions::{PredictError, RowError},
    table::{Column, Table, TextColumn},
};

/// A fitted transformer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transformer {
    /// `passthrough`, or a `FunctionTransformer` without a function.
    Passthrough,
    Pipeline(Vec<Transformer>),
    Columns(ColumnTransformer),
    Imputer(Imputer),
    MissingIndicator(MissingIndicator),
    Scaler(Scaler),
    OneHot(OneHotEncoder),
    Ordinal(OrdinalEncoder),
}

/// Transformers side by side, each on its own columns (`sklearn/compose/_column_transformer.py`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnTransformer {
    pub(crate) parts: Vec<Part>,
}

/// One transformer of a [`ColumnTransformer`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// The places of its columns in the input.
    pub(crate) columns: Vec<usize>,
    pub(crate) transformer: Transformer,
    /// From `transformer_weights`.
    pub(crate) weight: Option<f64>,
}

/// Some rows of a table on their way to the estimator.
#[derive(Debug, Clone)]
pub(crate) struct Block<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Feature<'a>>,
}

/// One column of a [`Block`].
#[derive(Debug, Clone)]
pub(crate) enum Feature<'a> {
    /// Numbers as the table has them; NaN is missing.
    Borrowed(&'a [f64]),
    /// Numbers that a transformer made.
    Number(Vec<f64>),
    /// One of the columns that a one-hot encoder makes of one: 1 in rows whose place is `hot`, 0 in others. A table
    /// has many of these, so they are made into numbers as late as possible.
    Indicator {
        places: Arc<[u32]>,
        hot: u32,
    },
    Text(TextFeature<'a>),
    /// A column that no table has, because nothing asks for it.
    Absent,
}

/// A column of text whose values may have been replaced.
#[derive(Debug, Clone)]
pub(crate) struct TextFeature<'a> {
    /// The column's name in the table.
    name: &'a str,
    column: &'a TextColumn,
    rows: Range<usize>,
    /// What each place of the dictionary stands for now; the last is for missing values.
    values: Vec<Option<&'a str>>,
}

impl<'a> TextFeature<'a> {
    fn new(name: &'a str, column: &'a TextColumn, rows: Range<usize>) -> Self {
        let values = column.dictionary().iter().map(|value| Some(&**value)).chain([None]).collect();
        Self { name, column, rows, values }
    }

    /// Each row's number; nothing where the text is not a number.
    fn parsed(&self) -> impl Iterator<Item = Option<f64>> {
        (0..self.rows.len()).map(|row| self.row(row).map_or(Some(f64::NAN), number_in))
    }

    /// The distinct values, of which the rows name the places.
    pub(crate) fn values(&self) -> &[Option<&'a str>] {
        &self.values
    }

    /// Each row's place among the distinct values; beyond them where the value is missing.
    pub(crate) fn codes(&self) -> &[u32] {
        self.column.code_slice(self.rows.clone())
    }

    /// Replaces each distinct value.
    pub(crate) fn map(&mut self, change: impl FnMut(Option<&'a str>) -> Option<&'a str>) {
        self.values = std::mem::take(&mut self.values).into_iter().map(change).collect();
    }

    /// Each row's number, given the number of each distinct value.
    pub(crate) fn numbers(&self, of_value: &[f64]) -> Vec<f64> {
        let missing = of_value.last().copied().unwrap_or(f64::NAN);
        self.column
            .code_slice(self.rows.clone())
            .iter()
            .map(|code| of_value.get(*code as usize).copied().unwrap_or(missing))
            .collect()
    }

    /// Each row's value.
    pub(crate) fn row(&self, row: usize) -> Option<&'a str> {
        let code = self.column.code_slice(self.rows.clone()).get(row)?;
        self.values.get(*code as usize).or(self.values.last()).copied().flatten()
    }
}

impl<'a> Feature<'a> {
    /// The column as numbers. Refuses rows whose text is not a number, where scikit-learn raises an error.
    pub(crate) fn into_numbers(self, refusals: &mut Refusals) -> Numbers<'a> {
        if let Self::Text(text) = &self {
            for (row, number) in text.parsed().enumerate() {
                if number.is_none() {
                    let (column, value) = (text.name.to_owned(), excerpt(text.row(row).unwrap_or_default()));
                    refusals.refuse(row, || RowError::NotANumber { column, value });
                }
            }
        }
        self.coerced()
    }

    /// The column as numbers, as training reads it. Text that is not a number is missing, as with pandas'
    /// `to_numeric(errors="coerce")`.
    pub(crate) fn coerced(self) -> Numbers<'a> {
        match self {
            Self::Borrowed(values) => Numbers::Borrowed(values),
            Self::Number(values) => Numbers::Owned(values),
            Self::Indicator { places, hot } => {
                Numbers::Owned(places.iter().map(|place| f64::from(u8::from(*place == hot))).collect())
            }
            Self::Text(text) => {
                Numbers::Owned(text.parsed().map(|number| number.unwrap_or(f64::NAN)).collect())
            }
            Self::Absent => Numbers::Borrowed(&[]),
        }
    }
}

/// The number that a text names, as Python's `float` reads it. NaN if the text is empty, `nan` or `null`; nothing if
/// the text is not a number.
fn number_in(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("null") {
        return Some(f64::NAN);
    }
    text.parse().ok().or_else(|| without_underscores(text)?.parse().ok())
}

/// The text without underscores, of which Python allows one between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let is_digit = |part: Option<char>| part.is_some_and(|part| part.is_ascii_digit());
    let mut parts = text.split('_').peekable();
    let mut joined = String::with_capacity(text.len());
    while let Some(part) = parts.next() {
        joined.push_str(part);
        if let Some(next) = parts.peek()
            && !(is_digit(part.chars().next_back()) && is_digit(next.chars().next()))
        {
            return None;
        }
    }
    Some(joined)
}

/// The beginning of a text, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A column of numbers.
#[derive(Debug)]
pub(crate) enum Numbers<'a> {
    Borrowed(&'a [f64]),
    Owned(Vec<f64>),
}

impl Numbers<'_> {
    pub(crate) fn as_slice(&self) -> &[f64] {
        match self {
            Self::Borrowed(values) => values,
            Self::Owned(values) => values,
        }
    }

    /// The values, to be changed in place.
    pub(crate) fn into_vec(self) -> Vec<f64> {
        match self {
            Self::Borrowed(values) => values.to_vec(),
            Self::Owned(values) => values,
        }
    }

    /// Changes every value.
    pub(crate) fn map(self, mut change: impl FnMut(f64) -> f64) -> Vec<f64> {
        match self {
            Self::Borrowed(values) => values.iter().map(|value| change(*value)).collect(),
            Self::Owned(mut values) => {
                values.iter_mut().for_each(|value| *value = change(*value));
                values
            }
        }
    }
}

/// Rows that cannot be used, each with the first reason that was found.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The place of the block's first row in the table.
    pub(crate) first_row: usize,
    pub(crate) rows: BTreeMap<usize, RowError>,
}

impl Refusals {
    /// Refuses a row of the block.
    pub(crate) fn refuse(&mut self, row: usize, reason: impl FnOnce() -> RowError) {
        self.rows.entry(self.first_row + row).or_insert_with(reason);
    }
}

/// The columns of a table that a model asks for, in the model's order.
pub(crate) struct Inputs<'a> {
    rows: usize,
    /// Each with its name in the table.
    columns: Vec<Option<(&'a str, &'a Column)>>,
}

impl<'a> Inputs<'a> {
    /// Finds each column that is used, by its name.
    ///
    /// A model that was fitted on an array knows no names. scikit-learn calls its columns `x0`, `x1` and so on. Only a
    /// table with columns of these names is used: the order of a table's columns says nothing about what they hold.
    pub(crate) fn new(
        table: &'a Table,
        names: Option<&[Box<str>]>,
        used: &[bool],
    ) -> Result<Self, PredictError> {
        if table.rows() == 0 {
            return Err(PredictError::Empty);
        }
        let by_name: HashMap<&str, (&str, &Column)> =
            table.columns().map(|(name, column)| (name, (name, column))).collect();
        let columns: Vec<Option<(&str, &Column)>> = match names {
            Some(names) => names.iter().map(|name| by_name.get(&**name).copied()).collect(),
            None => (0..used.len()).map(|place| by_name.get(placeholder(place).as_str()).copied()).collect(),
        };
        let is_lacking = |place: &usize| used.get(*place) == Some(&true) && columns[*place].is_none();
        let lacking: Vec<usize> = (0..columns.len()).filter(is_lacking).collect();
        match names {
            _ if lacking.is_empty() => Ok(Self { rows: table.rows(), columns }),
            Some(names) => {
                let names = lacking.into_iter().map(|place| names[place].to_string());
                Err(PredictError::MissingColumns(names.collect()))
            }
            None => Err(PredictError::NamelessColumns { columns: used.len() }),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Some of the rows.
    pub(crate) fn block(&self, rows: Range<usize>) -> Block<'a> {
        let feature = |column: &Option<(&'a str, &'a Column)>| match column {
            Some((_, Column::Number(values))) => {
                Feature::Borrowed(values.get(rows.clone()).unwrap_or_default())
            }
            Some((name, Column::Text(text))) => Feature::Text(TextFeature::new(name, text, rows.clone())),
            None => Feature::Absent,
        };
        Block { rows: rows.len(), columns: self.columns.iter().map(feature).collect() }
    }
}

impl Transformer {
    /// Transforms a block.
    pub(crate) fn transform<'a>(
        &'a self,
        block: Block<'a>,
        refusals: &mut Refusals,
    ) -> Result<Block<'a>, PredictError> {
        match self {
            Self::Passthrough => Ok(block),
            Self::Pipeline(steps) => {
                steps.iter().try_fold(block, |block, step| step.transform(block, refusals))
            }
            Self::Columns(columns) => columns.transform(block, refusals),
            Self::Imputer(imputer) => Ok(imputer.transform(block, refusals)),
            Self::MissingIndicator(indicator) => Ok(indicator.transform(block, refusals)),
            Self::Scaler(scaler) => Ok(scaler.transform(block, refusals)),
            Self::OneHot(encoder) => encoder.transform(block, refusals),
            Self::Ordinal(encoder) => encoder.transform(block, refusals),
        }
    }

    /// The names of the features that come out, given the names of those that go in.
    pub(crate) fn names(&self, inputs: Vec<String>) -> Vec<String> {
        match self {
            Self::Passthrough | Self::Scaler(_) | Self::Ordinal(_) => inputs,
            Self::Pipeline(steps) => steps.iter().fold(inputs, |names, step| step.names(names)),
            Self::Columns(columns) => columns
                .parts
                .iter()
                .flat_map(|part| part.transformer.names(select(&inputs, &part.columns)))
                .collect(),
            Self::Imputer(imputer) => imputer.names(inputs),
            Self::MissingIndicator(indicator) => indicator.names(&inputs),
            Self::OneHot(encoder) => encoder.names(&inputs),
        }
    }

    /// The bytes that [`Transformer::names`] takes at most. Of a transformer of transformers only its inputs count.
    pub(crate) fn names_bytes(&self, inputs: &[String]) -> usize {
        let held = |names: &mut dyn Iterator<Item = usize>| {
            names.map(|length| length.saturating_add(size_of::<String>() + 16)).fold(0, usize::saturating_add)
        };
        match self {
            Self::OneHot(encoder) => {
                let columns = inputs.iter().zip(&encoder.columns);
                held(&mut columns.flat_map(|(name, column)| {
                    column.labels.iter().map(|label| name.len().saturating_add(label.len() + 1))
                }))
            }
            Self::MissingIndicator(indicator) => held(&mut indicator.name_lengths(inputs)),
            Self::Imputer(Imputer { indicator: Some(indicator), .. }) => {
                held(&mut inputs.iter().map(String::len))
                    .saturating_add(held(&mut indicator.name_lengths(inputs)))
            }
            _ => held(&mut inputs.iter().map(String::len)),
        }
    }

    /// Marks the inputs that play a part.
    pub(crate) fn mark_used(&self, used: &mut [bool]) {
        match self {
            Self::Columns(columns) => {
                for column in columns.parts.iter().flat_map(|part| &part.columns) {
                    if let Some(used) = used.get_mut(*column) {
                        *used = true;
                    }
                }
            }
            Self::Pipeline(steps) => match steps.iter().find(|step| **step != Self::Passthrough) {
                Some(first) => first.mark_used(used),
                None => used.fill(true),
            },
            _ => used.fill(true),
        }
    }
}

/// scikit-learn's name for a column of an array.
pub(crate) fn placeholder(place: usize) -> String {
    format!("x{place}")
}

fn select(names: &[String], places: &[usize]) -> Vec<String> {
    places.iter().filter_map(|place| names.get(*place).cloned()).collect()
}

impl ColumnTransformer {
    fn transform<'a>(&'a self, block: Block<'a>, refusals: &mut Refusals) -> Result<Block<'a>, PredictError> {
        let rows = block.rows;
        let mut outputs = Vec::new();
        for part in &self.parts {
            let columns = part
                .columns
                .iter()
                .map(|place| block.columns.get(*place).cloned().unwrap_or(Feature::Absent));
            let part_block = Block { rows, columns: columns.collect() };
            let mut transformed = part.transformer.transform(part_block, refusals)?.columns;
            if let Some(weight) = part.weight {
                for feature in &mut transformed {
                    let numbers = std::mem::replace(feature, Feature::Absent).into_numbers(refusals);
                    *feature = Feature::Number(numbers.map(|value| value * weight));
                }
            }
            outputs.append(&mut transformed);
        }
        Ok(Block { rows, columns: outputs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_says_nothing_is_missing_and_other_text_is_no_number() {
        for missing in ["", " \t", "nan", "NaN", "NAN", "-nan", " nan\n", "null", "NULL", "Null"] {
            assert!(number_in(missing).is_some_and(f64::is_nan), "{missing:?}");
        }
        for (text, number) in
            [("1234.5", 1234.5), (" -2e3 ", -2000.0), ("1_000", 1000.0), ("inf", f64::INFINITY)]
        {
            assert_eq!(number_in(text), Some(number), "{text:?}");
        }
        for text in ["1,234.50", "abc", "None", "n/a", "-", "1__0", "_1", "1_", "0x10", "nano"] {
            assert_eq!(number_in(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_row_is_refused_by_the_text_that_is_no_number_and_the_others_are_not() {
        let long = "x".repeat(1000);
        let texts = [Some("1.5"), Some("1,234.50"), None, Some(""), Some(&*long)];
        let table = Table::new([("volume", Column::text(texts))]).unwrap();
        let names = ["volume".into()];
        let inputs = Inputs::new(&table, Some(&names), &[true]).unwrap();
        let mut refusals = Refusals { first_row: 100, ..Refusals::default() };
        let feature = inputs.block(0..5).columns.remove(0);
        let numbers = feature.clone().into_numbers(&mut refusals).into_vec();
        assert_eq!(numbers[0], 1.5);
        assert!(numbers[1..].iter().all(|number| number.is_nan()));
        let refused: Vec<(usize, String)> =
            refusals.rows.into_iter().map(|(row, reason)| (row, reason.to_string())).collect();
        assert_eq!(
            refused,
            [
                (101, r#"column "volume" holds "1,234.50", which is not a number"#.to_owned()),
                (104, format!("column \"volume\" holds \"{}…\", which is not a number", "x".repeat(64))),
            ]
        );
        assert!(feature.coerced().as_slice()[1].is_nan(), "training coerces");
    }

    #[test]
    fn columns_of_an_array_are_found_by_the_names_that_scikit_learn_gives_them() {
        let numbers = |values: &[f64]| Column::Number(values.to_vec());
        let table = Table::new([
            ("ativo", Column::text([Some("BTC")])),
            ("x1", numbers(&[1.0])),
            ("x0", numbers(&[0.0])),
        ])
        .unwrap();
        let block = Inputs::new(&table, None, &[true, true]).unwrap().block(0..1);
        let found: Vec<f64> =
            block.columns.into_iter().map(|column| column.coerced().as_slice()[0]).collect();
        assert_eq!(found, [0.0, 1.0]);
        let table = Table::new([("data", numbers(&[1.0])), ("fechamento", numbers(&[2.0]))]).unwrap();
        let refused = Inputs::new(&table, None, &[true, true]).err().unwrap();
        assert_eq!(refused, PredictError::NamelessColumns { columns: 2 });
        assert!(refused.to_string().contains("fit it on a DataFrame"), "{refused}");
    }
}
