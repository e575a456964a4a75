//! What happens to a table before the estimator sees it: scikit-learn's transformers over blocks of rows.
//!
//! A [`Block`] holds a few hundred rows column by column, so that a whole chain of transformers works in cache.
//! Rows that scikit-learn would raise for are noted in [`Refusals`] and go on as missing values.

mod encode;
mod impute;
mod scale;

use std::{collections::BTreeMap, ops::Range, sync::Arc};

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
    column: &'a TextColumn,
    rows: Range<usize>,
    /// What each place of the dictionary stands for now; the last is for missing values.
    values: Vec<Option<&'a str>>,
}

impl<'a> TextFeature<'a> {
    fn new(column: &'a TextColumn, rows: Range<usize>) -> Self {
        let values = column.dictionary().iter().map(|value| Some(&**value)).chain([None]).collect();
        Self { column, rows, values }
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
    /// The column as numbers: what is no number is missing, as pandas' `to_numeric(errors="coerce")` has it.
    pub(crate) fn into_numbers(self) -> Numbers<'a> {
        match self {
            Self::Borrowed(values) => Numbers::Borrowed(values),
            Self::Number(values) => Numbers::Owned(values),
            Self::Indicator { places, hot } => {
                Numbers::Owned(places.iter().map(|place| f64::from(u8::from(*place == hot))).collect())
            }
            Self::Text(text) => {
                let numbers: Vec<f64> =
                    text.values().iter().map(|value| value.map_or(f64::NAN, parse)).collect();
                Numbers::Owned(text.numbers(&numbers))
            }
            Self::Absent => Numbers::Borrowed(&[]),
        }
    }
}

fn parse(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
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
    columns: Vec<Option<&'a Column>>,
}

impl<'a> Inputs<'a> {
    /// Finds each column that is used, by name where the model knows names and else by place.
    pub(crate) fn new(
        table: &'a Table,
        names: Option<&[Box<str>]>,
        used: &[bool],
    ) -> Result<Self, PredictError> {
        if table.rows() == 0 {
            return Err(PredictError::Empty);
        }
        let columns = match names {
            Some(names) => {
                let columns: Vec<_> = names.iter().map(|name| table.column(name)).collect();
                let lacking = names
                    .iter()
                    .zip(&columns)
                    .zip(used)
                    .filter(|((_, column), used)| **used && column.is_none());
                let lacking: Vec<String> = lacking.map(|((name, _), _)| name.to_string()).collect();
                if !lacking.is_empty() {
                    return Err(PredictError::MissingColumns(lacking));
                }
                columns
            }
            None if table.columns().len() != used.len() => {
                return Err(PredictError::ColumnCount { expected: used.len(), found: table.columns().len() });
            }
            None => (0..used.len()).map(|place| table.column_at(place)).collect(),
        };
        Ok(Self { rows: table.rows(), columns })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Some of the rows.
    pub(crate) fn block(&self, rows: Range<usize>) -> Block<'a> {
        let feature = |column: &Option<&'a Column>| match column {
            Some(Column::Number(values)) => Feature::Borrowed(values.get(rows.clone()).unwrap_or_default()),
            Some(Column::Text(text)) => Feature::Text(TextFeature::new(text, rows.clone())),
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
            Self::MissingIndicator(indicator) => Ok(indicator.transform(block)),
            Self::Scaler(scaler) => Ok(scaler.transform(block)),
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
                    let numbers = std::mem::replace(feature, Feature::Absent).into_numbers();
                    *feature = Feature::Number(numbers.map(|value| value * weight));
                }
            }
            outputs.append(&mut transformed);
        }
        Ok(Block { rows, columns: outputs })
    }
}
