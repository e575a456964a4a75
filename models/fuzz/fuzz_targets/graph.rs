//! Reads graphs of known classes: mostly sound ones, with shared and self-referring children, odd shapes and lying counts.
//!
//! The bytes decide what is built. Each attribute is right in most cases, since a reader refuses the first that is not.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;
#[path = "../../tests/hostile/pickle.rs"]
#[allow(dead_code)]
mod pickle;

use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use models::Model;
use pickle::{Node, write};

fuzz_target!(|bytes: &[u8]| {
    let mut graph = Graph { choices: Unstructured::new(bytes), nodes: Vec::new() };
    // The bytes end somewhere: what was built until then is no model.
    let Ok(root) = graph.model() else { return };
    if let Ok(model) = Model::read(&*write(&graph.nodes, root), &exercise::limits()) {
        exercise::exercise(&model);
    }
});

/// How deep pipelines and the like are built inside each other. Shared children make them deeper.
const DEEPEST: usize = 5;

type Class = (&'static str, &'static str);
type State = Vec<(&'static str, usize)>;

struct Graph<'a> {
    choices: Unstructured<'a>,
    nodes: Vec<Node>,
}

impl Graph<'_> {
    // Values.

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn below(&mut self, limit: usize) -> Result<usize> {
        self.choices.int_in_range(0..=limit.max(1) - 1)
    }

    /// One in `of`; never once the bytes have ended.
    fn rarely(&mut self, of: usize) -> Result<bool> {
        Ok(self.below(of)? == of - 1)
    }

    /// The value, or now and then something else.
    fn mostly(&mut self, value: usize) -> Result<usize> {
        if !self.rarely(24)? {
            return Ok(value);
        }
        let count = self.nodes.len();
        Ok(match self.below(8)? {
            // A value that exists already, or one that may follow, such as the value that refers to it.
            0 => self.below(count)?,
            1 => count + self.below(12)?,
            2 => {
                let number = self.choices.choose(&[-1, 0, 1, 7, 1 << 20, 1 << 40, i64::MAX])?;
                self.add(Node::Int(*number))
            }
            3 => self.add(Node::Objects { shape: vec![1], elements: vec![count] }),
            4 => self.object(("sklearn.compose._column_transformer", "_RemainderColsList"), vec![("data", count)]),
            5 => self.add(Node::List(vec![value; 3])),
            6 => self.add(Node::None),
            _ => self.add(Node::Float(f64::NAN)),
        })
    }

    fn int(&mut self, value: i64) -> Result<usize> {
        let node = self.add(Node::Int(value));
        self.mostly(node)
    }

    fn flag(&mut self) -> Result<usize> {
        let value = self.choices.arbitrary()?;
        let node = self.add(Node::Bool(value));
        self.mostly(node)
    }

    fn text(&mut self, text: &str) -> usize {
        self.add(Node::Text(text.to_owned()))
    }

    fn one_of(&mut self, texts: &[&str]) -> Result<usize> {
        let text = *self.choices.choose(texts)?;
        let node = self.text(text);
        self.mostly(node)
    }

    fn number(&mut self) -> Result<f64> {
        Ok(*self.choices.choose(&[0.0, 1.0, -1.0, 0.5, 1e300, f64::NAN, f64::INFINITY, -0.0])?)
    }

    /// A shape of as many elements, or now and then another.
    fn shape(&mut self, shape: &[usize]) -> Result<Vec<i64>> {
        let mut shape: Vec<i64> = shape.iter().map(|dimension| *dimension as i64).collect();
        if self.rarely(24)? {
            shape.push(*self.choices.choose(&[0, 1, 2, -1, 1 << 40])?);
        }
        Ok(shape)
    }

    fn numbers(&mut self, shape: &[usize]) -> Result<usize> {
        let count = shape.iter().product();
        let mut bytes = Vec::new();
        for _ in 0..count {
            bytes.extend(self.number()?.to_le_bytes());
        }
        let shape = self.shape(shape)?;
        let fortran = self.rarely(8)?;
        let node = self.add(Node::Array { code: "f8", shape, fortran, bytes });
        self.mostly(node)
    }

    fn elements(&mut self, elements: Vec<usize>) -> Result<usize> {
        let shape = self.shape(&[elements.len()])?;
        let node = if self.rarely(3)? { Node::List(elements) } else { Node::Objects { shape, elements } };
        let node = self.add(node);
        self.mostly(node)
    }

    fn texts(&mut self, count: usize) -> Result<usize> {
        let mut elements = Vec::new();
        for place in 0..count {
            let text = self.text(&format!("c{place}"));
            elements.push(self.mostly(text)?);
        }
        self.elements(elements)
    }

    fn ints(&mut self, values: &[usize]) -> Result<usize> {
        let mut elements = Vec::new();
        for value in values {
            elements.push(self.int(*value as i64)?);
        }
        self.elements(elements)
    }

    fn object(&mut self, (module, class): Class, state: State) -> usize {
        self.add(Node::Object { module, class, state })
    }

    /// An object with the attributes that all have.
    fn fitted(&mut self, class: Class, inputs: usize, mut state: State) -> Result<usize> {
        state.push(("n_features_in_", self.int(inputs as i64)?));
        if self.rarely(4)? {
            state.push(("feature_names_in_", self.texts(inputs)?));
        }
        let object = self.object(class, state);
        self.mostly(object)
    }

    // Estimators.

    fn model(&mut self) -> Result<usize> {
        let inputs = 1 + self.below(4)?;
        self.estimator(inputs, 0)
    }

    fn estimator(&mut self, inputs: usize, depth: usize) -> Result<usize> {
        if depth < DEEPEST && !self.rarely(3)? {
            return self.pipeline(inputs, depth);
        }
        let class = *self.choices.choose(&ESTIMATORS)?;
        match class.1 {
            "RandomForestRegressor" | "ExtraTreesRegressor" => self.forest(class, inputs, None),
            "RandomForestClassifier" => self.forest(class, inputs, Some(2)),
            "GradientBoostingRegressor" | "GradientBoostingClassifier" => self.boosting(class, inputs, depth),
            "DecisionTreeRegressor" => self.tree_estimator(inputs, 1),
            "LogisticRegression" => {
                let classes = 2 + self.below(2)?;
                let outputs = if classes == 2 { 1 } else { classes };
                let mut state = vec![
                    ("coef_", self.numbers(&[outputs, inputs])?),
                    ("intercept_", self.numbers(&[outputs])?),
                    ("solver", self.one_of(&["lbfgs", "liblinear", "newton-cholesky"])?),
                ];
                let values: Vec<usize> = (0..classes).collect();
                state.push(("classes_", self.ints(&values)?));
                self.fitted(class, inputs, state)
            }
            _ => {
                let state = vec![("coef_", self.numbers(&[inputs])?), ("intercept_", self.numbers(&[1])?)];
                self.fitted(class, inputs, state)
            }
        }
    }

    fn pipeline(&mut self, inputs: usize, depth: usize) -> Result<usize> {
        let mut steps = Vec::new();
        let mut width = inputs;
        for step in 0..self.below(4)? {
            let (transformer, outputs) = self.transformer(width, depth + 1)?;
            width = outputs;
            steps.push(self.named(step, &[transformer])?);
        }
        let estimator = self.estimator(width, depth + 1)?;
        steps.push(self.named(9, &[estimator])?);
        self.pipeline_of(steps)
    }

    fn pipeline_of(&mut self, steps: Vec<usize>) -> Result<usize> {
        let steps = self.add(Node::List(steps));
        let state = vec![("steps", self.mostly(steps)?)];
        Ok(self.object(("sklearn.pipeline", "Pipeline"), state))
    }

    fn named(&mut self, number: usize, rest: &[usize]) -> Result<usize> {
        let name = self.text(&format!("s{number}"));
        let name = self.mostly(name)?;
        Ok(self.add(Node::Tuple([&[name], rest].concat())))
    }

    fn forest(&mut self, class: Class, inputs: usize, classes: Option<usize>) -> Result<usize> {
        let width = classes.unwrap_or(1);
        let mut members = Vec::new();
        for _ in 0..1 + self.below(3)? {
            members.push(self.tree_estimator(inputs, width)?);
        }
        let members = self.add(Node::List(members));
        let mut state = vec![("estimators_", self.mostly(members)?), ("n_outputs_", self.int(1)?)];
        if let Some(classes) = classes {
            let values: Vec<usize> = (0..classes).collect();
            state.push(("classes_", self.ints(&values)?));
            state.push(("n_classes_", self.int(classes as i64)?));
        }
        self.fitted(class, inputs, state)
    }

    fn tree_estimator(&mut self, inputs: usize, width: usize) -> Result<usize> {
        let tree = self.tree(inputs, width)?;
        let state = vec![("tree_", self.mostly(tree)?), ("n_outputs_", self.int(1)?)];
        self.fitted(("sklearn.tree._classes", "DecisionTreeRegressor"), inputs, state)
    }

    /// A tree whose splits are on one path, or lead anywhere.
    fn tree(&mut self, inputs: usize, width: usize) -> Result<usize> {
        let splits = self.below(5)?;
        let count = 2 * splits + 1;
        let mut nodes = Vec::new();
        for place in 0..count {
            let is_split = place % 2 == 0 && place + 2 < count;
            let (mut left, mut right) =
                if is_split { (place as i64 + 1, place as i64 + 2) } else { (-1, -1) };
            if self.rarely(24)? {
                left = *self.choices.choose(&[-1, 0, 1, 2, 1 << 40])?;
                right = self.below(count + 1)? as i64;
            }
            let feature = if is_split { self.below(inputs)? as i64 } else { -2 };
            let feature = if self.rarely(24)? { *self.choices.choose(&[-1, 9, 1 << 40])? } else { feature };
            nodes.push((left, right, feature, self.number()?));
        }
        let mut values = Vec::new();
        for _ in 0..count * width {
            values.push(self.number()?);
        }
        let node_count = if self.rarely(24)? { 1 << 40 } else { count as i64 };
        let features = if self.rarely(24)? { 1 << 20 } else { inputs as i64 };
        Ok(self.add(Node::Tree { features, node_count, nodes, width: width as i64, values }))
    }

    fn boosting(&mut self, class: Class, inputs: usize, depth: usize) -> Result<usize> {
        let is_classifier = class.1 == "GradientBoostingClassifier";
        let classes = 2 + self.below(2)?;
        let outputs = if is_classifier && classes > 2 { classes } else { 1 };
        let stages = self.below(3)?;
        let mut members = Vec::new();
        for _ in 0..stages * outputs {
            members.push(self.tree_estimator(inputs, 1)?);
        }
        let shape = self.shape(&[stages, outputs])?;
        let members = self.add(Node::Objects { shape, elements: members });
        let losses: &[&str] =
            if is_classifier { &["log_loss", "exponential"] } else { &["squared_error", "huber"] };
        let rate = self.add(Node::Float(0.1));
        let mut state = vec![
            ("estimators_", self.mostly(members)?),
            ("n_estimators_", self.int(stages as i64)?),
            ("loss", self.one_of(losses)?),
            ("learning_rate", self.mostly(rate)?),
        ];
        let init = match self.below(3)? {
            0 => self.text("zero"),
            1 if depth < DEEPEST => self.estimator(inputs, depth + 1)?,
            _ if is_classifier => {
                let state = vec![
                    ("class_prior_", self.numbers(&[classes])?),
                    ("strategy", self.one_of(&["prior", "most_frequent"])?),
                ];
                self.object(("sklearn.dummy", "DummyClassifier"), state)
            }
            _ => {
                let state = vec![("constant_", self.numbers(&[1, 1])?)];
                self.object(("sklearn.dummy", "DummyRegressor"), state)
            }
        };
        state.push(("init_", self.mostly(init)?));
        if is_classifier {
            let values: Vec<usize> = (0..classes).collect();
            state.push(("classes_", self.ints(&values)?));
        }
        self.fitted(class, inputs, state)
    }

    // Transformers.

    /// A transformer of so many columns, and how many come out of it.
    fn transformer(&mut self, inputs: usize, depth: usize) -> Result<(usize, usize)> {
        let class = *self.choices.choose(&TRANSFORMERS)?;
        let mut outputs = inputs;
        let state = match class.1 {
            "Pipeline" if depth < DEEPEST => {
                let mut steps = Vec::new();
                for step in 0..1 + self.below(3)? {
                    let (transformer, width) = self.transformer(outputs, depth + 1)?;
                    outputs = width;
                    steps.push(self.named(step, &[transformer])?);
                }
                return Ok((self.pipeline_of(steps)?, outputs));
            }
            "ColumnTransformer" if depth < DEEPEST => {
                let (state, width) = self.column_transformer(inputs, depth)?;
                outputs = width;
                state
            }
            "Pipeline" | "ColumnTransformer" => return Ok((self.text("passthrough"), inputs)),
            "SimpleImputer" => {
                let missing = self.add(Node::Float(f64::NAN));
                vec![
                    ("statistics_", self.numbers(&[inputs])?),
                    ("missing_values", self.mostly(missing)?),
                    ("strategy", self.one_of(&["median", "constant", "most_frequent"])?),
                    ("keep_empty_features", self.add(Node::Bool(true))),
                ]
            }
            "MissingIndicator" => {
                let places: Vec<usize> = (0..inputs).collect();
                let missing = self.add(Node::Float(f64::NAN));
                vec![("features_", self.ints(&places)?), ("missing_values", missing)]
            }
            "OneHotEncoder" | "OrdinalEncoder" => {
                let categories = 1 + self.below(3)?;
                if class.1 == "OneHotEncoder" {
                    outputs = inputs * categories;
                }
                let shared = self.texts(categories)?;
                let mut lists = Vec::new();
                for _ in 0..inputs {
                    let list = if self.rarely(2)? { self.numbers(&[categories])? } else { shared };
                    lists.push(list);
                }
                let lists = self.add(Node::List(lists));
                vec![
                    ("categories_", self.mostly(lists)?),
                    ("handle_unknown", self.one_of(&["ignore", "error", "infrequent_if_exist"])?),
                    ("sparse_output", self.flag()?),
                ]
            }
            _ => vec![
                ("mean_", self.numbers(&[inputs])?),
                ("scale_", self.numbers(&[inputs])?),
                ("center_", self.numbers(&[inputs])?),
                ("min_", self.numbers(&[inputs])?),
                ("clip", self.flag()?),
                ("feature_range", self.ints(&[0, 1])?),
            ],
        };
        Ok((self.fitted(class, inputs, state)?, outputs))
    }

    fn column_transformer(&mut self, inputs: usize, depth: usize) -> Result<(State, usize)> {
        let mut outputs = 0;
        let (mut transformers, mut places) = (Vec::new(), Vec::new());
        // Now and then all entries are one child.
        let mut child = None;
        for entry in 0..1 + self.below(4)? {
            let mut columns = Vec::new();
            for _ in 0..1 + self.below(inputs)? {
                columns.push(self.below(inputs)?);
            }
            let (transformer, width) = match child {
                Some((transformer, width, of)) if of == columns.len() => (transformer, width),
                _ => self.transformer(columns.len(), depth + 1)?,
            };
            child = self.rarely(2)?.then_some((transformer, width, columns.len()));
            outputs += width;
            let columns = self.ints(&columns)?;
            transformers.push(self.named(entry, &[transformer, columns])?);
            let key = self.text(&format!("s{entry}"));
            places.push((key, columns));
        }
        let (transformers, places) = (self.add(Node::List(transformers)), self.add(Node::Dict(places)));
        let state = vec![
            ("transformers_", self.mostly(transformers)?),
            ("_transformer_to_input_indices", self.mostly(places)?),
            ("sparse_output_", self.flag()?),
        ];
        Ok((state, outputs))
    }
}

const ESTIMATORS: [Class; 9] = [
    ("sklearn.linear_model._base", "LinearRegression"),
    ("sklearn.linear_model._ridge", "Ridge"),
    ("sklearn.linear_model._logistic", "LogisticRegression"),
    ("sklearn.ensemble._forest", "RandomForestRegressor"),
    ("sklearn.ensemble._forest", "ExtraTreesRegressor"),
    ("sklearn.ensemble._forest", "RandomForestClassifier"),
    ("sklearn.ensemble._gb", "GradientBoostingRegressor"),
    ("sklearn.ensemble._gb", "GradientBoostingClassifier"),
    ("sklearn.tree._classes", "DecisionTreeRegressor"),
];

const TRANSFORMERS: [Class; 10] = [
    ("sklearn.pipeline", "Pipeline"),
    ("sklearn.compose._column_transformer", "ColumnTransformer"),
    ("sklearn.impute._base", "SimpleImputer"),
    ("sklearn.impute._base", "MissingIndicator"),
    ("sklearn.preprocessing._data", "StandardScaler"),
    ("sklearn.preprocessing._data", "RobustScaler"),
    ("sklearn.preprocessing._data", "MinMaxScaler"),
    ("sklearn.preprocessing._data", "MaxAbsScaler"),
    ("sklearn.preprocessing._encoders", "OneHotEncoder"),
    ("sklearn.preprocessing._encoders", "OrdinalEncoder"),
];
