use super::{Block, Feature, Numbers, Refusals, TextFeature, select};
use crate::predictions::RowError;

/// `SimpleImputer` (`sklearn/impute/_base.py`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Imputer {
    pub(crate) missing: MissingValue,
    /// Each column's name, for messages.
    pub(crate) names: Vec<String>,
    /// What each column's missing values become.
    pub(crate) fills: Vec<Fill>,
    /// Columns that say where values were missing, after all others.
    pub(crate) indicator: Option<MissingIndicator>,
}

/// What counts as missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MissingValue {
    /// NaN, and `None` in columns of text.
    Nan,
    /// A number; NaN is refused then.
    Number(f64),
    /// A text.
    Text(Box<str>),
}

/// What one column's missing values become.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fill {
    Number(f64),
    Text(Box<str>),
    /// Nothing was known of the column when the imputer was fitted: it is left out.
    Drop,
}

/// `MissingIndicator`: one column of zeros and ones for each of `features`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MissingIndicator {
    pub(crate) missing: MissingValue,
    pub(crate) features: Vec<usize>,
}

impl MissingValue {
    fn is_missing(&self, value: f64) -> bool {
        match self {
            Self::Nan => value.is_nan(),
            Self::Number(missing) => value == *missing,
            Self::Text(_) => false,
        }
    }

    fn is_missing_text(&self, value: Option<&str>) -> bool {
        match self {
            Self::Nan => value.is_none(),
            Self::Number(_) => false,
            Self::Text(missing) => value == Some(missing),
        }
    }
}

impl Imputer {
    pub(super) fn transform<'a>(&'a self, block: Block<'a>, refusals: &mut Refusals) -> Block<'a> {
        let rows = block.rows;
        let columns = block.columns.into_iter().zip(&self.fills);
        let columns = columns.map(|(feature, fill)| self.typed(feature, fill, refusals)).collect();
        let block = Block { rows, columns };
        let indicated =
            self.indicator.as_ref().map(|indicator| indicator.transform(block.clone(), refusals).columns);
        let mut columns: Vec<Feature<'a>> = Vec::with_capacity(self.fills.len());
        for (place, (feature, fill)) in block.columns.into_iter().zip(&self.fills).enumerate() {
            match (feature, fill) {
                (_, Fill::Drop) => {}
                (Feature::Text(text), Fill::Text(fill)) => {
                    columns.push(Feature::Text(self.fill_text(text, fill)))
                }
                (feature, Fill::Number(fill)) => {
                    columns.push(self.fill_numbers(feature, *fill, place, refusals))
                }
                // Numbers where the imputer was fitted on text: all that are missing are filled, the rest stays.
                (feature, Fill::Text(_)) => columns.push(feature),
            }
        }
        columns.extend(indicated.into_iter().flatten());
        Block { rows, columns }
    }

    /// A column of text as what the imputer was fitted on. Text of a column that is left out plays no part: what is
    /// not a number in it is missing, as it was in training.
    fn typed<'a>(&self, feature: Feature<'a>, fill: &Fill, refusals: &mut Refusals) -> Feature<'a> {
        let Feature::Text(mut text) = feature else { return feature };
        match fill {
            Fill::Text(_) => Feature::Text(text),
            Fill::Number(_) => {
                if let MissingValue::Text(missing) = &self.missing {
                    text.map(|value| value.filter(|value| **value != **missing));
                }
                Feature::Number(Feature::Text(text).into_numbers(refusals).into_vec())
            }
            Fill::Drop if self.indicator.is_some() => {
                Feature::Number(Feature::Text(text).coerced().into_vec())
            }
            Fill::Drop => Feature::Absent,
        }
    }

    fn fill_text<'a>(&self, mut text: TextFeature<'a>, fill: &'a str) -> TextFeature<'a> {
        text.map(|value| if self.missing.is_missing_text(value) { Some(fill) } else { value });
        text
    }

    fn fill_numbers<'a>(
        &self,
        feature: Feature<'a>,
        fill: f64,
        place: usize,
        refusals: &mut Refusals,
    ) -> Feature<'a> {
        let numbers = feature.into_numbers(refusals);
        if let MissingValue::Number(missing) = self.missing {
            for (row, value) in numbers.as_slice().iter().enumerate() {
                if value.is_nan() {
                    refusals.refuse(row, || RowError::Missing {
                        feature: self.names.get(place).cloned().unwrap_or_default(),
                    });
                }
            }
            return Feature::Number(numbers.map(|value| if value == missing { fill } else { value }));
        }
        // Mostly nothing is missing, and then nothing needs to be copied.
        match numbers {
            // Without a branch for each value, so that asking takes no time.
            Numbers::Borrowed(values) if !values.iter().fold(false, |any, value| any | value.is_nan()) => {
                Feature::Borrowed(values)
            }
            numbers => Feature::Number(numbers.map(|value| if value.is_nan() { fill } else { value })),
        }
    }

    pub(super) fn names(&self, inputs: Vec<String>) -> Vec<String> {
        let indicated = self.indicator.as_ref().map(|indicator| indicator.names(&inputs));
        let kept = inputs.into_iter().zip(&self.fills).filter(|(_, fill)| **fill != Fill::Drop);
        kept.map(|(name, _)| name).chain(indicated.into_iter().flatten()).collect()
    }
}

impl MissingIndicator {
    pub(super) fn transform<'a>(&self, block: Block<'a>, refusals: &mut Refusals) -> Block<'a> {
        let rows = block.rows;
        let flag = |missing: bool| f64::from(u8::from(missing));
        let columns = self.features.iter().map(|place| match block.columns.get(*place) {
            Some(Feature::Text(text)) => {
                let flags: Vec<f64> =
                    text.values().iter().map(|value| flag(self.missing.is_missing_text(*value))).collect();
                Feature::Number(text.numbers(&flags))
            }
            Some(feature) => Feature::Number(
                feature.clone().into_numbers(refusals).map(|value| flag(self.missing.is_missing(value))),
            ),
            None => Feature::Absent,
        });
        Block { rows, columns: columns.collect() }
    }

    /// How long the names are.
    pub(super) fn name_lengths(&self, inputs: &[String]) -> impl Iterator<Item = usize> {
        let named = self.features.iter().filter_map(|place| inputs.get(*place));
        named.map(|name| name.len() + "missingindicator_".len())
    }

    pub(super) fn names(&self, inputs: &[String]) -> Vec<String> {
        select(inputs, &self.features).into_iter().map(|name| format!("missingindicator_{name}")).collect()
    }
}
