//! Trees of up to three levels, evaluated as a whole.

use crate::{
    features::{Batch, LANES},
    tree::{ROOT, Tree},
};

const LEVELS: usize = 3;
const SPLITS: usize = (1 << LEVELS) - 1;
const LEAVES: usize = 1 << LEVELS;
/// A full tree of three levels; where the original is less deep, splits that make no difference fill it up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShallowTree {
    /// Level by level: the children of split `n` are `2 * n + 1` and `2 * n + 2`.
    thresholds: [i32; SPLITS],
    columns: [usize; SPLITS],
    leaves: Leaves,
}

/// Leaf values as the halves of their bits, because there are vector look-ups of 32-bit numbers only.
#[derive(Debug, Clone, PartialEq)]
struct Leaves {
    low: [i32; LEAVES],
    high: [i32; LEAVES],
}

impl ShallowTree {
    /// The same tree, unless it is too deep or has more than one value a leaf.
    pub(crate) fn new(tree: &Tree) -> Option<Self> {
        if tree.depth > LEVELS || tree.width != 1 {
            return None;
        }
        let mut shallow = Self {
            thresholds: [i32::MAX; SPLITS],
            columns: [0; SPLITS],
            leaves: Leaves { low: [0; LEAVES], high: [0; LEAVES] },
        };
        shallow.fill(tree, ROOT, 0)?;
        Some(shallow)
    }

    fn fill(&mut self, tree: &Tree, slot: u32, place: usize) -> Option<()> {
        let content = tree.slots.get(slot)?;
        let leaf = content.leaf_place();
        if place >= SPLITS {
            let bits = tree.values.get(leaf? as usize)?.to_bits().cast_signed();
            #[expect(clippy::cast_possible_truncation, reason = "the halves of the bits")]
            let (low, high) = (bits as i32, (bits >> 32) as i32);
            *self.leaves.low.get_mut(place - SPLITS)? = low;
            *self.leaves.high.get_mut(place - SPLITS)? = high;
            return Some(());
        }
        let mut children = [slot; 2];
        if leaf.is_none() {
            *self.thresholds.get_mut(place)? = content.threshold;
            *self.columns.get_mut(place)? = content.column();
            children = [content.left_child(), content.left_child() + 1];
        }
        self.fill(tree, children[0], 2 * place + 1)?;
        self.fill(tree, children[1], 2 * place + 2)
    }
}

/// Adds the leaves of all trees, in order, for every row of a batch without missing values. Splits compare features
/// below `features`.
pub(crate) fn add_shallow(trees: &[ShallowTree], features: usize, batch: &Batch, sums: &mut [f64]) {
    assert!(batch.keys.len() >= features.max(1) * LANES, "a batch has all features of the trees");
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, and the batch all features.
        return unsafe { avx2::add(trees, &batch.keys, sums) };
    }
    add_portable(trees, &batch.keys, sums);
}

fn add_portable(trees: &[ShallowTree], keys: &[i32], sums: &mut [f64]) {
    for (row, sum) in sums.iter_mut().enumerate().take(LANES) {
        for tree in trees {
            let mut place = 0;
            for _ in 0..LEVELS {
                let x = keys.get(tree.columns[place] + row).copied().unwrap_or_default();
                place = 2 * place + 1 + usize::from(x > tree.thresholds[place]);
            }
            *sum += tree.leaves.get(place - SPLITS);
        }
    }
}

impl Leaves {
    fn get(&self, place: usize) -> f64 {
        let bits = i64::from(self.high[place]) << 32 | i64::from(self.low[place].cast_unsigned());
        f64::from_bits(bits.cast_unsigned())
    }
}

/// Eight rows in a vector. The portable loop takes five times as long, because compilers turn it into byte shuffles.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, ShallowTree};

    const GROUP: usize = 8;
    /// Vectors that are worked on at once, so that one tree's numbers are fetched once for sixteen rows.
    const GROUPS: usize = 2;

    /// Adds the leaves of all trees, in order, to the sums of up to [`LANES`] rows.
    ///
    /// # Safety
    /// `keys` has [`LANES`] places for every feature of the trees.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn add(trees: &[ShallowTree], keys: &[i32], sums: &mut [f64]) {
        for (part, sums) in sums.chunks_mut(GROUP * GROUPS).enumerate().take(LANES / (GROUP * GROUPS)) {
            let mut lanes = [0.0; GROUP * GROUPS];
            lanes.iter_mut().zip(&*sums).for_each(|(lane, sum)| *lane = *sum);
            // SAFETY: the rows lie within LANES; the rest as the caller guarantees.
            unsafe { add_rows(trees, keys.as_ptr().add(part * GROUP * GROUPS), &mut lanes) };
            sums.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum = lane);
        }
    }

    /// # Safety
    /// `keys` points to the key of the first row in the first feature's column, and every feature of the trees has one.
    #[target_feature(enable = "avx2")]
    unsafe fn add_rows(trees: &[ShallowTree], keys: *const i32, sums: &mut [f64; GROUP * GROUPS]) {
        // Unpacking leaves rows 0, 1, 4, 5 in one vector of doubles and 2, 3, 6, 7 in the other.
        let mut lower = [_mm256_setzero_pd(); GROUPS];
        let mut upper = [_mm256_setzero_pd(); GROUPS];
        for (group, sums) in sums.as_chunks::<GROUP>().0.iter().enumerate() {
            lower[group] = _mm256_setr_pd(sums[0], sums[1], sums[4], sums[5]);
            upper[group] = _mm256_setr_pd(sums[2], sums[3], sums[6], sums[7]);
        }
        for tree in trees {
            // SAFETY: both arrays have eight places of 32 bits.
            let (low, high) = unsafe {
                (
                    _mm256_loadu_si256(tree.leaves.low.as_ptr().cast()),
                    _mm256_loadu_si256(tree.leaves.high.as_ptr().cast()),
                )
            };
            for group in 0..GROUPS {
                let right = |split: usize| {
                    // SAFETY: as the caller guarantees.
                    let x = unsafe {
                        let column = keys.add(tree.columns[split] + group * GROUP);
                        _mm256_loadu_si256(column.cast())
                    };
                    _mm256_cmpgt_epi32(x, _mm256_set1_epi32(tree.thresholds[split]))
                };
                let select = |mask, no, yes| _mm256_blendv_epi8(no, yes, mask);
                let first = right(0);
                let second = select(first, right(1), right(2));
                let third =
                    select(first, select(second, right(3), right(4)), select(second, right(5), right(6)));
                // The look-up takes the three low bits of each.
                let leaf = _mm256_or_si256(
                    _mm256_or_si256(
                        _mm256_and_si256(first, _mm256_set1_epi32(4)),
                        _mm256_and_si256(second, _mm256_set1_epi32(2)),
                    ),
                    _mm256_and_si256(third, _mm256_set1_epi32(1)),
                );
                let low = _mm256_permutevar8x32_epi32(low, leaf);
                let high = _mm256_permutevar8x32_epi32(high, leaf);
                let values = _mm256_castsi256_pd(_mm256_unpacklo_epi32(low, high));
                lower[group] = _mm256_add_pd(lower[group], values);
                let values = _mm256_castsi256_pd(_mm256_unpackhi_epi32(low, high));
                upper[group] = _mm256_add_pd(upper[group], values);
            }
        }
        for (group, sums) in sums.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            let (mut low, mut high) = ([0.0; 4], [0.0; 4]);
            // SAFETY: both arrays have four places of 64 bits.
            unsafe {
                _mm256_storeu_pd(low.as_mut_ptr(), lower[group]);
                _mm256_storeu_pd(high.as_mut_ptr(), upper[group]);
            }
            *sums = [low[0], low[1], high[0], high[1], low[2], low[3], high[2], high[3]];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of random splits on two features.
    fn tree(seed: u64) -> ShallowTree {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i32 - (1 << 30)
        };
        ShallowTree {
            thresholds: std::array::from_fn(|_| next()),
            columns: std::array::from_fn(|_| (next() & 1) as usize * LANES),
            leaves: Leaves {
                low: std::array::from_fn(|_| next()),
                high: std::array::from_fn(|_| next() & 0x3fff_ffff),
            },
        }
    }

    #[test]
    fn the_fast_way_and_the_portable_way_agree_to_the_bit() {
        let trees: Vec<ShallowTree> = (1..20).map(tree).collect();
        let keys: Vec<i32> = (0..2 * LANES as i32).map(|key| (key * 7_919 - 400_000) * 2_003).collect();
        for rows in [1, 7, 8, 9, 16, 17, 63, LANES] {
            let (mut portable, mut fast) = (vec![0.5; rows], vec![0.5; rows]);
            add_portable(&trees, &keys, &mut portable);
            add_shallow(&trees, 2, &Batch { rows, keys: keys.clone(), has_missing: false }, &mut fast);
            assert_eq!(portable, fast);
        }
    }
}
