//! Growing one tree as scikit-learn's `best` splitter does (`sklearn/tree/_tree.pyx`, `_splitter.pyx`).
//!
//! What is the same: which splits are candidates (between values that differ by more than `FEATURE_THRESHOLD`, at the
//! middle between them), which is better (strictly, so that of equal ones the first that is met wins), the order in
//! which features are drawn, what a constant feature counts for, and when a node becomes a leaf. What is not: sums are
//! added in the order of the rows, where scikit-learn has an order that depends on earlier sorting. Where sums are
//! exact (whole numbers) trees are the same; where they are rounded, splits that are equal but for rounding may be
//! decided otherwise.
//!
//! How it is fast:
//!
//! * A tree that looks at most features of every node has them sorted once: every feature keeps its samples in
//!   order, and a split divides each list stably. One that looks at few sorts what it looks at.
//! * Bootstrap samples that were drawn several times are one sample with a weight.
//! * Columns of few distinct values are not sorted but counted, and the columns of a one-hot encoder are counted
//!   together, in one pass.

use std::{cmp::Ordering, collections::BinaryHeap, sync::OnceLock};

use rayon::prelude::*;

use super::{
    criterion::Sums,
    matrix::{Entry, Many, Matrix, TreeColumn},
    random::XorShift,
};
use crate::{
    artifact::{Array, Data, Dtype, Field, Kind, Scalar},
    tree::Tree,
};

/// Values that differ by less are equal (`sklearn/tree/_partitioner.pyx`).
const FEATURE_THRESHOLD: f32 = 1e-7;

/// When to stop, as numbers that hold for one tree.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) max_depth: usize,
    pub(super) min_samples_split: usize,
    pub(super) min_samples_leaf: usize,
    pub(super) min_weight_leaf: f64,
    pub(super) min_impurity_decrease: f64,
    pub(super) max_features: usize,
    /// With this, the nodes that gain most are split first.
    pub(super) max_leaf_nodes: Option<usize>,
}

impl Limits {
    /// Whether enough weight is on both sides.
    #[inline(always)]
    fn leaves_weight<S: Sums>(&self, left: S, total: S) -> bool {
        let least = self.min_weight_leaf;
        least <= 0.0 || (left.weight() >= least && (total - left).weight() >= least)
    }
}

/// What one tree is grown from.
pub(super) struct Samples<'a, S> {
    pub(super) matrix: &'a Matrix,
    /// The rows of positive weight, ascending.
    pub(super) rows: &'a [u32],
    /// Each of these rows on its own.
    pub(super) sums: &'a [S],
    /// The weighted square of each of these rows' targets; empty for classification.
    pub(super) squares: &'a [f64],
    /// Of the seed for drawing features.
    pub(super) seed: u32,
    /// Values a leaf.
    pub(super) width: usize,
    /// Whether features of a node are judged in parallel; of no consequence for the result.
    pub(super) parallel: bool,
}

/// A tree as it was grown.
pub(super) struct Grown {
    nodes: Vec<Node>,
    /// `width` for each node.
    pub(super) values: Vec<f64>,
    /// The samples' places, leaf by leaf.
    samples: Vec<u32>,
    features: usize,
    width: usize,
}

struct Node {
    feature: usize,
    threshold: f64,
    /// None for a leaf.
    children: Option<[usize; 2]>,
    /// Which part of the samples it has.
    start: usize,
    end: usize,
}

/// A node that is to be looked at.
struct Open<S> {
    start: usize,
    end: usize,
    depth: usize,
    /// The parent, and which of its children this is.
    parent: Option<(usize, usize)>,
    known_constants: usize,
    total: S,
    squares: f64,
}

/// A node that was divided.
struct Divided<S> {
    node: usize,
    split: Split,
    improvement: f64,
    children: [Open<S>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Split {
    feature: usize,
    threshold: f64,
}

/// The best split of one feature.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    proxy: f64,
    threshold: f64,
}

/// What looking at a feature has shown.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Constant,
    /// None where no split leaves enough on both sides.
    Varies(Option<Candidate>),
}

/// A feature of the tree's samples.
enum Column {
    /// By ascending value inside of every node.
    Sorted(Vec<Entry>),
    /// By sample, as places among the column's distinct values.
    Ranks(Vec<u32>),
    Codes(Vec<u32>),
    Indicator {
        group: usize,
        hot: u32,
    },
}

/// The samples of one code.
#[derive(Debug, Clone, Copy, Default)]
struct Bin<S> {
    count: usize,
    sums: S,
}

/// Memory that is used again and again.
struct Scratch<S> {
    entries: Vec<Entry>,
    samples: Vec<u32>,
    keys: Vec<u64>,
    sorted_keys: Vec<u64>,
    bins: Vec<Bin<S>>,
    pieces: Pieces<S>,
}

impl<S: Sums> Default for Scratch<S> {
    fn default() -> Self {
        let pieces = Pieces { sums: Box::new([S::default(); PIECE]), proxies: Box::new([0.0; PIECE]) };
        Self {
            entries: Vec::new(),
            samples: Vec::new(),
            keys: Vec::new(),
            sorted_keys: Vec::new(),
            bins: Vec::new(),
            pieces,
        }
    }
}

/// As many sums as fit into the first-level cache, and what a split behind each is worth.
struct Pieces<S> {
    sums: Box<[S; PIECE]>,
    proxies: Box<[f64; PIECE]>,
}

const PIECE: usize = 128;

/// Computes what splits are worth, and the most of it.
fn judge_all<S: Sums>(pieces: &mut Pieces<S>, count: usize, total: S) -> f64 {
    const LANES: usize = 8;
    #[inline(always)]
    fn in_line<S: Sums>(pieces: &mut Pieces<S>, count: usize, total: S) -> f64 {
        let larger = |left: f64, right: f64| if left > right { left } else { right };
        let count = count.min(PIECE);
        let (sums, last_sums) = pieces.sums[..count].as_chunks::<LANES>();
        let (proxies, last_proxies) = pieces.proxies[..count].as_chunks_mut::<LANES>();
        let mut largest = [f64::NEG_INFINITY; LANES];
        for (proxies, sums) in proxies.iter_mut().zip(sums) {
            for ((proxy, sum), largest) in proxies.iter_mut().zip(sums).zip(&mut largest) {
                *proxy = S::proxy(*sum, total);
                *largest = larger(*proxy, *largest);
            }
        }
        for (proxy, sum) in last_proxies.iter_mut().zip(last_sums) {
            *proxy = S::proxy(*sum, total);
        }
        largest.iter().chain(&*last_proxies).fold(f64::NEG_INFINITY, |most, proxy| larger(*proxy, most))
    }
    #[cfg(target_arch = "x86_64")]
    {
        /// Divisions are what takes the time, and AVX2 makes twice as many at once.
        #[target_feature(enable = "avx2")]
        fn with_avx2<S: Sums>(pieces: &mut Pieces<S>, count: usize, total: S) -> f64 {
            in_line(pieces, count, total)
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { with_avx2(pieces, count, total) };
        }
    }
    in_line(pieces, count, total)
}

/// Looking for the best place to divide sorted samples.
struct Search<'a, S> {
    limits: &'a Limits,
    entries: &'a [Entry],
    total: S,
    best_proxy: f64,
    place: Option<usize>,
}

impl<S: Sums> Search<'_, S> {
    /// A split that has so many samples, which are worth so much, on its left.
    #[inline(always)]
    fn consider(&mut self, place: usize, left: S, proxy: f64) {
        if proxy > self.best_proxy
            && let (Some(before), Some(after)) = (self.entries.get(place - 1), self.entries.get(place))
            && after.value > before.value + FEATURE_THRESHOLD
            && place >= self.limits.min_samples_leaf
            && self.entries.len() - place >= self.limits.min_samples_leaf
            && self.limits.leaves_weight(left, self.total)
        {
            self.best_proxy = proxy;
            self.place = Some(place);
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        let place = self.place?;
        let (before, after) = (self.entries.get(place - 1)?, self.entries.get(place)?);
        Some(Candidate { proxy: self.best_proxy, threshold: middle(before.value, after.value) })
    }
}

struct Grower<'a, S> {
    limits: &'a Limits,
    input: &'a Samples<'a, S>,
    columns: Vec<Column>,
    /// The codes of each group's samples.
    groups: Vec<Vec<u32>>,
    /// Node by node.
    samples: Vec<u32>,
    /// Where the sample of each row is in `samples`; only where features are sorted node by node.
    positions: Vec<u32>,
    /// The place of each row among the tree's samples.
    places: Vec<u32>,
    goes_left: Vec<bool>,
    random: XorShift,
    /// scikit-learn's arrays of the same names.
    features: Vec<usize>,
    constant_features: Vec<usize>,
    total_weight: f64,
    scratch: Scratch<S>,
    grown: Grown,
}

/// Grows a tree.
pub(super) fn grow<S: Sums>(limits: &Limits, input: &Samples<'_, S>) -> Grown {
    let feature_count = input.matrix.columns.len();
    // Where fewer features are looked at, sorting these costs less than keeping all of them in order.
    let sorts_once = 2 * limits.max_features >= feature_count;
    let count = input.rows.len();
    let places = {
        let mut places = vec![u32::MAX; input.matrix.rows];
        for (place, row) in (0..).zip(input.rows) {
            places.iter_mut().skip(*row as usize).take(1).for_each(|slot| *slot = place);
        }
        places
    };
    let pick = |values: &[u32]| -> Vec<u32> {
        input.rows.iter().filter_map(|row| values.get(*row as usize).copied()).collect()
    };
    let column = |column: &TreeColumn| match column {
        TreeColumn::Many(many) if !sorts_once => Column::Ranks(pick(&many.ranks)),
        TreeColumn::Many(many) if count == input.matrix.rows => Column::Sorted(many.sorted.clone()),
        TreeColumn::Many(many) => {
            let mut sorted = vec![Entry::default(); count + 1];
            let mut kept = 0;
            for entry in &many.sorted {
                let sample = places.get(entry.sample as usize).copied().unwrap_or(u32::MAX);
                // Written whether or not it is kept: a branch would be taken every third time.
                if let Some(slot) = sorted.get_mut(kept) {
                    *slot = Entry { value: entry.value, sample };
                }
                kept += usize::from(sample != u32::MAX);
            }
            sorted.truncate(count);
            Column::Sorted(sorted)
        }
        TreeColumn::Few(coded) => Column::Codes(pick(&coded.codes)),
        TreeColumn::Indicator { group, hot } => Column::Indicator { group: *group, hot: *hot },
    };
    let columns = input.matrix.columns.iter().map(column).collect();
    let groups = input.matrix.groups.iter().map(|group| pick(&group.codes)).collect();
    let all: Vec<u32> = (0..).take(count).collect();
    let grower = Grower {
        limits,
        input,
        columns,
        groups,
        // Samples are in the order of the rows at first.
        positions: if sorts_once { Vec::new() } else { places.clone() },
        places,
        samples: all,
        goes_left: vec![false; count],
        random: XorShift::new(input.seed),
        features: (0..feature_count).collect(),
        constant_features: vec![0; feature_count],
        total_weight: 0.0,
        scratch: Scratch::default(),
        grown: Grown {
            nodes: Vec::new(),
            values: Vec::new(),
            samples: Vec::new(),
            features: feature_count,
            width: input.width,
        },
    };
    grower.run()
}

impl<S: Sums> Grower<'_, S> {
    fn run(mut self) -> Grown {
        let (total, squares) = self.sum(0, self.samples.len());
        self.total_weight = total.weight();
        let root = Open {
            start: 0,
            end: self.samples.len(),
            depth: 0,
            parent: None,
            known_constants: 0,
            total,
            squares,
        };
        match self.limits.max_leaf_nodes {
            None => {
                let mut open = vec![root];
                while let Some(next) = open.pop() {
                    if let Some(divided) = self.look_at(next) {
                        let [left, right] = self.accept(divided);
                        open.extend([right, left]);
                    }
                }
            }
            Some(most_leaves) => self.run_best_first(root, most_leaves),
        }
        self.grown.samples = self.samples;
        self.grown
    }

    fn run_best_first(&mut self, root: Open<S>, most_leaves: usize) {
        let mut frontier = BinaryHeap::new();
        frontier.extend(self.look_at(root).map(ByImprovement));
        let mut leaves = 1;
        while leaves < most_leaves
            && let Some(ByImprovement(divided)) = frontier.pop()
        {
            leaves += 1;
            for child in self.accept(divided) {
                // Constants of the parent are not remembered on this way.
                let child = Open { known_constants: 0, ..child };
                frontier.extend(self.look_at(child).map(ByImprovement));
            }
        }
    }

    /// Makes a split of what was a leaf so far.
    fn accept(&mut self, divided: Divided<S>) -> [Open<S>; 2] {
        if let Some(node) = self.grown.nodes.get_mut(divided.node) {
            node.feature = divided.split.feature;
            node.threshold = divided.split.threshold;
            // Children say themselves where they are, when they are looked at.
            node.children = Some([0, 0]);
        }
        divided.children
    }

    /// Adds a node, which is a leaf so far, and divides its samples if that is worth it.
    fn look_at(&mut self, open: Open<S>) -> Option<Divided<S>> {
        let limits = self.limits;
        let node = self.grown.nodes.len();
        let Open { start, end, depth, total, squares, .. } = open;
        self.grown.nodes.push(Node { feature: 0, threshold: 0.0, children: None, start, end });
        total.append_value(self.grown.width, &mut self.grown.values);
        if let Some((parent, side)) = open.parent
            && let Some(Node { children: Some(children), .. }) = self.grown.nodes.get_mut(parent)
            && let Some(child) = children.get_mut(side)
        {
            *child = node;
        }
        let count = end - start;
        let impurity = total.impurity(squares);
        let is_leaf = depth >= limits.max_depth
            || count < limits.min_samples_split
            || count < 2 * limits.min_samples_leaf
            || total.weight() < 2.0 * limits.min_weight_leaf
            || impurity <= f64::EPSILON;
        if is_leaf {
            return None;
        }
        let (split, constants) = self.find_split(start, end, open.known_constants, total);
        let split = split?;
        let middle = self.divide_samples(start, end, split);
        let (left, left_squares) = self.sum(start, middle);
        let (right, right_squares) = self.sum(middle, end);
        let weighted = |sums: S, squares: f64| sums.weight() / total.weight() * sums.impurity(squares);
        let decrease = impurity - weighted(right, right_squares) - weighted(left, left_squares);
        let improvement = total.weight() / self.total_weight * decrease;
        if improvement + f64::EPSILON < limits.min_impurity_decrease {
            return None;
        }
        let may_split = |count: usize| {
            depth + 1 < limits.max_depth && count >= limits.min_samples_split.max(2 * limits.min_samples_leaf)
        };
        if may_split(middle - start) || may_split(end - middle) {
            let constants = if limits.max_leaf_nodes.is_some() { 0 } else { constants };
            self.divide_columns(start, end, constants);
        }
        let child = |side, start, end, total, squares| Open {
            start,
            end,
            depth: depth + 1,
            parent: Some((node, side)),
            known_constants: constants,
            total,
            squares,
        };
        Some(Divided {
            node,
            split,
            improvement,
            children: [
                child(0, start, middle, left, left_squares),
                child(1, middle, end, right, right_squares),
            ],
        })
    }

    fn sum(&self, start: usize, end: usize) -> (S, f64) {
        let (mut total, mut squares) = (S::default(), 0.0);
        for sample in self.samples.get(start..end).unwrap_or_default() {
            let sample = *sample as usize;
            total += self.input.sums.get(sample).copied().unwrap_or_default();
            squares += self.input.squares.get(sample).copied().unwrap_or_default();
        }
        (total, squares)
    }

    /// The best split of a node, and how many features are now known to be constant in it.
    ///
    /// Features are drawn as in `node_split_best`, whose invariants hold for `features`: constants that are known and
    /// drawn, that are known, that were found now; then features that were not drawn, then those that were.
    fn find_split(&mut self, start: usize, end: usize, known: usize, total: S) -> (Option<Split>, usize) {
        const WORTH_SHARING: usize = 1 << 15;
        let node =
            NodeInput { start, end, total, groups: self.groups.iter().map(|_| OnceLock::new()).collect() };
        let all = self.limits.max_features >= self.features.len();
        let mut ahead: Vec<Option<Verdict>> = Vec::new();
        if self.input.parallel && all && (end - start) * self.features.len() >= WORTH_SHARING {
            ahead = vec![None; self.features.len()];
            let open = self.features.get(known..).unwrap_or_default();
            let judge = |scratch: &mut Scratch<S>, feature: &usize| {
                (*feature, self.judge(*feature, &node, f64::NEG_INFINITY, scratch))
            };
            let judged: Vec<(usize, Verdict)> = open.par_iter().map_init(Scratch::default, judge).collect();
            for (feature, verdict) in judged {
                ahead.iter_mut().skip(feature).take(1).for_each(|slot| *slot = Some(verdict));
            }
        }
        let mut best = None;
        let mut best_proxy = f64::NEG_INFINITY;
        let mut undrawn = self.features.len();
        let (mut visited, mut found, mut drawn) = (0, 0, 0);
        let mut scratch = std::mem::take(&mut self.scratch);
        while undrawn > known + found && (visited < self.limits.max_features || visited <= found + drawn) {
            visited += 1;
            let mut place = self.random.between(drawn, undrawn - found);
            if place < known {
                self.features.swap(drawn, place);
                drawn += 1;
                continue;
            }
            place += found;
            let Some(feature) = self.features.get(place).copied() else { break };
            let judged = ahead.get(feature).copied().flatten();
            match judged.unwrap_or_else(|| self.judge(feature, &node, best_proxy, &mut scratch)) {
                Verdict::Constant => {
                    self.features.swap(place, known + found);
                    found += 1;
                }
                Verdict::Varies(candidate) => {
                    undrawn -= 1;
                    self.features.swap(undrawn, place);
                    if let Some(Candidate { proxy, threshold }) = candidate
                        && proxy > best_proxy
                    {
                        best_proxy = proxy;
                        best = Some(Split { feature, threshold });
                    }
                }
            }
        }
        self.scratch = scratch;
        // The known constants keep their order for the nodes that come.
        for (slot, constant) in self.features.iter_mut().zip(&self.constant_features).take(known) {
            *slot = *constant;
        }
        for (slot, constant) in self.constant_features.iter_mut().zip(&self.features).skip(known).take(found)
        {
            *slot = *constant;
        }
        (best, known + found)
    }

    /// Finds the best split of one feature, of those that are worth more than `floor`.
    fn judge(&self, feature: usize, node: &NodeInput<S>, floor: f64, scratch: &mut Scratch<S>) -> Verdict {
        let count = node.end - node.start;
        match self.columns.get(feature) {
            Some(Column::Sorted(entries)) => {
                let entries = entries.get(node.start..node.end).unwrap_or_default();
                self.best_between(entries, node.total, floor, &mut scratch.pieces)
            }
            Some(Column::Ranks(ranks)) => {
                let Some(TreeColumn::Many(many)) = self.input.matrix.columns.get(feature) else {
                    return Verdict::Constant;
                };
                self.sort(many, ranks, node, scratch);
                self.best_between(&scratch.entries, node.total, floor, &mut scratch.pieces)
            }
            Some(Column::Codes(codes)) => {
                let Some(TreeColumn::Few(coded)) = self.input.matrix.columns.get(feature) else {
                    return Verdict::Constant;
                };
                scratch.bins.clear();
                scratch.bins.resize(coded.bins.len(), Bin::default());
                self.count(codes, node, &mut scratch.bins);
                self.best_between_bins(&scratch.bins, &coded.bins, node.total, count)
            }
            Some(Column::Indicator { group, hot }) => {
                let (Some(bins), Some(codes)) = (node.groups.get(*group), self.groups.get(*group)) else {
                    return Verdict::Constant;
                };
                let bins = bins.get_or_init(|| {
                    let bin_count = self.input.matrix.groups.get(*group).map_or(0, |group| group.bins.len());
                    let mut bins = vec![Bin::default(); bin_count];
                    self.count(codes, node, &mut bins);
                    bins
                });
                let ones = bins.get(*hot as usize).copied().unwrap_or_default();
                if ones.count == 0 || ones.count == count {
                    return Verdict::Constant;
                }
                let left = node.total - ones.sums;
                let proxy = self.proxy(left, node.total, count - ones.count, count);
                Verdict::Varies(proxy.map(|proxy| Candidate { proxy, threshold: 0.5 }))
            }
            None => Verdict::Constant,
        }
    }

    /// Adds a node's samples up by code.
    fn count(&self, codes: &[u32], node: &NodeInput<S>, bins: &mut [Bin<S>]) {
        for sample in self.samples.get(node.start..node.end).unwrap_or_default() {
            let sample = *sample as usize;
            if let (Some(code), Some(sums)) = (codes.get(sample), self.input.sums.get(sample))
                && let Some(bin) = bins.get_mut(*code as usize)
            {
                bin.count += 1;
                bin.sums += *sums;
            }
        }
    }

    /// Sorts a node's samples by a feature.
    fn sort(&self, many: &Many, ranks: &[u32], node: &NodeInput<S>, scratch: &mut Scratch<S>) {
        // Picking a node's samples from all, which are sorted, is faster than sorting where they are many.
        const PICKS: usize = 4;
        scratch.entries.clear();
        let in_node = node.start..node.end;
        if in_node.len() * PICKS >= self.input.matrix.rows {
            let (start, length) = (node.start as u32, in_node.len() as u32);
            scratch.entries.resize(many.sorted.len(), Entry::default());
            let mut kept = 0;
            for entry in &many.sorted {
                let position = self.positions.get(entry.sample as usize).copied().unwrap_or(u32::MAX);
                // Written whether or not it is kept: a branch would be taken half of the time.
                if let Some(slot) = scratch.entries.get_mut(kept) {
                    *slot = *entry;
                }
                kept += usize::from(position.wrapping_sub(start) < length);
            }
            scratch.entries.truncate(kept);
            for entry in &mut scratch.entries {
                entry.sample = self.places.get(entry.sample as usize).copied().unwrap_or_default();
            }
            return;
        }
        let samples = self.samples.get(in_node).unwrap_or_default();
        scratch.keys.clear();
        scratch.keys.extend(samples.iter().map(|sample| {
            let rank = ranks.get(*sample as usize).copied().unwrap_or_default();
            u64::from(rank) << 32 | u64::from(*sample)
        }));
        sort_by_rank(&mut scratch.keys, &mut scratch.sorted_keys, many.distinct.len());
        scratch.entries.extend(scratch.keys.iter().map(|key| {
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is the sample")]
            let (rank, sample) = ((*key >> 32) as usize, *key as u32);
            Entry { value: many.distinct.get(rank).copied().unwrap_or(f32::NAN), sample }
        }));
    }

    /// The best place to divide sorted samples.
    ///
    /// In pieces: sums first, which wait for each other; then what they are worth, which do not and are computed in
    /// vectors; then the comparison.
    fn best_between(&self, entries: &[Entry], total: S, floor: f64, pieces: &mut Pieces<S>) -> Verdict {
        const TOO_FEW_FOR_VECTORS: usize = 12;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Verdict::Constant };
        if last.value <= first.value + FEATURE_THRESHOLD {
            return Verdict::Constant;
        }
        let mut left = S::default();
        let mut search = Search { limits: self.limits, entries, total, best_proxy: floor, place: None };
        for (start, piece) in (0..).step_by(PIECE).zip(entries.chunks(PIECE)) {
            for (slot, entry) in pieces.sums.iter_mut().zip(piece) {
                left += self.input.sums.get(entry.sample as usize).copied().unwrap_or_default();
                *slot = left;
            }
            if piece.len() < TOO_FEW_FOR_VECTORS {
                for (place, left) in (start + 1..).zip(pieces.sums.iter().take(piece.len())) {
                    search.consider(place, *left, S::proxy(*left, total));
                }
            } else if judge_all(pieces, piece.len(), total) > search.best_proxy {
                for (place, (left, proxy)) in
                    (start + 1..).zip(pieces.sums.iter().zip(pieces.proxies.iter()).take(piece.len()))
                {
                    search.consider(place, *left, *proxy);
                }
            }
        }
        Verdict::Varies(search.candidate())
    }

    /// The best place to divide counted samples.
    fn best_between_bins(&self, bins: &[Bin<S>], values: &[(f32, f32)], total: S, count: usize) -> Verdict {
        let mut seen = bins.iter().zip(values).filter(|(bin, _)| bin.count > 0);
        let Some((first, mut value)) = seen.next() else { return Verdict::Constant };
        let (mut left, mut left_count) = (first.sums, first.count);
        let (lowest, mut highest) = (value.1, value.1);
        let mut best = None;
        let mut best_proxy = f64::NEG_INFINITY;
        for (bin, next) in seen {
            highest = next.0;
            if next.0 > value.1 + FEATURE_THRESHOLD
                && let Some(proxy) = self.proxy(left, total, left_count, count)
                && proxy > best_proxy
            {
                best_proxy = proxy;
                best = Some(Candidate { proxy, threshold: middle(value.1, next.0) });
            }
            left += bin.sums;
            left_count += bin.count;
            value = next;
        }
        if highest <= lowest + FEATURE_THRESHOLD { Verdict::Constant } else { Verdict::Varies(best) }
    }

    /// How good a split is, if it leaves enough on both sides.
    #[inline(always)]
    fn proxy(&self, left: S, total: S, left_count: usize, count: usize) -> Option<f64> {
        let limits = self.limits;
        if left_count < limits.min_samples_leaf || count - left_count < limits.min_samples_leaf {
            return None;
        }
        if !limits.leaves_weight(left, total) {
            return None;
        }
        Some(S::proxy(left, total))
    }

    /// Divides the samples of a node, both parts in the order of the rows, and says where the right part begins.
    fn divide_samples(&mut self, start: usize, end: usize, split: Split) -> usize {
        let Self { samples, goes_left, input, positions, scratch, .. } = self;
        let in_node = samples.get_mut(start..end).unwrap_or_default();
        let rows = input.rows;
        let row = |sample: u32| rows.get(sample as usize).copied().unwrap_or_default() as usize;
        match input.matrix.columns.get(split.feature) {
            Some(TreeColumn::Many(many)) => mark(in_node, goes_left, |sample| {
                many.values.get(row(sample)).is_some_and(|value| f64::from(*value) <= split.threshold)
            }),
            _ => mark(in_node, goes_left, |sample| {
                f64::from(input.matrix.value(split.feature, row(sample))) <= split.threshold
            }),
        }
        let kept = divide_stably(in_node, |sample| *sample, goes_left, &mut scratch.samples);
        if !positions.is_empty() {
            for (position, sample) in (start..).zip(in_node) {
                if let Some(slot) = positions.get_mut(row(*sample)) {
                    *slot = u32::try_from(position).unwrap_or(u32::MAX);
                }
            }
        }
        start + kept
    }

    /// Divides the sorted columns like the samples, but for those that are constant from here on.
    fn divide_columns(&mut self, start: usize, end: usize, constants: usize) {
        const WORTH_SHARING: usize = 1 << 15;
        let Self { columns, goes_left, scratch, constant_features, .. } = self;
        let is_constant = {
            let mut flags = vec![false; columns.len()];
            for feature in constant_features.iter().take(constants) {
                flags.iter_mut().skip(*feature).take(1).for_each(|flag| *flag = true);
            }
            flags
        };
        let divide = |scratch: &mut Vec<Entry>, (column, constant): (&mut Column, &bool)| {
            if let (Column::Sorted(entries), false) = (column, constant) {
                let in_node = entries.get_mut(start..end).unwrap_or_default();
                divide_stably(in_node, |entry| entry.sample, goes_left, scratch);
            }
        };
        if self.input.parallel && (end - start) * columns.len() >= WORTH_SHARING {
            columns.par_iter_mut().zip(&is_constant).for_each_init(Vec::new, divide);
        } else {
            columns.iter_mut().zip(&is_constant).for_each(|column| divide(&mut scratch.entries, column));
        }
    }
}

/// Sorts keys, whose upper halves are below `ranks` and whose lower halves ascend.
fn sort_by_rank(keys: &mut Vec<u64>, other: &mut Vec<u64>, ranks: usize) {
    // Counting sorts of a few bits each, from the lowest on, take the time of their counters where keys are few.
    const FEWEST: usize = 80;
    const MOST_BITS: u32 = 8;
    if keys.len() < FEWEST {
        keys.sort_unstable();
        return;
    }
    let bits = usize::BITS - ranks.leading_zeros();
    let passes = bits.div_ceil(MOST_BITS).max(1);
    let bits_a_pass = bits.div_ceil(passes);
    let mask = (1_usize << bits_a_pass) - 1;
    other.resize(keys.len(), 0);
    for pass in 0..passes {
        let digit = |key: u64| (key >> (32 + pass * bits_a_pass)) as usize & mask;
        let mut places = [0_usize; 1 << MOST_BITS];
        for key in &*keys {
            places[digit(*key) % (1 << MOST_BITS)] += 1;
        }
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        for key in &*keys {
            let place = &mut places[digit(*key) % (1 << MOST_BITS)];
            if let Some(slot) = other.get_mut(*place) {
                *slot = *key;
            }
            *place += 1;
        }
        std::mem::swap(keys, other);
    }
}

/// Notes which samples go left.
fn mark(samples: &[u32], goes_left: &mut [bool], is_left: impl Fn(u32) -> bool) {
    for sample in samples {
        if let Some(flag) = goes_left.get_mut(*sample as usize) {
            *flag = is_left(*sample);
        }
    }
}

/// Brings those that go left to the front, both parts in their order, and says how many they are.
fn divide_stably<T: Copy + Default>(
    items: &mut [T],
    sample: impl Fn(&T) -> u32,
    goes_left: &[bool],
    scratch: &mut Vec<T>,
) -> usize {
    let count = items.len();
    if scratch.len() < count {
        scratch.resize(count, T::default());
    }
    let scratch = &mut scratch[..count];
    let mut kept = 0;
    for place in 0..count {
        let item = items[place];
        let left = goes_left.get(sample(&item) as usize).copied().unwrap_or_default();
        // Both are written, and one of them is written over: a branch here would be taken half of the time.
        items[kept] = item;
        scratch[place - kept] = item;
        kept += usize::from(left);
    }
    items[kept..].copy_from_slice(&scratch[..count - kept]);
    kept
}

/// What is known of a node when its features are judged.
struct NodeInput<S> {
    start: usize,
    end: usize,
    total: S,
    /// Counted when one of a group's features is looked at first.
    groups: Vec<OnceLock<Vec<Bin<S>>>>,
}

/// Halves are added, because a sum may be infinite.
fn middle(low: f32, high: f32) -> f64 {
    f64::from(low) / 2.0 + f64::from(high) / 2.0
}

struct ByImprovement<S>(Divided<S>);

impl<S> Ord for ByImprovement<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_improvement = self.0.improvement.total_cmp(&other.0.improvement);
        // Of equal ones the first that was found.
        by_improvement.then_with(|| other.0.node.cmp(&self.0.node))
    }
}

impl<S> PartialOrd for ByImprovement<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<S> PartialEq for ByImprovement<S> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<S> Eq for ByImprovement<S> {}

impl Grown {
    /// The leaves: the place of each one's value, and its samples.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let leaves = self.nodes.iter().enumerate().filter(|(_, node)| node.children.is_none());
        leaves.map(|(place, node)| (place, self.samples.get(node.start..node.end).unwrap_or_default()))
    }

    /// The place of the value of the leaf that a row comes to.
    pub(super) fn leaf_of(&self, matrix: &Matrix, row: usize) -> usize {
        let mut place = 0;
        while let Some(Node { feature, threshold, children: Some([left, right]), .. }) = self.nodes.get(place)
        {
            place = if f64::from(matrix.value(*feature, row)) <= *threshold { *left } else { *right };
        }
        place
    }

    /// The tree as predictions are made from it, by way of scikit-learn's own arrays: there is one way into the
    /// compact form, and it checks what it is given.
    pub(super) fn into_tree(self) -> Result<Tree, String> {
        const FIELDS: [(&str, Kind); 5] = [
            ("left_child", Kind::Int),
            ("right_child", Kind::Int),
            ("feature", Kind::Int),
            ("threshold", Kind::Float),
            ("n_node_samples", Kind::Int),
        ];
        let scalar = |kind| Dtype::Scalar(Scalar { kind, size: 8, big_endian: false });
        let field = |(place, (name, kind)): (usize, (&str, Kind))| Field {
            name: name.into(),
            dtype: scalar(kind),
            offset: 8 * place,
        };
        let mut records = Vec::with_capacity(self.nodes.len() * 8 * FIELDS.len());
        for node in &self.nodes {
            let [left, right] = node.children.map_or([-1, -1], |children| children.map(|child| child as i64));
            records.extend(left.to_le_bytes());
            records.extend(right.to_le_bytes());
            records.extend((node.feature as i64).to_le_bytes());
            records.extend(node.threshold.to_le_bytes());
            records.extend(((node.end - node.start) as i64).to_le_bytes());
        }
        let nodes = Array {
            dtype: Dtype::Record {
                fields: FIELDS.into_iter().enumerate().map(field).collect(),
                size: 8 * FIELDS.len(),
            },
            shape: vec![self.nodes.len()],
            fortran: false,
            data: Data::Bytes(records),
        };
        let values = Array {
            dtype: scalar(Kind::Float),
            shape: vec![self.nodes.len(), 1, self.width],
            fortran: false,
            data: Data::Bytes(self.values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        Tree::compact(&nodes, &values, self.features)
    }
}
