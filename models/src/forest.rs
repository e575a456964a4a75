//! Trees, summed over rows.
//!
//! Every row's leaf values are added in the order of the trees, as scikit-learn does with one job, so that sums are
//! equal to the bit whatever is done in parallel.

use rayon::prelude::*;

use crate::{
    features::{Batch, LANES, LARGEST_KEY},
    tree::{ROOT, Tree, feature, leaf_place, left_child, threshold},
};

/// Sums the leaves of `trees` into `sums`, row by row: `sums[row * width + value]`, where all trees are of that width.
pub(crate) fn add_leaves(trees: &[Tree], width: usize, batches: &[Batch], sums: &mut [f64]) {
    // Fewer batches than threads leave threads idle, unless the trees are shared out.
    if batches.len() < rayon::current_num_threads() && trees.len() > 1 && rayon::current_num_threads() > 1 {
        return add_leaves_in_parallel(trees, width, batches, sums);
    }
    for (at, tree) in trees.iter().enumerate() {
        let next = trees.get(at + 1).map_or(&[][..], |next| &next.slots);
        let share = next.len().div_ceil(batches.len().max(1)).next_multiple_of(8).max(8);
        let mut shares = next.chunks(share);
        for (batch, sums) in batches.iter().zip(sums.chunks_mut(LANES * width)) {
            prefetch(shares.next().unwrap_or_default());
            let mut leaves = [0; LANES];
            descend(tree, batch, &mut leaves);
            add(tree, batch.rows, &leaves, sums);
        }
    }
}

/// Finds leaves in parallel, then adds them in order.
fn add_leaves_in_parallel(trees: &[Tree], width: usize, batches: &[Batch], sums: &mut [f64]) {
    for (batch, sums) in batches.iter().zip(sums.chunks_mut(LANES * width)) {
        let leaves: Vec<[u32; LANES]> = trees
            .par_iter()
            .with_min_len(16)
            .map(|tree| {
                let mut leaves = [0; LANES];
                descend(tree, batch, &mut leaves);
                leaves
            })
            .collect();
        for (tree, leaves) in trees.iter().zip(&leaves) {
            add(tree, batch.rows, leaves, sums);
        }
    }
}

/// Asks for slots that will be needed soon.
fn prefetch(slots: &[u64]) {
    #[cfg(target_arch = "x86_64")]
    for line in slots.chunks(8) {
        // SAFETY: a prefetch reads nothing that the program can see.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line.as_ptr().cast())
        };
    }
}

fn add(tree: &Tree, rows: usize, leaves: &[u32; LANES], sums: &mut [f64]) {
    let leaves = leaves.iter().take(rows).map(|leaf| *leaf as usize);
    if tree.width == 1 {
        for (sum, leaf) in sums.iter_mut().zip(leaves) {
            *sum += tree.values.get(leaf).copied().unwrap_or(f64::NAN);
        }
        return;
    }
    for (sums, leaf) in sums.chunks_exact_mut(tree.width).zip(leaves) {
        let row = tree.values.get(leaf * tree.width..).unwrap_or_default();
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// Finds the place of the leaf's values for every row of a batch.
fn descend(tree: &Tree, batch: &Batch, leaves: &mut [u32; LANES]) {
    let mut slots = [ROOT; LANES];
    if tree.wide_features.is_some() || batch.has_missing {
        walk_any(tree, batch, &mut slots);
    } else {
        walk(tree, batch, &mut slots);
    }
    for (leaf, slot) in leaves.iter_mut().zip(&slots).take(batch.rows) {
        *leaf = tree.slots.get(*slot as usize).and_then(|slot| leaf_place(*slot)).unwrap_or(u32::MAX);
    }
}

/// One row after the other, with everything that a tree or a batch may have.
fn walk_any(tree: &Tree, batch: &Batch, slots: &mut [u32; LANES]) {
    for (row, place) in slots.iter_mut().enumerate().take(batch.rows) {
        let mut slot = ROOT as usize;
        while let Some(split) = tree.slots.get(slot).copied().filter(|slot| leaf_place(*slot).is_none()) {
            let x = batch.keys.get(tree.feature(slot) as usize * LANES + row).copied().unwrap_or_default();
            let right = if x > LARGEST_KEY { !tree.sends_missing_left(slot) } else { x > threshold(split) };
            *place = left_child(split) + u32::from(right);
            slot = *place as usize;
        }
    }
}

/// All rows go down one level at a time. The steps of a level do not depend on each other, so that the processor has
/// as many of them under way as it can.
fn walk(tree: &Tree, batch: &Batch, slots: &mut [u32; LANES]) {
    assert!(batch.keys.len() >= tree.features * LANES, "a batch has all features of the tree");
    let rows = batch.rows.min(LANES);
    let step = |slot: u32, row: usize| -> u32 {
        // SAFETY: children of splits are slots, and leaves are their own children.
        let split = unsafe { *tree.slots.get_unchecked(slot as usize) };
        // SAFETY: features of splits are below `tree.features`, rows below LANES.
        let x = unsafe { *batch.keys.get_unchecked(feature(split) as usize * LANES + row) };
        left_child(split) + ((i64::from(threshold(split)) - i64::from(x)) as u64 >> 63) as u32
    };
    for _ in 0..tree.mean_depth {
        for (row, slot) in slots.iter_mut().enumerate().take(rows) {
            *slot = step(*slot, row);
        }
    }
    let mut active = [0_u8; LANES];
    for (row, entry) in active.iter_mut().enumerate() {
        *entry = row as u8;
    }
    let mut count = rows;
    while count > 0 {
        let mut kept = 0;
        for at in 0..count {
            let row = active[at];
            let slot = slots[row as usize % LANES];
            let next = step(slot, row as usize);
            slots[row as usize % LANES] = next;
            active[kept] = row;
            kept += usize::from(next != slot);
        }
        count = kept;
    }
}
