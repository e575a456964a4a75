//! Logistic regression of two classes: the objective of scikit-learn's `lbfgs` solver (`_linear_loss.py`), minimised by
//! Newton's method.
//!
//! The objective is convex and has a few dozen unknowns, so that solving for the step costs less than the many gradients
//! that L-BFGS needs instead; and it ends at the minimum, where scikit-learn ends as soon as the gradient is below
//! `tol` = 1e-4.

use super::least_squares::dot;
use crate::linear::sigmoid;

/// Coefficients and the constant term.
pub(super) struct Solution {
    pub(super) coefficients: Vec<f64>,
    pub(super) intercept: f64,
}

/// What is minimised: Σ wᵢ·ln(1 + exp(−±decisionᵢ)) / Σ wᵢ + ‖coefficients‖² / (2·C·Σ wᵢ).
pub(super) struct Problem<'a> {
    /// The features; with a constant term, a last column of ones.
    pub(super) columns: &'a [Vec<f64>],
    /// 0 or 1.
    pub(super) target: &'a [f64],
    pub(super) weights: &'a [f64],
    pub(super) c: f64,
    pub(super) fit_intercept: bool,
    pub(super) max_iter: usize,
}

impl Problem<'_> {
    /// Minimises; nothing if that took more than `max_iter` iterations.
    pub(super) fn solve(&self) -> Option<Solution> {
        let size = self.columns.len();
        let mut solution = vec![0.0; size];
        let mut decisions = vec![0.0; self.target.len()];
        let mut value = self.value(&solution, &decisions);
        for _ in 0..self.max_iter {
            let (gradient, hessian) = self.derivatives(&solution, &decisions);
            let step = solve_symmetric(hessian, &gradient)?;
            let slope = dot(&step, &gradient);
            // Half of this is how far the value is from the minimum, near to it.
            if slope <= 1e-20 * (1.0 + value.abs()) {
                return Some(self.split(solution));
            }
            let moves = self.decide(&step);
            let mut length = 1.0;
            loop {
                let trial: Vec<f64> =
                    solution.iter().zip(&step).map(|(at, step)| at - length * step).collect();
                let trial_decisions: Vec<f64> =
                    decisions.iter().zip(&moves).map(|(at, step)| at - length * step).collect();
                let trial_value = self.value(&trial, &trial_decisions);
                // Near the minimum, values are equal but for rounding and the whole step is right.
                if trial_value <= value - 1e-4 * length * slope || slope <= 1e-12 * value.abs() {
                    (solution, decisions, value) = (trial, trial_decisions, trial_value);
                    break;
                }
                length /= 2.0;
                if length < 1e-10 {
                    return Some(self.split(solution));
                }
            }
        }
        None
    }

    fn split(&self, mut solution: Vec<f64>) -> Solution {
        let intercept = if self.fit_intercept { solution.pop().unwrap_or_default() } else { 0.0 };
        Solution { coefficients: solution, intercept }
    }

    fn decide(&self, solution: &[f64]) -> Vec<f64> {
        let mut decisions = vec![0.0; self.target.len()];
        for (column, coefficient) in self.columns.iter().zip(solution) {
            decisions.iter_mut().zip(column).for_each(|(decision, value)| *decision += coefficient * value);
        }
        decisions
    }

    /// The coefficients that are penalised.
    fn penalised<'a>(&self, solution: &'a [f64]) -> &'a [f64] {
        let count = solution.len() - usize::from(self.fit_intercept).min(solution.len());
        solution.get(..count).unwrap_or_default()
    }

    /// The objective times the sum of weights, which has the same minimum.
    fn value(&self, solution: &[f64], decisions: &[f64]) -> f64 {
        let losses =
            self.target.iter().zip(self.weights).zip(decisions).map(|((target, weight), decision)| {
                // ln(1 + exp(x)) − target·x, without overflow.
                weight * (decision.max(0.0) + (-decision.abs()).exp().ln_1p() - target * decision)
            });
        let penalised = self.penalised(solution);
        losses.sum::<f64>() + dot(penalised, penalised) / (2.0 * self.c)
    }

    /// The gradient, and the lower triangle of the Hessian row by row.
    fn derivatives(&self, solution: &[f64], decisions: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mut residuals = Vec::with_capacity(decisions.len());
        let mut curvatures = Vec::with_capacity(decisions.len());
        for ((target, weight), decision) in self.target.iter().zip(self.weights).zip(decisions) {
            let probability = sigmoid(*decision);
            residuals.push(weight * (probability - target));
            curvatures.push(weight * probability * (1.0 - probability));
        }
        let mut gradient: Vec<f64> = self.columns.iter().map(|column| dot(column, &residuals)).collect();
        let penalised = self.penalised(solution);
        gradient.iter_mut().zip(penalised).for_each(|(slot, at)| *slot += at / self.c);
        let row = |(place, column): (usize, &Vec<f64>)| {
            let weighted: Vec<f64> =
                column.iter().zip(&curvatures).map(|(value, curvature)| value * curvature).collect();
            let mut row: Vec<f64> =
                self.columns.iter().take(place + 1).map(|other| dot(&weighted, other)).collect();
            if place < penalised.len() {
                row.iter_mut().skip(place).for_each(|diagonal| *diagonal += 1.0 / self.c);
            }
            row
        };
        use rayon::prelude::*;
        let hessian = self.columns.par_iter().enumerate().map(row).collect();
        (gradient, hessian)
    }
}

/// Solves a positive definite system, given as its lower triangle, by Cholesky's method; nothing if it is not definite.
fn solve_symmetric(mut rows: Vec<Vec<f64>>, right: &[f64]) -> Option<Vec<f64>> {
    let size = rows.len();
    for place in 0..size {
        let (done, open) = rows.split_at_mut(place);
        let row = open.first_mut()?;
        for column in 0..place {
            let known = done.get(column)?;
            let sum = dot(row.get(..column)?, known.get(..column)?);
            *row.get_mut(column)? = (row.get(column)? - sum) / known.get(column)?;
        }
        let pivot = row.get(place)? - dot(row.get(..place)?, row.get(..place)?);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        *row.get_mut(place)? = pivot.sqrt();
    }
    let mut solution = right.to_vec();
    for place in 0..size {
        let row = rows.get(place)?;
        let sum = dot(row.get(..place)?, solution.get(..place)?);
        *solution.get_mut(place)? = (solution.get(place)? - sum) / row.get(place)?;
    }
    for place in (0..size).rev() {
        let row = rows.get(place)?;
        let value = solution.get(place)? / row.get(place)?;
        *solution.get_mut(place)? = value;
        for (slot, factor) in solution.iter_mut().zip(row).take(place) {
            *slot -= value * factor;
        }
    }
    Some(solution)
}
