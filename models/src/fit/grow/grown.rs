//! A tree as it was grown, and its way to the form that predictions are made from.

use crate::{
    artifact::{Array, Data, Dtype, Field, Kind, Scalar},
    fit::matrix::Matrix,
    tree::Tree,
};

/// A tree as it was grown.
pub(in crate::fit) struct Grown {
    pub(super) nodes: Vec<Node>,
    /// `width` for each node.
    pub(in crate::fit) values: Vec<f64>,
    /// The samples' places, leaf by leaf.
    pub(super) samples: Vec<u32>,
    pub(super) features: usize,
    pub(super) width: usize,
}

pub(super) struct Node {
    pub(super) feature: usize,
    pub(super) threshold: f64,
    /// None for a leaf.
    pub(super) children: Option<[usize; 2]>,
    /// Which part of the samples it has.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Grown {
    /// The leaves: the place of each one's value, and its samples.
    pub(in crate::fit) fn leaves(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let leaves = self.nodes.iter().enumerate().filter(|(_, node)| node.children.is_none());
        leaves.map(|(place, node)| (place, self.samples.get(node.start..node.end).unwrap_or_default()))
    }

    /// The place of the value of the leaf that a row comes to.
    pub(in crate::fit) fn leaf_of(&self, matrix: &Matrix, row: usize) -> usize {
        let mut place = 0;
        while let Some(Node { feature, threshold, children: Some([left, right]), .. }) = self.nodes.get(place)
        {
            place = if f64::from(matrix.value(*feature, row)) <= *threshold { *left } else { *right };
        }
        place
    }

    /// The tree as predictions are made from it, by way of scikit-learn's own arrays: there is one way into the
    /// compact form, and it checks what it is given.
    pub(in crate::fit) fn into_tree(self) -> Result<Tree, String> {
        const FIELDS: [(&str, Kind); 5] = [
            ("left_child", Kind::Int),
            ("right_child", Kind::Int),
            ("feature", Kind::Int),
            ("threshold", Kind::Float),
            ("n_node_samples", Kind::Int),
        ];
        let scalar = |kind| Scalar { kind, size: 8, big_endian: false };
        let field = |(place, (name, kind)): (usize, (&str, Kind))| Field {
            name: name.into(),
            scalar: Some(scalar(kind)),
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
            dtype: Dtype::Scalar(scalar(Kind::Float)),
            shape: vec![self.nodes.len(), 1, self.width],
            fortran: false,
            data: Data::Bytes(self.values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        Tree::compact(&nodes, &values, self.features)
    }
}
