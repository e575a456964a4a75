//! What makes a split good (`sklearn/tree/_criterion.pyx`), with scikit-learn's own operations in its order, so that
//! where sums are exact equal splits are equal to the bit here as there.

use std::ops::{AddAssign, Sub};

/// How many splits are judged side by side.
pub(super) const LANES: usize = 8;

/// Sums over samples, of which a split's worth follows. A sample is the sum over itself.
pub(super) trait Sums: Copy + Default + AddAssign + Sub<Output = Self> + Send + Sync {
    /// The sum of the samples' weights.
    fn weight(self) -> f64;

    /// Larger is better, among splits of one node (`proxy_impurity_improvement`).
    fn proxy(left: Self, total: Self) -> f64;

    /// `proxy` of splits side by side: the same numbers, in a form that becomes vectors.
    fn proxies(left: &[Self; LANES], total: Self) -> [f64; LANES];

    /// The impurity, given also the weighted sum of the squared targets.
    fn impurity(self, squares: f64) -> f64;

    /// What a leaf predicts: one value, or one a class.
    fn append_value(self, width: usize, values: &mut Vec<f64>);
}

/// The mean squared error, for regression.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    pub(super) weight: f64,
    /// Of targets, each times its weight.
    pub(super) sum: f64,
}

impl AddAssign for Moments {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.weight += other.weight;
        self.sum += other.sum;
    }
}

impl Sub for Moments {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { weight: self.weight - other.weight, sum: self.sum - other.sum }
    }
}

impl Sums for Moments {
    fn weight(self) -> f64 {
        self.weight
    }

    #[inline(always)]
    fn proxy(left: Self, total: Self) -> f64 {
        let right = total - left;
        left.sum * left.sum / left.weight + right.sum * right.sum / right.weight
    }

    #[inline(always)]
    fn proxies(left: &[Self; LANES], total: Self) -> [f64; LANES] {
        let (weights, sums) = (left.map(|left| left.weight), left.map(|left| left.sum));
        let mut proxies = [0.0; LANES];
        for (proxy, (weight, sum)) in proxies.iter_mut().zip(weights.iter().zip(&sums)) {
            *proxy = Self::proxy(Self { weight: *weight, sum: *sum }, total);
        }
        proxies
    }

    fn impurity(self, squares: f64) -> f64 {
        let mean = self.sum / self.weight;
        squares / self.weight - mean * mean
    }

    fn append_value(self, _width: usize, values: &mut Vec<f64>) {
        values.push(self.sum / self.weight);
    }
}

/// The Gini impurity of up to `K` classes, for classification: the weight of each class.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClassWeights<const K: usize>(pub(super) [f64; K]);

impl<const K: usize> Default for ClassWeights<K> {
    fn default() -> Self {
        Self([0.0; K])
    }
}

impl<const K: usize> AddAssign for ClassWeights<K> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(to, from)| *to += from);
    }
}

impl<const K: usize> Sub for ClassWeights<K> {
    type Output = Self;

    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(to, from)| *to -= from);
        self
    }
}

impl<const K: usize> ClassWeights<K> {
    #[inline(always)]
    fn gini(self) -> f64 {
        let squares = self.0.iter().fold(0.0, |sum, weight| sum + weight * weight);
        let weight = self.weight();
        1.0 - squares / (weight * weight)
    }
}

impl<const K: usize> Sums for ClassWeights<K> {
    #[inline(always)]
    fn weight(self) -> f64 {
        self.0.iter().fold(0.0, |sum, weight| sum + weight)
    }

    #[inline(always)]
    fn proxy(left: Self, total: Self) -> f64 {
        let right = total - left;
        -right.weight() * right.gini() - left.weight() * left.gini()
    }

    #[inline(always)]
    fn proxies(left: &[Self; LANES], total: Self) -> [f64; LANES] {
        let (mut left_weights, mut right_weights) = ([0.0; LANES], [0.0; LANES]);
        let (mut left_squares, mut right_squares) = ([0.0; LANES], [0.0; LANES]);
        for (class, total) in total.0.iter().enumerate() {
            let of_class = left.map(|left| left.0[class]);
            for lane in 0..LANES {
                let (left, right) = (of_class[lane], total - of_class[lane]);
                left_weights[lane] += left;
                right_weights[lane] += right;
                left_squares[lane] += left * left;
                right_squares[lane] += right * right;
            }
        }
        let mut proxies = [0.0; LANES];
        for lane in 0..LANES {
            let (left, right) = (left_weights[lane], right_weights[lane]);
            let of_left = 1.0 - left_squares[lane] / (left * left);
            let of_right = 1.0 - right_squares[lane] / (right * right);
            proxies[lane] = -right * of_right - left * of_left;
        }
        proxies
    }

    fn impurity(self, _squares: f64) -> f64 {
        self.gini()
    }

    fn append_value(self, width: usize, values: &mut Vec<f64>) {
        let weight = self.weight();
        values.extend(self.0.iter().take(width).map(|of_class| of_class / weight));
    }
}
