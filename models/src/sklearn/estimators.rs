use super::{Estimated, Plain, Reader, Version, transformers::Read};
use crate::{
    artifact::{ALLOCATION_BYTES, Handle, ReadError, Value},
    features::Accepts,
    forest::Ensemble,
    linear::{Linear, Link, argmax},
    model::{Boosting, BoostingLoss, Estimator, Forest, Initial, Model, Predictor},
    pipeline::Transformer,
    predictions::Label,
    tree::Tree,
};

/// An artifact states its numbers of columns and outputs; memory for them is not taken on its word alone.
pub(crate) const MOST_COLUMNS: usize = 1 << 20;
const MOST_OUTPUTS: usize = 1 << 16;
/// Bytes that a short name takes.
const NAME_BYTES: usize = size_of::<String>() + 2 * ALLOCATION_BYTES;

/// Classes that change features and predict nothing.
const TRANSFORMERS: [&str; 10] = [
    "ColumnTransformer",
    "SimpleImputer",
    "MissingIndicator",
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
    "OneHotEncoder",
    "OrdinalEncoder",
    "FunctionTransformer",
];

impl Reader {
    pub(super) fn model(&mut self, root: Handle) -> Result<Model, ReadError> {
        if !matches!(self.graph.get(root), Value::Object(_)) {
            return Err(self.not_alone(root));
        }
        let outer = self.estimated(root)?;
        let names = self.input_names(root, 0)?;
        let inputs = match &names {
            Some(names) => names.len(),
            None => self.input_count(root, 0)?,
        };
        if inputs > MOST_COLUMNS {
            return Err(self.unsupported(format!("{inputs} columns, where {MOST_COLUMNS} are supported")));
        }
        // Names are held by the model, its description and its first transformer.
        self.charge(inputs, 3 * NAME_BYTES)?;
        let placeholders = || (0..inputs).map(|place| format!("x{place}")).collect();
        let input_names: Vec<String> =
            names.as_ref().map_or_else(placeholders, |names| names.iter().map(ToString::to_string).collect());
        self.charge_texts(&input_names)?;
        if let Some(version) = self.optional_text(outer, "_sklearn_version")? {
            self.sklearn_version = version.to_owned();
        }
        let predictor = self.predictor(root, input_names)?;
        let description = self.describe(outer, names.as_deref(), inputs, &predictor);
        Ok(Model::new(names, inputs, predictor, description))
    }

    /// The names of the columns that the outermost estimator was fitted on, if it knows them.
    fn input_names(&self, handle: Handle, depth: usize) -> Result<Option<Vec<Box<str>>>, ReadError> {
        let estimated = self.estimated(handle)?;
        if let Some(names) = self.field(estimated, "feature_names_in_")? {
            let name = |name: Plain| match name {
                Plain::Text(name) => Ok(name),
                _ => Err(self.unexpected(estimated, "feature_names_in_")),
            };
            let names = self.list(names)?.ok_or_else(|| self.unexpected(estimated, "feature_names_in_"))?;
            return names.into_iter().map(name).collect::<Result<_, _>>().map(Some);
        }
        match self.first_step(estimated, depth)? {
            Some(first) => self.input_names(first, depth + 1),
            None => Ok(None),
        }
    }

    fn input_count(&self, handle: Handle, depth: usize) -> Result<usize, ReadError> {
        let estimated = self.estimated(handle)?;
        match self.first_step(estimated, depth)? {
            Some(first) => self.input_count(first, depth + 1),
            None => self.count(estimated, "n_features_in_"),
        }
    }

    /// A pipeline knows its columns by its first step that does anything.
    fn first_step(&self, estimated: Estimated, depth: usize) -> Result<Option<Handle>, ReadError> {
        if estimated.class != "Pipeline" || depth >= super::DEEPEST_NESTING {
            return Ok(None);
        }
        let does_something = |(_, step): &(String, Handle)| matches!(self.graph.get(*step), Value::Object(_));
        Ok(self.steps_of(estimated)?.into_iter().find(does_something).map(|(_, step)| step))
    }

    /// Reads an estimator with whatever comes before it.
    fn predictor(&mut self, handle: Handle, inputs: Vec<String>) -> Result<Predictor, ReadError> {
        let estimated = self.estimated(handle)?;
        if estimated.class != "Pipeline" {
            self.note_step(estimated)?;
            let (estimator, classes) =
                self.inside(estimated.class, |reader| reader.estimator(estimated, inputs.len()))?;
            return Ok(Predictor {
                transformer: Transformer::Passthrough,
                estimator,
                classes,
                feature_names: inputs,
            });
        }
        let mut steps = self.steps_of(estimated)?;
        let Some((name, last)) = steps.pop() else { return Err(self.unexpected(estimated, "steps")) };
        let Read { transformer, names, .. } = self.chain(&steps, inputs, false)?;
        let mut predictor = self.inside(&name, |reader| reader.predictor(last, names))?;
        predictor.transformer = match predictor.transformer {
            Transformer::Passthrough => transformer,
            inner => Transformer::Pipeline(vec![transformer, inner]),
        };
        Ok(predictor)
    }

    fn estimator(
        &mut self,
        estimated: Estimated,
        inputs: usize,
    ) -> Result<(Estimator, Option<Vec<Label>>), ReadError> {
        self.check_declared_inputs(estimated, inputs)?;
        match estimated.class {
            "LinearRegression" | "Ridge" | "Lasso" | "ElasticNet" => {
                Ok((Estimator::Linear(self.linear(estimated, inputs)?), None))
            }
            "LogisticRegression" => self.logistic(estimated, inputs),
            "DecisionTreeRegressor"
            | "ExtraTreeRegressor"
            | "RandomForestRegressor"
            | "ExtraTreesRegressor" => {
                self.one_output(estimated)?;
                let trees = self.trees(estimated, inputs)?;
                self.check_width(&trees, 1)?;
                let accepts = self.accepts(estimated)?;
                let tree_count = trees.len();
                let ensemble = Ensemble::new(vec![trees]);
                Ok((Estimator::Forest(Forest { ensemble, tree_count, outputs: 1, accepts }), None))
            }
            "DecisionTreeClassifier"
            | "ExtraTreeClassifier"
            | "RandomForestClassifier"
            | "ExtraTreesClassifier" => {
                self.one_output(estimated)?;
                let classes = self.classes(estimated)?;
                let mut trees = self.trees(estimated, inputs)?;
                self.check_width(&trees, classes.len())?;
                // Until 1.3 leaves hold weighted counts, of which fractions are made at prediction
                // (`sklearn/tree/_classes.py`, `predict_proba`).
                if estimated.version < Version::v1(4) {
                    trees.iter_mut().for_each(|tree| tree.change_leaves(into_fractions));
                }
                let accepts = self.accepts(estimated)?;
                let outputs = classes.len();
                let tree_count = trees.len();
                let ensemble = Ensemble::new(vec![trees]);
                Ok((Estimator::Forest(Forest { ensemble, tree_count, outputs, accepts }), Some(classes)))
            }
            "GradientBoostingRegressor" => Ok((self.boosting(estimated, inputs, None)?, None)),
            "GradientBoostingClassifier" => {
                let classes = self.classes(estimated)?;
                Ok((self.boosting(estimated, inputs, Some(classes.len()))?, Some(classes)))
            }
            "DummyRegressor" => {
                let constant = self.numbers(estimated, "constant_")?;
                let [constant] = *constant else { return Err(self.unexpected(estimated, "constant_")) };
                let linear = Linear { coefficients: vec![Vec::new()], intercepts: vec![constant] };
                Ok((Estimator::Linear(linear), None))
            }
            class if TRANSFORMERS.contains(&class) => Err(self.unsupported(format!(
                "{class} is a transformer and predicts nothing; store the fitted Pipeline whose last step is the estimator"
            ))),
            class => Err(self.unsupported(format!("{class} is not an estimator that is understood"))),
        }
    }

    /// A value without structure, where the attribute is there.
    pub(super) fn optional_plain(
        &self,
        estimated: Estimated,
        name: &str,
    ) -> Result<Option<Plain>, ReadError> {
        self.field(estimated, name)?.map(|value| self.plain(value)).transpose()
    }

    /// Checks that an estimator is given as many features as it was fitted on. Estimators that ignore their
    /// features, such as `DummyRegressor`, do not count them.
    pub(super) fn check_declared_inputs(&self, estimated: Estimated, inputs: usize) -> Result<(), ReadError> {
        match self.optional_plain(estimated, "n_features_in_")? {
            None => Ok(()),
            Some(Plain::Int(declared)) if usize::try_from(declared) == Ok(inputs) => Ok(()),
            Some(_) => Err(self.unsupported(format!(
                "fitted on another number of features than the {inputs} that the steps before give"
            ))),
        }
    }

    fn one_output(&self, estimated: Estimated) -> Result<(), ReadError> {
        match self.count(estimated, "n_outputs_")? {
            1 => Ok(()),
            outputs => Err(self
                .unsupported(format!("{} with {outputs} outputs, where one is supported", estimated.class))),
        }
    }

    fn check_width(&self, trees: &[Tree], width: usize) -> Result<(), ReadError> {
        match trees.iter().find(|tree| tree.width() != width) {
            None => Ok(()),
            Some(tree) => Err(self.unsupported(format!(
                "a tree with {} values a leaf where {width} were expected",
                tree.width()
            ))),
        }
    }

    fn classes(&self, estimated: Estimated) -> Result<Vec<Label>, ReadError> {
        let unexpected = || self.unexpected(estimated, "classes_");
        let classes = self.list(self.required(estimated, "classes_")?)?.ok_or_else(unexpected)?;
        let label = |class: Plain| match class {
            Plain::Bool(value) => Ok(Label::Bool(value)),
            Plain::Int(value) => Ok(Label::Integer(value)),
            Plain::Float(value) => Ok(Label::Real(value)),
            Plain::Text(value) => Ok(Label::Text(value)),
            _ => Err(unexpected()),
        };
        let labels: Vec<Label> = classes.into_iter().map(label).collect::<Result<_, _>>()?;
        if labels.is_empty() {
            return Err(unexpected());
        }
        // Estimators of several outputs have a list here; they are refused elsewhere.
        if let Some(Plain::Int(declared)) = self.optional_plain(estimated, "n_classes_")?
            && usize::try_from(declared) != Ok(labels.len())
        {
            return Err(self.unsupported(format!(
                "{} of {declared} classes that has {} in \"classes_\"",
                estimated.class,
                labels.len()
            )));
        }
        Ok(labels)
    }

    // Linear models.

    fn linear(&self, estimated: Estimated, inputs: usize) -> Result<Linear, ReadError> {
        let handle = self.required(estimated, "coef_")?;
        let outputs = match self.shape(handle) {
            Some([_]) => 1,
            Some([outputs, _]) if *outputs <= MOST_OUTPUTS => *outputs,
            _ => return Err(self.unexpected(estimated, "coef_")),
        };
        let coefficients = self.numbers(estimated, "coef_")?;
        self.check_length(estimated, "coef_", coefficients.len(), inputs.saturating_mul(outputs))?;
        if outputs != 1 && estimated.class != "LogisticRegression" {
            return Err(self
                .unsupported(format!("{} with {outputs} outputs, where one is supported", estimated.class)));
        }
        let intercept = self.required(estimated, "intercept_")?;
        let intercepts = match self.plain(intercept)?.number() {
            // Without an intercept, some versions keep one zero for all outputs.
            Some(intercept) => vec![intercept; outputs],
            None => self.numbers(estimated, "intercept_")?,
        };
        self.check_length(estimated, "intercept_", intercepts.len(), outputs)?;
        let coefficients = match inputs {
            0 => vec![Vec::new(); outputs],
            _ => coefficients.chunks_exact(inputs).map(<[f64]>::to_vec).collect(),
        };
        Ok(Linear { coefficients, intercepts })
    }

    fn logistic(
        &self,
        estimated: Estimated,
        inputs: usize,
    ) -> Result<(Estimator, Option<Vec<Label>>), ReadError> {
        let classes = self.classes(estimated)?;
        if classes.len() < 2 {
            return Err(self.unexpected(estimated, "classes_"));
        }
        let linear = self.linear(estimated, inputs)?;
        let outputs = linear.intercepts.len();
        let expected = if classes.len() == 2 { 1 } else { classes.len() };
        self.check_length(estimated, "coef_", outputs, expected)?;
        let solver = self.text(estimated, "solver")?;
        let multi_class = self.optional_text(estimated, "multi_class")?.unwrap_or("auto");
        let binary = classes.len() <= 2;
        // `predict_proba` in `sklearn/linear_model/_logistic.py`, which changed in 1.2, 1.6 and 1.8.
        let one_versus_rest = if estimated.version >= Version::v1(8) {
            binary
        } else {
            let newton_cholesky =
                solver == "newton-cholesky" && (Version::v1(2)..Version::v1(6)).contains(&estimated.version);
            match multi_class {
                "ovr" | "warn" => true,
                "auto" | "deprecated" => binary || solver == "liblinear" || newton_cholesky,
                "multinomial" => false,
                _ => return Err(self.unexpected(estimated, "multi_class")),
            }
        };
        let link = match (one_versus_rest, binary) {
            (true, true) => Link::Sigmoid,
            (true, false) => Link::OneVersusRest,
            (false, true) => Link::SymmetricSoftmax,
            (false, false) => Link::Softmax,
        };
        Ok((Estimator::Logistic { linear, link }, Some(classes)))
    }

    // Trees.

    /// Whether the version that wrote a tree model predicts rows with missing values.
    fn accepts(&self, estimated: Estimated) -> Result<Accepts, ReadError> {
        let criterion = self.optional_text(estimated, "criterion")?;
        let absolute_error = criterion == Some("absolute_error") && estimated.version < Version::v1(9);
        let random_splits = self.optional_text(estimated, "splitter")? == Some("random");
        let monotonic = !self.is_none(estimated, "monotonic_cst")?;
        let since = match estimated.class {
            _ if random_splits => Version::v1(6),
            "DecisionTreeRegressor" | "DecisionTreeClassifier" => Version::v1(3),
            "RandomForestRegressor" | "RandomForestClassifier" => Version::v1(4),
            _ => Version::v1(6),
        };
        let accepts_missing = estimated.version >= since && !absolute_error && !monotonic;
        Ok(if accepts_missing { Accepts::Missing } else { Accepts::Finite })
    }

    /// The trees of a forest, or the tree that a tree estimator is.
    fn trees(&mut self, estimated: Estimated, inputs: usize) -> Result<Vec<Tree>, ReadError> {
        if self.field(estimated, "tree_")?.is_some() {
            return Ok(vec![self.tree(estimated, inputs)?]);
        }
        let handle = self.required(estimated, "estimators_")?;
        self.charge(self.length(handle).unwrap_or(0), size_of::<Handle>() + size_of::<Tree>())?;
        let members = self.graph.elements(handle).unwrap_or_default().to_vec();
        if members.is_empty() {
            return Err(self.unexpected(estimated, "estimators_"));
        }
        members
            .into_iter()
            .map(|member| self.estimated(member).and_then(|member| self.tree(member, inputs)))
            .collect()
    }

    fn tree(&mut self, estimated: Estimated, inputs: usize) -> Result<Tree, ReadError> {
        self.check_declared_inputs(estimated, inputs)?;
        let handle = self.required(estimated, "tree_")?;
        match self.graph.take(handle) {
            Value::Tree(tree) if tree.features() == inputs => Ok(*tree),
            _ => Err(self.unexpected(estimated, "tree_")),
        }
    }

    // Boosting.

    fn boosting(
        &mut self,
        estimated: Estimated,
        inputs: usize,
        classes: Option<usize>,
    ) -> Result<Estimator, ReadError> {
        let version = estimated.version;
        let handle = self.required(estimated, "estimators_")?;
        let (stages, outputs) = match self.shape(handle) {
            Some([stages, outputs]) if *outputs > 0 => (*stages, *outputs),
            _ => return Err(self.unexpected(estimated, "estimators_")),
        };
        let exponential = match (self.text(estimated, "loss")?, classes) {
            ("squared_error" | "ls" | "absolute_error" | "lad" | "huber" | "quantile", None) => false,
            ("log_loss" | "deviance", Some(_)) => false,
            ("exponential", Some(2)) => true,
            (loss, _) => return Err(self.unsupported(format!("{} with the loss {loss:?}", estimated.class))),
        };
        let loss = match classes {
            None => BoostingLoss::Regression,
            Some(2) if exponential => BoostingLoss::Exponential,
            // Until 1.3 the larger probability decided, and 0.5 was class 0; later the sign of the raw value.
            Some(2) => BoostingLoss::Binary { zero_is_positive: version >= Version::v1(4) },
            Some(_) => BoostingLoss::Multiclass,
        };
        let expected = if loss == BoostingLoss::Multiclass { classes.unwrap_or(1) } else { 1 };
        self.check_length(estimated, "estimators_", outputs, expected)?;
        if let Some(declared) = self.optional_plain(estimated, "n_estimators_")?
            && declared != Plain::Int(stages as i64)
        {
            return Err(self.unexpected(estimated, "n_estimators_"));
        }
        let learning_rate = self.number(estimated, "learning_rate")?;
        let members = self.list(handle)?.ok_or_else(|| self.unexpected(estimated, "estimators_"))?;
        let mut trees: Vec<Vec<Tree>> = vec![Vec::new(); outputs];
        for (member, output) in members.into_iter().zip((0..outputs).cycle()) {
            let Plain::Other(member) = member else { return Err(self.unexpected(estimated, "estimators_")) };
            let member = self.estimated(member)?;
            let mut tree = self.tree(member, inputs)?;
            self.check_width(std::slice::from_ref(&tree), 1)?;
            tree.change_leaves(|leaf| leaf.iter_mut().for_each(|value| *value *= learning_rate));
            if let Some(trees) = trees.get_mut(output) {
                trees.push(tree);
            }
        }
        let initial = self.initial(estimated, inputs, loss, outputs)?;
        Ok(Estimator::Boosting(Boosting { ensemble: Ensemble::new(trees), initial, loss }))
    }

    /// What a `DummyClassifier` predicts of every row (`sklearn/dummy.py`, `predict_proba`).
    fn dummy_probabilities(&self, estimated: Estimated) -> Result<Vec<f64>, ReadError> {
        let prior = self.numbers(estimated, "class_prior_")?;
        match self.text(estimated, "strategy")? {
            "prior" => Ok(prior),
            "most_frequent" => {
                let most_frequent = argmax(&prior);
                Ok((0..prior.len()).map(|class| f64::from(u8::from(class == most_frequent))).collect())
            }
            strategy => Err(self.unsupported(format!("DummyClassifier of the strategy {strategy:?}"))),
        }
    }

    /// What the trees are added to.
    fn initial(
        &mut self,
        estimated: Estimated,
        inputs: usize,
        loss: BoostingLoss,
        outputs: usize,
    ) -> Result<Initial, ReadError> {
        let version = estimated.version;
        let handle = self.required(estimated, "init_")?;
        if self.graph.str(handle) == Some("zero") {
            return Ok(Initial::Constant(vec![0.0; outputs]));
        }
        // `_init_raw_predictions` (`sklearn/ensemble/_gb.py`): 1.8 clips with the epsilon of 64 bits.
        let epsilon = if version < Version::v1(8) { f64::from(f32::EPSILON) } else { f64::EPSILON };
        let centred = version >= Version::v1(4);
        let init = self.estimated(handle)?;
        if init.class == "DummyClassifier" {
            let prior = self.dummy_probabilities(init)?;
            let raw = loss.raw_from_probabilities(&prior, epsilon, centred);
            self.check_length(init, "class_prior_", raw.len(), outputs)?;
            return Ok(Initial::Constant(raw));
        }
        self.charge(inputs, NAME_BYTES)?;
        let names = (0..inputs).map(|place| format!("x{place}")).collect();
        let predictor = self.inside("init_", |reader| reader.predictor(handle, names))?;
        let is_classifier = loss != BoostingLoss::Regression;
        if is_classifier != predictor.classes.is_some() {
            return Err(self.unexpected(estimated, "init_"));
        }
        if let (Estimator::Linear(linear), false) = (&predictor.estimator, is_classifier)
            && init.class == "DummyRegressor"
        {
            return Ok(Initial::Constant(linear.intercepts.clone()));
        }
        if !predictor.is_exact_in_32_bits() {
            return Err(self.unsupported(format!(
                "{} on {} as init: scikit-learn computes that in 32 bits and in the order of its BLAS, which cannot be \
                 reproduced; fit it with init=None, init='zero' or a tree",
                estimated.class, init.class
            )));
        }
        Ok(Initial::Estimator { predictor: Box::new(predictor), epsilon, centred })
    }
}

/// Divides a row of weighted counts by its sum.
fn into_fractions(row: &mut [f64]) {
    let sum = numpy_sum(row);
    if sum != 0.0 {
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// The sum in numpy's order of additions (`pairwise_sum`, `numpy/core/src/umath/loops_utils.h.src`).
fn numpy_sum(values: &[f64]) -> f64 {
    const ACCUMULATORS: usize = 8;
    const LONGEST_RUN: usize = 128;
    if values.len() < ACCUMULATORS {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if values.len() > LONGEST_RUN {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % ACCUMULATORS);
        return numpy_sum(left) + numpy_sum(right);
    }
    let (runs, rest) = values.as_chunks::<ACCUMULATORS>();
    let mut sums = [0.0; ACCUMULATORS];
    for (place, run) in runs.iter().enumerate() {
        for (sum, value) in sums.iter_mut().zip(run) {
            *sum = if place == 0 { *value } else { *sum + value };
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value)
}
