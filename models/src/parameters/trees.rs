//! Trees as the format has them: one element a node, and the children of a split side by side behind it.
//!
//! That is the order in which [`Tree`] holds its slots (slot *n* + 1 is node *n*), so that one pass over the file
//! makes and checks trees.

use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::{
    document::Path,
    error::{InexpressibleError, ParametersError},
    source::{CHUNK_BYTES, Tensor, Tensors, check_finite},
    write::Written,
};
use crate::{
    features::{LANES, key, number},
    forest::Ensemble,
    tree::{MOST_LEAVES, ROOT, Slot, Slots, Summary, Tree, UNUSED},
};

/// The `feature` of a leaf.
const LEAF: i32 = -1;

/// The largest number of nodes in a tree: a link to a child takes 32 bits.
const MOST_NODES: usize = 1 << 31;

/// The tensors of trees.
struct NodeTensors<'a> {
    feature: Tensor<'a>,
    threshold: Tensor<'a>,
    link: Tensor<'a>,
    missing_left: Option<Tensor<'a>>,
    leaf_values: Tensor<'a>,
    /// How many features there are.
    features: usize,
    /// How many values a leaf has.
    width: usize,
}

/// One tree's part of the tensors.
#[derive(Clone, Copy)]
struct Extent {
    first_node: usize,
    node_count: usize,
    first_row: usize,
    row_count: usize,
}

/// How many nodes are copied at a time.
const NODES: usize = CHUNK_BYTES / 4;

/// What is needed while a tree is read, and used again for the next.
struct Scratch {
    /// By pair, the number of splits above it; 0 as long as no split has led there.
    depths: Vec<u32>,
    /// One bit a feature.
    seen: Vec<u64>,
    /// Nodes as they are in the file.
    feature: Vec<[u8; 4]>,
    threshold: Vec<[u8; 4]>,
    link: Vec<[u8; 4]>,
}

impl Scratch {
    fn new() -> Self {
        let nodes = || vec![[0; 4]; NODES];
        Self { depths: Vec::new(), seen: Vec::new(), feature: nodes(), threshold: nodes(), link: nodes() }
    }
}

/// Reads the trees of an object, all with leaves of `width` values.
pub(super) fn read(
    tensors: &mut Tensors<'_>,
    object: &Path,
    features: usize,
    width: usize,
    missing_left: bool,
) -> Result<Vec<Tree>, ParametersError> {
    let (feature, [nodes]) = tensors.take(object, "feature", Dtype::I32)?;
    let threshold = tensors.vector(object, "threshold", Dtype::F32, nodes)?;
    let link = tensors.vector(object, "link", Dtype::U32, nodes)?;
    let missing_left =
        if missing_left { Some(tensors.vector(object, "missing_left", Dtype::U8, nodes)?) } else { None };
    let (leaf_values, [rows, found]) = tensors.take(object, "leaf_values", Dtype::F64)?;
    if found != width {
        return Err(
            leaf_values.wrong(None, format!("it has {found} values a leaf where {width} are expected"))
        );
    }
    let (tree_offsets, [offset_count]) = tensors.take(object, "tree_offsets", Dtype::U64)?;
    let leaf_offsets = tensors.vector(object, "leaf_offsets", Dtype::U64, offset_count)?;
    tensors.hold(tree_offsets.length.saturating_mul(size_of::<Extent>()))?;
    let extents = extents(&tree_offsets, nodes, &leaf_offsets, rows)?;
    let tensors = NodeTensors { feature, threshold, link, missing_left, leaf_values, features, width };
    let read = |scratch: &mut Scratch, extent| tensors.tree(extent, scratch);
    // Small ensembles are read before other threads have woken up.
    const FEWEST_SHARED: usize = 1 << 16;
    if nodes < FEWEST_SHARED {
        let mut scratch = Scratch::new();
        return extents.into_iter().map(|extent| read(&mut scratch, extent)).collect();
    }
    extents.into_par_iter().map_init(Scratch::new, read).collect()
}

/// Where each tree's nodes and leaf values are.
fn extents(
    tree_offsets: &Tensor<'_>,
    nodes: usize,
    leaf_offsets: &Tensor<'_>,
    rows: usize,
) -> Result<Vec<Extent>, ParametersError> {
    let trees = lengths(tree_offsets, nodes)?;
    let leaves = lengths(leaf_offsets, rows)?;
    let mut extents = Vec::with_capacity(trees.len());
    for (at, ((first_node, node_count), (first_row, row_count))) in trees.into_iter().zip(leaves).enumerate()
    {
        if node_count % 2 == 0 || node_count > MOST_NODES {
            return Err(
                tree_offsets.wrong(at, format!("a tree of {node_count} nodes: splits have two children"))
            );
        }
        if row_count == 0 || row_count > MOST_LEAVES {
            return Err(leaf_offsets.wrong(at, format!("a tree of {row_count} rows of leaf values")));
        }
        extents.push(Extent { first_node, node_count, first_row, row_count });
    }
    Ok(extents)
}

/// Where each tree's elements begin, and how many it has: the offsets ascend from 0 to the number of elements.
fn lengths(offsets: &Tensor<'_>, elements: usize) -> Result<Vec<(usize, usize)>, ParametersError> {
    let ends: Vec<usize> =
        offsets.integers()?.into_iter().map(|end| usize::try_from(end).unwrap_or(usize::MAX)).collect();
    if ends.first() != Some(&0) {
        return Err(offsets.wrong(0, "offsets begin with 0"));
    }
    if ends.last() != Some(&elements) {
        return Err(
            offsets.wrong(ends.len() - 1, format!("offsets end with the number of elements, {elements}"))
        );
    }
    let lengths = ends.windows(2).enumerate().map(|(at, ends)| match ends {
        [start, end] if start <= end => Ok((*start, end - start)),
        _ => Err(offsets.wrong(at + 1, "offsets ascend")),
    });
    lengths.collect()
}

impl NodeTensors<'_> {
    fn tree(&self, extent: Extent, scratch: &mut Scratch) -> Result<Tree, ParametersError> {
        let slot_count = extent.node_count + 1;
        // Slots are narrow where the largest column and pair that there can be are; wide ones may turn out to be.
        let most = |number: usize| u16::try_from(number).is_ok();
        let values =
            self.leaf_values.numbers(extent.first_row * self.width, extent.row_count * self.width)?;
        let first_value = extent.first_row * self.width;
        check_finite(&values, first_value, |index, what| self.leaf_values.wrong(index, what))?;
        let mut summary = Summary::default();
        let slots = if most(self.features.saturating_mul(LANES)) && most(slot_count / 2) {
            Slots::Narrow(self.slots(extent, scratch, &mut summary, Slot::narrowed)?)
        } else {
            let wide = self.slots(extent, scratch, &mut summary, Some)?;
            match wide.iter().map(|slot| slot.narrowed()).collect() {
                Some(narrow) => Slots::Narrow(narrow),
                None => Slots::Wide(wide),
            }
        };
        let missing_left =
            self.missing_left.as_ref().map(|missing_left| bits(missing_left, extent, &slots)).transpose()?;
        Tree::new(self.features, self.width, slots, values, missing_left.flatten(), summary)
            .map_err(|what| self.link.wrong(extent.first_node, what))
    }

    /// Reads and checks the nodes of a tree.
    fn slots<N: Copy>(
        &self,
        extent: Extent,
        scratch: &mut Scratch,
        summary: &mut Summary,
        convert: impl Fn(Slot<u32>) -> Option<Slot<N>>,
    ) -> Result<Box<[Slot<N>]>, ParametersError> {
        let Extent { first_node, node_count, row_count, .. } = extent;
        let Scratch { depths, seen, feature, threshold, link } = scratch;
        depths.clear();
        depths.resize(node_count / 2 + 1, 0);
        let too_large = || self.feature.wrong(first_node, "a tree of more features than are supported");
        let mut slots = Vec::with_capacity(node_count + 1);
        slots.push(convert(UNUSED).ok_or_else(too_large)?);
        let (mut leaf_count, mut leaf_depths, mut deepest) = (0_usize, 0_usize, 0);
        let (mut node, mut slot_place) = (0, ROOT);
        while node < node_count {
            let length = (node_count - node).min(NODES);
            self.feature.copy(first_node + node, feature.get_mut(..length).unwrap_or_default())?;
            self.threshold.copy(first_node + node, threshold.get_mut(..length).unwrap_or_default())?;
            self.link.copy(first_node + node, link.get_mut(..length).unwrap_or_default())?;
            let nodes = feature.iter().zip(&*threshold).zip(&*link).take(length);
            for ((feature, threshold), link) in nodes {
                let (feature, link) = (i32::from_le_bytes(*feature), u32::from_le_bytes(*link));
                let depth = depths.get(node.div_ceil(2)).copied().unwrap_or(0);
                if depth == 0 && node != 0 {
                    return Err(self.link.wrong(first_node + node, "no split before it leads to this node"));
                }
                let slot = if feature == LEAF {
                    if link as usize >= row_count {
                        let what = format!("row {link} of {row_count} rows of leaf values");
                        return Err(self.link.wrong(first_node + node, what));
                    }
                    leaf_count += 1;
                    leaf_depths += depth as usize;
                    deepest = deepest.max(depth);
                    Slot::leaf(link, slot_place)
                } else {
                    let number = usize::try_from(feature).ok().filter(|feature| *feature < self.features);
                    let number = number.ok_or_else(|| {
                        let what = format!("feature {feature} of {}", self.features);
                        self.feature.wrong(first_node + node, what)
                    })?;
                    let threshold = f32::from_le_bytes(*threshold);
                    if threshold.is_nan() {
                        return Err(self
                            .threshold
                            .wrong(first_node + node, "a threshold that is not a number"));
                    }
                    let left = link as usize;
                    if left.is_multiple_of(2) || left <= node || left + 1 >= node_count {
                        let what = format!(
                            "left child {left} of node {node} of {node_count}: it is odd, behind its parent, and \
                             the right child follows it"
                        );
                        return Err(self.link.wrong(first_node + node, what));
                    }
                    let pair = left.div_ceil(2);
                    match depths.get_mut(pair) {
                        Some(below) if *below == 0 => *below = depth + 1,
                        _ => {
                            let what = format!("two splits lead to node {left}");
                            return Err(self.link.wrong(first_node + node, what));
                        }
                    }
                    note(seen, &mut summary.used_features, number);
                    Slot::split(key(threshold), number, pair).ok_or_else(too_large)?
                };
                slots.push(convert(slot).ok_or_else(too_large)?);
                node += 1;
                slot_place += 1;
            }
        }
        summary.used_features.sort_unstable();
        for feature in &summary.used_features {
            seen.iter_mut().skip(feature / 64).take(1).for_each(|bits| *bits = 0);
        }
        summary.depth = deepest as usize;
        summary.mean_depth = leaf_depths / leaf_count.max(1);
        Ok(slots.into())
    }
}

/// Adds a feature to those that are used, once.
fn note(seen: &mut Vec<u64>, used: &mut Vec<usize>, feature: usize) {
    let word = feature / 64;
    if seen.len() <= word {
        seen.resize(word + 1, 0);
    }
    if let Some(bits) = seen.get_mut(word)
        && *bits >> (feature % 64) & 1 == 0
    {
        *bits |= 1 << (feature % 64);
        used.push(feature);
    }
}

/// One bit a slot from one byte a node; nothing where no bit is set.
fn bits(
    missing_left: &Tensor<'_>,
    extent: Extent,
    slots: &Slots,
) -> Result<Option<Box<[u64]>>, ParametersError> {
    let mut bits = vec![0_u64; (extent.node_count + 1).div_ceil(64)];
    let mut chunk = [[0]; CHUNK_BYTES];
    let mut slot = ROOT;
    for start in (0..extent.node_count).step_by(CHUNK_BYTES) {
        let length = (extent.node_count - start).min(CHUNK_BYTES);
        let chunk = chunk.get_mut(..length).unwrap_or_default();
        missing_left.copy(extent.first_node + start, chunk)?;
        for [flag] in chunk {
            match flag {
                0 => {}
                1 if slots.get(slot).is_some_and(|slot| !slot.is_leaf()) => {
                    bits.iter_mut()
                        .skip(slot as usize / 64)
                        .take(1)
                        .for_each(|bits| *bits |= 1 << (slot % 64));
                }
                _ => {
                    let index = extent.first_node + (slot - ROOT) as usize;
                    return Err(
                        missing_left.wrong(index, format!("{flag}, where splits have 0 or 1 and leaves 0"))
                    );
                }
            }
            slot += 1;
        }
    }
    Ok(bits.iter().any(|bits| *bits != 0).then(|| bits.into()))
}

/// Writes all trees, sum by sum.
pub(super) fn write(
    written: &mut Written,
    object: &Path,
    ensemble: &Ensemble,
    width: usize,
) -> Result<bool, InexpressibleError> {
    let wrong = |what: String| InexpressibleError { path: object.to_string(), what };
    let nodes = ensemble.trees().map(|tree| tree.slots().count() - 1).sum();
    let (mut feature, mut threshold) = (Vec::with_capacity(nodes), Vec::with_capacity(nodes));
    let (mut link, mut missing_left) = (Vec::with_capacity(nodes), Vec::new());
    let has_missing_left = ensemble.trees().any(|tree| tree.sends_any_missing_left());
    let mut leaf_values = Vec::new();
    let (mut tree_offsets, mut leaf_offsets) = (vec![0_u64], vec![0_u64]);
    for (number_of_tree, tree) in ensemble.trees().enumerate() {
        if tree.width() != width {
            return Err(wrong(format!(
                "tree {number_of_tree} has {} values a leaf, not {width}",
                tree.width()
            )));
        }
        for place in (ROOT..).take(tree.slots().count() - 1) {
            let slot = tree.slots().get(place).unwrap_or(UNUSED);
            if slot.is_leaf() {
                feature.push(LEAF);
                threshold.push(0.0);
                link.push(slot.leaf_place());
            } else {
                // Trees count features by their place among those that are compared.
                let original = ensemble.features.get(slot.column() / LANES);
                let original = original.and_then(|feature| i32::try_from(*feature).ok());
                feature.push(original.ok_or_else(|| wrong("a tree of too many features".to_owned()))?);
                threshold.push(number(slot.threshold));
                if slot.left_child() <= place {
                    return Err(wrong(format!("tree {number_of_tree} has a child before its parent")));
                }
                link.push(slot.left_child() - ROOT);
            }
            if has_missing_left {
                missing_left.push(u8::from(tree.sends_missing_left(place)));
            }
        }
        leaf_values.extend_from_slice(tree.values());
        tree_offsets.push(feature.len() as u64);
        leaf_offsets.push((leaf_values.len() / width.max(1)) as u64);
    }
    let rows = leaf_values.len() / width.max(1);
    written.finite(object, "leaf_values", vec![rows, width], &leaf_values)?;
    written.tensor(
        object,
        "feature",
        Dtype::I32,
        vec![nodes],
        feature.into_iter().flat_map(i32::to_le_bytes),
    );
    written.tensor(
        object,
        "threshold",
        Dtype::F32,
        vec![nodes],
        threshold.into_iter().flat_map(f32::to_le_bytes),
    );
    written.tensor(object, "link", Dtype::U32, vec![nodes], link.into_iter().flat_map(u32::to_le_bytes));
    if has_missing_left {
        written.tensor(object, "missing_left", Dtype::U8, vec![nodes], missing_left);
    }
    for (name, offsets) in [("tree_offsets", tree_offsets), ("leaf_offsets", leaf_offsets)] {
        let count = vec![offsets.len()];
        written.tensor(object, name, Dtype::U64, count, offsets.into_iter().flat_map(u64::to_le_bytes));
    }
    Ok(has_missing_left)
}
