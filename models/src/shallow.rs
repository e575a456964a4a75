//! Three levels of a tree at once: all of a shallow tree, or the top of a deep one.

use crate::{
    features::{Batch, LANES},
    tree::{ROOT, Tree},
};

/// How many levels are evaluated at once.
pub(crate) const LEVELS: usize = 3;
const SPLITS: usize = (1 << LEVELS) - 1;
const ENDS: usize = 1 << LEVELS;

/// The splits of a full tree of three levels, level by level: the children of split `n` are `2 * n + 1` and
/// `2 * n + 2`. Where the original is less deep, splits that make no difference fill it up.
#[derive(Debug, Clone, PartialEq)]
struct Splits {
    thresholds: [i32; SPLITS],
    /// Where each feature's column begins in a batch.
    columns: [usize; SPLITS],
}

/// The top of a tree, and the slot where each of its paths ends.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Top {
    splits: Splits,
    slots: [u32; ENDS],
}

/// A tree of no more than three levels.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ShallowTree {
    splits: Splits,
    leaves: Leaves,
}

/// Leaf values as the halves of their bits, because there are vector look-ups of 32-bit numbers only.
#[derive(Debug, Clone, PartialEq)]
struct Leaves {
    low: [i32; ENDS],
    high: [i32; ENDS],
}

impl Splits {
    /// The end of a row's path.
    fn descend(&self, keys: &[i32], row: usize) -> usize {
        let mut place = 0;
        for _ in 0..LEVELS {
            let x = keys.get(self.columns[place] + row).copied().unwrap_or_default();
            place = 2 * place + 1 + usize::from(x > self.thresholds[place]);
        }
        place - SPLITS
    }
}

impl Top {
    pub(crate) fn new(tree: &Tree) -> Self {
        let mut top = Self {
            splits: Splits { thresholds: [i32::MAX; SPLITS], columns: [0; SPLITS] },
            slots: [ROOT; ENDS],
        };
        top.fill(tree, ROOT, 0);
        top
    }

    fn fill(&mut self, tree: &Tree, slot: u32, place: usize) {
        if let Some(end) = place.checked_sub(SPLITS) {
            self.slots[end % ENDS] = slot;
            return;
        }
        let mut children = [slot; 2];
        if let Some(split) = tree.slots().get(slot).filter(|slot| !slot.is_leaf()) {
            self.splits.thresholds[place] = split.threshold;
            self.splits.columns[place] = split.column();
            children = [split.left_child(), split.left_child() + 1];
        }
        self.fill(tree, children[0], 2 * place + 1);
        self.fill(tree, children[1], 2 * place + 2);
    }

    /// The slots that the rows of a batch without missing values reach. Splits compare features below `features`.
    pub(crate) fn descend(&self, features: usize, batch: &Batch, places: &mut [u32; LANES]) {
        assert!(batch.keys.len() >= features.max(1) * LANES, "a batch has all features of the tree");
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, and the batch all features.
            return unsafe { avx2::descend(self, batch, places) };
        }
        for (row, place) in places.iter_mut().enumerate().take(batch.rows) {
            *place = self.slots[self.splits.descend(&batch.keys, row)];
        }
    }
}

impl ShallowTree {
    /// The same tree, unless it is too deep or has more than one value a leaf.
    pub(crate) fn new(tree: &Tree) -> Option<Self> {
        if tree.depth() > LEVELS || tree.width() != 1 {
            return None;
        }
        let Top { splits, slots } = Top::new(tree);
        let mut leaves = Leaves { low: [0; ENDS], high: [0; ENDS] };
        for (end, slot) in slots.into_iter().enumerate() {
            let leaf = tree.slots().get(slot)?.leaf_place();
            let bits = tree.values().get(leaf as usize)?.to_bits().cast_signed();
            leaves.low[end] = bits as i32;
            leaves.high[end] = (bits >> 32) as i32;
        }
        Some(Self { splits, leaves })
    }
}

impl Leaves {
    fn get(&self, end: usize) -> f64 {
        let bits = i64::from(self.high[end]) << 32 | i64::from(self.low[end].cast_unsigned());
        f64::from_bits(bits.cast_unsigned())
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
            *sum += tree.leaves.get(tree.splits.descend(keys, row));
        }
    }
}

/// Eight rows in a vector. The portable loop takes ten times as long for boosting, and a tenth longer for a
/// deep forest.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Batch, LANES, ShallowTree, Splits, Top};

    const GROUP: usize = 8;
    /// Vectors that are worked on at once, so that one tree's numbers are fetched once for sixteen rows.
    const GROUPS: usize = 2;

    /// The ends of eight rows' paths, in the low three bits of each lane; all others are zero.
    ///
    /// # Safety
    /// `keys` points to the key of the first row in the first feature's column, every feature of the splits has a
    /// column, and seven rows follow.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn ends(splits: &Splits, keys: *const i32) -> __m256i {
        let right = |split: usize| {
            // SAFETY: as the caller guarantees.
            let x = unsafe { _mm256_loadu_si256(keys.add(splits.columns[split]).cast()) };
            _mm256_cmpgt_epi32(x, _mm256_set1_epi32(splits.thresholds[split]))
        };
        let select = |mask, no, yes| _mm256_blendv_epi8(no, yes, mask);
        let first = right(0);
        let second = select(first, right(1), right(2));
        let third = select(first, select(second, right(3), right(4)), select(second, right(5), right(6)));
        let bit = |mask, bit| _mm256_and_si256(mask, _mm256_set1_epi32(bit));
        _mm256_or_si256(_mm256_or_si256(bit(first, 4), bit(second, 2)), bit(third, 1))
    }

    /// The slots that the rows of a batch reach.
    ///
    /// # Safety
    /// The batch has [`LANES`] keys for every feature of the splits.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn descend(top: &Top, batch: &Batch, places: &mut [u32; LANES]) {
        // SAFETY: the array has eight places of 32 bits.
        let slots = unsafe { _mm256_loadu_si256(top.slots.as_ptr().cast()) };
        let groups = batch.rows.div_ceil(GROUP);
        for (group, places) in places.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(groups) {
            // SAFETY: the group's rows lie within LANES; the rest as the caller guarantees.
            let ends = unsafe { ends(&top.splits, batch.keys.as_ptr().add(group * GROUP)) };
            // SAFETY: the array has eight places of 32 bits.
            unsafe {
                _mm256_storeu_si256(places.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(slots, ends))
            };
        }
    }

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
    /// As for [`ends`], with `GROUP * GROUPS` rows.
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
                // SAFETY: as the caller guarantees.
                let ends = unsafe { ends(&tree.splits, keys.add(group * GROUP)) };
                // The look-up takes the three low bits of each lane.
                let low = _mm256_permutevar8x32_epi32(low, ends);
                let high = _mm256_permutevar8x32_epi32(high, ends);
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
        let splits = Splits {
            thresholds: std::array::from_fn(|_| next()),
            columns: std::array::from_fn(|_| (next() & 1) as usize * LANES),
        };
        let low = std::array::from_fn(|_| next());
        let high = std::array::from_fn(|_| next() & 0x3fff_ffff);
        ShallowTree { splits, leaves: Leaves { low, high } }
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
            let batch = Batch { rows, keys: keys.clone(), has_missing: false };
            for tree in &trees {
                let top = Top { splits: tree.splits.clone(), slots: std::array::from_fn(|end| end as u32) };
                let mut slots = [0; LANES];
                top.descend(2, &batch, &mut slots);
                for (row, slot) in slots.iter().enumerate().take(rows) {
                    assert_eq!(*slot as usize, tree.splits.descend(&keys, row));
                }
            }
        }
    }
}
