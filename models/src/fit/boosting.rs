//! Gradient boosting (`sklearn/ensemble/_gb.py`) with the squared error or, for two classes, the log loss.

use super::{
    FitError,
    algorithm::BoostingParameters,
    criterion::Moments,
    grow::{Limits, Samples, grow},
    matrix::Matrix,
    random::RandomState,
};
use crate::{linear::sigmoid, tree::Tree};

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    SquaredError,
    /// Of targets that are 0 or 1.
    LogLoss,
}

/// Fits the initial value and the trees, their leaves already times the learning rate.
pub(super) fn fit(
    parameters: &BoostingParameters,
    loss: Loss,
    matrix: &Matrix,
    target: &[f64],
    weights: Option<&[f64]>,
) -> Result<(f64, Vec<Tree>), FitError> {
    let rows = matrix.rows;
    let all_ones = vec![1.0; rows];
    let weights = weights.unwrap_or(&all_ones);
    let initial = loss.initial(target, weights);
    let mut raw = vec![initial; rows];
    let mut random = RandomState::new(parameters.random_state.unwrap_or_default());
    let growth = &parameters.growth;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as Python's int()"
    )]
    let in_bag_count = ((parameters.subsample * rows as f64) as usize).max(1);
    let mut trees = Vec::with_capacity(parameters.n_estimators);
    for _ in 0..parameters.n_estimators {
        let in_bag = (parameters.subsample < 1.0).then(|| in_bag(&mut random, rows, in_bag_count));
        let is_in_bag = |row: usize| in_bag.as_ref().is_none_or(|mask| mask.get(row) == Some(&true));
        let gradients: Vec<f64> =
            target.iter().zip(&raw).map(|(target, raw)| loss.negative_gradient(*target, *raw)).collect();
        let mut sampled = Vec::with_capacity(rows);
        let (mut sums, mut squares) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut total = 0.0;
        for (row, (weight, gradient)) in weights.iter().zip(&gradients).enumerate() {
            if *weight != 0.0 && is_in_bag(row) {
                sampled.push(u32::try_from(row).map_err(|_| FitError::TooManyRows)?);
                sums.push(Moments { weight: *weight, sum: weight * gradient });
                squares.push(weight * gradient * gradient);
                total += weight;
            }
        }
        let limits = Limits {
            max_depth: growth.max_depth.unwrap_or(usize::MAX),
            min_samples_leaf: growth.min_samples_leaf.of_samples(rows),
            min_samples_split: growth.least_samples_to_split(rows),
            min_weight_leaf: growth.min_weight_fraction_leaf * total,
            min_impurity_decrease: growth.min_impurity_decrease,
            max_features: growth.max_features.count(matrix.columns.len()),
            max_leaf_nodes: growth.max_leaf_nodes,
        };
        let samples = Samples {
            matrix,
            rows: &sampled,
            sums: &sums,
            squares: &squares,
            seed: random.seed(),
            width: 1,
            parallel: true,
        };
        let mut grown = grow(&limits, &samples);
        let mut updates = vec![0.0; rows];
        let mut leaf_values = Vec::new();
        for (leaf, samples) in grown.leaves() {
            let row_of = |sample: &u32| sampled.get(*sample as usize).map(|row| *row as usize);
            let mean = grown.values.get(leaf).copied().unwrap_or_default();
            let value = match loss {
                Loss::SquaredError => mean,
                Loss::LogLoss => {
                    // One step of Newton's method, instead of the mean of the gradients.
                    let (mut numerator, mut denominator) = (0.0, 0.0);
                    for row in samples.iter().filter_map(row_of) {
                        let gradient = gradients.get(row).copied().unwrap_or_default();
                        let weight = weights.get(row).copied().unwrap_or_default();
                        let probability = target.get(row).copied().unwrap_or_default() - gradient;
                        numerator += weight * gradient;
                        denominator += weight * probability * (1.0 - probability);
                    }
                    safe_divide(numerator, denominator)
                }
            };
            leaf_values.push((leaf, value));
            for row in samples.iter().filter_map(row_of) {
                updates.iter_mut().skip(row).take(1).for_each(|update| *update = value);
            }
        }
        for (leaf, value) in leaf_values {
            grown.values.iter_mut().skip(leaf).take(1).for_each(|slot| *slot = value);
        }
        for (row, update) in updates.iter_mut().enumerate().filter(|_| sampled.len() < rows) {
            if weights.get(row) == Some(&0.0) || !is_in_bag(row) {
                *update = grown.values.get(grown.leaf_of(matrix, row)).copied().unwrap_or_default();
            }
        }
        for (raw, update) in raw.iter_mut().zip(updates) {
            *raw += parameters.learning_rate * update;
        }
        let mut tree = grown.into_tree().map_err(FitError::Tree)?;
        tree.change_leaves(|leaf| leaf.iter_mut().for_each(|value| *value *= parameters.learning_rate));
        trees.push(tree);
    }
    Ok((initial, trees))
}

impl Loss {
    /// What a model without features predicts.
    fn initial(self, target: &[f64], weights: &[f64]) -> f64 {
        let weighted: f64 = target.iter().zip(weights).map(|(target, weight)| target * weight).sum();
        let mean = weighted / weights.iter().sum::<f64>();
        match self {
            Self::SquaredError => mean,
            Self::LogLoss => {
                let probability = mean.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                (probability / (1.0 - probability)).ln()
            }
        }
    }

    fn negative_gradient(self, target: f64, raw: f64) -> f64 {
        match self {
            Self::SquaredError => target - raw,
            Self::LogLoss => target - sigmoid(raw),
        }
    }
}

/// `_safe_divide`: where all probabilities are 0 or 1, the step is none.
fn safe_divide(numerator: f64, denominator: f64) -> f64 {
    if denominator.abs() < 1e-150 { 0.0 } else { numerator / denominator }
}

/// `_random_sample_mask` (`sklearn/ensemble/_gradient_boosting.pyx`).
fn in_bag(random: &mut RandomState, rows: usize, count: usize) -> Vec<bool> {
    let mut left = count;
    #[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
    let draw = |row: usize| {
        let is_drawn = random.fraction() * ((rows - row) as f64) < left as f64;
        left -= usize::from(is_drawn);
        is_drawn
    };
    (0..rows).map(draw).collect()
}
