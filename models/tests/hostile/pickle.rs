//! Writes pickles of protocol 2 from a graph of values, in which any value may refer to any other and to itself.
//!
//! Python only pickles what it has in memory. Here objects of known classes get attributes that no fit would give
//! them. The hostile tests and the fuzz target `graph` share this.

/// A value. Others are named by their place in the list of nodes.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Refers only to scalars, texts and to nodes that are no tuples.
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    /// An object with attributes, by their names.
    Object {
        module: &'static str,
        class: &'static str,
        state: Vec<(&'static str, usize)>,
    },
    /// An array of numbers or texts: numpy's code such as `f8`, and the bytes of its elements.
    Array {
        code: &'static str,
        shape: Vec<i64>,
        fortran: bool,
        bytes: Vec<u8>,
    },
    /// An array of Python objects.
    Objects {
        shape: Vec<i64>,
        elements: Vec<usize>,
    },
    /// A `sklearn.tree._tree.Tree`: nodes as `(left, right, feature, threshold)`, and a row of values for each.
    Tree {
        features: i64,
        node_count: i64,
        nodes: Vec<(i64, i64, i64, f64)>,
        width: i64,
        values: Vec<f64>,
    },
}

/// A record dtype whose two fields are the record dtype before, `depth` times over.
pub(crate) fn nested_records(depth: u32) -> Vec<u8> {
    let mut pickle = Writer { bytes: b"\x80\x02".to_vec() };
    pickle.dtype("f8");
    pickle.put(0);
    pickle.bytes.push(b'0');
    let mut size = 8_i64;
    for level in 1..=depth {
        size = size.saturating_mul(2);
        pickle.dtype(&format!("V{size}"));
        pickle.bytes.push(b'(');
        pickle.int(3);
        pickle.text("|");
        pickle.bytes.push(b'N');
        pickle.text("a");
        pickle.text("b");
        pickle.bytes.extend(b"\x86}(");
        for (name, offset) in [("a", 0), ("b", size / 2)] {
            pickle.text(name);
            pickle.get(level as usize - 1);
            pickle.int(offset);
            pickle.bytes.push(0x86);
        }
        pickle.bytes.push(b'u');
        for number in [size, 1, 16] {
            pickle.int(number);
        }
        pickle.bytes.extend(b"tb");
        pickle.put(level as usize);
        pickle.bytes.push(b'0');
    }
    pickle.get(depth as usize);
    pickle.bytes.push(b'.');
    pickle.bytes
}

/// Writes the pickle of the node at a place.
pub(crate) fn write(nodes: &[Node], root: usize) -> Vec<u8> {
    let mut pickle = Writer { bytes: b"\x80\x02".to_vec() };
    // First everything that can be empty and filled later, so that all can refer to it.
    for (place, node) in nodes.iter().enumerate() {
        if pickle.shell(node) {
            pickle.put(place);
            pickle.bytes.push(b'0');
        }
    }
    let is_tuple = |node: &Node| matches!(node, Node::Tuple(_));
    for (place, node) in nodes.iter().enumerate() {
        if let Node::Tuple(elements) = node {
            pickle.bytes.push(b'(');
            for element in elements {
                match nodes.get(*element) {
                    Some(node) if !is_tuple(node) || *element < place => pickle.get(*element),
                    _ => pickle.bytes.push(b'N'),
                }
            }
            pickle.bytes.push(b't');
            pickle.put(place);
            pickle.bytes.push(b'0');
        }
    }
    for (place, node) in nodes.iter().enumerate() {
        pickle.fill(place, node, nodes.len());
    }
    pickle.get(root);
    pickle.bytes.push(b'.');
    pickle.bytes
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn put(&mut self, place: usize) {
        self.bytes.push(b'r');
        self.bytes.extend(u32::try_from(place).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn get(&mut self, place: usize) {
        self.bytes.push(b'j');
        self.bytes.extend(u32::try_from(place).unwrap_or(u32::MAX).to_le_bytes());
    }

    fn int(&mut self, value: i64) {
        self.bytes.extend([0x8a, 8]);
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(b'X');
        self.bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn data(&mut self, bytes: &[u8]) {
        self.bytes.push(b'B');
        self.bytes.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend(bytes);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn dtype(&mut self, code: &str) {
        self.global("numpy", "dtype");
        self.text(code);
        self.bytes.extend(b"\x85R");
    }

    fn shape(&mut self, shape: &[i64]) {
        self.bytes.push(b'(');
        shape.iter().for_each(|dimension| self.int(*dimension));
        self.bytes.push(b't');
    }

    /// An array without elements, which its state will bring.
    fn empty_array(&mut self) {
        self.global("numpy.core.multiarray", "_reconstruct");
        self.global("numpy", "ndarray");
        self.bytes.extend(b"K\x00\x85C\x01b\x87R");
    }

    /// An array's state, up to its elements.
    fn array_state(&mut self, shape: &[i64], dtype: impl FnOnce(&mut Self), fortran: bool) {
        self.bytes.extend(b"(K\x01");
        self.shape(shape);
        dtype(self);
        self.bytes.push(if fortran { 0x88 } else { 0x89 });
    }

    /// Writes a value, or what can be filled later; a tuple can not.
    fn shell(&mut self, node: &Node) -> bool {
        match node {
            Node::None => self.bytes.push(b'N'),
            Node::Bool(value) => self.bytes.push(if *value { 0x88 } else { 0x89 }),
            Node::Int(value) => self.int(*value),
            Node::Float(value) => {
                self.bytes.push(b'G');
                self.bytes.extend(value.to_be_bytes());
            }
            Node::Text(text) => self.text(text),
            Node::Tuple(_) => return false,
            Node::List(_) => self.bytes.push(b']'),
            Node::Dict(_) => self.bytes.push(b'}'),
            Node::Object { module, class, .. } => {
                self.global(module, class);
                self.bytes.extend(b")\x81");
            }
            Node::Array { .. } | Node::Objects { .. } => self.empty_array(),
            Node::Tree { features, width, .. } => {
                self.global("sklearn.tree._tree", "Tree");
                self.int(*features);
                self.empty_array();
                self.array_state(&[1], |writer| writer.dtype("i8"), false);
                self.data(&width.to_le_bytes());
                self.bytes.extend(b"tb");
                self.int(1);
                self.bytes.extend(b"\x87R");
            }
        }
        true
    }

    fn fill(&mut self, place: usize, node: &Node, count: usize) {
        let refer = |writer: &mut Self, place: usize| {
            if place < count { writer.get(place) } else { writer.bytes.push(b'N') }
        };
        match node {
            Node::List(elements) => {
                self.get(place);
                self.bytes.push(b'(');
                elements.iter().for_each(|element| refer(self, *element));
                self.bytes.extend(b"e0");
            }
            Node::Dict(items) => {
                self.get(place);
                self.bytes.push(b'(');
                for (key, value) in items {
                    refer(self, *key);
                    refer(self, *value);
                }
                self.bytes.extend(b"u0");
            }
            Node::Object { state, .. } => {
                self.get(place);
                self.bytes.extend(b"}(");
                for (name, value) in state {
                    self.text(name);
                    refer(self, *value);
                }
                self.text("_sklearn_version");
                self.text("1.9.1");
                self.bytes.extend(b"ub0");
            }
            Node::Array { code, shape, fortran, bytes } => {
                self.get(place);
                self.array_state(shape, |writer| writer.dtype(code), *fortran);
                self.data(bytes);
                self.bytes.extend(b"tb0");
            }
            Node::Objects { shape, elements } => {
                self.get(place);
                self.array_state(shape, |writer| writer.dtype("O8"), false);
                self.bytes.extend(b"](");
                elements.iter().for_each(|element| refer(self, *element));
                self.bytes.extend(b"etb0");
            }
            Node::Tree { node_count, nodes, width, values, .. } => {
                self.get(place);
                self.bytes.extend(b"}(");
                self.text("node_count");
                self.int(*node_count);
                self.text("nodes");
                self.empty_array();
                self.array_state(&[nodes.len() as i64], Self::node_dtype, false);
                self.data(&nodes.iter().flat_map(node_bytes).collect::<Vec<u8>>());
                self.bytes.extend(b"tb");
                self.text("values");
                self.empty_array();
                let rows = nodes.len() as i64;
                self.array_state(&[rows, 1, *width], |writer| writer.dtype("f8"), false);
                self.data(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
                self.bytes.extend(b"tbub0");
            }
            _ => {}
        }
    }

    /// The dtype of scikit-learn's nodes (`sklearn/tree/_tree.pxd`).
    fn node_dtype(&mut self) {
        self.dtype("V64");
        self.bytes.extend(b"(K\x03");
        self.text("|");
        self.bytes.extend(b"N(");
        FIELDS.iter().for_each(|(name, _, _)| self.text(name));
        self.bytes.extend(b"t}(");
        for (name, code, offset) in FIELDS {
            self.text(name);
            self.dtype(code);
            self.int(offset);
            self.bytes.push(0x86);
        }
        self.bytes.push(b'u');
        for number in [64, 1, 16] {
            self.int(number);
        }
        self.bytes.extend(b"tb");
    }
}

const FIELDS: [(&str, &str, i64); 8] = [
    ("left_child", "i8", 0),
    ("right_child", "i8", 8),
    ("feature", "i8", 16),
    ("threshold", "f8", 24),
    ("impurity", "f8", 32),
    ("n_node_samples", "i8", 40),
    ("weighted_n_node_samples", "f8", 48),
    ("missing_go_to_left", "u1", 56),
];

fn node_bytes((left, right, feature, threshold): &(i64, i64, i64, f64)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    for number in [*left, *right, *feature] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(threshold.to_le_bytes());
    bytes.extend(0.0_f64.to_le_bytes());
    bytes.extend(1_i64.to_le_bytes());
    bytes.extend(1.0_f64.to_le_bytes());
    bytes.extend([0; 8]);
    bytes
}
