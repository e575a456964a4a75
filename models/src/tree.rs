//! One decision tree, compact.
//!
//! scikit-learn keeps 56 or 64 bytes for a node and a row of values beside it (`sklearn/tree/_tree.pxd`, `Node`).
//! To predict, eight are enough:
//!
//! * Features are compared as 32-bit numbers, and `x <= t` for a 32-bit `x` is `x <= t'` with `t'` the largest 32-bit
//!   number not above `t`. So a threshold takes 4 bytes, and no decision changes.
//! * The two children of a node are neighbours (a *pair*), so that a node needs one link, and a step down is
//!   `link + (x > t)`. It also says which of its children are leaves, so that a leaf needs no mark and can be all value.
//! * Numbers are held as integer [keys](key) that compare alike.
//! * A leaf is a split that leads to itself, so that rows can go on walking without asking whether they have arrived:
//!   a left child's threshold is above every key and a right child's below. Keys leave room there for the place of the
//!   leaf's values.
//!
//! Pairs are laid out so that the child that more training samples went to comes next in memory.

use std::collections::HashMap;

use crate::{
    artifact::{Array, Data, Dtype, Kind},
    features::key,
};

/// A compact tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    /// How many features it compares: all of its features are below this.
    pub(crate) features: usize,
    /// Splits and leaves; the children of a split are `slots[2 * pair]` and `slots[2 * pair + 1]`. The root is
    /// `slots[1]`, and `slots[0]` is not used.
    pub(crate) slots: Box<[u64]>,
    /// The values of the leaves, `width` for each; equal rows of several values are held once.
    pub(crate) values: Vec<f64>,
    /// The features of splits, where eight bits are not enough: then a split's own field is unused.
    pub(crate) wide_features: Option<Box<[u32]>>,
    /// One bit a slot: whether a missing value goes to the left child. None where it never does.
    pub(crate) missing_left: Option<Box<[u64]>>,
    /// How many values a leaf has.
    pub(crate) width: usize,
    /// The number of splits and leaves.
    pub(crate) node_count: usize,
    /// The number of splits on the longest path.
    pub(crate) depth: usize,
    /// The mean number of splits on the paths to the leaves, rounded down.
    pub(crate) mean_depth: usize,
}

/// The slot of the root: where a right child would be, so that a root that is a leaf is one like any other.
pub(crate) const ROOT: u32 = 1;

/// A split's fields in a slot: the threshold's [key], then the feature and the pair of the children.
pub(crate) mod split {
    pub(crate) const FEATURE_BITS: u32 = 8;
    pub(crate) const MOST_PAIRS: usize = 1 << (32 - FEATURE_BITS);
}

/// A leaf's threshold: the place of its values is added to one of these. All are beyond the keys of numbers.
mod leaf {
    use crate::features::{LARGEST_KEY, SMALLEST_KEY};

    pub(super) const PLACES: i32 = 1 << 22;
    /// Nothing is above.
    pub(super) const LEFT: i32 = i32::MAX - PLACES + 1;
    /// Everything is above.
    pub(super) const RIGHT: i32 = i32::MIN;
    const _: () = assert!(LEFT > LARGEST_KEY && RIGHT + (PLACES - 1) < SMALLEST_KEY);
}

/// The fields of scikit-learn's node that play a part, by their place in a record.
struct NodeLayout {
    size: usize,
    left_child: usize,
    right_child: usize,
    feature: usize,
    threshold: usize,
    sample_count: usize,
    missing_go_to_left: Option<usize>,
}

impl NodeLayout {
    fn new(dtype: &Dtype) -> Result<Self, String> {
        let Dtype::Record { fields, size } = dtype else {
            return Err("a tree whose nodes are no records".to_owned());
        };
        // A field that is not known may change what the others mean: a later scikit-learn splits on categories.
        const KNOWN: [&str; 8] = [
            "left_child",
            "right_child",
            "feature",
            "threshold",
            "impurity",
            "n_node_samples",
            "weighted_n_node_samples",
            "missing_go_to_left",
        ];
        if let Some(unknown) = fields.iter().find(|field| !KNOWN.contains(&&*field.name)) {
            return Err(format!("a tree whose nodes have the unknown field {:?}", unknown.name));
        }
        let offset = |name: &str, kinds: &[Kind], bytes: usize| {
            let field = fields.iter().find(|field| *field.name == *name)?;
            match field.dtype {
                Dtype::Scalar(scalar)
                    if kinds.contains(&scalar.kind) && scalar.size == bytes && !scalar.big_endian =>
                {
                    Some(field.offset)
                }
                _ => None,
            }
        };
        let required = |name: &str, kind, bytes| {
            offset(name, &[kind], bytes).ok_or_else(|| format!("a tree whose nodes lack the field {name:?}"))
        };
        Ok(Self {
            size: *size,
            left_child: required("left_child", Kind::Int, 8)?,
            right_child: required("right_child", Kind::Int, 8)?,
            feature: required("feature", Kind::Int, 8)?,
            threshold: required("threshold", Kind::Float, 8)?,
            sample_count: required("n_node_samples", Kind::Int, 8)?,
            missing_go_to_left: offset("missing_go_to_left", &[Kind::Uint, Kind::Bool], 1),
        })
    }
}

/// scikit-learn's mark of a leaf (`TREE_LEAF`).
const NO_CHILD: i64 = -1;

/// One of scikit-learn's nodes.
#[derive(Clone, Copy)]
struct RawNode<'a>(&'a [u8]);

impl RawNode<'_> {
    fn word(self, offset: usize) -> u64 {
        // The layout lies inside of the record, which was cut to its size: there are always eight bytes.
        let bytes = self.0.get(offset..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn integer(self, offset: usize) -> i64 {
        self.word(offset).cast_signed()
    }

    fn is_leaf(self, layout: &NodeLayout) -> bool {
        self.integer(layout.left_child) == NO_CHILD
    }
}

impl Tree {
    /// Compacts the arrays of a `sklearn.tree._tree.Tree`.
    pub(crate) fn compact(nodes: &Array, values: &Array, features: usize) -> Result<Self, String> {
        let layout = NodeLayout::new(&nodes.dtype)?;
        let Data::Bytes(records) = &nodes.data else {
            return Err("a tree whose nodes are no records".to_owned());
        };
        let records: Vec<RawNode<'_>> = records.chunks_exact(layout.size.max(1)).map(RawNode).collect();
        let leaf_values = values.numbers().ok_or("a tree whose values are no numbers")?;
        let [value_rows, outputs, classes] = *values.shape.as_slice() else {
            return Err("a tree whose values are not of three dimensions".to_owned());
        };
        if outputs != 1 {
            return Err(format!("a tree with {outputs} outputs, where one is supported"));
        }
        if value_rows != records.len() || classes == 0 {
            return Err("a tree whose values do not fit its nodes".to_owned());
        }
        Compaction {
            layout,
            records,
            leaf_values,
            tree: Self {
                features,
                slots: Box::default(),
                values: Vec::new(),
                wide_features: None,
                missing_left: None,
                width: classes,
                node_count: value_rows,
                depth: 0,
                mean_depth: 0,
            },
            slots: Vec::new(),
            wide_features: (features > 1 << split::FEATURE_BITS).then(Vec::new),
            missing_left: Vec::new(),
            known_rows: HashMap::new(),
        }
        .run()
    }

    /// The number of bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        size_of_val(&*self.slots)
            + size_of_val(&*self.values)
            + self.wide_features.as_deref().map_or(0, size_of_val::<[u32]>)
            + self.missing_left.as_deref().map_or(0, size_of_val::<[u64]>)
    }

    /// Whether a split sends missing values to its left child.
    pub(crate) fn sends_missing_left(&self, slot: usize) -> bool {
        let word = self.missing_left.as_ref().and_then(|bits| bits.get(slot / 64));
        word.is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }

    /// The slots of all splits.
    fn splits(&self) -> impl Iterator<Item = usize> {
        // The first slot is not used.
        let slots = self.slots.iter().enumerate().skip(1);
        slots.filter(|(_, slot)| leaf_place(**slot).is_none()).map(|(slot, _)| slot)
    }

    /// Marks the features that any split compares.
    pub(crate) fn mark_features(&self, used: &mut [bool]) {
        for slot in self.splits() {
            if let Some(used) = used.get_mut(self.feature(slot) as usize) {
                *used = true;
            }
        }
    }

    /// Counts features by their place in `kept`, which is ascending and has all that any split compares.
    pub(crate) fn renumber_features(&mut self, kept: &[usize]) {
        let is_wide = kept.len() > 1 << split::FEATURE_BITS;
        let splits: Vec<usize> = self.splits().collect();
        for slot in splits {
            let old = self.feature(slot) as usize;
            let new = kept.binary_search(&old).ok().and_then(|place| u32::try_from(place).ok()).unwrap_or(0);
            if let (Some(features), true) = (&mut self.wide_features, is_wide) {
                if let Some(feature) = features.get_mut(slot) {
                    *feature = new;
                }
            } else if let Some(content) = self.slots.get_mut(slot) {
                *content = slot_of(threshold(*content), new, left_child(*content) >> 1);
            }
        }
        self.features = kept.len();
        if !is_wide {
            self.wide_features = None;
        }
    }

    /// The feature of a split.
    pub(crate) fn feature(&self, slot: usize) -> u32 {
        match &self.wide_features {
            Some(features) => features.get(slot).copied().unwrap_or(0),
            None => self.slots.get(slot).map_or(0, |split| feature(*split)),
        }
    }
}

/// The key of a split's threshold.
#[expect(clippy::cast_possible_truncation, reason = "the threshold is the lower half")]
pub(crate) const fn threshold(split: u64) -> i32 {
    (split as u32).cast_signed()
}

/// The feature of a split, where it is not kept elsewhere.
pub(crate) const fn feature(split: u64) -> u32 {
    (split >> 32) as u32 & ((1 << split::FEATURE_BITS) - 1)
}

/// The left child of a split; the right one comes next.
pub(crate) const fn left_child(split: u64) -> u32 {
    ((split >> (32 + split::FEATURE_BITS)) as u32) << 1
}

/// The place of a leaf's values, or nothing for a split.
pub(crate) fn leaf_place(slot: u64) -> Option<u32> {
    let threshold = threshold(slot);
    let is_leaf = !(leaf::RIGHT + leaf::PLACES..leaf::LEFT).contains(&threshold);
    is_leaf.then_some(threshold.cast_unsigned() & (leaf::PLACES.cast_unsigned() - 1))
}

/// The largest 32-bit number that is not above `threshold`.
#[expect(clippy::cast_possible_truncation, reason = "this is the rounding")]
fn round_down(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) > threshold { nearest.next_down() } else { nearest }
}

/// A tree on its way.
struct Compaction<'a> {
    layout: NodeLayout,
    records: Vec<RawNode<'a>>,
    leaf_values: Vec<f64>,
    tree: Tree,
    slots: Vec<u64>,
    wide_features: Option<Vec<u32>>,
    missing_left: Vec<u64>,
    known_rows: HashMap<Box<[u64]>, usize>,
}

impl<'a> Compaction<'a> {
    fn run(mut self) -> Result<Tree, String> {
        self.slots.reserve_exact(self.records.len() + 1);
        self.slots.extend([0, 0]);
        let (mut leaf_count, mut leaf_depths) = (0, 0);
        let mut visited = 0_usize;
        let mut open = vec![(0_usize, ROOT, 0_usize)];
        while let Some((index, slot, depth)) = open.pop() {
            visited += 1;
            if visited > self.records.len() {
                return Err("a tree whose nodes form a cycle".to_owned());
            }
            let record = *self.records.get(index).ok_or("a tree with a child that does not exist")?;
            let content = if record.is_leaf(&self.layout) {
                self.tree.depth = self.tree.depth.max(depth);
                leaf_count += 1;
                leaf_depths += depth;
                self.leaf(index, slot)?
            } else {
                let pair = self.slots.len() / 2;
                let (content, left) = self.split(record, slot as usize, pair)?;
                self.slots.extend([0, 0]);
                let children = self.children(record)?;
                let [(left_index, left_record), (right_index, right_record)] = children;
                let (to_left, to_right) = ((left_index, left, depth + 1), (right_index, left + 1, depth + 1));
                // What is opened last comes next in memory.
                let left_is_heavier = self.sample_count(left_record) >= self.sample_count(right_record);
                open.extend(if left_is_heavier { [to_right, to_left] } else { [to_left, to_right] });
                content
            };
            if let Some(place) = self.slots.get_mut(slot as usize) {
                *place = content;
            }
        }
        self.tree.mean_depth = leaf_depths / leaf_count.max(1);
        let mut tree = self.tree;
        tree.slots = self.slots.into();
        tree.wide_features = self.wide_features.map(Into::into);
        if self.missing_left.iter().any(|bits| *bits != 0) {
            self.missing_left.resize(tree.slots.len().div_ceil(64), 0);
            tree.missing_left = Some(self.missing_left.into());
        }
        Ok(tree)
    }

    fn children(&self, record: RawNode<'a>) -> Result<[(usize, RawNode<'a>); 2], String> {
        let child = |offset| {
            let index = usize::try_from(record.integer(offset)).ok()?;
            self.records.get(index).map(|child| (index, *child))
        };
        match (child(self.layout.left_child), child(self.layout.right_child)) {
            (Some(left), Some(right)) => Ok([left, right]),
            _ => Err("a tree with a child that does not exist".to_owned()),
        }
    }

    fn sample_count(&self, record: RawNode<'_>) -> i64 {
        record.integer(self.layout.sample_count)
    }

    /// A split whose children are that pair, and the slot of the left one.
    fn split(&mut self, record: RawNode<'_>, slot: usize, pair: usize) -> Result<(u64, u32), String> {
        let feature = u32::try_from(record.integer(self.layout.feature)).ok();
        let feature = feature.filter(|feature| (*feature as usize) < self.tree.features);
        let feature = feature.ok_or("a tree that compares a feature that does not exist")?;
        let pair = u32::try_from(pair).ok().filter(|pair| (*pair as usize) < split::MOST_PAIRS);
        let pair = pair.ok_or_else(|| format!("a tree of more than {} nodes", 2 * split::MOST_PAIRS))?;
        let threshold = f64::from_bits(record.word(self.layout.threshold));
        if threshold.is_nan() {
            return Err("a tree with a threshold that is not a number".to_owned());
        }
        let own_feature = match &mut self.wide_features {
            Some(features) => {
                if features.len() <= slot {
                    features.resize(slot + 1, 0);
                }
                if let Some(place) = features.get_mut(slot) {
                    *place = feature;
                }
                0
            }
            None => feature,
        };
        if let Some(offset) = self.layout.missing_go_to_left
            && record.0.get(offset).is_some_and(|flag| *flag != 0)
        {
            let word = slot / 64;
            if self.missing_left.len() <= word {
                self.missing_left.resize(word + 1, 0);
            }
            if let Some(bits) = self.missing_left.get_mut(word) {
                *bits |= 1 << (slot % 64);
            }
        }
        Ok((slot_of(key(round_down(threshold)), own_feature, pair), pair << 1))
    }

    fn leaf(&mut self, index: usize, slot: u32) -> Result<u64, String> {
        let width = self.tree.width;
        let row = index.checked_mul(width).and_then(|start| self.leaf_values.get(start..)?.get(..width));
        let row = row.ok_or("a tree whose values do not fit its nodes")?;
        let next = self.tree.values.len() / width;
        let place = if width == 1 {
            next
        } else {
            // Most leaves of a fully grown forest are pure, so distinct rows are few.
            *self.known_rows.entry(row.iter().map(|value| value.to_bits()).collect()).or_insert(next)
        };
        if place == next {
            self.tree.values.extend_from_slice(row);
        }
        let place = i32::try_from(place).ok().filter(|place| *place < leaf::PLACES);
        let place = place.ok_or_else(|| format!("a tree of more than {} leaves", leaf::PLACES))?;
        let is_right = slot & 1 == 1;
        Ok(slot_of(if is_right { leaf::RIGHT } else { leaf::LEFT } + place, 0, slot >> 1))
    }
}

fn slot_of(threshold: i32, feature: u32, pair: u32) -> u64 {
    u64::from(pair << split::FEATURE_BITS | feature) << 32 | u64::from(threshold.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_a_threshold_down_changes_no_decision() {
        for threshold in [0.1_f64, -0.1, 1e-50, -1e-50, 16_777_217.0, 1e39, -1e39, 0.5, -0.0] {
            let rounded = round_down(threshold);
            for x in [rounded.next_down(), rounded, rounded.next_up(), 0.0, -0.0, 1.0, -1.0] {
                if x.is_finite() {
                    assert_eq!(f64::from(x) <= threshold, x <= rounded, "{x} against {threshold}");
                }
            }
        }
    }
}
