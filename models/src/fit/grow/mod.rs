//! Growing one tree as scikit-learn's `best` splitter does (`sklearn/tree/_tree.pyx`, `_splitter.pyx`).
//!
//! What is the same: which splits are candidates (between values that differ by more than 1e-7, at the
//! middle between them), which is better (strictly, so that of equal ones the first that is met wins), the order in
//! which features are drawn, what a constant feature counts for, and when a node becomes a leaf. What is not: equal
//! values are added in the order of the rows, where scikit-learn has an order that depends on all earlier sorting.
//! Where sums are exact (whole numbers) trees are the same; where they are rounded, splits that are equal but for
//! rounding may be decided otherwise, though as often for one feature as there ([`Grower::sum_sides`]).
//!
//! How it is fast:
//!
//! * Values are replaced by their ranks among a column's distinct values, once for all trees; a split is found among
//!   ranks, and values are looked up for the best one only.
//! * A tree that looks at most features of every node has them sorted once: every feature keeps its samples in
//!   order, and a split divides each list stably. One that looks at few sorts what it looks at, without comparing: by
//!   counting, or digit by digit.
//! * Bootstrap samples that were drawn several times are one sample with a weight.
//! * Columns of few distinct values are not sorted but counted, and the columns of a one-hot encoder are counted
//!   together, in one pass.
//! * What the splits of a feature are worth is computed side by side, in vectors.

mod grown;
mod order;
mod search;

use std::{cmp::Ordering, collections::BinaryHeap};

use rayon::prelude::*;

pub(super) use self::grown::Grown;
use self::{
    grown::Node,
    order::{Sorting, divide_stably, mark},
    search::{Bin, Pieces, Verdict, best_between, best_between_bins, of_indicator},
};
use super::{
    criterion::Sums,
    matrix::{Entry, Matrix, TreeColumn},
    random::XorShift,
};

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

    /// How good a split is, if it leaves enough on both sides.
    #[inline(always)]
    fn proxy<S: Sums>(&self, left: S, total: S, left_count: usize, count: usize) -> Option<f64> {
        let enough = left_count >= self.min_samples_leaf && count - left_count >= self.min_samples_leaf;
        (enough && self.leaves_weight(left, total)).then(|| S::proxy(left, total))
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
    /// The rank or code of the last samples that go left; of an indicator, those of its code go right.
    last_left: u32,
    /// The feature that was drawn last among those that are kept in order.
    last_sorted: Option<usize>,
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

/// Memory that is used again and again.
struct Scratch<S> {
    sorting: Sorting,
    entries: Vec<Entry>,
    samples: Vec<u32>,
    bins: Vec<Bin<S>>,
    /// The samples of each group by code, and of which node.
    groups: Vec<(Option<usize>, Vec<Bin<S>>)>,
    pieces: Pieces<S>,
}

impl<S: Sums> Scratch<S> {
    fn new(groups: usize) -> Self {
        Self {
            sorting: Sorting::default(),
            entries: Vec::new(),
            samples: Vec::new(),
            bins: Vec::new(),
            groups: vec![(None, Vec::new()); groups],
            pieces: Pieces::default(),
        }
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
    /// Whether columns are kept in order.
    sorts_once: bool,
    goes_left: Vec<bool>,
    random: XorShift,
    /// scikit-learn's arrays of the same names.
    features: Vec<usize>,
    constant_features: Vec<usize>,
    total_weight: f64,
    grown: Grown,
}

/// Grows a tree.
pub(super) fn grow<S: Sums>(limits: &Limits, input: &Samples<'_, S>) -> Grown {
    let feature_count = input.matrix.columns.len();
    // Where fewer features are looked at, sorting these costs less than keeping all of them in order.
    let sorts_once = 2 * limits.max_features >= feature_count;
    let count = input.rows.len();
    let places = if sorts_once {
        let mut places = vec![u32::MAX; input.matrix.rows];
        for (place, row) in (0..).zip(input.rows) {
            places.iter_mut().skip(*row as usize).take(1).for_each(|slot| *slot = place);
        }
        places
    } else {
        Vec::new()
    };
    let pick = |values: &[u32]| -> Vec<u32> {
        input.rows.iter().map(|row| values.get(*row as usize).copied().unwrap_or_default()).collect()
    };
    let column = |column: &TreeColumn| match column {
        TreeColumn::Many(many) if !sorts_once => Column::Ranks(pick(&many.ranks)),
        TreeColumn::Many(many) if count == input.matrix.rows => Column::Sorted(many.sorted.clone()),
        TreeColumn::Many(many) => {
            let mut sorted = vec![Entry::default(); count + 1];
            let mut kept = 0;
            for entry in &many.sorted {
                let sample = places.get(entry.sample() as usize).copied().unwrap_or(u32::MAX);
                // Written whether or not it is kept: a branch would be taken every third time.
                if let Some(slot) = sorted.get_mut(kept) {
                    *slot = Entry::new(entry.rank(), sample);
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
        sorts_once,
        // In the order of the rows at first.
        samples: all,
        goes_left: vec![false; count],
        random: XorShift::new(input.seed),
        features: (0..feature_count).collect(),
        constant_features: vec![0; feature_count],
        total_weight: 0.0,
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

/// From so many samples times features on, threads share the work of a node.
const WORTH_SHARING: usize = 1 << 15;

impl<S: Sums> Grower<'_, S> {
    fn run(mut self) -> Grown {
        let scratch = &mut Scratch::new(self.groups.len());
        let count = self.samples.len();
        let [(total, squares), _] = self.sum_sides(0, count, count, None);
        self.total_weight = total.weight();
        let root = Open { start: 0, end: count, depth: 0, parent: None, known_constants: 0, total, squares };
        match self.limits.max_leaf_nodes {
            None => {
                let mut open = vec![root];
                while let Some(next) = open.pop() {
                    if let Some(divided) = self.look_at(next, scratch) {
                        let [left, right] = self.accept(divided);
                        open.extend([right, left]);
                    }
                }
            }
            Some(most_leaves) => self.run_best_first(root, most_leaves, scratch),
        }
        self.grown.samples = self.samples;
        self.grown
    }

    fn run_best_first(&mut self, root: Open<S>, most_leaves: usize, scratch: &mut Scratch<S>) {
        let mut frontier = BinaryHeap::new();
        frontier.extend(self.look_at(root, scratch).map(ByImprovement));
        let mut leaves = 1;
        while leaves < most_leaves
            && let Some(ByImprovement(divided)) = frontier.pop()
        {
            leaves += 1;
            for child in self.accept(divided) {
                // Constants of the parent are not remembered on this way.
                let child = Open { known_constants: 0, ..child };
                frontier.extend(self.look_at(child, scratch).map(ByImprovement));
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
    fn look_at(&mut self, open: Open<S>, scratch: &mut Scratch<S>) -> Option<Divided<S>> {
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
            || count / 2 < limits.min_samples_leaf
            || total.weight() < 2.0 * limits.min_weight_leaf
            || impurity <= f64::EPSILON;
        if is_leaf {
            return None;
        }
        let (split, constants) = self.find_split(start, end, open.known_constants, total, scratch);
        let split = split?;
        let middle = self.divide_samples(start, end, split, &mut scratch.samples);
        let [(left, left_squares), (right, right_squares)] =
            self.sum_sides(start, middle, end, split.last_sorted);
        let weighted = |sums: S, squares: f64| sums.weight() / total.weight() * sums.impurity(squares);
        let decrease = impurity - weighted(right, right_squares) - weighted(left, left_squares);
        let improvement = total.weight() / self.total_weight * decrease;
        if improvement + f64::EPSILON < limits.min_impurity_decrease {
            return None;
        }
        let may_split = |count: usize| {
            depth + 1 < limits.max_depth
                && count >= limits.min_samples_split
                && count / 2 >= limits.min_samples_leaf
        };
        if may_split(middle - start) || may_split(end - middle) {
            let constants = if limits.max_leaf_nodes.is_some() { 0 } else { constants };
            self.divide_columns(start, end, constants, &mut scratch.entries);
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

    /// What both sides of a division add up to, and their weighted squares.
    ///
    /// In the order that samples have in scikit-learn, where features sort them in place and the last one's order
    /// stays. It decides between features that divide the samples alike, as an asset's indicator and any price do: the
    /// split of the smaller rounding error in the sums on one side wins, and so the error must be distributed as there.
    fn sum_sides(&self, start: usize, middle: usize, end: usize, order: Option<usize>) -> [(S, f64); 2] {
        let mut sides = [(S::default(), 0.0); 2];
        let [left, right] = &mut sides;
        let add = |side: &mut (S, f64), sample: u32| {
            side.0 += self.input.sums.get(sample as usize).copied().unwrap_or_default();
            side.1 += self.input.squares.get(sample as usize).copied().unwrap_or_default();
        };
        if let Some(Column::Sorted(entries)) = order.and_then(|feature| self.columns.get(feature)) {
            for entry in entries.get(start..end).unwrap_or_default() {
                let goes_left = self.goes_left.get(entry.sample() as usize).copied().unwrap_or_default();
                add(if goes_left { &mut *left } else { &mut *right }, entry.sample());
            }
        } else {
            let samples = |from: usize, to: usize| self.samples.get(from..to).unwrap_or_default();
            samples(start, middle).iter().for_each(|sample| add(left, *sample));
            samples(middle, end).iter().for_each(|sample| add(right, *sample));
        }
        sides
    }

    /// The best split of a node, and how many features are now known to be constant in it.
    ///
    /// Features are drawn as in `node_split_best`, whose invariants hold for `features`: constants that are known and
    /// drawn, that are known, that were found now; then features that were not drawn, then those that were.
    fn find_split(
        &mut self,
        start: usize,
        end: usize,
        known: usize,
        total: S,
        scratch: &mut Scratch<S>,
    ) -> (Option<Split>, usize) {
        let node = NodeInput { node: self.grown.nodes.len(), start, end, total };
        let all = self.limits.max_features >= self.features.len();
        let mut ahead: Vec<Option<Verdict>> = Vec::new();
        if self.input.parallel && all && (end - start) * self.features.len() >= WORTH_SHARING {
            ahead = vec![None; self.features.len()];
            let open = self.features.get(known..).unwrap_or_default();
            let judge = |scratch: &mut Scratch<S>, feature: &usize| {
                (*feature, self.judge(*feature, &node, f64::NEG_INFINITY, scratch))
            };
            let judged: Vec<(usize, Verdict)> =
                open.par_iter().map_init(|| Scratch::new(self.groups.len()), judge).collect();
            for (feature, verdict) in judged {
                ahead.iter_mut().skip(feature).take(1).for_each(|slot| *slot = Some(verdict));
            }
        }
        let mut best = None;
        let mut best_proxy = f64::NEG_INFINITY;
        let mut last_sorted = None;
        let mut undrawn = self.features.len();
        let (mut visited, mut found, mut drawn) = (0, 0, 0);
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
            match judged.unwrap_or_else(|| self.judge(feature, &node, best_proxy, scratch)) {
                Verdict::Constant => {
                    self.features.swap(place, known + found);
                    found += 1;
                }
                Verdict::Varies(candidate) => {
                    if let Some(Column::Sorted(_)) = self.columns.get(feature) {
                        last_sorted = Some(feature);
                    }
                    undrawn -= 1;
                    self.features.swap(undrawn, place);
                    if let Some(candidate) = candidate
                        && candidate.proxy > best_proxy
                    {
                        best_proxy = candidate.proxy;
                        best = Some((feature, candidate));
                    }
                }
            }
        }
        // The known constants keep their order for the nodes that come.
        for (slot, constant) in self.features.iter_mut().zip(&self.constant_features).take(known) {
            *slot = *constant;
        }
        for (slot, constant) in self.constant_features.iter_mut().zip(&self.features).skip(known).take(found)
        {
            *slot = *constant;
        }
        let split = best.and_then(|(feature, candidate)| {
            let threshold = candidate.threshold(self.input.matrix.columns.get(feature)?)?;
            Some(Split { feature, threshold, last_left: candidate.last_left, last_sorted })
        });
        (split, known + found)
    }

    /// Finds the best split of one feature, of those that are worth more than `floor`.
    fn judge(&self, feature: usize, node: &NodeInput<S>, floor: f64, scratch: &mut Scratch<S>) -> Verdict {
        #[cfg(target_arch = "x86_64")]
        {
            /// Twice as many divisions and comparisons at once: 6 to 12 % less time for a whole ensemble.
            #[target_feature(enable = "avx2")]
            fn with_avx2<S: Sums>(
                grower: &Grower<'_, S>,
                feature: usize,
                node: &NodeInput<S>,
                floor: f64,
                scratch: &mut Scratch<S>,
            ) -> Verdict {
                grower.judge_in_line(feature, node, floor, scratch)
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2.
                return unsafe { with_avx2(self, feature, node, floor, scratch) };
            }
        }
        self.judge_in_line(feature, node, floor, scratch)
    }

    #[inline(always)]
    fn judge_in_line(
        &self,
        feature: usize,
        node: &NodeInput<S>,
        floor: f64,
        scratch: &mut Scratch<S>,
    ) -> Verdict {
        let count = node.end - node.start;
        let (Some(column), Some(of_matrix)) =
            (self.columns.get(feature), self.input.matrix.columns.get(feature))
        else {
            return Verdict::Constant;
        };
        match (column, of_matrix) {
            (Column::Sorted(entries), TreeColumn::Many(many)) => {
                let entries = entries.get(node.start..node.end).unwrap_or_default();
                let sums = (self.input.sums, node.total);
                best_between(self.limits, entries, many, sums, floor, &mut scratch.pieces)
            }
            (Column::Ranks(ranks), TreeColumn::Many(many)) => {
                let samples = self.samples.get(node.start..node.end).unwrap_or_default();
                let entries = scratch.sorting.sort(samples, ranks, many.distinct.len());
                let sums = (self.input.sums, node.total);
                best_between(self.limits, entries, many, sums, floor, &mut scratch.pieces)
            }
            (Column::Codes(codes), TreeColumn::Few(coded)) => {
                self.count(codes, coded.bins.len(), node, &mut scratch.bins);
                best_between_bins(self.limits, &scratch.bins, &coded.bins, node.total, count)
            }
            (Column::Indicator { group, hot }, _) => {
                let (Some((counted, bins)), Some(codes), Some(coded)) = (
                    scratch.groups.get_mut(*group),
                    self.groups.get(*group),
                    self.input.matrix.groups.get(*group),
                ) else {
                    return Verdict::Constant;
                };
                // All features of a group are judged from one count.
                if counted.replace(node.node) != Some(node.node) {
                    self.count(codes, coded.bins.len(), node, bins);
                }
                let ones = bins.get(*hot as usize).copied().unwrap_or_default();
                of_indicator(self.limits, ones, *hot, node.total, count)
            }
            _ => Verdict::Constant,
        }
    }

    /// Adds a node's samples up by code.
    #[inline(always)]
    fn count(&self, codes: &[u32], code_count: usize, node: &NodeInput<S>, bins: &mut Vec<Bin<S>>) {
        bins.clear();
        bins.resize(code_count, Bin::default());
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

    /// Divides the samples of a node, both parts in the order of the rows, and says where the right part begins.
    fn divide_samples(&mut self, start: usize, end: usize, split: Split, scratch: &mut Vec<u32>) -> usize {
        let Self { samples, goes_left, columns, groups, .. } = self;
        let in_node = samples.get_mut(start..end).unwrap_or_default();
        let of_sample =
            |numbers: &[u32], sample: u32| numbers.get(sample as usize).copied().unwrap_or_default();
        let last_left = split.last_left;
        match columns.get(split.feature) {
            Some(Column::Ranks(ranks) | Column::Codes(ranks)) => {
                mark(in_node, goes_left, |sample| of_sample(ranks, sample) <= last_left);
            }
            Some(Column::Indicator { group, hot }) => {
                let codes = groups.get(*group).map_or(&[][..], Vec::as_slice);
                mark(in_node, goes_left, |sample| of_sample(codes, sample) != *hot);
            }
            Some(Column::Sorted(entries)) => {
                for entry in entries.get(start..end).unwrap_or_default() {
                    if let Some(flag) = goes_left.get_mut(entry.sample() as usize) {
                        *flag = entry.rank() <= last_left;
                    }
                }
            }
            None => {}
        }
        start + divide_stably(in_node, |sample| *sample, goes_left, scratch)
    }

    /// Divides the columns that are kept in order like the samples, but for those that are constant from here on.
    fn divide_columns(&mut self, start: usize, end: usize, constants: usize, scratch: &mut Vec<Entry>) {
        if !self.sorts_once {
            return;
        }
        let Self { columns, goes_left, constant_features, .. } = self;
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
                divide_stably(in_node, |entry| entry.sample(), goes_left, scratch);
            }
        };
        if self.input.parallel && (end - start) * columns.len() >= WORTH_SHARING {
            columns.par_iter_mut().zip(&is_constant).for_each_init(Vec::new, divide);
        } else {
            columns.iter_mut().zip(&is_constant).for_each(|column| divide(scratch, column));
        }
    }
}

/// What is known of a node when its features are judged.
struct NodeInput<S> {
    node: usize,
    start: usize,
    end: usize,
    total: S,
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
