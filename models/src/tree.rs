//! One decision tree, compact.
//!
//! scikit-learn keeps 56 or 64 bytes for a node and a row of values beside it (`sklearn/tree/_tree.pxd`, `Node`).
//! To predict, eight are enough:
//!
//! * Features are compared as 32-bit numbers, and `x <= t` for a 32-bit `x` is `x <= t'` with `t'` the largest 32-bit
//!   number not above `t`. So a threshold takes 4 bytes, and no decision changes.
//! * The two children of a node are neighbours (a *pair*), so that a node needs one link, and a step down is
//!   `link + (x > t)`.
//! * Numbers are held as integer [keys](key) that compare alike.
//! * A leaf is a split that leads to itself, so that rows can go on walking without asking whether they have arrived:
//!   a left child's threshold is above every key and a right child's below. Keys leave room there for the place of the
//!   leaf's values.
//! * Features are numbered anew by what an ensemble compares, and kept as the place of their column in a batch of rows.
//!   Where 16 bits are not enough for that, or for the pair, a tree's slots take twelve bytes.
//!
//! Pairs are laid out so that the child that more training samples went to comes next in memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use crate::{
    artifact::{Array, Data, Dtype, Kind, Scalar},
    features::{LANES, key},
};

/// A compact tree. [`Tree::new`] is the only way to make one, and checks what walking it without bounds checks needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    /// How many features it compares: all of its features are below this.
    features: usize,
    /// The splits and leaves themselves.
    slots: Slots,
    /// The values of the leaves, `width` for each; equal rows of several values are held once.
    values: Vec<f64>,
    /// One bit a slot: whether a missing value goes to the left child. None where it never does.
    missing_left: Option<Box<[u64]>>,
    /// How many values a leaf has.
    width: usize,
    summary: Summary,
}

/// Statistics of a tree. A wrong number here makes predicting slower, and nothing else.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    /// The features that any split compares, ascending.
    pub(crate) used_features: Vec<usize>,
    /// The number of splits on the longest path.
    pub(crate) depth: usize,
    /// The mean number of splits on the paths to the leaves, rounded down.
    pub(crate) mean_depth: usize,
}

/// The slot of the root: where a right child would be, so that a root that is a leaf is one like any other.
pub(crate) const ROOT: u32 = 1;

/// Splits and leaves. The children of a split are the slots `2 * pair` and `2 * pair + 1`; the root is slot 1, and
/// slot 0 is not used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Slots {
    Narrow(Box<[Slot<u16>]>),
    Wide(Box<[Slot<u32>]>),
}

/// A split or a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot<N> {
    /// The [key] of the threshold; for a leaf, the place of its values.
    pub(crate) threshold: i32,
    /// Where the feature's column begins in [`Batch::keys`](crate::features::Batch::keys).
    column: N,
    pair: N,
}

impl<N: Copy + Into<u32>> Slot<N> {
    /// Where the feature's column begins in a batch.
    #[inline(always)]
    pub(crate) fn column(self) -> usize {
        self.column.into() as usize
    }

    /// The slot of the left child; the right one's comes next.
    #[inline(always)]
    pub(crate) fn left_child(self) -> u32 {
        self.pair.into() * 2
    }

    /// Whether it is a leaf.
    pub(crate) fn is_leaf(self) -> bool {
        !(leaf::RIGHT + leaf::PLACES..leaf::LEFT).contains(&self.threshold)
    }

    /// The place of a leaf's values.
    #[inline(always)]
    pub(crate) fn leaf_place(self) -> u32 {
        self.threshold.cast_unsigned() & (leaf::PLACES.cast_unsigned() - 1)
    }

    pub(crate) fn widened(self) -> Slot<u32> {
        Slot { threshold: self.threshold, column: self.column.into(), pair: self.pair.into() }
    }
}

impl Slot<u32> {
    /// A split whose children are that pair; nothing if the numbers are too large.
    pub(crate) fn split(threshold: i32, feature: usize, pair: usize) -> Option<Self> {
        let column = u32::try_from(feature.checked_mul(LANES)?).ok()?;
        let pair = u32::try_from(pair).ok().filter(|pair| *pair < MOST_PAIRS)?;
        Some(Self { threshold, column, pair })
    }

    /// A leaf in that slot, whose values are at a place below [`MOST_LEAVES`].
    pub(crate) fn leaf(place: u32, slot: u32) -> Self {
        let is_right = slot & 1 == 1;
        let place = (place % leaf::PLACES.cast_unsigned()).cast_signed();
        Self { threshold: if is_right { leaf::RIGHT } else { leaf::LEFT } + place, column: 0, pair: slot / 2 }
    }

    pub(crate) fn narrowed(self) -> Option<Slot<u16>> {
        let (column, pair) = (self.column.try_into().ok()?, self.pair.try_into().ok()?);
        Some(Slot { threshold: self.threshold, column, pair })
    }
}

impl Slots {
    /// The slot at a place.
    pub(crate) fn get(&self, place: u32) -> Option<Slot<u32>> {
        match self {
            Self::Narrow(slots) => slots.get(place as usize).map(|slot| slot.widened()),
            Self::Wide(slots) => slots.get(place as usize).copied(),
        }
    }

    /// How many there are, with the one that is not used.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Narrow(slots) => slots.len(),
            Self::Wide(slots) => slots.len(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Narrow(slots) => size_of_val(&**slots),
            Self::Wide(slots) => size_of_val(&**slots),
        }
    }
}

const MOST_PAIRS: u32 = 1 << 30;

/// The largest number of rows of leaf values in a tree.
pub(crate) const MOST_LEAVES: usize = leaf::PLACES as usize;

/// Slot 0.
pub(crate) const UNUSED: Slot<u32> = Slot { threshold: i32::MAX, column: 0, pair: 0 };

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
            match field.scalar {
                Some(scalar)
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

/// The bytes that compacting these arrays takes at most, beside them.
pub(crate) fn compaction_bytes(nodes: &Array, values: &Array) -> usize {
    let node_count = nodes.shape.first().copied().unwrap_or(0);
    let width = values.shape.last().copied().unwrap_or(0);
    // Slots of 12 bytes; the values of half of the nodes, and entries of 24 bytes by which they are found.
    let per_node = if width <= 1 { 16 } else { width.saturating_mul(4).saturating_add(24) };
    node_count.saturating_mul(per_node)
}

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
    /// Makes a tree of splits and leaves. The first of them is [`ROOT`].
    ///
    /// # Errors
    /// A split leads to a slot that does not exist or does not come behind it, or compares a feature that is not below
    /// `features`. A leaf does not lead to itself, or has no values.
    pub(crate) fn new(
        features: usize,
        width: usize,
        slots: Slots,
        values: Vec<f64>,
        missing_left: Option<Box<[u64]>>,
        summary: Summary,
    ) -> Result<Self, String> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err("a tree whose leaf values do not fit its leaves".to_owned());
        }
        let rows = values.len() / width;
        match &slots {
            Slots::Narrow(slots) => check(slots, features, rows)?,
            Slots::Wide(slots) => check(slots, features, rows)?,
        }
        Ok(Self { features, slots, values, missing_left, width, summary })
    }

    /// How many features there are to compare.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// The splits and leaves.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The values of the leaves, [`width`](Self::width) for each.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many values a leaf has.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The number of splits and leaves.
    pub(crate) fn node_count(&self) -> usize {
        self.slots.count() - 1
    }

    /// The number of splits on the longest path.
    pub(crate) fn depth(&self) -> usize {
        self.summary.depth
    }

    /// The mean number of splits on the paths to the leaves, rounded down.
    pub(crate) fn mean_depth(&self) -> usize {
        self.summary.mean_depth
    }

    /// The features that any split compares, ascending.
    pub(crate) fn used_features(&self) -> &[usize] {
        &self.summary.used_features
    }

    /// Whether any split sends missing values to its left child.
    pub(crate) fn sends_any_missing_left(&self) -> bool {
        self.missing_left.is_some()
    }

    /// Changes the values of each leaf.
    pub(crate) fn change_leaves(&mut self, change: impl FnMut(&mut [f64])) {
        self.values.chunks_exact_mut(self.width).for_each(change);
    }

    /// Compacts the arrays of a `sklearn.tree._tree.Tree`.
    pub(crate) fn compact(nodes: &Array, values: &Array, features: usize) -> Result<Self, String> {
        let layout = NodeLayout::new(&nodes.dtype)?;
        let Data::Bytes(records) = &nodes.data else {
            return Err("a tree whose nodes are no records".to_owned());
        };
        let leaf_values = match (&values.dtype, &values.data) {
            (Dtype::Scalar(Scalar { kind: Kind::Float, size: 8, big_endian: false }), Data::Bytes(bytes))
                if !values.fortran =>
            {
                bytes.as_chunks::<8>().0
            }
            _ => return Err("a tree whose values are no 64-bit numbers, leaf by leaf".to_owned()),
        };
        let [value_rows, outputs, classes] = *values.shape.as_slice() else {
            return Err("a tree whose values are not of three dimensions".to_owned());
        };
        if outputs != 1 {
            return Err(format!("a tree with {outputs} outputs, where one is supported"));
        }
        if value_rows.checked_mul(layout.size) != Some(records.len())
            || value_rows.checked_mul(classes) != Some(leaf_values.len())
            || classes == 0
        {
            return Err("a tree whose values do not fit its nodes".to_owned());
        }
        Compaction {
            layout,
            records,
            leaf_values,
            features,
            width: classes,
            node_count: value_rows,
            values: Vec::new(),
            slots: Vec::new(),
            missing_left: Vec::new(),
            used_features: Vec::new(),
            known_rows: HashMap::new(),
            hasher: RandomState::new(),
        }
        .run()
    }

    /// The number of bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.slots.size()
            + size_of_val(&*self.values)
            + self.missing_left.as_deref().map_or(0, size_of_val::<[u64]>)
    }

    /// Whether a split sends missing values to its left child.
    pub(crate) fn sends_missing_left(&self, slot: u32) -> bool {
        let word = self.missing_left.as_ref().and_then(|bits| bits.get(slot as usize / 64));
        word.is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }

    /// Numbers features anew: `numbers[old]` for each that any split compares, `count` in all.
    pub(crate) fn renumber_features(&mut self, numbers: &[u32], count: usize) {
        let renumbered = |mut slot: Slot<u32>| {
            if !slot.is_leaf() {
                let number = numbers.get(slot.column() / LANES).filter(|number| (**number as usize) < count);
                slot.column = number.copied().unwrap_or(0) * LANES as u32;
            }
            slot
        };
        match &mut self.slots {
            Slots::Narrow(slots) => slots.iter_mut().skip(1).for_each(|slot| {
                // Numbers only become smaller.
                *slot = renumbered(slot.widened()).narrowed().unwrap_or(*slot);
            }),
            Slots::Wide(slots) => {
                slots.iter_mut().skip(1).for_each(|slot| *slot = renumbered(*slot));
                if let Some(narrow) = slots.iter().map(|slot| slot.narrowed()).collect() {
                    self.slots = Slots::Narrow(narrow);
                }
            }
        }
        self.features = count;
    }
}

/// Checks what [`Tree::new`] promises, and what unchecked walks rely on.
fn check<N: Copy + Into<u32>>(slots: &[Slot<N>], features: usize, rows: usize) -> Result<(), String> {
    if slots.len() <= ROOT as usize {
        return Err("a tree without nodes".to_owned());
    }
    let pairs = slots.len() / 2;
    let columns = features.max(1).saturating_mul(LANES);
    // Without a branch for each slot: whether one is a leaf cannot be predicted.
    let is_sound = |(place, slot): (usize, &Slot<N>)| {
        let (pair, column) = (slot.pair.into() as usize, slot.column());
        let is_leaf = slot.is_leaf();
        // A leaf leads to itself, and children come behind their parents, so that every walk ends.
        let is_left = slot.threshold >= leaf::LEFT;
        let is_own_child = (pair == place / 2) & (is_left == (place % 2 == 0));
        let has_values = (slot.leaf_place() as usize) < rows;
        let leads_on = (is_leaf & is_own_child & has_values) | (!is_leaf & (pair > place / 2));
        leads_on & (pair < pairs) & (column < columns) & (column % LANES == 0)
    };
    let numbered = || slots.iter().enumerate().skip(ROOT as usize);
    if numbered().fold(true, |all, slot| all & is_sound(slot)) {
        return Ok(());
    }
    let node = numbered().position(|slot| !is_sound(slot)).unwrap_or(0);
    Err(format!("a tree whose node {node} leads nowhere, compares what does not exist or has no values"))
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
    /// The nodes, one behind the other.
    records: &'a [u8],
    /// The values of all nodes, in the order of the nodes.
    leaf_values: &'a [[u8; 8]],
    features: usize,
    width: usize,
    node_count: usize,
    /// The values of the leaves so far.
    values: Vec<f64>,
    slots: Vec<Slot<u32>>,
    missing_left: Vec<u64>,
    /// One bit a feature.
    used_features: Vec<u64>,
    /// The place of a row of leaf values, by its hash.
    known_rows: HashMap<u64, usize>,
    hasher: RandomState,
}

impl<'a> Compaction<'a> {
    fn run(mut self) -> Result<Tree, String> {
        let node_count = self.node_count;
        self.slots.reserve_exact(node_count + 1);
        if self.width == 1 {
            // All splits have two children.
            self.values.reserve_exact(node_count / 2 + 1);
        }
        self.slots.extend([UNUSED; 2]);
        let (mut leaf_count, mut leaf_depths, mut deepest) = (0, 0, 0);
        let mut visited = 0_usize;
        let mut open = vec![(0_usize, ROOT, 0_usize)];
        while let Some((index, slot, depth)) = open.pop() {
            visited += 1;
            if visited > node_count {
                return Err("a tree whose nodes form a cycle".to_owned());
            }
            let record = self.record(index).ok_or("a tree with a child that does not exist")?;
            let content = if record.is_leaf(&self.layout) {
                deepest = deepest.max(depth);
                leaf_count += 1;
                leaf_depths += depth;
                self.leaf(index, slot)?
            } else {
                let pair = self.slots.len() / 2;
                let (content, left) = self.split(record, slot as usize, pair)?;
                self.slots.extend([UNUSED; 2]);
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
        if visited != node_count {
            return Err(format!("a tree of {node_count} nodes of which {visited} can be reached"));
        }
        let slot_count = self.slots.len();
        let mut narrow = Vec::with_capacity(slot_count);
        narrow.extend(self.slots.iter().map_while(|slot| slot.narrowed()));
        let is_narrow = narrow.len() == slot_count;
        let slots = if is_narrow { Slots::Narrow(narrow.into()) } else { Slots::Wide(self.slots.into()) };
        let mut missing_left = None;
        if self.missing_left.iter().any(|bits| *bits != 0) {
            self.missing_left.resize(slot_count.div_ceil(64), 0);
            missing_left = Some(self.missing_left.into());
        }
        let is_used = |feature: &usize| {
            self.used_features.get(feature / 64).is_some_and(|bits| bits >> (feature % 64) & 1 != 0)
        };
        let used_features = (0..64 * self.used_features.len()).filter(is_used).collect();
        let mean_depth = leaf_depths / leaf_count.max(1);
        let summary = Summary { used_features, depth: deepest, mean_depth };
        Tree::new(self.features, self.width, slots, self.values, missing_left, summary)
    }

    fn record(&self, index: usize) -> Option<RawNode<'a>> {
        let size = self.layout.size;
        let start = index.checked_mul(size)?;
        self.records.get(start..start.checked_add(size)?).map(RawNode)
    }

    fn children(&self, record: RawNode<'a>) -> Result<[(usize, RawNode<'a>); 2], String> {
        let child = |offset| {
            let index = usize::try_from(record.integer(offset)).ok()?;
            self.record(index).map(|child| (index, child))
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
    fn split(&mut self, record: RawNode<'_>, slot: usize, pair: usize) -> Result<(Slot<u32>, u32), String> {
        let feature = usize::try_from(record.integer(self.layout.feature)).ok();
        let feature = feature.filter(|feature| *feature < self.features);
        let feature = feature.ok_or("a tree that compares a feature that does not exist")?;
        let column = feature.checked_mul(LANES).and_then(|column| u32::try_from(column).ok());
        let column = column.ok_or("a tree of more features than are supported")?;
        let pair = u32::try_from(pair).ok().filter(|pair| *pair < MOST_PAIRS);
        let pair = pair.ok_or_else(|| format!("a tree of more than {} nodes", 2 * MOST_PAIRS))?;
        let threshold = f64::from_bits(record.word(self.layout.threshold));
        if threshold.is_nan() {
            return Err("a tree with a threshold that is not a number".to_owned());
        }
        if let Some(offset) = self.layout.missing_go_to_left
            && record.0.get(offset).is_some_and(|flag| *flag != 0)
        {
            set_bit(&mut self.missing_left, slot);
        }
        set_bit(&mut self.used_features, feature);
        Ok((Slot { threshold: key(round_down(threshold)), column, pair }, pair * 2))
    }

    fn leaf(&mut self, index: usize, slot: u32) -> Result<Slot<u32>, String> {
        let width = self.width;
        let row = index.checked_mul(width).and_then(|start| self.leaf_values.get(start..)?.get(..width));
        let row = row.ok_or("a tree whose values do not fit its nodes")?;
        let next = self.values.len() / width;
        let place = if width == 1 {
            next
        } else {
            // Most leaves of a fully grown forest are pure, so distinct rows are few. Where two rows have one hash, the
            // second is held each time that it comes.
            let known = *self.known_rows.entry(self.hasher.hash_one(row)).or_insert(next);
            let held = self.values.get(known * width..).unwrap_or_default();
            let is_same =
                known == next || held.iter().zip(row).all(|(held, value)| held.to_le_bytes() == *value);
            if is_same { known } else { next }
        };
        if place == next {
            self.values.extend(row.iter().map(|value| f64::from_le_bytes(*value)));
        }
        let place = u32::try_from(place).ok().filter(|place| (*place as usize) < MOST_LEAVES);
        let place = place.ok_or_else(|| format!("a tree of more than {MOST_LEAVES} leaves"))?;
        Ok(Slot::leaf(place, slot))
    }
}

fn set_bit(bits: &mut Vec<u64>, place: usize) {
    let word = place / 64;
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    if let Some(bits) = bits.get_mut(word) {
        *bits |= 1 << (place % 64);
    }
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
