//! Sums of trees' leaves over rows.
//!
//! Every row's leaf values are added in the order of the trees, as scikit-learn does with one job, so that sums are
//! equal to the bit whatever is done in parallel.
//!
//! Deep and shallow trees are walked differently:
//!
//! * **Deep trees** do not fit into the first-level cache. One tree walks all rows of a block before the next tree
//!   begins, 64 rows side by side so that their loads overlap, and the next tree is fetched meanwhile. What bounds them
//!   then is the number of instructions: twelve for a row and level, half of one in the first three levels.
//! * **Shallow trees** (up to three levels, as gradient boosting grows them) are evaluated as a whole: all seven
//!   comparisons for eight rows at once, and the leaf is picked without a branch.

use rayon::prelude::*;

use crate::{
    features::{Batch, LANES, LARGEST_KEY},
    shallow::{LEVELS, ShallowTree, Top, add_shallow},
    tree::{ROOT, Slot, Slots, Tree},
};

/// Trees, and the features that they compare.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ensemble {
    /// The places of the features that trees compare; trees count features by their place in this list.
    pub(crate) features: Vec<usize>,
    /// The trees of each sum, in order.
    sums: Vec<Trees>,
}

#[derive(Debug, Clone, PartialEq)]
struct Trees {
    trees: Vec<Tree>,
    /// Where the first levels of each tree lead.
    tops: Vec<Top>,
    /// The same trees once more, if all of them are shallow.
    shallow: Option<Vec<ShallowTree>>,
}

impl Ensemble {
    /// One sum for each list of trees; all trees have leaves of one width.
    pub(crate) fn new(mut sums: Vec<Vec<Tree>>) -> Self {
        // Where most features are used, leaving out the others would not pay for visiting every node.
        const MOST_KEPT: usize = 1_000;
        let count = sums.iter().flatten().map(Tree::features).max().unwrap_or(0);
        let mut used = vec![false; count];
        for place in sums.iter().flatten().flat_map(Tree::used_features) {
            used.iter_mut().skip(*place).take(1).for_each(|used| *used = true);
        }
        let mut features: Vec<usize> = (0..count).filter(|place| used.get(*place) == Some(&true)).collect();
        if count <= MOST_KEPT && 4 * features.len() >= 3 * count {
            features = (0..count).collect();
        } else {
            let mut numbers = vec![0; count];
            for (number, place) in (0..).zip(&features) {
                numbers.iter_mut().skip(*place).take(1).for_each(|slot| *slot = number);
            }
            for tree in sums.iter_mut().flatten() {
                tree.renumber_features(&numbers, features.len());
            }
        }
        let with_shallow = |trees: Vec<Tree>| {
            let shallow = trees.iter().map(ShallowTree::new).collect();
            let tops = trees.iter().map(Top::new).collect();
            Trees { trees, tops, shallow }
        };
        Self { features, sums: sums.into_iter().map(with_shallow).collect() }
    }

    /// All trees, sum by sum.
    pub(crate) fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.sums.iter().flat_map(|sum| &sum.trees)
    }

    /// How many sums there are.
    pub(crate) fn sum_count(&self) -> usize {
        self.sums.len()
    }

    /// Whether all sums have as many trees.
    pub(crate) fn has_equal_sums(&self) -> bool {
        self.sums
            .windows(2)
            .all(|pair| matches!(pair, [first, second] if first.trees.len() == second.trees.len()))
    }

    /// Adds the leaves of all trees to initial values, sum by sum and row by row: `sums[sum][row * width + value]`.
    pub(crate) fn add_leaves(&self, batches: &[Batch], initial: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let mut sums = initial.to_vec();
        for (trees, sums) in self.sums.iter().zip(&mut sums) {
            trees.add_leaves(self.features.len(), batches, sums);
        }
        sums
    }
}

impl Trees {
    fn add_leaves(&self, features: usize, batches: &[Batch], sums: &mut [f64]) {
        let Self { trees, tops, shallow } = self;
        let width = trees.first().map_or(1, Tree::width);
        if let Some(shallow) = shallow {
            for (batch, sums) in batches.iter().zip(sums.chunks_mut(LANES)) {
                if batch.has_missing {
                    add_batch(trees, tops, batch, sums);
                } else {
                    add_shallow(shallow, features, batch, sums);
                }
            }
            return;
        }
        // Fewer batches than threads leave threads idle, unless the trees are shared out.
        if batches.len() < rayon::current_num_threads() && rayon::current_num_threads() > 1 {
            for (batch, sums) in batches.iter().zip(sums.chunks_mut(LANES * width)) {
                add_batch_in_parallel(trees, tops, batch, sums);
            }
            return;
        }
        for (at, (tree, top)) in trees.iter().zip(tops).enumerate() {
            // A few batches touch a small part of a tree, and would wait for all of it.
            const FEWEST_BATCHES: usize = 4;
            let next = trees.get(at + 1).filter(|_| batches.len() >= FEWEST_BATCHES);
            let next_slots: &[Slot<u16>] = match next.map(Tree::slots) {
                Some(Slots::Narrow(slots)) => slots,
                _ => &[],
            };
            let next_values = next.map_or(&[][..], Tree::values);
            let share = |length: usize| {
                length.div_ceil(batches.len().max(1)).next_multiple_of(PER_LINE).max(PER_LINE)
            };
            let mut slots = next_slots.chunks(share(next_slots.len()));
            let mut values = next_values.chunks(share(next_values.len()));
            for (batch, sums) in batches.iter().zip(sums.chunks_mut(LANES * width)) {
                prefetch(slots.next().unwrap_or_default());
                prefetch(values.next().unwrap_or_default());
                add_tree(tree, top, batch, sums);
            }
        }
    }
}

/// Slots and values take eight bytes, cache lines 64.
const PER_LINE: usize = 8;

/// Asks for memory that will be needed soon.
fn prefetch<T>(memory: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in memory.chunks(PER_LINE) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch has no effect that the program can see. It takes a third off 20 000 rows.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = memory;
}

fn add_batch(trees: &[Tree], tops: &[Top], batch: &Batch, sums: &mut [f64]) {
    for (tree, top) in trees.iter().zip(tops) {
        add_tree(tree, top, batch, sums);
    }
}

fn add_tree(tree: &Tree, top: &Top, batch: &Batch, sums: &mut [f64]) {
    let mut leaves = [0; LANES];
    descend(tree, top, batch, &mut leaves);
    add(tree, batch.rows, &leaves, sums);
}

/// Finds leaves in parallel, then adds them in order.
fn add_batch_in_parallel(trees: &[Tree], tops: &[Top], batch: &Batch, sums: &mut [f64]) {
    const FEWEST_TREES: usize = 16;
    let found = |(tree, top)| {
        let mut leaves = [0; LANES];
        descend(tree, top, batch, &mut leaves);
        leaves
    };
    let leaves: Vec<[u32; LANES]> =
        trees.par_iter().zip(tops).with_min_len(FEWEST_TREES).map(found).collect();
    for (tree, leaves) in trees.iter().zip(&leaves) {
        add(tree, batch.rows, leaves, sums);
    }
}

fn add(tree: &Tree, rows: usize, leaves: &[u32; LANES], sums: &mut [f64]) {
    let leaves = leaves.iter().take(rows).map(|leaf| *leaf as usize);
    if tree.width() == 1 {
        for (sum, leaf) in sums.iter_mut().zip(leaves) {
            *sum += tree.values().get(leaf).copied().unwrap_or(f64::NAN);
        }
        return;
    }
    for (sums, leaf) in sums.chunks_exact_mut(tree.width()).zip(leaves) {
        let row = tree.values().get(leaf.saturating_mul(tree.width())..).unwrap_or_default();
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// Finds the place of the leaf's values for every row of a batch.
fn descend(tree: &Tree, top: &Top, batch: &Batch, leaves: &mut [u32; LANES]) {
    if batch.has_missing {
        return walk_any(tree, batch, leaves);
    }
    let mut places = [ROOT; LANES];
    top.descend(tree.features(), batch, &mut places);
    match tree.slots() {
        Slots::Narrow(slots) => walk(tree, slots, batch, &mut places, leaves),
        Slots::Wide(slots) => walk(tree, slots, batch, &mut places, leaves),
    }
}

/// One row after the other, with missing values.
fn walk_any(tree: &Tree, batch: &Batch, leaves: &mut [u32; LANES]) {
    for (row, leaf) in leaves.iter_mut().enumerate().take(batch.rows) {
        let mut place = ROOT;
        while let Some(slot) = tree.slots().get(place) {
            if slot.is_leaf() {
                *leaf = slot.leaf_place();
                break;
            }
            let x = batch.keys.get(slot.column() + row).copied().unwrap_or_default();
            let right = if x > LARGEST_KEY { !tree.sends_missing_left(place) } else { x > slot.threshold };
            place = slot.left_child() + u32::from(right);
        }
    }
}

/// From below the first [`LEVELS`], all rows go down one level at a time. The steps of a level do not depend on each
/// other, so that the processor has as many of them under way as it can.
fn walk<N: Copy + Into<u32>>(
    tree: &Tree,
    slots: &[Slot<N>],
    batch: &Batch,
    places: &mut [u32; LANES],
    leaves: &mut [u32; LANES],
) {
    assert!(batch.keys.len() >= tree.features().max(1) * LANES, "a batch has all features of the tree");
    let step = |place: u32, row: usize| -> u32 {
        // SAFETY: `Tree::new` has checked that children of splits are slots, and that leaves are their own children.
        // Bounds checks take a sixth longer.
        let split = unsafe { *slots.get_unchecked(place as usize) };
        // SAFETY: `Tree::new` has checked that columns are those of features below `tree.features()`, and the assertion
        // above that the batch has them. Rows are below LANES.
        let x = unsafe { *batch.keys.as_ptr().add(row).add(split.column()) };
        split.left_child() + u32::from(x > split.threshold)
    };
    let rows = batch.rows.min(LANES);
    // Most rows are on their way for that long, and leaves lead to themselves. Two rows in a turn of the loop, and not
    // neighbours, which compilers would pack into vectors at a loss.
    for _ in LEVELS..tree.mean_depth() {
        if rows == LANES {
            let (low, high) = places.split_at_mut(LANES / 2);
            for (row, (low, high)) in low.iter_mut().zip(high).enumerate() {
                *low = step(*low, row);
                *high = step(*high, row + LANES / 2);
            }
        } else {
            for (row, place) in places.iter_mut().enumerate().take(rows) {
                *place = step(*place, row);
            }
        }
    }
    // Then rows that have arrived drop out.
    let mut active: [usize; LANES] = std::array::from_fn(|row| row);
    let mut count = rows;
    while count > 0 {
        let mut kept = 0;
        for at in 0..count {
            let row = active[at % LANES];
            let place = &mut places[row % LANES];
            let next = step(*place, row % LANES);
            active[kept % LANES] = row;
            kept += usize::from(next != *place);
            *place = next;
        }
        count = kept;
    }
    for (leaf, place) in leaves.iter_mut().zip(&*places).take(rows) {
        *leaf = slots.get(*place as usize).map_or(u32::MAX, |slot| slot.leaf_place());
    }
}
