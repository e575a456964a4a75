//! Measures what a small artifact costs, each in a process of its own.
//!
//! The bound is that of [`Limits`]: an artifact of less than 10 MB takes less than two seconds and no more than 256 MB
//! beyond its decompressed size. Processor time is measured, since a busy machine adds nothing to it.

use std::{env, fs, io::Read, process::Command};

use models::{Limits, Model};

use super::pickle::{Node, nested_records, write};

/// Names the artifact that the child process reads.
const CHILD: &str = "CRIPTO_HOSTILE_ARTIFACT";
const MOST_SECONDS: f64 = 2.0;
const MOST_BYTES: u64 = 256 << 20;

/// Cost of a read, as the child process reports it.
struct Cost {
    seconds: f64,
    /// The growth of the peak of its memory.
    bytes: u64,
    outcome: String,
}

/// The peak of this process's memory in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// The processor time of all of this process's threads in seconds, those that have ended included.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // The name before the last parenthesis may contain anything; user and system time are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // `sysconf(_SC_CLK_TCK)` is 100 on every architecture that Rust's tests run on.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Only does something in a child process of [`cost_of`].
#[test]
fn reads_what_the_parent_names() {
    let Ok(path) = env::var(CHILD) else { return };
    let bytes = fs::read(path).unwrap();
    let (memory, seconds) = (peak_memory(), processor_seconds());
    let limits = Limits::default();
    let outcome = if bytes.get(8) == Some(&b'{') {
        Model::read_parameters(&bytes, &limits).map(drop).map_err(|error| error.to_string())
    } else {
        Model::read(&*bytes, &limits).map(drop).map_err(|error| error.to_string())
    };
    let outcome = outcome.err().unwrap_or_else(|| "accepted".to_owned());
    println!("cost\t{}\t{}\t{outcome}", processor_seconds() - seconds, peak_memory() - memory);
}

/// Reads an artifact in a process of its own.
fn cost_of(name: &str, artifact: &[u8]) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("artifact");
    fs::write(&path, artifact).unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "costs::reads_what_the_parent_names", "--nocapture", "--test-threads=1"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    // Test harnesses write what they call the test on the same line.
    let line = output.lines().find_map(|line| line.split_once("cost\t"));
    let Some((_, line)) = line else {
        unreachable!("{name}: the process died: {}\n{output}", child.status);
    };
    let mut fields = line.splitn(3, '\t');
    let mut field = || fields.next().unwrap();
    Cost { seconds: field().parse().unwrap(), bytes: field().parse().unwrap(), outcome: field().to_owned() }
}

/// Reads an artifact in a process of its own, and holds what that cost against the bounds.
fn outcome_of(name: &str, artifact: &[u8], decompressed: usize) -> String {
    assert!(artifact.len() < 10_000_000, "{name} has {} bytes", artifact.len());
    let Cost { seconds, bytes, outcome } = cost_of(name, artifact);
    println!("{name}: {} bytes, {seconds:.2} s, {} MB: {outcome}", artifact.len(), bytes / 1_000_000);
    // Sanitizers and checks for overflow take many times as much.
    if !cfg!(debug_assertions) {
        assert!(seconds < MOST_SECONDS, "{name} took {seconds} s: {outcome}");
        assert!(bytes < MOST_BYTES + decompressed as u64, "{name} took {bytes} bytes: {outcome}");
    }
    outcome
}

fn assert_refused(name: &str, artifact: &[u8]) -> String {
    let outcome = outcome_of(name, artifact, artifact.len());
    assert_ne!(outcome, "accepted", "{name}");
    outcome
}

// Graphs.

/// Nodes, and a way to add them.
#[derive(Default)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn add(&mut self, node: Node) -> usize {
        self.0.push(node);
        self.0.len() - 1
    }

    fn int(&mut self, value: i64) -> usize {
        self.add(Node::Int(value))
    }

    fn text(&mut self, text: &str) -> usize {
        self.add(Node::Text(text.to_owned()))
    }

    fn numbers(&mut self, numbers: &[f64]) -> usize {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.add(Node::Array { code: "f8", shape: vec![numbers.len() as i64], fortran: false, bytes })
    }

    fn object(&mut self, class: (&'static str, &'static str), state: Vec<(&'static str, usize)>) -> usize {
        self.add(Node::Object { module: class.0, class: class.1, state })
    }

    /// A step or an entry of a column transformer.
    fn named(&mut self, name: &str, rest: &[usize]) -> usize {
        let name = self.text(name);
        self.add(Node::Tuple([&[name], rest].concat()))
    }

    fn linear(&mut self, inputs: i64, names: Option<usize>) -> usize {
        let coefficients = self.numbers(&vec![1.0; usize::try_from(inputs.clamp(0, 1_000)).unwrap()]);
        let inputs = self.int(inputs);
        let intercept = self.add(Node::Float(0.0));
        let mut state = vec![("coef_", coefficients), ("intercept_", intercept), ("n_features_in_", inputs)];
        state.extend(names.map(|names| ("feature_names_in_", names)));
        self.object(LINEAR, state)
    }

    fn pipeline(&mut self, steps: &[(&str, usize)]) -> usize {
        let steps = steps.iter().map(|(name, step)| self.named(name, &[*step])).collect();
        let steps = self.add(Node::List(steps));
        self.object(PIPELINE, vec![("steps", steps)])
    }

    /// A transformer of one column, and a linear model of what comes out if that is one column, too.
    fn pickle_before_a_model(&mut self, transformer: usize) -> Vec<u8> {
        let model = self.linear(1, None);
        let pipeline = self.pipeline(&[("a", transformer), ("b", model)]);
        let name = self.text("column");
        let names = self.add(Node::Objects { shape: vec![1], elements: vec![name] });
        let Node::Object { state, .. } = &mut self.0[pipeline] else { unreachable!() };
        state.push(("feature_names_in_", names));
        self.pickle(pipeline)
    }

    /// A column transformer of one input column whose entries are all the same child.
    fn columns(&mut self, child: usize, entries: usize) -> usize {
        let zero = self.int(0);
        let place = self.add(Node::List(vec![zero]));
        let names: Vec<String> = (0..entries).map(|entry| format!("e{entry}")).collect();
        let transformers = names.iter().map(|name| self.named(name, &[child, place])).collect();
        let transformers = self.add(Node::List(transformers));
        let places = names.iter().map(|name| (self.text(name), place)).collect();
        let places = self.add(Node::Dict(places));
        let one = self.int(1);
        self.object(
            COLUMNS,
            vec![
                ("transformers_", transformers),
                ("_transformer_to_input_indices", places),
                ("n_features_in_", one),
            ],
        )
    }

    fn pickle(&self, root: usize) -> Vec<u8> {
        write(&self.0, root)
    }
}

const LINEAR: (&str, &str) = ("sklearn.linear_model._base", "LinearRegression");
const PIPELINE: (&str, &str) = ("sklearn.pipeline", "Pipeline");
const COLUMNS: (&str, &str) = ("sklearn.compose._column_transformer", "ColumnTransformer");
const REMAINDER: (&str, &str) = ("sklearn.compose._column_transformer", "_RemainderColsList");
const ONE_HOT: (&str, &str) = ("sklearn.preprocessing._encoders", "OneHotEncoder");
const SCALER: (&str, &str) = ("sklearn.preprocessing._data", "StandardScaler");
const INDICATOR: (&str, &str) = ("sklearn.impute._base", "MissingIndicator");
const FOREST: (&str, &str) = ("sklearn.ensemble._forest", "RandomForestRegressor");
const TREE: (&str, &str) = ("sklearn.tree._classes", "DecisionTreeRegressor");
const BOOSTING: (&str, &str) = ("sklearn.ensemble._gb", "GradientBoostingRegressor");

fn forest(node_count: i64) -> Vec<u8> {
    let mut nodes = Nodes::default();
    let split = vec![(1, 2, 0, 0.5), (-1, -1, -2, -2.0), (-1, -1, -2, -2.0)];
    let tree = Node::Tree { features: 1, node_count, nodes: split, width: 1, values: vec![0.0, 1.0, 2.0] };
    let (tree, one) = (nodes.add(tree), nodes.int(1));
    let member = nodes.object(TREE, vec![("tree_", tree), ("n_features_in_", one), ("n_outputs_", one)]);
    let members = nodes.add(Node::List(vec![member]));
    let forest =
        nodes.object(FOREST, vec![("estimators_", members), ("n_features_in_", one), ("n_outputs_", one)]);
    nodes.pickle(forest)
}

fn padded(number: usize, length: usize) -> String {
    let digits = number.to_string();
    "0".repeat(length.saturating_sub(digits.len())) + &digits
}

fn one_hot(columns: usize, categories: usize, label_bytes: usize, name_bytes: usize) -> Vec<u8> {
    let mut nodes = Nodes::default();
    let labels = (0..categories).map(|at| nodes.text(&padded(at, label_bytes))).collect();
    let labels = nodes.add(Node::Objects { shape: vec![categories as i64], elements: labels });
    let lists = nodes.add(Node::List(vec![labels; columns]));
    let names = (0..columns).map(|at| nodes.text(&padded(at, name_bytes))).collect();
    let names = nodes.add(Node::Objects { shape: vec![columns as i64], elements: names });
    let (ignore, inputs) = (nodes.text("ignore"), nodes.int(columns as i64));
    let encoder = nodes.object(
        ONE_HOT,
        vec![
            ("categories_", lists),
            ("handle_unknown", ignore),
            ("n_features_in_", inputs),
            ("feature_names_in_", names),
        ],
    );
    let model = nodes.linear(1, None);
    let pipeline = nodes.pipeline(&[("encode", encoder), ("model", model)]);
    nodes.pickle(pipeline)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    liblzma::read::XzEncoder::new(bytes, 0).read_to_end(&mut compressed).unwrap();
    compressed
}

#[test]
fn what_is_written_here_is_read_where_it_is_sound() {
    assert_eq!(outcome_of("forest", &forest(3), 0), "accepted");
    assert_eq!(outcome_of("one-hot encoder", &one_hot(1, 1, 1, 1), 0), "accepted");
    let mut nodes = Nodes::default();
    let name = nodes.text("a");
    let names = nodes.add(Node::Objects { shape: vec![1], elements: vec![name] });
    let (no, none, one) = (nodes.add(Node::Bool(false)), nodes.add(Node::None), nodes.int(1));
    let attributes = [("with_mean", no), ("mean_", none), ("with_std", no), ("scale_", none)];
    let mut attributes = attributes.to_vec();
    attributes.extend([("n_features_in_", one), ("feature_names_in_", names)]);
    let scaler = nodes.object(SCALER, attributes);
    let model = nodes.linear(1, None);
    let pipeline = nodes.pipeline(&[("scale", scaler), ("model", model)]);
    assert_eq!(outcome_of("pipeline", &nodes.pickle(pipeline), 0), "accepted");
}

#[test]
fn what_contains_itself_is_refused() {
    for attribute in ["feature_names_in_", "coef_", "intercept_", "n_features_in_"] {
        for is_remainder in [true, false] {
            let mut nodes = Nodes::default();
            let model = nodes.linear(1, None);
            let place = nodes.0.len();
            nodes.add(if is_remainder {
                Node::Object { module: REMAINDER.0, class: REMAINDER.1, state: vec![("data", place)] }
            } else {
                Node::Objects { shape: vec![1], elements: vec![place] }
            });
            let Node::Object { state, .. } = &mut nodes.0[model] else { unreachable!() };
            state.retain(|(name, _)| *name != attribute);
            state.push((attribute, place));
            assert_refused(&format!("{attribute} that contains itself"), &nodes.pickle(model));
        }
    }
    // A pipeline that is its own first or last step, and a column transformer of itself.
    for place in [0, 1] {
        let mut nodes = Nodes::default();
        let model = nodes.linear(1, None);
        let pipeline = nodes.0.len() + 5;
        let steps =
            if place == 0 { [("a", pipeline), ("b", model)] } else { [("a", model), ("b", pipeline)] };
        let made = nodes.pipeline(&steps);
        let bytes = nodes.pickle(made);
        assert_refused("pipeline in itself", &bytes);
    }
    let mut nodes = Nodes::default();
    let base = nodes.0.len();
    let columns = nodes.columns(base, 8);
    nodes.0[base] = nodes.0[columns].clone();
    assert_refused("column transformer in itself", &nodes.pickle_before_a_model(columns));
    // Boosting that starts from itself.
    let mut nodes = Nodes::default();
    let (one, rate) = (nodes.int(1), nodes.add(Node::Float(0.1)));
    let loss = nodes.text("squared_error");
    let none = nodes.add(Node::Objects { shape: vec![0, 1], elements: vec![] });
    let place = nodes.0.len();
    nodes.object(
        BOOSTING,
        vec![
            ("n_features_in_", one),
            ("estimators_", none),
            ("loss", loss),
            ("learning_rate", rate),
            ("init_", place),
        ],
    );
    assert_refused("boosting from itself", &nodes.pickle(place));
}

#[test]
fn shared_children_are_charged_each_time() {
    for entries in [2, 8, 100] {
        let mut nodes = Nodes::default();
        let mut child = nodes.text("passthrough");
        for _ in 0..10 {
            child = nodes.columns(child, entries);
        }
        let artifact = nodes.pickle_before_a_model(child);
        assert_refused(&format!("column transformers of {entries}"), &artifact);
        let mut nodes = Nodes::default();
        let mut child = nodes.text("passthrough");
        for _ in 0..12 {
            child = nodes.pipeline(&vec![("s", child); entries]);
        }
        let artifact = nodes.pickle_before_a_model(child);
        // 4 096 steps are many and no harm.
        assert!(outcome_of(&format!("pipelines of {entries}"), &artifact, 0) != "accepted" || entries == 2);
    }
}

#[test]
fn shared_texts_and_lists_are_charged_each_time() {
    for (columns, categories) in [(3_000, 5_000), (20_000, 20_000)] {
        assert_refused("shared categories", &one_hot(columns, categories, 5, 1));
    }
    // Names of features are a column's name and a category's.
    assert_refused("long names", &one_hot(3, 10_000, 5, 1_000_000));
    // One text of a megabyte is a parameter of many steps.
    let mut nodes = Nodes::default();
    let text = nodes.text(&"x".repeat(1 << 20));
    let missing = nodes.numbers(&[0.0]);
    let one = nodes.int(1);
    let step = vec![("copy", text), ("mean_", missing), ("scale_", missing), ("n_features_in_", one)];
    let step = nodes.object(SCALER, step);
    let model = nodes.linear(1, None);
    let steps: Vec<(&str, usize)> = vec![("s", step); 10_000];
    let pipeline = nodes.pipeline(&[&steps[..], &[("model", model)]].concat());
    assert_refused("long parameters", &nodes.pickle(pipeline));
    // The attributes of many steps are one dict of half a million others.
    let many: Vec<u8> = {
        // The last that a look-up from the end comes to.
        let mut pickle = b"\x80\x02}q\x00(X\x10\x00\x00\x00_sklearn_versionX\x05\x00\x00\x001.9.1".to_vec();
        pickle.extend(b"K\x01N".repeat(500_000));
        pickle.extend(b"u0]q\x01(");
        let step = b"X\x01\x00\x00\x00scsklearn.preprocessing._function_transformer\nFunctionTransformer\n)\x81h\x00b\x86";
        pickle.extend(step.repeat(20_000));
        pickle.extend(b"e0csklearn.pipeline\nPipeline\n)\x81}(");
        for (name, value) in [
            (&b"X\x05\x00\x00\x00steps"[..], &b"h\x01"[..]),
            (b"X\x11\x00\x00\x00feature_names_in_", b"]X\x01\x00\x00\x00aa"),
            (b"X\x10\x00\x00\x00_sklearn_version", b"X\x05\x00\x00\x001.9.1"),
        ] {
            pickle.extend([name, value].concat());
        }
        pickle.extend(b"ub.");
        pickle
    };
    let outcome = assert_refused("a shared dict", &many);
    assert!(outcome.contains("steps"), "{outcome}");
}

#[test]
fn declared_counts_are_held_against_each_other() {
    for count in [1_i64 << 40, -1, 2, 4, i64::MAX] {
        let outcome = assert_refused("node_count", &forest(count));
        assert!(outcome.contains("nodes"), "{outcome}");
    }
    for inputs in [-1, 0, 2, 1 << 20, 1 << 40, i64::MAX] {
        let mut nodes = Nodes::default();
        let model = nodes.linear(1, None);
        let inputs = nodes.int(inputs);
        let Node::Object { state, .. } = &mut nodes.0[model] else { unreachable!() };
        state.retain(|(name, _)| *name != "n_features_in_");
        state.push(("n_features_in_", inputs));
        assert_refused("n_features_in_", &nodes.pickle(model));
    }
    // 30 million indices of one column.
    let most = if cfg!(debug_assertions) { 3_000_000 } else { 30_000_000 };
    for count in [most, 2_000_000] {
        let mut nodes = Nodes::default();
        let child = nodes.text("passthrough");
        let indices = nodes.add(Node::Array {
            code: "i8",
            shape: vec![count as i64],
            fortran: false,
            bytes: vec![0; 8 * count],
        });
        let key = nodes.text("e0");
        let places = nodes.add(Node::Dict(vec![(key, indices)]));
        let columns = nodes.columns(child, 1);
        let Node::Object { state, .. } = &mut nodes.0[columns] else { unreachable!() };
        state[1] = ("_transformer_to_input_indices", places);
        let artifact = xz(&nodes.pickle_before_a_model(columns));
        assert_ne!(outcome_of("column indices", &artifact, 8 * count), "accepted");
    }
    // The same of an indicator, with a long name.
    let mut nodes = Nodes::default();
    let features =
        nodes.add(Node::Array { code: "i1", shape: vec![1 << 20], fortran: false, bytes: vec![0; 1 << 20] });
    let name = nodes.text(&"n".repeat(1 << 16));
    let names = nodes.add(Node::Objects { shape: vec![1], elements: vec![name] });
    let (nan, one) = (nodes.add(Node::Float(f64::NAN)), nodes.int(1));
    let indicator = nodes.object(
        INDICATOR,
        vec![
            ("features_", features),
            ("missing_values", nan),
            ("n_features_in_", one),
            ("feature_names_in_", names),
        ],
    );
    let model = nodes.linear(1, None);
    let pipeline = nodes.pipeline(&[("a", indicator), ("b", model)]);
    assert_refused("indicated features", &nodes.pickle(pipeline));
}

#[test]
fn dtypes_inside_each_other_cost_nothing() {
    for depth in [1, 28, 2_000] {
        assert_refused("records in records", &nested_records(depth));
    }
}

#[test]
fn ten_megabytes_of_any_opcode_cost_little() {
    // With checks for overflow and memory, no costs are measured, and everything takes many times as long.
    const LENGTH: usize = if cfg!(debug_assertions) { 300_000 } else { 9_900_000 };
    let repeated = |head: &[u8], part: &[u8]| {
        let mut pickle = [b"\x80\x02", head].concat();
        while pickle.len() + part.len() < LENGTH {
            pickle.extend(part);
        }
        pickle.push(b'.');
        pickle
    };
    let memo = b"X\x01\x00\x00\x00aq\x000cnumpy.core.multiarray\n_reconstruct\nq\x010cnumpy\nndarray\nK\x00\x85C\x01b\x87q\x020\
        cnumpy\ndtype\nq\x030X\x02\x00\x00\x00f8\x85q\x040csklearn.pipeline\nPipeline\nq\x050)q\x060(N";
    for (name, part) in [
        ("None", &b"N0"[..]),
        ("stacked None", b"NN(t0"),
        ("list", b"]0"),
        ("dict", b"}0"),
        ("list of one", b"]h\x00a0"),
        ("list of five", b"](h\x00h\x00h\x00h\x00h\x00e0"),
        ("dict of one", b"}h\x00h\x00s0"),
        ("tuple", b"h\x00\x850"),
        ("empty text", b"X\x00\x00\x00\x000"),
        ("empty bytes", b"C\x000"),
        ("float", b"G\x00\x00\x00\x00\x00\x00\x00\x000"),
        ("memo", b"Nr\xff\xff\xff\x000"),
        ("memoize", b"N\x940"),
        ("array", b"h\x01h\x02R0"),
        ("dtype", b"h\x03h\x04R0"),
        ("object", b"h\x05h\x06\x810"),
        ("object with state", b"h\x05h\x06\x81}b0"),
        ("unknown name", b"cos\nsystem\n0"),
        ("unknown call", b"cos\nsystem\n)R0"),
        ("known name", b"cnumpy\nuint64\n0"),
        ("mark", b"(1"),
        ("growing list", b"h\x00"),
    ] {
        let artifact = repeated(memo, part);
        outcome_of(name, &artifact, artifact.len());
    }
    // Copies of something large.
    let large = [&b"X\x00\x00\x20\x00"[..], &b"x".repeat(2 << 20), b"q\x000"].concat();
    let head = [&large[..], b"c_codecs\nencode\nq\x010c__builtin__\nbytes\nq\x020c__builtin__\nlist\nq\x030"]
        .concat();
    let list = [&b"]q\x04("[..], &b"N".repeat(900_000), b"e0"].concat();
    let head = [&head[..], &list, b"(N"].concat();
    for (name, part) in [
        ("encoded text", &b"h\x01h\x00\x85R0"[..]),
        ("bytes of text", b"h\x02h\x00\x85R0"),
        ("copied list", b"h\x03h\x04\x85R0"),
    ] {
        let artifact = repeated(&head, part);
        outcome_of(name, &artifact, artifact.len());
    }
    // A text of two megabytes as numpy scalar, many times.
    let scalar = [
        &b"cnumpy\ndtype\nX\x07\x00\x00\x00U524288\x85Rq\x010cnumpy.core.multiarray\nscalar\nq\x020B\x00\x00\x20\x00"[..],
        &b"x\0\0\0".repeat(1 << 19),
        b"q\x000(N",
    ]
    .concat();
    let artifact = repeated(&scalar, b"h\x02h\x01h\x00\x86R0");
    outcome_of("numpy scalar", &artifact, artifact.len());
}

#[test]
fn a_compression_bomb_costs_little() {
    if cfg!(debug_assertions) {
        return; // The compressors are not optimised there: making the bombs takes minutes.
    }
    // Repeated patterns are slower to decompress than zeros.
    let block: Vec<u8> = (0..4_096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, block, length) in [("zeros", vec![0; 4_096], 110_u32 << 20), ("patterns", block, 72 << 20)] {
        let mut bomb = [&b"\x80\x03B"[..], &length.to_le_bytes()].concat();
        bomb.extend(block.repeat(length as usize / block.len()));
        let mut artifacts = vec![("xz", xz(&bomb)), ("gzip", Vec::new()), ("bzip2", Vec::new())];
        let fast = flate2::Compression::fast();
        flate2::read::GzEncoder::new(&*bomb, fast).read_to_end(&mut artifacts[1].1).unwrap();
        let fast = bzip2::Compression::fast();
        bzip2::read::BzEncoder::new(&*bomb, fast).read_to_end(&mut artifacts[2].1).unwrap();
        for (format, artifact) in artifacts {
            let outcome = outcome_of(&format!("{name} in {format}"), &artifact, 64 << 20);
            assert!(outcome.contains("expand") || outcome.contains("ends in the middle"), "{outcome}");
        }
    }
}

// Parameter files.

/// A parameter file without tensors: one transformer before a model that needs none.
fn parameter_file(columns: &str, transformer: &str) -> Vec<u8> {
    let description = format!(
        r#"{{"schema":1,"written_by":"test","sklearn_version":"1.9.1","columns":{columns},"steps":[],"transformer":{transformer},"estimator":{{"linear":{{}}}}}}"#
    );
    let description = description.replace('"', "\\\"");
    let header = format!(r#"{{"__metadata__":{{"parameters":"{description}"}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

#[test]
fn a_small_parameter_file_costs_little() {
    let long_name = format!(r#"{{"names":["{}"]}}"#, "n".repeat(1 << 20));
    let many = |element: &str, count: usize| vec![element; count].join(",");
    let passthrough = r#"{"passthrough":{}}"#;
    let labels = many(r#""""#, 1_000_000);
    for (name, columns, transformer) in [
        (
            "columns of a long name",
            &*long_name,
            format!(
                r#"{{"columns":[{{"columns":[{}],"weighted":false,"transformer":{passthrough}}}]}}"#,
                many("0", 1_000_000)
            ),
        ),
        (
            "labels of a long name",
            &*long_name,
            format!(
                r#"{{"one_hot":{{"refuse_unknown":false,"columns":[{{"categories":{{"text":["a"]}},"outputs":[0],"unknown":null,"labels":[{labels}]}}]}}}}"#
            ),
        ),
        (
            "indicators of a long name",
            &*long_name,
            format!(r#"{{"missing_indicator":{{"missing":"nan","features":[{}]}}}}"#, many("0", 1_000_000)),
        ),
        ("a million columns", r#"{"count":1000000}"#, passthrough.to_owned()),
        ("more columns", r#"{"count":18446744073709551615}"#, passthrough.to_owned()),
        ("many steps", r#"{"count":1}"#, format!(r#"{{"pipeline":[{}]}}"#, many(passthrough, 300_000))),
        (
            "many categories",
            r#"{"count":1}"#,
            format!(
                r#"{{"one_hot":{{"refuse_unknown":false,"columns":[{{"categories":{{"text":[{}]}},"outputs":[],"unknown":null,"labels":[]}}]}}}}"#,
                (0..800_000).map(|at| format!(r#""{at}""#)).collect::<Vec<_>>().join(",")
            ),
        ),
    ] {
        assert_refused(name, &parameter_file(columns, &transformer));
    }
}
