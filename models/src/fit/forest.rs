//! Random forests (`sklearn/ensemble/_forest.py`).

use rayon::prelude::*;

use super::{
    FitError,
    algorithm::{Amount, ForestParameters},
    criterion::{ClassWeights, Moments, Sums},
    grow::{Limits, Samples, grow},
    matrix::Matrix,
    random::RandomState,
};
use crate::tree::Tree;

/// Sums over classes are held in arrays of fixed length.
pub(super) const MOST_CLASSES: usize = 64;

/// `max_samples` as a number may be of a table with more rows than this one.
const MOST_DRAWN_PER_ROW: usize = 10;

/// 100 trees of a million rows; they take some 5 GB while they grow.
const MOST_LEAVES: usize = 100_000_000;

/// What a forest is fitted to.
pub(super) enum ForestTarget<'a> {
    Values(&'a [f64]),
    Classes { codes: &'a [u32], count: usize },
}

/// Grows the trees of a forest; `weights` are those of the rows, already times those of the classes.
pub(super) fn fit(
    parameters: &ForestParameters,
    matrix: &Matrix,
    target: &ForestTarget<'_>,
    weights: Option<&[f64]>,
) -> Result<Vec<Tree>, FitError> {
    match target {
        ForestTarget::Values(values) => {
            let sample = |row: usize, weight: f64| {
                let value = values.get(row).copied().unwrap_or(f64::NAN);
                (Moments { weight, sum: weight * value }, weight * value * value)
            };
            grow_all(parameters, matrix, weights, 1, sample)
        }
        ForestTarget::Classes { codes, count } => {
            let codes = *codes;
            match count {
                0..=2 => grow_all(parameters, matrix, weights, *count, of_class::<2>(codes)),
                3..=8 => grow_all(parameters, matrix, weights, *count, of_class::<8>(codes)),
                _ => grow_all(parameters, matrix, weights, *count, of_class::<MOST_CLASSES>(codes)),
            }
        }
    }
}

fn of_class<const K: usize>(codes: &[u32]) -> impl Fn(usize, f64) -> (ClassWeights<K>, f64) + Sync + '_ {
    |row, weight| {
        let mut sums = ClassWeights::default();
        let class = codes.get(row).copied().unwrap_or_default();
        sums.0.iter_mut().skip(class as usize).take(1).for_each(|of_class| *of_class = weight);
        (sums, 0.0)
    }
}

fn grow_all<S: Sums>(
    parameters: &ForestParameters,
    matrix: &Matrix,
    weights: Option<&[f64]>,
    width: usize,
    sample: impl Fn(usize, f64) -> (S, f64) + Sync,
) -> Result<Vec<Tree>, FitError> {
    let count = drawn_count(parameters.max_samples, matrix.rows, weights);
    check_size(parameters, matrix.rows, count)?;
    let mut random = RandomState::new(parameters.random_state.unwrap_or_default());
    let seeds: Vec<u32> = (0..parameters.n_estimators).map(|_| random.seed()).collect();
    // What `numpy.random.choice` draws from, where rows are weighted.
    let shares = weights.filter(|_| parameters.bootstrap).map(Shares::of);
    let tree = |seed: u32| {
        let drawn: Vec<f64> = match (parameters.bootstrap, weights) {
            (true, _) => bootstrap(seed, matrix.rows, count, shares.as_ref()),
            (false, Some(weights)) => weights.to_vec(),
            (false, None) => vec![1.0; matrix.rows],
        };
        let total: f64 = drawn.iter().sum();
        let mut rows = Vec::with_capacity(matrix.rows);
        let (mut sums, mut squares) = (Vec::with_capacity(matrix.rows), Vec::with_capacity(matrix.rows));
        for (row, weight) in drawn.into_iter().enumerate().filter(|(_, weight)| *weight != 0.0) {
            rows.push(u32::try_from(row).map_err(|_| FitError::TooManyRows)?);
            let (sum, square) = sample(row, weight);
            sums.push(sum);
            squares.push(square);
        }
        let growth = &parameters.growth;
        let limits = Limits {
            max_depth: growth.max_depth.unwrap_or(usize::MAX),
            min_samples_leaf: growth.min_samples_leaf.of_samples(matrix.rows),
            min_samples_split: growth.least_samples_to_split(matrix.rows),
            min_weight_leaf: growth.min_weight_fraction_leaf * total,
            min_impurity_decrease: growth.min_impurity_decrease,
            max_features: growth.max_features.count(matrix.columns.len()),
            max_leaf_nodes: growth.max_leaf_nodes,
        };
        let samples = Samples {
            matrix,
            rows: &rows,
            sums: &sums,
            squares: &squares,
            seed: RandomState::new(seed).seed(),
            width,
            parallel: false,
        };
        grow(&limits, &samples).into_tree().map_err(FitError::Tree)
    };
    seeds.into_par_iter().map(tree).collect()
}

/// Hyper-parameters also come from artifacts: what a fit takes must follow from the rows.
fn check_size(parameters: &ForestParameters, rows: usize, drawn: usize) -> Result<(), FitError> {
    let most = MOST_DRAWN_PER_ROW.saturating_mul(rows);
    if drawn > most {
        return Err(FitError::TooManySamples { count: drawn, rows, most });
    }
    let growth = &parameters.growth;
    let by_depth = growth.max_depth.and_then(|depth| 1_usize.checked_shl(u32::try_from(depth).ok()?));
    let leaves = [Some(rows), by_depth, growth.max_leaf_nodes].into_iter().flatten().min().unwrap_or(rows);
    if parameters.n_estimators.saturating_mul(leaves) > MOST_LEAVES {
        return Err(FitError::TooManyLeaves { trees: parameters.n_estimators, leaves, most: MOST_LEAVES });
    }
    Ok(())
}

/// How many rows a tree draws (`_get_n_samples_bootstrap`, `sklearn/ensemble/_bootstrap.py`).
fn drawn_count(max_samples: Option<Amount>, rows: usize, weights: Option<&[f64]>) -> usize {
    match max_samples {
        None => rows,
        Some(Amount::Count(count)) => count,
        Some(Amount::Fraction(fraction)) => {
            #[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
            let total = weights.map_or(rows as f64, |weights| weights.iter().sum());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as Python's int()")]
            let count = (fraction * total) as usize;
            count.max(1)
        }
    }
}

/// Rows to be drawn by their weights.
struct Shares {
    /// Each row's share and those of all rows before it.
    cumulated: Vec<f64>,
    /// Where to begin to look, for each of equal parts of the range from 0 to 1; a power of two of them, so that a
    /// number's part is exact.
    starts: Vec<u32>,
}

impl Shares {
    fn of(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        cumulated.iter_mut().for_each(|share| *share /= sum);
        let parts = weights.len().next_power_of_two();
        #[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
        let start = |part: usize| {
            let least = part as f64 / parts as f64;
            u32::try_from(cumulated.partition_point(|share| *share <= least)).unwrap_or(u32::MAX)
        };
        Self { starts: (0..parts).map(start).collect(), cumulated }
    }

    /// The row of a number from 0 to 1: `numpy.searchsorted(cumulated, fraction, side="right")`.
    #[inline]
    fn row(&self, fraction: f64) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part's place"
        )]
        let part = (fraction * self.starts.len() as f64) as usize;
        let start = self.starts.get(part).map_or(0, |start| *start as usize);
        let rest = self.cumulated.get(start..).unwrap_or_default();
        start + rest.iter().take_while(|share| **share <= fraction).count()
    }
}

/// How often each row is drawn. Since 1.9 weighted rows are drawn more often, and then count for one each
/// (`_generate_sample_indices`).
fn bootstrap(seed: u32, rows: usize, count: usize, shares: Option<&Shares>) -> Vec<f64> {
    let mut random = RandomState::new(seed);
    let mut drawn = vec![0.0; rows];
    let end = u32::try_from(rows).unwrap_or(u32::MAX);
    for _ in 0..count {
        let row = match shares {
            None => random.below(end) as usize,
            Some(shares) => shares.row(random.fraction()),
        };
        drawn.iter_mut().skip(row).take(1).for_each(|times| *times += 1.0);
    }
    drawn
}
