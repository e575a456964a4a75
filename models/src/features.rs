//! Features as estimators read them.

use std::sync::Arc;

use crate::{
    pipeline::{Block, Feature, Numbers, Refusals},
    predictions::RowError,
};

/// Rows in a [`Batch`].
pub(crate) const LANES: usize = 64;

/// Up to [`LANES`] rows of features as [keys](key), feature by feature: `keys[feature * LANES + row]`.
///
/// Trees compare 32-bit numbers (`DTYPE` in `sklearn/tree/_tree.pyx`). 64 rows of some 60 features fill half of a
/// first-level cache; the rows of a feature lie side by side for vector instructions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    pub(crate) rows: usize,
    pub(crate) keys: Vec<i32>,
    /// Whether any value is missing.
    pub(crate) has_missing: bool,
}

/// The key of the largest number: those of missing values are above it.
pub(crate) const LARGEST_KEY: i32 = key(f32::INFINITY);

/// The key of the smallest number.
pub(crate) const SMALLEST_KEY: i32 = key(f32::NEG_INFINITY);

/// An integer that compares as the number does, so that a comparison is a subtraction and needs no branch.
pub(crate) const fn key(number: f32) -> i32 {
    // Adding zero makes one of the two zeros, which compare as equal. All NaNs become one, above infinity.
    let bits = if number.is_nan() { f32::NAN.to_bits() & i32::MAX as u32 } else { (number + 0.0).to_bits() };
    let bits = bits.cast_signed();
    bits ^ ((bits >> 31) & i32::MAX)
}

/// The number that has this [key].
pub(crate) const fn number(key: i32) -> f32 {
    f32::from_bits((key ^ ((key >> 31) & i32::MAX)).cast_unsigned())
}

/// Which values an estimator refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Only finite numbers.
    Finite,
    /// Missing values too.
    Missing,
}

/// Splits a block's rows into batches of the features at `places`. All features are checked, as scikit-learn does.
pub(crate) fn batches(
    block: Block<'_>,
    places: &[usize],
    accepts: Accepts,
    feature_name: &dyn Fn(usize) -> String,
    refusals: &mut Refusals,
) -> Vec<Batch> {
    let starts = (0..block.rows).step_by(LANES);
    let batch = |start| Batch {
        rows: LANES.min(block.rows - start),
        // Splits that make no difference compare the first feature, even where there is none.
        keys: vec![0; places.len().max(1) * LANES],
        has_missing: false,
    };
    let mut batches: Vec<Batch> = starts.map(batch).collect();
    let mut places = places.iter().enumerate().peekable();
    for (place, feature) in block.columns.into_iter().enumerate() {
        if let Feature::Indicator { places: rows, hot } = &feature {
            let Some((kept, _)) = places.next_if(|(_, kept)| **kept == place) else { continue };
            for (batch, rows) in batches.iter_mut().zip(rows.chunks(LANES)) {
                let lanes = batch.keys.get_mut(kept * LANES..).unwrap_or_default();
                let key_of = |is_hot: bool| if is_hot { key(1.0) } else { key(0.0) };
                lanes.iter_mut().zip(rows).for_each(|(lane, row)| *lane = key_of(row == hot));
            }
            continue;
        }
        let numbers = feature.into_numbers(refusals);
        let values = numbers.as_slice();
        let is_usable = |value: &f64| value.abs() <= f64::from(f32::MAX);
        // Without a branch for each value, so that it takes no time.
        let all_usable = values.iter().fold(true, |all, value| all & is_usable(value));
        if !all_usable {
            refuse_unusable(values, f64::from(f32::MAX), accepts, || feature_name(place), refusals);
        }
        let Some((kept, _)) = places.next_if(|(_, kept)| **kept == place) else { continue };
        for (batch, values) in batches.iter_mut().zip(values.chunks(LANES)) {
            batch.has_missing |= !all_usable && values.iter().any(|value| value.is_nan());
            let lanes = batch.keys.get_mut(kept * LANES..).unwrap_or_default();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "scikit-learn's trees compare 32-bit numbers"
            )]
            lanes.iter_mut().zip(values).for_each(|(lane, value)| *lane = key(*value as f32));
        }
    }
    batches
}

/// Notes the rows whose value an estimator refuses.
fn refuse_unusable(
    values: &[f64],
    largest: f64,
    accepts: Accepts,
    name: impl Fn() -> String,
    refusals: &mut Refusals,
) {
    for (row, value) in values.iter().enumerate() {
        if value.is_nan() {
            if accepts == Accepts::Finite {
                refusals.refuse(row, || RowError::Missing { feature: name() });
            }
        } else if value.abs() > largest {
            refusals.refuse(row, || RowError::NotFinite { feature: name() });
        }
    }
}

/// A column as linear models read it.
#[derive(Debug)]
pub(crate) enum LinearColumn<'a> {
    Numbers(Numbers<'a>),
    /// As [`Feature::Indicator`].
    Indicator {
        places: Arc<[u32]>,
        hot: u32,
    },
}

/// A block's columns; rows with a value that is not finite are refused.
pub(crate) fn linear_columns<'a>(
    block: Block<'a>,
    feature_name: &dyn Fn(usize) -> String,
    refusals: &mut Refusals,
) -> Vec<LinearColumn<'a>> {
    let mut columns = Vec::with_capacity(block.columns.len());
    for (place, feature) in block.columns.into_iter().enumerate() {
        if let Feature::Indicator { places, hot } = feature {
            columns.push(LinearColumn::Indicator { places, hot });
            continue;
        }
        let numbers = feature.into_numbers(refusals);
        let values = numbers.as_slice();
        // Without a branch for each value, so that it takes no time.
        if !values.iter().fold(true, |all, value| all & value.is_finite()) {
            refuse_unusable(values, f64::MAX, Accepts::Finite, || feature_name(place), refusals);
        }
        columns.push(LinearColumn::Numbers(numbers));
    }
    columns
}
