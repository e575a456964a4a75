use std::{collections::HashMap, sync::Arc};

use super::{Block, Feature, Refusals, excerpt};
use crate::{
    predictions::{PredictError, RowError},
    sklearn::python_float,
};

/// How messages call the category of a missing value.
const MISSING: &str = "missing";

/// The categories of one column, as an encoder was fitted on them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Categories {
    Text {
        /// Each category's place.
        places: HashMap<Box<str>, usize>,
        /// The place of missing values, where they are a category of their own.
        missing: Option<usize>,
    },
    Number {
        /// Ascending, without NaN.
        values: Vec<f64>,
        /// The place of NaN, where it is a category of its own.
        missing: Option<usize>,
    },
}

/// What becomes of a category that an encoder was not fitted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unknown {
    /// The row is refused.
    Refuse,
    /// It becomes this.
    Becomes(f64),
}

/// `OneHotEncoder` (`sklearn/preprocessing/_encoders.py`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OneHotEncoder {
    pub(crate) columns: Vec<OneHotColumn>,
    pub(crate) refuse_unknown: bool,
    /// Whether scikit-learn's own output is sparse, which a scaler behind it can tell in the last bit.
    pub(crate) sparse: bool,
}

/// One column of a [`OneHotEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OneHotColumn {
    pub(crate) name: Box<str>,
    pub(crate) categories: Categories,
    /// The output of each category; infrequent ones share one and a dropped one has none.
    pub(crate) outputs: Vec<Option<usize>>,
    /// The output of unknown categories, where they count as infrequent.
    pub(crate) unknown: Option<usize>,
    /// How each output is called, behind the column's name.
    pub(crate) labels: Vec<String>,
}

/// `OrdinalEncoder`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrdinalEncoder {
    pub(crate) columns: Vec<OrdinalColumn>,
    pub(crate) unknown: Unknown,
}

/// One column of an [`OrdinalEncoder`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrdinalColumn {
    pub(crate) name: Box<str>,
    pub(crate) categories: Categories,
    /// The number of each category.
    pub(crate) codes: Vec<f64>,
}

/// A category's place, or nothing if it is unknown.
type Place = Option<usize>;

impl Categories {
    /// The place of each row's category. Rows of unknown categories have none, and are refused if `refuses_unknown`.
    fn places(
        &self,
        feature: Feature<'_>,
        name: &str,
        refuses_unknown: bool,
        refusals: &mut Refusals,
    ) -> Result<Vec<Place>, PredictError> {
        let unknown = |row: usize, category: &str, refusals: &mut Refusals| {
            if refuses_unknown {
                let (column, category) = (name.to_owned(), excerpt(category));
                refusals.refuse(row, || RowError::UnknownCategory { column, category });
            }
        };
        match (self, feature) {
            (Self::Text { places, missing }, Feature::Text(text)) => {
                let of_value: Vec<f64> = text
                    .values()
                    .iter()
                    .map(|value| match value {
                        Some(value) => places.get(*value).copied(),
                        None => *missing,
                    })
                    .map(encode_place)
                    .collect();
                let places: Vec<Place> = text.numbers(&of_value).into_iter().map(decode_place).collect();
                for (row, place) in places.iter().enumerate() {
                    if place.is_none() {
                        unknown(row, text.row(row).unwrap_or(MISSING), refusals);
                    }
                }
                Ok(places)
            }
            (Self::Text { missing, .. }, feature) => {
                let numbers = feature.into_numbers(refusals);
                if numbers.as_slice().iter().any(|value| !value.is_nan()) {
                    return Err(PredictError::NotText { column: name.to_owned() });
                }
                if missing.is_none() {
                    (0..numbers.as_slice().len()).for_each(|row| unknown(row, MISSING, refusals));
                }
                Ok(vec![*missing; numbers.as_slice().len()])
            }
            (Self::Number { values, missing }, feature) => {
                let numbers = feature.into_numbers(refusals);
                let mut places = Vec::with_capacity(numbers.as_slice().len());
                for (row, value) in numbers.as_slice().iter().enumerate() {
                    let place = if value.is_nan() {
                        *missing
                    } else {
                        values.binary_search_by(|known| known.total_cmp(&(value + 0.0))).ok()
                    };
                    if place.is_none() {
                        unknown(row, &python_float(*value), refusals);
                    }
                    places.push(place);
                }
                Ok(places)
            }
        }
    }
}

/// A place as a number, with NaN for none: places are far below 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn encode_place(place: Place) -> f64 {
    place.map_or(f64::NAN, |place| place as f64)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the inverse of encode_place")]
fn decode_place(number: f64) -> Place {
    (!number.is_nan()).then_some(number as usize)
}

/// An output as a number; encoders have far fewer than four thousand million.
fn output_number(output: usize) -> u32 {
    u32::try_from(output).unwrap_or(u32::MAX - 1)
}

impl OneHotEncoder {
    pub(super) fn transform<'a>(
        &'a self,
        block: Block<'a>,
        refusals: &mut Refusals,
    ) -> Result<Block<'a>, PredictError> {
        let rows = block.rows;
        let mut outputs = Vec::new();
        for (feature, column) in block.columns.into_iter().zip(&self.columns) {
            let places = column.categories.places(feature, &column.name, self.refuse_unknown, refusals)?;
            let output = |place: Place| match place {
                Some(place) => column.outputs.get(place).copied().flatten(),
                None => column.unknown,
            };
            let none = || u32::MAX;
            let places = places.into_iter().map(|place| output(place).map_or_else(none, output_number));
            let places: Arc<[u32]> = places.collect();
            let hot = (0..column.labels.len()).map(output_number);
            outputs.extend(hot.map(|hot| Feature::Indicator { places: Arc::clone(&places), hot }));
        }
        Ok(Block { rows, columns: outputs })
    }

    pub(super) fn names(&self, inputs: &[String]) -> Vec<String> {
        let labelled = |(name, column): (&String, &OneHotColumn)| -> Vec<String> {
            column.labels.iter().map(|label| format!("{name}_{label}")).collect()
        };
        inputs.iter().zip(&self.columns).flat_map(labelled).collect()
    }
}

impl OrdinalEncoder {
    pub(super) fn transform<'a>(
        &'a self,
        block: Block<'a>,
        refusals: &mut Refusals,
    ) -> Result<Block<'a>, PredictError> {
        let rows = block.rows;
        let mut outputs = Vec::new();
        for (feature, column) in block.columns.into_iter().zip(&self.columns) {
            let refuses_unknown = self.unknown == Unknown::Refuse;
            let places = column.categories.places(feature, &column.name, refuses_unknown, refusals)?;
            let unknown = match self.unknown {
                Unknown::Refuse => f64::NAN,
                Unknown::Becomes(value) => value,
            };
            let code =
                |place: Place| place.and_then(|place| column.codes.get(place).copied()).unwrap_or(unknown);
            outputs.push(Feature::Number(places.into_iter().map(code).collect()));
        }
        Ok(Block { rows, columns: outputs })
    }
}
