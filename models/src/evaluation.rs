//! How good a model is on days that it has not seen: splits in time, and the usual metrics.
//!
//! Formulas are those of `sklearn.metrics` and `sklearn.model_selection`.

use std::ops::Range;

use crate::{
    fit::Target,
    predictions::{Outcome, Predictions},
};

/// Splits rows in time: each part is predicted from all parts before it (`sklearn.model_selection.TimeSeriesSplit`).
///
/// ```
/// use models::evaluation::TimeSeriesSplit;
/// let splits: Vec<_> = TimeSeriesSplit::new(2).split(7).collect();
/// assert_eq!(splits, [(0..3, 3..5), (0..5, 5..7)]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSeriesSplit {
    splits: usize,
}

impl TimeSeriesSplit {
    /// So many splits, of one more part than that.
    #[must_use]
    pub fn new(splits: usize) -> Self {
        Self { splits }
    }

    /// The rows to train on and those to predict, from the shortest past to the longest. None where there are fewer
    /// rows than parts.
    pub fn split(self, rows: usize) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let length = rows / (self.splits + 1);
        let splits = if length == 0 { 0 } else { self.splits };
        let first = rows - splits * length;
        (0..splits).map(move |split| {
            let start = first + split * length;
            (0..start, start..start + length)
        })
    }
}

/// How far a regressor's predictions are from what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegressionMetrics {
    /// The mean absolute error.
    pub mae: f64,
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error relative to the true value.
    pub mape: f64,
}

/// How well a classifier tells class 1 from class 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassificationMetrics {
    /// The share of rows whose class was predicted.
    pub accuracy: f64,
    /// The harmonic mean of precision and recall of class 1; 0 where neither is defined.
    pub f1: f64,
    /// The area under the receiver operating characteristic; not a number where there is one class only.
    pub auc: f64,
    /// The mean of the negative logarithm of the probability of the true class (`sklearn.metrics.log_loss`).
    pub log_loss: f64,
}

/// Metrics of either kind of model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metrics {
    /// Of a regressor.
    Regression(RegressionMetrics),
    /// Of a classifier of two classes.
    Classification(ClassificationMetrics),
}

impl Metrics {
    /// Compares predictions with what came. Nothing where they are not of one kind and length, or of more than two
    /// classes.
    #[must_use]
    pub fn of(predictions: &Predictions, target: &Target) -> Option<Self> {
        match (&predictions.outcome, target) {
            (Outcome::Values(predicted), Target::Values(expected)) if predicted.len() == expected.len() => {
                Some(Self::Regression(RegressionMetrics::of(predicted, expected)))
            }
            (Outcome::Classes { predicted, probabilities }, Target::Classes { labels, codes })
                if labels.len() == 2
                    && predicted.len() == codes.len()
                    && probabilities.len() == 2 * codes.len() =>
            {
                let of_one: Vec<f64> = probabilities.iter().skip(1).step_by(2).copied().collect();
                Some(Self::Classification(ClassificationMetrics::of(predicted, &of_one, codes)))
            }
            _ => None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

impl RegressionMetrics {
    /// Of predicted and true values, row by row.
    #[must_use]
    pub fn of(predicted: &[f64], expected: &[f64]) -> Self {
        let pairs = || predicted.iter().zip(expected);
        Self {
            mae: mean(pairs().map(|(predicted, expected)| (predicted - expected).abs())),
            rmse: mean(pairs().map(|(predicted, expected)| (predicted - expected).powi(2))).sqrt(),
            // Where the true value is zero, scikit-learn divides by the smallest number that makes a difference to 1.
            mape: mean(pairs().map(|(predicted, expected)| {
                (predicted - expected).abs() / expected.abs().max(f64::EPSILON)
            })),
        }
    }
}

impl ClassificationMetrics {
    /// Of predicted classes, probabilities of class 1, and true classes, row by row.
    #[must_use]
    pub fn of(predicted: &[u32], probabilities: &[f64], expected: &[u32]) -> Self {
        let pairs = || predicted.iter().zip(expected);
        let count = |of_predicted: u32, of_expected: u32| {
            let pair = |(predicted, expected): &(&u32, &u32)| {
                **predicted == of_predicted && **expected == of_expected
            };
            f64::from(u32::try_from(pairs().filter(pair).count()).unwrap_or(u32::MAX))
        };
        let hits = 2.0 * count(1, 1);
        let of_one = hits + count(1, 0) + count(0, 1);
        Self {
            accuracy: mean(pairs().map(|(predicted, expected)| f64::from(u8::from(predicted == expected)))),
            f1: if of_one == 0.0 { 0.0 } else { hits / of_one },
            auc: area_under_curve(probabilities, expected),
            log_loss: log_loss(probabilities, expected),
        }
    }
}

/// A probability of 0 counts as the smallest number that makes a difference to 1.
fn log_loss(probabilities: &[f64], expected: &[u32]) -> f64 {
    mean(probabilities.iter().zip(expected).map(|(of_one, class)| {
        let of_one = of_one.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -if *class == 1 { of_one } else { 1.0 - of_one }.ln()
    }))
}

/// The probability that a row of class 1 is given a higher probability than one of class 0; of equal ones, half count.
#[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
fn area_under_curve(probabilities: &[f64], expected: &[u32]) -> f64 {
    let mut rows: Vec<(f64, u32)> = probabilities.iter().copied().zip(expected.iter().copied()).collect();
    rows.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let (mut below, mut area) = (0.0, 0.0);
    for equal in rows.chunk_by(|left, right| left.0 == right.0) {
        let ones = equal.iter().filter(|(_, class)| *class == 1).count() as f64;
        let zeros = equal.len() as f64 - ones;
        area += ones * (below + zeros / 2.0);
        below += zeros;
    }
    let ones = rows.len() as f64 - below;
    area / (ones * below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_scikit_learns() {
        // sklearn.metrics 1.9 on the same numbers.
        let metrics = RegressionMetrics::of(&[2.5, 0.0, 2.0, 8.0], &[3.0, -0.5, 2.0, 7.0]);
        assert_eq!(metrics.mae, 0.5);
        assert!((metrics.rmse - 0.612_372_435_695_794_5).abs() < 1e-15);
        assert!((metrics.mape - 0.327_380_952_380_952_4).abs() < 1e-15);
        let predicted = [0, 1, 1, 0, 1];
        let metrics = ClassificationMetrics::of(&predicted, &[0.1, 0.6, 0.8, 0.35, 0.6], &[0, 1, 0, 1, 1]);
        assert_eq!(metrics.accuracy, 0.6);
        assert!((metrics.f1 - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(metrics.auc, 0.5);
        assert!((metrics.log_loss - 0.757_254_360_024_517_2).abs() < 1e-15);
    }

    #[test]
    fn fewer_rows_than_parts_cannot_be_split() {
        assert_eq!(TimeSeriesSplit::new(5).split(5).count(), 0);
        assert_eq!(TimeSeriesSplit::new(5).split(6).count(), 5);
    }
}
