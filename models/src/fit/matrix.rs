//! Features as trees are grown from them: by column, as the ranks of 32-bit numbers, sorted once.

use std::{collections::HashMap, sync::Arc};

use rayon::prelude::*;

use super::FitError;
use crate::{
    features::key,
    pipeline::{Block, Feature},
};

/// All features of all rows.
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: Vec<TreeColumn>,
    /// Columns of which several features were made.
    pub(super) groups: Vec<Coded>,
}

/// One feature.
pub(super) enum TreeColumn {
    /// Of many distinct values.
    Many(Many),
    /// Of few distinct values, or grouped into few.
    Few(Coded),
    /// 1 where a group's code is `hot`, else 0: what a one-hot encoder makes. All features of a group are judged in
    /// one pass over the rows.
    Indicator { group: usize, hot: u32 },
}

pub(super) struct Many {
    /// Ranks that are as far apart are of values that differ.
    apart: u32,
    /// The distinct values, ascending.
    pub(super) distinct: Vec<f32>,
    /// Row by row, the place among the distinct values.
    pub(super) ranks: Vec<u32>,
    /// By ascending rank, equal ones by row.
    pub(super) sorted: Vec<Entry>,
}

/// Values that differ by less are equal (`sklearn/tree/_partitioner.pyx`).
pub(super) const FEATURE_THRESHOLD: f32 = 1e-7;

impl Many {
    /// The value of a rank.
    pub(super) fn value(&self, rank: u32) -> Option<f32> {
        self.distinct.get(rank as usize).copied()
    }

    /// Whether the value of one rank is above that of another that is not higher.
    #[inline(always)]
    pub(super) fn differ(&self, lower: u32, higher: u32) -> bool {
        let by_value = |(lower, higher): (f32, f32)| higher > lower + FEATURE_THRESHOLD;
        // Looking values up waits for memory.
        higher.saturating_sub(lower) >= self.apart
            || self.value(lower).zip(self.value(higher)).is_some_and(by_value)
    }
}

/// A sample's rank by one feature.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    rank: u32,
    sample: u32,
}

impl Entry {
    pub(super) fn new(rank: u32, sample: u32) -> Self {
        Self { rank, sample }
    }

    /// The place of the value among the distinct ones.
    pub(super) fn rank(self) -> u32 {
        self.rank
    }

    /// The sample's place among those of a tree, or, of a matrix, the row.
    pub(super) fn sample(self) -> u32 {
        self.sample
    }
}

/// A column as small numbers in the order of its values.
pub(super) struct Coded {
    pub(super) codes: Vec<u32>,
    /// The smallest and the largest value of each code.
    pub(super) bins: Vec<(f32, f32)>,
}

/// Up to this many distinct values are counted instead of sorted.
const FEW: usize = 64;

impl Matrix {
    /// The features that transformers gave. Columns of more than `max_bins` distinct values, if there is such a
    /// bound, are grouped into that many bins of about equally many rows.
    ///
    /// # Errors
    /// A value is missing, infinite or beyond 32 bits.
    pub(super) fn new(
        block: Block<'_>,
        max_bins: Option<usize>,
        name: impl Fn(usize) -> String + Sync,
    ) -> Result<Self, FitError> {
        let rows = block.rows;
        let mut known: HashMap<*const u32, usize> = HashMap::new();
        let mut groups = Vec::new();
        let mut places = Vec::new();
        for feature in block.columns {
            places.push(match feature {
                Feature::Indicator { places, hot } => {
                    let group = *known.entry(places.as_ptr()).or_insert_with(|| {
                        groups.push(Arc::clone(&places));
                        groups.len() - 1
                    });
                    Err(TreeColumn::Indicator { group, hot })
                }
                feature => Ok(feature.coerced()),
            });
        }
        let column = |(place, column): (usize, Result<_, TreeColumn>)| match column {
            Err(indicator) => Ok(indicator),
            Ok(numbers) => {
                let numbers: &crate::pipeline::Numbers<'_> = &numbers;
                TreeColumn::of_numbers(numbers.as_slice(), max_bins)
                    .ok_or_else(|| FitError::NotFinite { feature: name(place) })
            }
        };
        let columns = places.into_par_iter().enumerate().map(column).collect::<Result<_, _>>()?;
        let groups = groups.into_iter().map(|places| {
            let count = places.iter().filter(|place| **place != u32::MAX).max().map_or(0, |most| most + 1);
            // Rows of no category are one more code, which no feature asks for.
            let codes = places.iter().map(|place| (*place).min(count)).collect();
            Coded { codes, bins: vec![(0.0, 0.0); count as usize + 1] }
        });
        Ok(Self { rows, columns, groups: groups.collect() })
    }

    /// The value of a feature in a row.
    pub(super) fn value(&self, feature: usize, row: usize) -> f32 {
        match self.columns.get(feature) {
            Some(TreeColumn::Many(many)) => many.ranks.get(row).and_then(|rank| many.value(*rank)),
            Some(TreeColumn::Few(coded)) => {
                coded.codes.get(row).and_then(|code| coded.bins.get(*code as usize)).map(|bin| bin.0)
            }
            Some(TreeColumn::Indicator { group, hot }) => {
                let code = self.groups.get(*group).and_then(|group| group.codes.get(row));
                code.map(|code| if code == hot { 1.0 } else { 0.0 })
            }
            None => None,
        }
        .unwrap_or(f32::NAN)
    }
}

impl TreeColumn {
    fn of_numbers(numbers: &[f64], max_bins: Option<usize>) -> Option<Self> {
        if !numbers.iter().fold(true, |all, value| all & (value.abs() <= f64::from(f32::MAX))) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "scikit-learn's trees compare 32-bit numbers")]
        let values: Vec<f32> = numbers.iter().map(|value| *value as f32 + 0.0).collect();
        let mut sorted: Vec<(i32, u32)> = values.iter().map(|value| key(*value)).zip(0..).collect();
        sorted.par_sort_unstable();
        let distinct = sorted.chunk_by(|left, right| left.0 == right.0);
        let distinct_count = distinct.clone().count();
        if distinct_count > FEW && max_bins.is_none() {
            let mut ranks = vec![0; values.len()];
            let mut entries = Vec::with_capacity(values.len());
            let mut distinct_values = Vec::with_capacity(distinct_count);
            for (rank, run) in (0..).zip(distinct) {
                distinct_values.push(values.get(run.first()?.1 as usize).copied()?);
                for (_, row) in run {
                    *ranks.get_mut(*row as usize)? = rank;
                    entries.push(Entry::new(rank, *row));
                }
            }
            let apart = apart(&distinct_values);
            return Some(Self::Many(Many { apart, distinct: distinct_values, ranks, sorted: entries }));
        }
        let most = max_bins.unwrap_or(FEW);
        let rows_a_bin = if distinct_count <= most { 1 } else { values.len().div_ceil(most) };
        let mut codes = vec![0; values.len()];
        let mut bins: Vec<(f32, f32)> = Vec::new();
        let mut in_bin = usize::MAX;
        for run in distinct {
            let value = values.get(run.first()?.1 as usize).copied()?;
            if in_bin >= rows_a_bin {
                bins.push((value, value));
                in_bin = 0;
            }
            in_bin += run.len();
            let code = u32::try_from(bins.len() - 1).ok()?;
            bins.last_mut()?.1 = value;
            for (_, row) in run {
                *codes.get_mut(*row as usize)? = code;
            }
        }
        Some(Self::Few(Coded { codes, bins }))
    }
}

/// How many ranks, at the most, are between values that do not differ, and one more. `distinct` ascends.
fn apart(distinct: &[f32]) -> u32 {
    let mut higher = 0;
    let distance = |(rank, value): (usize, &f32)| {
        let equals = |other: &&f32| **other <= *value + FEATURE_THRESHOLD;
        higher += distinct.get(higher..).unwrap_or_default().iter().take_while(equals).count();
        higher - rank
    };
    let most = distinct.iter().enumerate().map(distance).max().unwrap_or_default();
    u32::try_from(most).unwrap_or(u32::MAX)
}
