use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::sklearn::python_float;

/// What a model says of each row of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// The answers, row by row. A refused row's answer is NaN, or class 0 with probabilities of NaN.
    pub outcome: Outcome,
    /// Rows that the model could not use, by ascending row.
    pub refused: Vec<RefusedRow>,
}

/// Answers, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A regressor's: the predicted value of each row.
    Values(Vec<f64>),
    /// A classifier's.
    Classes {
        /// Each row's predicted class, as its place in [`Model::classes`](crate::Model::classes).
        predicted: Vec<u32>,
        /// Each row's probability of each class: `rows × classes`, row by row.
        probabilities: Vec<f64>,
    },
}

/// A row that a model could not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// The row's place in the table.
    pub row: usize,
    /// Why.
    pub reason: RowError,
}

/// Why a model cannot use a row, where scikit-learn would raise for the whole table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// The estimator takes no missing values and this feature is missing after preprocessing.
    #[error("feature {feature:?} is missing")]
    Missing {
        /// The feature's name as the estimator sees it.
        feature: String,
    },
    /// A feature is infinite, or too large for the 32-bit numbers in which trees compare.
    #[error("feature {feature:?} is infinite or too large")]
    NotFinite {
        /// The feature's name as the estimator sees it.
        feature: String,
    },
    /// A column of numbers holds a text that is not a number. Empty text, `nan` and `null` are missing values instead.
    #[error("column {column:?} holds {value:?}, which is not a number")]
    NotANumber {
        /// The column's name in the table.
        column: String,
        /// The beginning of the text.
        value: String,
    },
    /// An encoder with `handle_unknown="error"` met a category that it was not fitted on.
    #[error("column {column:?} has the unknown category {category:?}")]
    UnknownCategory {
        /// The column's name in the table.
        column: String,
        /// The category.
        category: String,
    },
}

/// A class that a classifier was trained on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Label {
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Real(f64),
    /// A text.
    Text(Box<str>),
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(formatter),
            Self::Integer(value) => value.fmt(formatter),
            Self::Real(value) => python_float(*value).fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
        }
    }
}

/// A table that a model cannot predict from at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PredictError {
    /// The table has no rows.
    #[error("the table has no rows")]
    Empty,
    /// Columns that the model was trained on are not in the table.
    #[error("the table lacks the columns {0:?}")]
    MissingColumns(Vec<String>),
    /// The model was fitted on an array. Nothing says which columns of a table it was trained on.
    #[error(
        "the model does not know the names of its {columns} columns, since it was fitted on an array; fit it on a \
         DataFrame"
    )]
    NamelessColumns {
        /// How many columns the model was fitted on.
        columns: usize,
    },
    /// A column that the model knows as text holds numbers.
    #[error("column {column:?} holds numbers where the model was trained on text")]
    NotText {
        /// The column's name.
        column: String,
    },
}
