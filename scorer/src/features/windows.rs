//! Windows over the rows of one asset.
//!
//! `rolling(w, m)` is a window of `w` rows, up to and including the current one, that gives a value from `m` known
//! rows on; NaN and infinities are not known. Every function takes one value a row and gives one value a row, NaN
//! where there is none.
//!
//! None carries a sum from row to row, as pandas and polars do: a sum that values are added to and taken from keeps
//! what a large value has rounded away, long after that value has left the window. Windows are of at most twenty
//! rows, so each is computed from its own rows, and its result is the same wherever the computation began.

use std::{array, iter};

/// Rows of a window that is kept in order.
const WIDEST: usize = 20;

/// `f64` addition and what it rounded away (Knuth's two-sum).
#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// rolling(`width`, `at_least`) mean.
///
/// Sums are compensated, so that terms of both signs may cancel.
pub(super) fn mean(values: &[f64], width: usize, at_least: u32) -> Vec<f64> {
    let Sums { sums, errors } = Sums::of(values, width);
    sums.iter()
        .zip(errors)
        .zip(counts(values, width))
        .map(
            |((sum, error), count)| {
                if count >= at_least.max(1) { (sum + error) / f64::from(count) } else { f64::NAN }
            },
        )
        .collect()
}

/// The sum of each row's window, and what was rounded away.
struct Sums {
    sums: Vec<f64>,
    errors: Vec<f64>,
}

impl Sums {
    /// Windows of 2, 4, 8, … rows are two of half the length, and any other is some of these, one behind the other. So
    /// twenty rows take five additions, and rows are independent and share vector instructions.
    fn of(values: &[f64], width: usize) -> Self {
        let known = values.iter().map(|value| if value.is_finite() { *value } else { 0.0 }).collect();
        let mut block = Self { sums: known, errors: vec![0.0; values.len()] };
        let mut all: Option<Self> = None;
        let (mut length, mut covered) = (1, 0);
        loop {
            let double = (2 * length <= width).then(|| block.with_earlier(&block, length));
            if width & length != 0 {
                all = Some(match all {
                    None => block,
                    Some(all) => all.with_earlier(&block, covered),
                });
                covered += length;
            }
            match double {
                Some(double) => block = double,
                None => return all.unwrap_or(Self { sums: Vec::new(), errors: Vec::new() }),
            }
            length *= 2;
        }
    }

    /// Each row's window together with the one of `others` that ends `lag` rows before it.
    fn with_earlier(&self, others: &Self, lag: usize) -> Self {
        let (first_sums, own_sums) = self.sums.split_at(lag.min(self.sums.len()));
        let (first_errors, own_errors) = self.errors.split_at(first_sums.len());
        // One after the other, so that both become vector instructions and nothing is written twice.
        let mut sums = Vec::with_capacity(self.sums.len());
        sums.extend_from_slice(first_sums);
        sums.extend(own_sums.iter().zip(&others.sums).map(|(own, other)| own + other));
        let mut errors = Vec::with_capacity(self.errors.len());
        errors.extend_from_slice(first_errors);
        let terms = own_sums.iter().zip(&others.sums).zip(own_errors.iter().zip(&others.errors));
        errors.extend(terms.map(|((own, other), (own_error, other_error))| {
            own_error + other_error + two_sum(*own, *other).1
        }));
        Self { sums, errors }
    }
}

/// How many values of each window are known.
fn counts(values: &[f64], width: usize) -> impl Iterator<Item = u32> {
    let leaving = iter::repeat_n(&f64::NAN, width).chain(values);
    values.iter().zip(leaving).scan(0_u32, |count, (entering, leaving)| {
        *count = count.wrapping_add(entering.is_finite().into()).wrapping_sub(leaving.is_finite().into());
        Some(*count)
    })
}

/// rolling(`WIDTH`, `at_least`) standard deviation with one degree of freedom less than values.
pub(super) fn standard_deviation<const WIDTH: usize>(values: &[f64], at_least: u32) -> Vec<f64> {
    let known = |window: &[f64], at_least| {
        deviation_of(window.iter().copied().filter(|value| value.is_finite()), at_least)
    };
    let at_first = (1..WIDTH.min(values.len() + 1)).map(|rows| known(&values[..rows], at_least));
    let full = values.array_windows::<WIDTH>();
    let mut deviations = Vec::with_capacity(values.len());
    deviations.extend(at_first);
    if values.iter().all(|value| value.is_finite()) {
        // Without a branch, so that rows share vector instructions.
        deviations.extend(full.map(|window| deviation_of(window.iter().copied(), 0)));
    } else {
        deviations.extend(full.map(|window| known(window, at_least)));
    }
    deviations
}

#[inline(always)]
fn deviation_of(known: impl Iterator<Item = f64> + Clone, at_least: u32) -> f64 {
    let first = known.clone().next().unwrap_or(f64::NAN);
    // Relative to one of the values, so that equal values have no deviation at all.
    let add = |(count, sum), value| (count + 1, sum + (value - first));
    let (count, sum) = known.clone().fold((0_u32, 0.0), add);
    if count < at_least.max(2) {
        return f64::NAN;
    }
    let mean = first + sum / f64::from(count);
    // The second term is what the mean's rounding leaves.
    let (squares, rest) = known
        .map(|value| value - mean)
        .fold((0.0, 0.0), |(squares, rest), deviation| (squares + deviation * deviation, rest + deviation));
    ((squares - rest * rest / f64::from(count)) / f64::from(count - 1)).max(0.0).sqrt()
}

/// The known values of a window of twenty rows in ascending order, and infinity for each of the others.
#[derive(Debug)]
struct Ordered {
    values: [f64; WIDEST],
    known: usize,
}

impl Ordered {
    /// Takes the place of `leaving` for `entering`; infinity stands for a value that is not known.
    ///
    /// Without branches, which could not be predicted, and in vector instructions; five times as fast as finding the
    /// places and moving what is in between.
    #[inline]
    fn replace(&mut self, leaving: f64, entering: f64) {
        let values = &self.values;
        // Those after the leaving one move down; the last place is free.
        let rest: [f64; WIDEST] = array::from_fn(|place| match values.get(place + 1) {
            Some(next) if values[place] >= leaving => *next,
            Some(_) => values[place],
            None => f64::INFINITY,
        });
        // Those after the entering one move up: each place gets the middle one of it, its value and the one before.
        self.values = array::from_fn(|place| {
            let before = if place == 0 { f64::NEG_INFINITY } else { rest[place - 1] };
            let after_before = if before > entering { before } else { entering };
            if rest[place] < after_before { rest[place] } else { after_before }
        });
        self.known = self
            .known
            .wrapping_sub(usize::from(leaving != f64::INFINITY))
            .wrapping_add(usize::from(entering != f64::INFINITY));
    }

    fn value(&self, place: usize) -> f64 {
        self.values.get(place).copied().unwrap_or(f64::NAN)
    }

    /// The quantile with linear interpolation; NaN if fewer values than `at_least` are known.
    fn quantile(&self, share: f64, at_least: u32) -> f64 {
        let known = u32::try_from(self.known).unwrap_or_default();
        if known < at_least.max(1) {
            return f64::NAN;
        }
        let position = share * f64::from(known - 1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ position ≤ 19")]
        let below = position as u32;
        let (place, fraction) = (below as usize, position - f64::from(below));
        if below + 1 >= known {
            return self.value(place);
        }
        self.value(place) + (self.value(place + 1) - self.value(place)) * fraction
    }

    /// The median; NaN if fewer values than `at_least` are known.
    fn median(&self, at_least: usize) -> f64 {
        if self.known < at_least.max(1) {
            return f64::NAN;
        }
        let middle = self.known / 2;
        if self.known % 2 == 1 {
            self.value(middle)
        } else {
            (self.value(middle - 1) + self.value(middle)) / 2.0
        }
    }
}

/// What `statistic` says of the last twenty rows' values in order.
fn of_ordered_20<T>(values: &[f64], mut statistic: impl FnMut(&Ordered) -> T) -> Vec<T> {
    let mut window = Ordered { values: [f64::INFINITY; WIDEST], known: 0 };
    // Zero is added so that there is one zero only.
    let or_infinity = |value: &f64| if value.is_finite() { *value + 0.0 } else { f64::INFINITY };
    let leaving = iter::repeat_n(&f64::NAN, WIDEST).chain(values);
    let step = |(entering, leaving): (&f64, &f64)| {
        window.replace(or_infinity(leaving), or_infinity(entering));
        statistic(&window)
    };
    values.iter().zip(leaving).map(step).collect()
}

/// rolling(20, 3) median.
pub(super) fn median_20(values: &[f64]) -> Vec<f64> {
    of_ordered_20(values, |window| window.median(3))
}

/// rolling(20, 3) median, and rolling(20, 5) range between the quartiles.
pub(super) fn median_and_quartile_range_20(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    of_ordered_20(values, |window| (window.median(3), window.quantile(0.75, 5) - window.quantile(0.25, 5)))
        .into_iter()
        .unzip()
}

/// The sum of all values so far; NaN values are left out, and have none.
///
/// Compensated as pandas' `cumsum` is (Kahan), so that the sums are the same to the bit.
pub(super) fn running_sum(values: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
    let (mut sum, mut compensation) = (0.0, 0.0);
    values.map(move |value| {
        if value.is_nan() {
            return f64::NAN;
        }
        let compensated: f64 = value - compensation;
        let next: f64 = sum + compensated;
        compensation = next - sum - compensated;
        sum = next;
        sum
    })
}

/// The largest value so far; NaN values are left out, and have none.
pub(super) fn running_maximum(values: &[f64]) -> impl Iterator<Item = f64> {
    values.iter().scan(f64::NEG_INFINITY, |highest, value| {
        *highest = highest.max(*value);
        Some(if value.is_nan() { f64::NAN } else { *highest })
    })
}

/// Each row's predecessor; the first has none.
pub(super) fn previous(values: &[f64]) -> Vec<f64> {
    let mut previous = Vec::with_capacity(values.len());
    if let Some((_, but_last)) = values.split_last() {
        previous.push(f64::NAN);
        previous.extend_from_slice(but_last);
    }
    previous
}
