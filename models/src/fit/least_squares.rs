//! Linear regression by least squares (`sklearn/linear_model/_base.py`, which calls LAPACK's `gelsd`).
//!
//! Features may depend on each other (a one-hot encoder's always do), so what is asked for is the smallest of all
//! solutions. The columns are centred and reduced to a triangle by Householder's reflections, which keeps the condition
//! that normal equations would square; the triangle's singular values are found by Jacobi's one-sided rotations, and
//! those that are small are left out, as LAPACK does with its `rcond`.

/// Coefficients and the constant term.
pub(super) struct Solution {
    pub(super) coefficients: Vec<f64>,
    pub(super) intercept: f64,
}

/// Minimises the weighted squared error. `columns` are the features; singular values up to `tolerance` times the largest
/// count as zero.
pub(super) fn fit(
    mut columns: Vec<Vec<f64>>,
    target: &[f64],
    weights: Option<&[f64]>,
    fit_intercept: bool,
    tolerance: f64,
) -> Solution {
    let rows = target.len();
    let mut target = target.to_vec();
    let mean = |values: &[f64]| match weights {
        None => sum(values) / count(rows),
        Some(weights) => dot(values, weights) / sum(weights),
    };
    let mut means = vec![0.0; columns.len()];
    let mut target_mean = 0.0;
    if fit_intercept {
        target_mean = mean(&target);
        target.iter_mut().for_each(|value| *value -= target_mean);
        for (column, slot) in columns.iter_mut().zip(&mut means) {
            let mean = mean(column);
            *slot = mean;
            column.iter_mut().for_each(|value| *value -= mean);
        }
    }
    if let Some(weights) = weights {
        let roots: Vec<f64> = weights.iter().map(|weight| weight.sqrt()).collect();
        for column in columns.iter_mut().chain([&mut target]) {
            column.iter_mut().zip(&roots).for_each(|(value, root)| *value *= root);
        }
    }
    let (triangle, rotated) = reduce(columns, target);
    let coefficients = smallest_solution(triangle, &rotated, tolerance);
    let intercept = if fit_intercept { target_mean - dot(&means, &coefficients) } else { 0.0 };
    Solution { coefficients, intercept }
}

#[expect(clippy::cast_precision_loss, reason = "rows are held in memory")]
fn count(rows: usize) -> f64 {
    rows as f64
}

/// Independent sums, so that additions need not wait for each other.
const LANES: usize = 8;

fn sum(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().chain(rest).sum()
}

pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    sums.iter().sum::<f64>() + left_rest.iter().zip(right_rest).map(|(left, right)| left * right).sum::<f64>()
}

/// Reduces columns to an upper triangle, given by columns, and rotates the target alike.
fn reduce(mut columns: Vec<Vec<f64>>, mut target: Vec<f64>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let rows = target.len();
    let steps = columns.len().min(rows);
    for step in 0..steps {
        let (done, open) = columns.split_at_mut(step + 1);
        let Some(pivot) = done.last_mut().and_then(|column| column.get_mut(step..)) else { break };
        let norm = dot(pivot, pivot).sqrt();
        let Some(first) = pivot.first_mut() else { break };
        if norm == 0.0 {
            continue;
        }
        let diagonal = if *first > 0.0 { -norm } else { norm };
        *first -= diagonal;
        // The reflection is I − 2vvᵀ/vᵀv.
        let scale = 2.0 / dot(pivot, pivot);
        for column in open.iter_mut().chain([&mut target]) {
            let Some(column) = column.get_mut(step..) else { continue };
            let factor = scale * dot(pivot, column);
            column.iter_mut().zip(&*pivot).for_each(|(value, reflected)| *value -= factor * reflected);
        }
        pivot.fill(0.0);
        pivot.iter_mut().take(1).for_each(|first| *first = diagonal);
    }
    columns.iter_mut().for_each(|column| column.truncate(steps));
    target.truncate(steps);
    (columns, target)
}

/// The smallest of the solutions that come nearest to `target`; singular values up to `tolerance` times the largest
/// count as zero.
fn smallest_solution(mut columns: Vec<Vec<f64>>, target: &[f64], tolerance: f64) -> Vec<f64> {
    let count = columns.len();
    // One-sided Jacobi (Hestenes, 1958): rotate pairs of columns until all are orthogonal. They are then the left
    // singular vectors times the singular values, and the rotations make the right ones.
    let mut right: Vec<Vec<f64>> =
        (0..count).map(|place| (0..count).map(|row| f64::from(u8::from(row == place))).collect()).collect();
    const MOST_SWEEPS: usize = 60;
    for _ in 0..MOST_SWEEPS {
        let mut rotated = false;
        for low in 0..count {
            for high in low + 1..count {
                rotated |= orthogonalise(&mut columns, &mut right, low, high);
            }
        }
        if !rotated {
            break;
        }
    }
    let squares: Vec<f64> = columns.iter().map(|column| dot(column, column)).collect();
    let largest = squares.iter().copied().fold(0.0, f64::max).sqrt();
    let mut solution = vec![0.0; count];
    for ((column, square), vector) in columns.iter().zip(squares).zip(&right) {
        if square.sqrt() > tolerance * largest {
            let factor = dot(column, target) / square;
            solution.iter_mut().zip(vector).for_each(|(to, from)| *to += factor * from);
        }
    }
    solution
}

/// Rotates two columns so that they are orthogonal; says whether they were not.
fn orthogonalise(columns: &mut [Vec<f64>], right: &mut [Vec<f64>], low: usize, high: usize) -> bool {
    let [Some(first), Some(second)] =
        columns.get_disjoint_mut([low, high]).map_or([None, None], |pair| pair.map(Some))
    else {
        return false;
    };
    let (first_square, second_square) = (dot(first, first), dot(second, second));
    let product = dot(first, second);
    if product == 0.0 || product.abs() <= 1e-15 * (first_square * second_square).sqrt() {
        return false;
    }
    let zeta = (second_square - first_square) / (2.0 * product);
    let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = cosine * tangent;
    let rotate = |first: &mut [f64], second: &mut [f64]| {
        for (first, second) in first.iter_mut().zip(second) {
            (*first, *second) = (cosine * *first - sine * *second, sine * *first + cosine * *second);
        }
    };
    rotate(first, second);
    if let Ok([first, second]) = right.get_disjoint_mut([low, high]) {
        rotate(first, second);
    }
    true
}
