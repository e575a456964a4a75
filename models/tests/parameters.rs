//! What a parameter file can cost: a reason, never a panic, a hang or memory. And what a reader makes of one that was
//! written by hand after `docs/parameters.md`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use models::{Column, Limits, Model, Outcome, Table};
use safetensors::{Dtype, SafeTensors, View};
use serde_json::{Value, json};

fn limits() -> Limits {
    Limits { decompressed_bytes: 64 << 20, values: 1 << 20, retained_bytes: 16 << 20, ..Limits::default() }
}

fn read(bytes: &[u8]) -> Result<Model, String> {
    let began = Instant::now();
    let result = Model::read_parameters(bytes, &limits()).map_err(|error| error.to_string());
    // A reading takes milliseconds. One without a budget would take hours, also on a machine that has nothing else to do.
    assert!(began.elapsed() < Duration::from_secs(60), "reading took {:?}", began.elapsed());
    result
}

/// A parameter file, taken apart.
#[derive(Clone)]
struct Parts {
    description: Value,
    tensors: BTreeMap<String, Tensor>,
}

#[derive(Clone)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Parts {
    /// A model of the seed corpus.
    fn of(seed: &str) -> Self {
        let bytes = artifact(seed).write_parameters("a test").unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let description = metadata.metadata().as_ref().unwrap().get("parameters").unwrap();
        let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let (dtype, shape) = (view.dtype(), view.shape().to_vec());
            (name.to_owned(), Tensor { dtype, shape, bytes: view.data().to_vec() })
        };
        Self {
            description: serde_json::from_str(description).unwrap(),
            tensors: tensors.iter().map(tensor).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let metadata = [("parameters".to_owned(), self.description.to_string())].into_iter().collect();
        safetensors::serialize(&self.tensors, Some(metadata)).unwrap()
    }

    /// The only tensor whose name ends like that.
    fn tensor(&mut self, name: &str) -> &mut Tensor {
        let mut found = self.tensors.iter_mut().filter(|(known, _)| known.ends_with(name));
        let (_, tensor) = found.next().unwrap();
        assert!(found.next().is_none(), "one tensor is called {name}");
        tensor
    }

    /// Sets an element of a tensor.
    fn set<const SIZE: usize>(&mut self, name: &str, index: usize, element: [u8; SIZE]) {
        self.tensor(name).bytes.as_chunks_mut::<SIZE>().0[index] = element;
    }

    fn add(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) {
        self.tensors.insert(name.to_owned(), Tensor { dtype, shape, bytes });
    }

    /// The object of the description at a JSON pointer.
    fn at(&mut self, pointer: &str) -> &mut Value {
        self.description.pointer_mut(pointer).unwrap()
    }
}

fn artifact(seed: &str) -> Model {
    let path = format!("{}/fuzz/seeds/read/{seed}", env!("CARGO_MANIFEST_DIR"));
    Model::read(fs::File::open(path).unwrap(), &Limits::default()).unwrap()
}

/// A tree of 23 nodes, for three classes or so.
const TREE: &str = "19_tree_classifier_best_first";
/// A pipeline with an imputer, a one-hot encoder and a linear model.
const CONTRACT: &str = "19_contract_regressor_lin_other_columns";

#[test]
fn what_contradicts_itself_is_refused_with_its_place() {
    type Edit = fn(&mut Parts);
    let cases: &[(&str, &str, Edit, &[&str])] = &[
        // The description.
        (
            "another schema",
            TREE,
            |parts| *parts.at("/schema") = json!(2),
            &["schema 2, where 1 is understood"],
        ),
        (
            "another schema and more",
            TREE,
            |parts| parts.description = json!({"schema": 7, "all": "else"}),
            &["schema 7"],
        ),
        ("no schema", TREE, |parts| parts.description = json!({}), &["missing field `schema`"]),
        ("no JSON object", TREE, |parts| parts.description = json!("text"), &["the description: "]),
        ("an unknown member", TREE, |parts| parts.description["more"] = json!(1), &["unknown field `more`"]),
        (
            "an unknown transformer",
            TREE,
            |parts| *parts.at("/transformer") = json!({"magic": {}}),
            &["`magic`"],
        ),
        ("an unknown estimator", TREE, |parts| *parts.at("/estimator") = json!({"magic": {}}), &["`magic`"]),
        ("an unknown option", TREE, |parts| parts.at("/estimator/forest")["more"] = json!(true), &["`more`"]),
        (
            "an unknown class",
            TREE,
            |parts| *parts.at("/steps/0/class") = json!("Magic"),
            &["steps.0", "Magic"],
        ),
        (
            "too many columns",
            TREE,
            |parts| *parts.at("/columns") = json!({"count": 1_u64 << 40}),
            &["columns: "],
        ),
        ("fewer than none", TREE, |parts| *parts.at("/columns") = json!({"count": -1}), &["invalid value"]),
        ("no classes", TREE, |parts| *parts.at("/classes") = json!({"integer": []}), &["without classes"]),
        (
            "nesting",
            TREE,
            |parts| {
                let nested =
                    (0..200).fold(json!({"passthrough": {}}), |inner, _| json!({"pipeline": [inner]}));
                *parts.at("/transformer") = nested;
            },
            &["recursion limit"],
        ),
        (
            "a column that is not there",
            CONTRACT,
            |parts| {
                *parts.at("/transformer/pipeline/0/columns/0/columns/0") = json!(4_000);
            },
            &["transformer.pipeline.0.columns.0: column 4000 of "],
        ),
        (
            "a fill too few",
            CONTRACT,
            |parts| {
                *parts.at("/transformer/pipeline/0/columns/0/transformer/pipeline/0/imputer/fill") =
                    json!([]);
            },
            &["columns.0.transformer.pipeline.0.imputer: 0 fills for 1 columns"],
        ),
        (
            "an encoded column too few",
            CONTRACT,
            |parts| {
                *parts.at("/transformer/pipeline/0/columns/0/transformer/pipeline/1/one_hot/columns") =
                    json!([]);
            },
            &["one_hot: 0 encoded columns for 1 columns"],
        ),
        (
            "an output that is not there",
            CONTRACT,
            |parts| {
                *parts.at(
                    "/transformer/pipeline/0/columns/0/transformer/pipeline/1/one_hot/columns/0/outputs/0",
                ) = json!(77);
            },
            &["one_hot.columns.0: output 77 of "],
        ),
        (
            "an output too few",
            CONTRACT,
            |parts| {
                *parts.at(
                    "/transformer/pipeline/0/columns/0/transformer/pipeline/1/one_hot/columns/0/outputs",
                ) = json!([]);
            },
            &["one_hot.columns.0: 0 outputs for "],
        ),
        (
            "a category twice",
            CONTRACT,
            |parts| {
                let pointer = "/transformer/pipeline/0/columns/0/transformer/pipeline/1/one_hot/columns/0";
                *parts.at(&format!("{pointer}/categories")) = json!({"text": ["BTC", "BTC", "SOL"]});
                *parts.at(&format!("{pointer}/outputs")) = json!([0, 1, 2]);
            },
            &["category 1 is category 0 once more"],
        ),
        (
            "operations out of order",
            CONTRACT,
            |parts| {
                *parts.at("/transformer/pipeline/0/columns/1/transformer/pipeline/1/scaler/operations") =
                    json!(["divide", "subtract"]);
            },
            &["not in their order"],
        ),
        (
            "an operation twice",
            CONTRACT,
            |parts| {
                *parts.at("/transformer/pipeline/0/columns/1/transformer/pipeline/1/scaler/operations") =
                    json!(["subtract", "subtract"]);
            },
            &["not in their order"],
        ),
        (
            "a regressor with classes",
            CONTRACT,
            |parts| {
                parts.description["classes"] = json!({"integer": [0, 1]});
            },
            &["a regressor with classes"],
        ),
        (
            "a link for two classes of three",
            "19_logistic_three",
            |parts| {
                *parts.at("/estimator/logistic/link") = json!("sigmoid");
            },
            &["a link that does not fit"],
        ),
        (
            "a loss of classes without any",
            "11_boosting_regressor_stumps",
            |parts| {
                *parts.at("/estimator/boosting/loss") = json!("multiclass");
            },
            &["a loss that does not fit"],
        ),
        (
            "outputs that the loss has not",
            "11_boosting_regressor_stumps",
            |parts| {
                *parts.at("/estimator/boosting/outputs") = json!(0);
            },
            &["0 outputs where 1 are expected"],
        ),
        // Tensors.
        (
            "a tensor that is not there",
            TREE,
            |parts| {
                parts.tensors.remove("estimator.forest.link").unwrap();
            },
            &["tensor estimator.forest.link: it is not there"],
        ),
        (
            "a tensor too many",
            TREE,
            |parts| parts.add("more", Dtype::U8, vec![1], vec![0]),
            &["tensor more: "],
        ),
        (
            "a tensor of another type",
            TREE,
            |parts| parts.tensor("threshold").dtype = Dtype::I32,
            &["tensor estimator.forest.threshold: its type is I32, not F32"],
        ),
        (
            "a tensor of other dimensions",
            TREE,
            |parts| parts.tensor("threshold").shape.push(1),
            &["threshold: it has 2 dimensions where 1 are expected"],
        ),
        (
            "a tensor of another length",
            TREE,
            |parts| {
                let tensor = parts.tensor("threshold");
                tensor.shape[0] -= 1;
                tensor.bytes.truncate(tensor.bytes.len() - 4);
            },
            &["threshold: it has 22 elements where 23 are expected"],
        ),
        (
            "leaf values of another width",
            TREE,
            |parts| {
                let tensor = parts.tensor("leaf_values");
                tensor.shape = vec![tensor.shape.iter().product(), 1];
            },
            &["leaf_values: it has 1 values a leaf where 2 are expected"],
        ),
        (
            "coefficients of another shape",
            CONTRACT,
            |parts| parts.tensor("coefficients").shape.reverse(),
            &["coefficients: its shape is ["],
        ),
        (
            "an infinite coefficient",
            CONTRACT,
            |parts| {
                parts.set("coefficients", 3, f64::INFINITY.to_le_bytes());
            },
            &["tensor estimator.linear.coefficients[3]: inf where a finite"],
        ),
        (
            "an intercept that is no number",
            CONTRACT,
            |parts| {
                parts.set("intercepts", 0, f64::NAN.to_le_bytes());
            },
            &["intercepts[0]: NaN where a finite"],
        ),
        (
            "a scale too few",
            CONTRACT,
            |parts| {
                let tensor = parts.tensor("scaler.divide");
                tensor.shape[0] -= 1;
                tensor.bytes.truncate(tensor.bytes.len() - 8);
            },
            &["scaler.divide: it has ", " are expected"],
        ),
        (
            "categories that do not ascend",
            "19_one_hot_floats_missing",
            |parts| {
                let name = parts.tensors.keys().find(|name| name.ends_with(".categories")).unwrap().clone();
                let first = *parts.tensors[&name].bytes.first_chunk::<8>().unwrap();
                parts.set(&name, 1, first);
            },
            &["categories[1]: categories that do not ascend"],
        ),
        (
            "a number behind the missing values",
            "19_one_hot_floats_missing",
            |parts| {
                let name = parts.tensors.keys().find(|name| name.ends_with(".categories")).unwrap().clone();
                parts.set(&name, 0, f64::NAN.to_le_bytes());
            },
            &["categories[1]: a number behind the missing values"],
        ),
        // Trees.
        (
            "a threshold that is no number",
            TREE,
            |parts| parts.set("threshold", 0, f32::NAN.to_le_bytes()),
            &["tensor estimator.forest.threshold[0]: a threshold that is not a number"],
        ),
        (
            "a feature that is not there",
            TREE,
            |parts| parts.set("feature", 0, 6_i32.to_le_bytes()),
            &["feature[0]: feature 6 of 6"],
        ),
        (
            "a feature below leaves",
            TREE,
            |parts| parts.set("feature", 0, (-2_i32).to_le_bytes()),
            &["feature[0]: feature -2 of 6"],
        ),
        (
            "a child beyond the nodes",
            TREE,
            |parts| parts.set("link", 0, 23_u32.to_le_bytes()),
            &["link[0]: left child 23"],
        ),
        (
            "a child far beyond",
            TREE,
            |parts| parts.set("link", 0, u32::MAX.to_le_bytes()),
            &["link[0]: left child"],
        ),
        (
            "a node that is its own child",
            TREE,
            |parts| {
                let inner = parts.inner_odd();
                parts.set("link", inner, (inner as u32).to_le_bytes());
            },
            &["left child", "behind its parent"],
        ),
        (
            "a cycle",
            TREE,
            |parts| {
                let inner = parts.inner_below_the_root();
                parts.set("link", inner, 1_u32.to_le_bytes());
            },
            &["left child 1", "behind its parent"],
        ),
        (
            "a child that is a right one",
            TREE,
            |parts| parts.set("link", 0, 2_u32.to_le_bytes()),
            &["link[0]: left child 2"],
        ),
        (
            "a node with two parents",
            TREE,
            |parts| {
                let tensor = |dtype, elements: &[[u8; 4]]| Tensor {
                    dtype,
                    shape: vec![elements.len()],
                    bytes: elements.concat(),
                };
                *parts.tensor("feature") = tensor(Dtype::I32, &[0, 0, 0, -1, -1].map(i32::to_le_bytes));
                *parts.tensor("threshold") = tensor(Dtype::F32, &[0.0; 5].map(f32::to_le_bytes));
                *parts.tensor("link") = tensor(Dtype::U32, &[1, 3, 3, 0, 1].map(u32::to_le_bytes));
                parts.set("tree_offsets", 1, 5_u64.to_le_bytes());
                *parts.at("/estimator/forest/missing_left") = json!(false);
                parts.tensors.remove("estimator.forest.missing_left");
            },
            &["link[2]: two splits lead to node 3"],
        ),
        (
            "a node without a parent",
            TREE,
            |parts| {
                parts.set("link", 0, 21_u32.to_le_bytes());
            },
            &["link[1]: no split before it leads to this node"],
        ),
        (
            "a leaf whose values are not there",
            TREE,
            |parts| {
                let leaf = parts.leaf();
                parts.set("link", leaf, 1_000_u32.to_le_bytes());
            },
            &["row 1000 of "],
        ),
        (
            "an infinite leaf value",
            TREE,
            |parts| parts.set("leaf_values", 1, f64::NEG_INFINITY.to_le_bytes()),
            &["leaf_values[1]: -inf where a finite"],
        ),
        (
            "a flag that is none",
            TREE,
            |parts| parts.flag(0, 2),
            &["missing_left[0]: 2, where splits have 0 or 1"],
        ),
        (
            "a flag of a leaf",
            TREE,
            |parts| {
                let leaf = parts.leaf();
                parts.flag(leaf, 1);
            },
            &["missing_left[", "1, where splits"],
        ),
        (
            "offsets that do not begin with 0",
            TREE,
            |parts| parts.set("tree_offsets", 0, 1_u64.to_le_bytes()),
            &["tree_offsets[0]: offsets begin with 0"],
        ),
        (
            "offsets that end elsewhere",
            TREE,
            |parts| parts.set("tree_offsets", 1, u64::MAX.to_le_bytes()),
            &["tree_offsets[1]: offsets end with the number of elements, 23"],
        ),
        (
            "rows that end elsewhere",
            TREE,
            |parts| parts.set("leaf_offsets", 1, 0_u64.to_le_bytes()),
            &["leaf_offsets[1]: offsets end with"],
        ),
        (
            "offsets that descend",
            TREE,
            |parts| {
                let offsets = [0_u64, 25, 23].map(u64::to_le_bytes).concat();
                parts.add("estimator.forest.tree_offsets", Dtype::U64, vec![3], offsets);
                let rows = parts.tensor("leaf_values").shape[0] as u64;
                let offsets = [0, rows, rows].map(u64::to_le_bytes).concat();
                parts.add("estimator.forest.leaf_offsets", Dtype::U64, vec![3], offsets);
            },
            &["tree_offsets[2]: offsets ascend"],
        ),
        (
            "a tree without nodes",
            TREE,
            |parts| {
                let offsets = [0_u64, 0, 23].map(u64::to_le_bytes).concat();
                parts.add("estimator.forest.tree_offsets", Dtype::U64, vec![3], offsets.clone());
                parts.add("estimator.forest.leaf_offsets", Dtype::U64, vec![3], offsets);
                let values = vec![0; 23 * 2 * 8];
                parts.add("estimator.forest.leaf_values", Dtype::F64, vec![23, 2], values);
            },
            &["tree_offsets[0]: a tree of 0 nodes"],
        ),
        (
            "no trees",
            TREE,
            |parts| {
                for name in ["feature", "threshold", "link", "missing_left", "leaf_values"] {
                    if let Some(tensor) = parts.tensors.get_mut(&format!("estimator.forest.{name}")) {
                        tensor.shape[0] = 0;
                        tensor.bytes.clear();
                    }
                }
                for name in ["tree_offsets", "leaf_offsets"] {
                    parts.add(&format!("estimator.forest.{name}"), Dtype::U64, vec![1], vec![0; 8]);
                }
            },
            &["estimator.forest: a forest without trees"],
        ),
        (
            "no offsets",
            TREE,
            |parts| {
                for name in ["tree_offsets", "leaf_offsets"] {
                    parts.add(&format!("estimator.forest.{name}"), Dtype::U64, vec![0], vec![]);
                }
            },
            &["tree_offsets[0]: offsets begin with 0"],
        ),
    ];
    let mut failures = Vec::new();
    for (name, seed, edit, mentions) in cases {
        let mut parts = Parts::of(seed);
        read(&parts.bytes()).unwrap();
        edit(&mut parts);
        match read(&parts.bytes()) {
            Ok(_) => failures.push(format!("{name}: accepted")),
            Err(error) if !mentions.iter().all(|mention| error.contains(mention)) => {
                failures.push(format!("{name}: {error}"));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

impl Parts {
    fn features(&mut self) -> Vec<i32> {
        self.tensor("feature").bytes.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    fn leaf(&mut self) -> usize {
        self.features().iter().position(|feature| *feature == -1).unwrap()
    }

    fn inner_below_the_root(&mut self) -> usize {
        1 + self.features().iter().skip(1).position(|feature| *feature != -1).unwrap()
    }

    fn inner_odd(&mut self) -> usize {
        let features = self.features();
        (1..features.len()).step_by(2).find(|node| features[*node] != -1).unwrap()
    }

    /// Sets where a node sends missing values.
    fn flag(&mut self, node: usize, flag: u8) {
        *self.at("/estimator/forest/missing_left") = json!(true);
        let nodes = self.features().len();
        let name = "estimator.forest.missing_left";
        let zeros = Tensor { dtype: Dtype::U8, shape: vec![nodes], bytes: vec![0; nodes] };
        self.tensors.entry(name.to_owned()).or_insert(zeros).bytes[node] = flag;
    }
}

/// A safetensors file of any header.
fn container(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn containers_that_are_damaged_are_refused() {
    let sound = Parts::of(TREE).bytes();
    let cases: &[(Vec<u8>, &str)] = &[
        (Vec::new(), "shorter than a header"),
        (vec![0; 7], "shorter than a header"),
        (u64::MAX.to_le_bytes().to_vec(), "longer than the file"),
        ((1_u64 << 40).to_le_bytes().to_vec(), "longer than the file"),
        (container("", &[]), "header"),
        (container("{", &[]), "header"),
        (container("[]", &[]), "header"),
        (container("{}", &[]), "no parameter file"),
        (container(r#"{"__metadata__":{"format":"pt"}}"#, &[]), "no parameter file"),
        (
            container(r#"{"__metadata__":{"parameters":"{}","parameters":"{}"}}"#, &[]),
            "\"parameters\" occurs twice",
        ),
        (container(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]), "\"__metadata__\" occurs twice"),
        (
            container(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
                &[0],
            ),
            "\"a\" occurs twice",
        ),
        (
            container(r#"{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, &[0]),
            "\"dtype\" occurs twice",
        ),
        (container(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}"#, &[0]), "invalid shape"),
        (container(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, &[0, 0]), "invalid offset"),
        (
            container(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, &[]),
            "do not end where the file ends",
        ),
        (
            container(r#"{"a":{"dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,1]}}"#, &[0]),
            "overflow",
        ),
        (
            container(
                r#"{"a":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}}"#,
                &[0],
            ),
            "do not end where the file ends",
        ),
        ([&sound[..], &[0]].concat(), "do not end where the file ends"),
        (sound[..sound.len() - 1].to_vec(), "do not end where the file ends"),
    ];
    for (at, (bytes, mention)) in cases.iter().enumerate() {
        let error = read(bytes).unwrap_err();
        assert!(error.contains(mention), "case {at}: {error}");
    }
}

#[test]
fn limits_hold() {
    let bytes = Parts::of(CONTRACT).bytes();
    for (limits, what) in [
        (Limits { decompressed_bytes: bytes.len() as u64 - 1, ..limits() }, "bytes"),
        (Limits { values: 100, ..limits() }, "more than 100 values"),
        (Limits { retained_bytes: 1_000, ..limits() }, "bytes of texts and arrays"),
        (Limits { retained_bytes: bytes.len(), ..limits() }, "bytes of texts and arrays"),
    ] {
        let error = Model::read_parameters(&bytes, &limits).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    // Names grow from step to step: what they take together is the square of what the file takes.
    let mut parts = Parts::of(TREE);
    let indicator = json!({"missing_indicator": {"missing": "nan", "features": [0]}});
    *parts.at("/transformer") = json!({"pipeline": vec![indicator; 20_000]});
    let error = read(&parts.bytes()).unwrap_err();
    assert!(error.contains("bytes of texts and arrays"), "{error}");
}

#[test]
fn truncations_and_mutations_cost_at_most_an_error() {
    let mut random = fastrand::Rng::with_seed(42);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/parameters");
    let mut seeds: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() > 10, "the seed corpus is there");
    for seed in seeds {
        let original = fs::read(&seed).unwrap();
        read(&original).unwrap_or_else(|error| unreachable!("{}: {error}", seed.display()));
        for length in (0..original.len()).step_by((original.len() / 50).max(1)) {
            assert!(read(&original[..length]).is_err(), "{} of {length} bytes", seed.display());
        }
        for _ in 0..100 {
            let mut bytes = original.clone();
            for _ in 0..=random.usize(..4) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes[at] ^= 1 << random.u8(..8),
                    _ => bytes[at] = *original.get(random.usize(..original.len())).unwrap(),
                }
            }
            let Ok(model) = read(&bytes) else { continue };
            let columns = model.describe().column_count.min(1_000);
            let names = |place: usize| match model.columns() {
                Some(names) => names.get(place).map(ToString::to_string).unwrap_or_default(),
                None => format!("x{place}"),
            };
            let numbers = |place| (names(place), Column::Number(vec![0.5, -1.0, f64::NAN, 1e300]));
            if let Ok(table) = Table::new((0..columns).map(numbers)) {
                let _ = model.predict(&table);
            }
        }
    }
}

#[test]
fn a_mapped_file_is_read_as_its_bytes_are() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = Parts::of(CONTRACT).bytes();
    fs::write(file.path(), &bytes).unwrap();
    let mapped = Model::map_parameters(file.path(), &limits()).unwrap();
    assert_eq!(
        mapped.write_parameters("a test").unwrap(),
        read(&bytes).unwrap().write_parameters("a test").unwrap()
    );
    fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        Model::map_parameters(file.path(), &limits())
            .unwrap_err()
            .to_string()
            .contains("no sound safetensors file")
    );
    fs::write(file.path(), []).unwrap();
    assert!(Model::map_parameters(file.path(), &limits()).is_err());
    assert!(Model::map_parameters(file.path().with_extension("none"), &limits()).is_err());
}

/// One tree of a hand-written file.
struct Nodes {
    feature: Vec<i32>,
    threshold: Vec<f32>,
    link: Vec<u32>,
    values: Vec<f64>,
}

impl Nodes {
    /// A random tree with that many splits.
    fn random(splits: usize, features: i32, random: &mut fastrand::Rng) -> Self {
        let mut nodes = Self { feature: vec![-1], threshold: vec![0.0], link: vec![0], values: Vec::new() };
        let mut leaves = vec![0];
        for _ in 0..splits {
            let node = leaves.swap_remove(random.usize(..leaves.len()));
            let left = nodes.feature.len();
            nodes.feature[node] = random.i32(0..features);
            nodes.threshold[node] = random.f32() - 0.5;
            nodes.link[node] = left as u32;
            nodes.feature.extend([-1; 2]);
            nodes.threshold.extend([0.0; 2]);
            nodes.link.extend([0; 2]);
            leaves.extend([left, left + 1]);
        }
        for leaf in leaves {
            nodes.link[leaf] = nodes.values.len() as u32;
            nodes.values.push(random.f64());
        }
        nodes
    }

    /// As the specification has it.
    fn predict(&self, row: &[f64]) -> f64 {
        let mut node = 0;
        loop {
            let link = self.link[node] as usize;
            match usize::try_from(self.feature[node]) {
                Err(_) => return self.values[link],
                Ok(feature) => node = link + usize::from(row[feature] as f32 > self.threshold[node]),
            }
        }
    }
}

#[test]
fn a_file_after_the_specification_predicts_what_the_specification_says() {
    let mut random = fastrand::Rng::with_seed(7);
    // Few features and many; few nodes and more than the narrow slots of a tree can link to.
    for (features, splits) in [(3, 40), (3, 70_000), (1_500, 900)] {
        let trees: Vec<Nodes> =
            [splits, 1, 0].map(|splits| Nodes::random(splits, features, &mut random)).into_iter().collect();
        let mut parts = Parts { description: json!(null), tensors: BTreeMap::new() };
        parts.description = json!({
            "schema": 1,
            "written_by": "a test",
            "sklearn_version": "1.9.1",
            "columns": {"count": features},
            "steps": [],
            "transformer": {"passthrough": {}},
            "estimator": {"forest": {"accepts_missing": false, "missing_left": false}},
        });
        let nodes: usize = trees.iter().map(|tree| tree.feature.len()).sum();
        let rows: usize = trees.iter().map(|tree| tree.values.len()).sum();
        fn bytes<T: Copy, const SIZE: usize>(
            trees: &[Nodes],
            of: impl Fn(&Nodes) -> &Vec<T>,
            to_bytes: fn(T) -> [u8; SIZE],
        ) -> Vec<u8> {
            trees.iter().flat_map(|tree| of(tree).iter().flat_map(|element| to_bytes(*element))).collect()
        }
        let offsets = |length: fn(&Nodes) -> usize| -> Vec<u8> {
            let ends = trees.iter().scan(0, |end, tree| {
                *end += length(tree) as u64;
                Some(*end)
            });
            [0].into_iter().chain(ends).flat_map(u64::to_le_bytes).collect()
        };
        let name = |name: &str| format!("estimator.forest.{name}");
        let feature = bytes(&trees, |tree| &tree.feature, i32::to_le_bytes);
        parts.add(&name("feature"), Dtype::I32, vec![nodes], feature);
        let threshold = bytes(&trees, |tree| &tree.threshold, f32::to_le_bytes);
        parts.add(&name("threshold"), Dtype::F32, vec![nodes], threshold);
        parts.add(&name("link"), Dtype::U32, vec![nodes], bytes(&trees, |tree| &tree.link, u32::to_le_bytes));
        let values = bytes(&trees, |tree| &tree.values, f64::to_le_bytes);
        parts.add(&name("leaf_values"), Dtype::F64, vec![rows, 1], values);
        parts.add(&name("tree_offsets"), Dtype::U64, vec![4], offsets(|tree| tree.feature.len()));
        parts.add(&name("leaf_offsets"), Dtype::U64, vec![4], offsets(|tree| tree.values.len()));
        let model = Model::read_parameters(&parts.bytes(), &Limits::default()).unwrap();
        assert_eq!(model.describe().trees.as_ref().unwrap().nodes, nodes);

        let table: Vec<Vec<f64>> =
            (0..70).map(|_| (0..features).map(|_| random.f64() - 0.5).collect()).collect();
        let column = |place: usize| Column::Number(table.iter().map(|row| row[place]).collect());
        let columns = (0..features as usize).map(|place| (format!("x{place}"), column(place)));
        let Outcome::Values(values) = model.predict(&Table::new(columns).unwrap()).unwrap().outcome else {
            unreachable!()
        };
        for (row, value) in table.iter().zip(values) {
            let expected = trees.iter().fold(0.0, |sum, tree| sum + tree.predict(row)) / 3.0;
            assert_eq!(value.to_bits(), expected.to_bits());
        }
    }
}
