//! Linear models (`sklearn/linear_model/_base.py`, `_logistic.py`).

use crate::features::LinearColumn;

/// A linear function for each output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Linear {
    /// One row of coefficients an output.
    pub(crate) coefficients: Vec<Vec<f64>>,
    pub(crate) intercepts: Vec<f64>,
}

/// How a logistic regression's decisions become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Two classes, one decision.
    Sigmoid,
    /// Two classes, one decision, of a model that was fitted as multinomial.
    SymmetricSoftmax,
    /// A decision a class, each against the rest.
    OneVersusRest,
    Softmax,
}

impl Linear {
    /// The decisions of every row, output by output.
    pub(crate) fn decide(&self, columns: &[LinearColumn<'_>], rows: usize) -> Vec<Vec<f64>> {
        let decide = |(coefficients, intercept): (&Vec<f64>, &f64)| {
            let mut decisions = vec![0.0; rows];
            for (coefficient, column) in coefficients.iter().zip(columns) {
                match column {
                    LinearColumn::Numbers(numbers) => {
                        for (decision, value) in decisions.iter_mut().zip(numbers.as_slice()) {
                            *decision += coefficient * value;
                        }
                    }
                    LinearColumn::Indicator { places, hot } => {
                        for (decision, place) in decisions.iter_mut().zip(&**places) {
                            *decision += if place == hot { *coefficient } else { 0.0 };
                        }
                    }
                }
            }
            decisions.iter_mut().for_each(|decision| *decision += intercept);
            decisions
        };
        self.coefficients.iter().zip(&self.intercepts).map(decide).collect()
    }
}

/// `scipy.special.expit`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Turns raw values into probabilities, subtracting the largest first (`sklearn/utils/extmath.py`, `softmax`).
pub(crate) fn softmax(raw: &mut [f64]) {
    let largest = raw.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    raw.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f64 = raw.iter().sum();
    raw.iter_mut().for_each(|value| *value /= sum);
}

/// The place of the first of the largest values.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    let mut largest = f64::NEG_INFINITY;
    for (place, value) in values.iter().enumerate() {
        if *value > largest {
            (best, largest) = (place, *value);
        }
    }
    best
}

impl Link {
    /// The predicted class and the probabilities of a row, given its decisions.
    pub(crate) fn apply(self, decisions: &[f64], probabilities: &mut [f64]) -> usize {
        let first = decisions.first().copied().unwrap_or(f64::NAN);
        match self {
            Self::Sigmoid => {
                let rise = sigmoid(first);
                probabilities.iter_mut().zip([1.0 - rise, rise]).for_each(|(to, from)| *to = from);
                usize::from(first > 0.0)
            }
            Self::SymmetricSoftmax => {
                probabilities.iter_mut().zip([-first, first]).for_each(|(to, from)| *to = from);
                softmax(probabilities);
                usize::from(first > 0.0)
            }
            Self::OneVersusRest => {
                probabilities.iter_mut().zip(decisions).for_each(|(to, from)| *to = sigmoid(*from));
                let sum: f64 = probabilities.iter().sum();
                probabilities.iter_mut().for_each(|value| *value /= sum);
                argmax(decisions)
            }
            Self::Softmax => {
                probabilities.iter_mut().zip(decisions).for_each(|(to, from)| *to = *from);
                softmax(probabilities);
                argmax(decisions)
            }
        }
    }
}
