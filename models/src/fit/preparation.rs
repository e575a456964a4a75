//! Fitting what comes before the estimator: imputers, the one-hot encoder, the scaler.

use std::collections::BTreeSet;

use super::FitError;
use crate::{
    pipeline::{
        Categories, ColumnTransformer, Feature, Fill, Imputer, Inputs, MissingValue, OneHotColumn,
        OneHotEncoder, Part, Scaler, Transformer,
    },
    table::Table,
};

/// Which columns there are, and what becomes of them.
pub(super) struct Preparation {
    /// Missing ones become the most frequent, and each becomes a feature.
    pub(super) categorical: Vec<Box<str>>,
    /// Missing ones become the median.
    pub(super) numeric: Vec<Box<str>>,
    /// Whether numeric ones are standardised.
    pub(super) scale: bool,
}

impl Preparation {
    /// All columns, as the transformer counts them.
    pub(super) fn names(&self) -> Vec<Box<str>> {
        self.categorical.iter().chain(&self.numeric).cloned().collect()
    }

    /// Fits the transformers to a table.
    pub(super) fn fit(&self, table: &Table) -> Result<Transformer, FitError> {
        let names = self.names();
        let inputs = Inputs::new(table, Some(&names), &vec![true; names.len()])?;
        let mut features = inputs.block(0..table.rows()).columns.into_iter();
        let mut parts = Vec::new();
        if !self.categorical.is_empty() {
            let encoded: Vec<(Fill, OneHotColumn)> = self
                .categorical
                .iter()
                .zip(features.by_ref())
                .map(|(name, feature)| fit_categories(name, &feature))
                .collect::<Result<_, _>>()?;
            let (fills, columns) = encoded.into_iter().unzip();
            let encoder = OneHotEncoder { columns, refuse_unknown: false, sparse: false };
            parts.push(Part {
                columns: (0..self.categorical.len()).collect(),
                transformer: Transformer::Pipeline(vec![
                    Transformer::Imputer(imputer(&self.categorical, fills)),
                    Transformer::OneHot(encoder),
                ]),
                weight: None,
            });
        }
        let (mut fills, mut means, mut scales) = (Vec::new(), Vec::new(), Vec::new());
        for (name, feature) in self.numeric.iter().zip(features) {
            let numbers = feature.coerced();
            let numbers = numbers.as_slice();
            if numbers.iter().any(|value| value.is_infinite()) {
                return Err(FitError::NotFinite { feature: name.to_string() });
            }
            // Columns of which nothing is known are left out.
            let Some(median) = median(numbers) else {
                fills.push(Fill::Drop);
                continue;
            };
            fills.push(Fill::Number(median));
            if self.scale {
                let (mean, scale) = mean_and_scale(numbers, median);
                means.push(mean);
                scales.push(scale);
            }
        }
        let mut steps = vec![Transformer::Imputer(imputer(&self.numeric, fills))];
        if self.scale {
            let (subtract, divide) = (Some(means), Some(scales));
            steps.push(Transformer::Scaler(Scaler { subtract, divide, ..Scaler::default() }));
        }
        parts.push(Part {
            columns: (self.categorical.len()..names.len()).collect(),
            transformer: Transformer::Pipeline(steps),
            weight: None,
        });
        Ok(Transformer::Columns(ColumnTransformer { parts }))
    }
}

fn imputer(names: &[Box<str>], fills: Vec<Fill>) -> Imputer {
    let names = names.iter().map(ToString::to_string).collect();
    Imputer { missing: MissingValue::Nan, names, fills, indicator: None }
}

/// The most frequent text of a column, of several the first in order (`_most_frequent`, `sklearn/impute/_base.py`),
/// and the encoder for it.
fn fit_categories(name: &str, feature: &Feature<'_>) -> Result<(Fill, OneHotColumn), FitError> {
    let Feature::Text(text) = feature else { return Err(FitError::NotText { column: name.to_owned() }) };
    let mut counts = vec![0_usize; text.values().len()];
    for code in text.codes() {
        // The last value stands for missing ones.
        let place = (*code as usize).min(counts.len().saturating_sub(1));
        counts.iter_mut().skip(place).take(1).for_each(|count| *count += 1);
    }
    let known = || text.values().iter().zip(&counts).filter_map(|(value, count)| Some(((*value)?, *count)));
    let most_frequent = known()
        .filter(|(_, count)| *count > 0)
        .max_by(|left, right| left.1.cmp(&right.1).then_with(|| right.0.cmp(left.0)));
    let Some((most_frequent, _)) = most_frequent else {
        return Err(FitError::NoValues { column: name.to_owned() });
    };
    let categories: BTreeSet<&str> =
        known().filter(|(_, count)| *count > 0).map(|(value, _)| value).collect();
    let places = categories.iter().enumerate().map(|(place, category)| ((*category).into(), place)).collect();
    let column = OneHotColumn {
        name: name.into(),
        categories: Categories::Text { places, missing: None },
        outputs: (0..categories.len()).map(Some).collect(),
        unknown: None,
        labels: categories.into_iter().map(str::to_owned).collect(),
    };
    Ok((Fill::Text(most_frequent.into()), column))
}

/// The median of the values that are known; of two in the middle, their mean.
fn median(numbers: &[f64]) -> Option<f64> {
    let mut known: Vec<f64> = numbers.iter().copied().filter(|value| !value.is_nan()).collect();
    let middle = known.len().checked_sub(1)? / 2;
    let is_even = known.len().is_multiple_of(2);
    let (_, low, above) = known.select_nth_unstable_by(middle, f64::total_cmp);
    let low = *low;
    if !is_even {
        return Some(low);
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    Some((low + high) / 2.0)
}

/// What `StandardScaler` subtracts and divides by (`_incremental_mean_and_var`, `sklearn/utils/extmath.py`).
#[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
fn mean_and_scale(numbers: &[f64], fill: f64) -> (f64, f64) {
    let count = numbers.len() as f64;
    let imputed = || numbers.iter().map(|value| if value.is_nan() { fill } else { *value });
    let mean = imputed().sum::<f64>() / count;
    let (mut sum, mut squares) = (0.0, 0.0);
    for value in imputed() {
        sum += value - mean;
        squares += (value - mean) * (value - mean);
    }
    let variance = (squares - sum * sum / count) / count;
    // Constant but for rounding (`_is_constant_feature`, `sklearn/preprocessing/_data.py`).
    let rounding = count * f64::EPSILON * variance + (count * mean * f64::EPSILON).powi(2);
    (mean, if variance <= rounding { 1.0 } else { variance.sqrt() })
}
