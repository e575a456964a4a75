//! From a parameter file to a model. Whatever prediction relies on is checked here.

use std::collections::HashMap;

use safetensors::tensor::Dtype;

use super::{
    document::{self, Document, Operation, Path, SCHEMA, Versioned},
    error::ParametersError,
    source::{Source, Tensors, check_finite},
    trees,
};
use crate::{
    artifact::{Limits, class_name, text_bytes},
    features::Accepts,
    forest::Ensemble,
    linear::{Linear, Link},
    model::{Boosting, BoostingLoss, Estimator, Forest, Initial, Model, Predictor},
    pipeline::{
        Categories, ColumnTransformer, Fill, Imputer, MissingIndicator, MissingValue, OneHotColumn,
        OneHotEncoder, OrdinalColumn, OrdinalEncoder, Part, Scaler, Transformer, Unknown,
    },
    predictions::Label,
    sklearn::{Description, MOST_COLUMNS, Step},
    tree::Tree,
};

/// Bytes that a category takes in a hash map, beside its text.
const CATEGORY_BYTES: usize = 64;

/// Reads a model.
pub(super) fn read(source: &Source<'_>, limits: &Limits) -> Result<Model, ParametersError> {
    let (text, mut tensors) = Tensors::open(source, limits)?;
    let whole = Path::default();
    let unreadable = |error: serde_json::Error| wrong(&whole, error.to_string());
    let Versioned { schema } = serde_json::from_str(&text).map_err(unreadable)?;
    if schema != SCHEMA {
        return Err(ParametersError::Schema { found: schema, understood: SCHEMA });
    }
    let document: Document = serde_json::from_str(&text).map_err(unreadable)?;
    let Document { sklearn_version, columns, steps, transformer, estimator, classes, .. } = document;
    let (names, inputs) = match columns {
        document::Columns::Names(names) => {
            let count = names.len();
            (Some(names), count)
        }
        document::Columns::Count(count) => (None, count),
    };
    if inputs > MOST_COLUMNS {
        let what = format!("{inputs} columns, where {MOST_COLUMNS} are supported");
        return Err(wrong(&whole.member("columns"), what));
    }
    match &names {
        Some(names) => tensors.hold_texts(names)?,
        None => tensors.hold(inputs.saturating_mul(2 * size_of::<String>()))?,
    }
    let input_names = names.clone().unwrap_or_else(|| placeholders(inputs));
    let predictor = document::Predictor { transformer, estimator, classes };
    let predictor = tensors.predictor(&whole, predictor, input_names)?;
    tensors.finish()?;
    let names: Option<Vec<Box<str>>> = names.map(|names| names.into_iter().map(String::into).collect());
    let steps = steps.into_iter().enumerate().map(|(at, step)| {
        let document::Step { path, class, parameters } = step;
        let class = class_name(&class).ok_or_else(|| {
            wrong(&whole.member("steps").position(at), format!("{class} is not a class that is understood"))
        })?;
        Ok(Step { path, class, parameters })
    });
    let steps = steps.collect::<Result<_, ParametersError>>()?;
    let description = Description::new(sklearn_version, names.as_deref(), inputs, &predictor, steps);
    Ok(Model::new(names, inputs, predictor, description))
}

fn wrong(path: &Path, what: impl Into<String>) -> ParametersError {
    ParametersError::Description { path: path.to_string(), what: what.into() }
}

/// The names of columns that have none.
fn placeholders(count: usize) -> Vec<String> {
    (0..count).map(|place| format!("x{place}")).collect()
}

/// As many entries in the JSON as there are columns.
fn check_count(path: &Path, what: &str, found: usize, columns: usize) -> Result<(), ParametersError> {
    if found == columns {
        return Ok(());
    }
    Err(wrong(path, format!("{found} {what} for {columns} columns")))
}

/// Places of columns that there are.
fn check_places(path: &Path, places: &[usize], columns: usize) -> Result<(), ParametersError> {
    match places.iter().find(|place| **place >= columns) {
        None => Ok(()),
        Some(place) => Err(wrong(path, format!("column {place} of {columns}"))),
    }
}

impl Tensors<'_> {
    /// Accounts for names, which become longer from transformer to transformer.
    fn hold_texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t String>) -> Result<(), ParametersError> {
        self.hold(texts.into_iter().map(|text| text_bytes(text)).fold(0, usize::saturating_add))
    }

    fn predictor(
        &mut self,
        path: &Path,
        predictor: document::Predictor,
        inputs: Vec<String>,
    ) -> Result<Predictor, ParametersError> {
        let document::Predictor { transformer, estimator, classes } = predictor;
        let (transformer, feature_names) =
            self.transformer(&path.member("transformer"), transformer, inputs)?;
        let classes = classes.map(|classes| self.classes(path, classes)).transpose()?;
        let class_count = classes.as_ref().map(Vec::len);
        let estimator =
            self.estimator(&path.member("estimator"), estimator, feature_names.len(), class_count)?;
        Ok(Predictor { transformer, estimator, classes, feature_names })
    }

    fn classes(&mut self, path: &Path, classes: document::Classes) -> Result<Vec<Label>, ParametersError> {
        let labels: Vec<Label> = match classes {
            document::Classes::Boolean(values) => values.into_iter().map(Label::Bool).collect(),
            document::Classes::Integer(values) => values.into_iter().map(Label::Integer).collect(),
            document::Classes::Text(values) => {
                values.into_iter().map(|value| Label::Text(value.into())).collect()
            }
            document::Classes::Real(count) => {
                self.finite_numbers(path, "classes", count)?.into_iter().map(Label::Real).collect()
            }
        };
        if labels.is_empty() {
            return Err(wrong(&path.member("classes"), "a classifier without classes"));
        }
        Ok(labels)
    }

    // Transformers.

    /// Reads a transformer of columns with these names, and gives the names of what comes out.
    fn transformer(
        &mut self,
        path: &Path,
        transformer: document::Transformer,
        names: Vec<String>,
    ) -> Result<(Transformer, Vec<String>), ParametersError> {
        let transformer = match transformer {
            document::Transformer::Passthrough {} => Transformer::Passthrough,
            document::Transformer::Pipeline(steps) => {
                let path = path.member("pipeline");
                let mut names = names;
                let mut transformers = Vec::with_capacity(steps.len());
                for (at, step) in steps.into_iter().enumerate() {
                    let step = self.transformer(&path.position(at), step, names)?;
                    transformers.push(step.0);
                    names = step.1;
                }
                return Ok((Transformer::Pipeline(transformers), names));
            }
            document::Transformer::Columns(parts) => {
                let path = path.member("columns");
                let mut outputs = Vec::new();
                let mut read = Vec::with_capacity(parts.len());
                for (at, part) in parts.into_iter().enumerate() {
                    let path = path.position(at);
                    let document::Part { columns, weighted, transformer } = part;
                    check_places(&path, &columns, names.len())?;
                    let selected = columns.iter().filter_map(|place| names.get(*place));
                    self.hold_texts(selected.clone())?;
                    let selected: Vec<String> = selected.cloned().collect();
                    let weight = if weighted {
                        self.finite_numbers(&path, "weight", 1)?.first().copied()
                    } else {
                        None
                    };
                    let (transformer, mut part_outputs) =
                        self.transformer(&path.member("transformer"), transformer, selected)?;
                    outputs.append(&mut part_outputs);
                    read.push(Part { columns, transformer, weight });
                }
                return Ok((Transformer::Columns(ColumnTransformer { parts: read }), outputs));
            }
            document::Transformer::Imputer(imputer) => {
                Transformer::Imputer(self.imputer(&path.member("imputer"), imputer, &names)?)
            }
            document::Transformer::MissingIndicator(indicator) => {
                let path = path.member("missing_indicator");
                Transformer::MissingIndicator(self.missing_indicator(&path, indicator, names.len())?)
            }
            document::Transformer::Scaler(scaler) => {
                Transformer::Scaler(self.scaler(&path.member("scaler"), &scaler, names.len())?)
            }
            document::Transformer::OneHot(encoder) => {
                Transformer::OneHot(self.one_hot(&path.member("one_hot"), encoder, &names)?)
            }
            document::Transformer::Ordinal(encoder) => {
                Transformer::Ordinal(self.ordinal(&path.member("ordinal"), encoder, &names)?)
            }
        };
        let keeps_names = matches!(transformer, Transformer::Passthrough | Transformer::Scaler(_));
        if !keeps_names {
            // Once for the step behind it and once for its own messages.
            self.hold(transformer.names_bytes(&names).saturating_mul(2))?;
        }
        let names = transformer.names(names);
        Ok((transformer, names))
    }

    fn missing(&mut self, path: &Path, missing: document::Missing) -> Result<MissingValue, ParametersError> {
        Ok(match missing {
            document::Missing::Nan => MissingValue::Nan,
            document::Missing::Text(text) => MissingValue::Text(text.into()),
            document::Missing::Number => MissingValue::Number(self.number(path, "missing_value")?),
        })
    }

    fn imputer(
        &mut self,
        path: &Path,
        imputer: document::Imputer,
        names: &[String],
    ) -> Result<Imputer, ParametersError> {
        let document::Imputer { missing, fill, indicator } = imputer;
        check_count(path, "fills", fill.len(), names.len())?;
        let numbers = self.numbers(path, "fill", fill.len())?;
        let fills = fill.into_iter().zip(numbers).map(|(fill, number)| match fill {
            document::Fill::Number => Fill::Number(number),
            document::Fill::Text(text) => Fill::Text(text.into()),
            document::Fill::Drop => Fill::Drop,
        });
        let indicator = indicator
            .map(|indicator| self.missing_indicator(&path.member("indicator"), indicator, names.len()));
        Ok(Imputer {
            fills: fills.collect(),
            indicator: indicator.transpose()?,
            missing: self.missing(path, missing)?,
            names: names.to_vec(),
        })
    }

    fn missing_indicator(
        &mut self,
        path: &Path,
        indicator: document::MissingIndicator,
        columns: usize,
    ) -> Result<MissingIndicator, ParametersError> {
        let document::MissingIndicator { missing, features } = indicator;
        check_places(path, &features, columns)?;
        Ok(MissingIndicator { missing: self.missing(path, missing)?, features })
    }

    fn scaler(
        &mut self,
        path: &Path,
        scaler: &document::Scaler,
        columns: usize,
    ) -> Result<Scaler, ParametersError> {
        let mut read = Scaler::default();
        if !scaler.operations.is_sorted_by(|first, second| first < second) {
            return Err(wrong(path, "operations that are not in their order"));
        }
        for operation in &scaler.operations {
            let count = if *operation == Operation::Clip { 2 } else { columns };
            let numbers = self.numbers(path, operation.name(), count)?;
            match operation {
                Operation::Subtract => read.subtract = Some(numbers),
                Operation::Divide => read.divide = Some(numbers),
                Operation::Multiply => read.multiply = Some(numbers),
                Operation::Add => read.add = Some(numbers),
                Operation::Clip => match *numbers {
                    [low, high] if low <= high => read.clip = Some((low, high)),
                    _ => return Err(wrong(path, "a clip whose first bound is not below its second")),
                },
            }
        }
        Ok(read)
    }

    /// Categories, and how many there are.
    fn categories(
        &mut self,
        path: &Path,
        categories: document::Categories,
    ) -> Result<(Categories, usize), ParametersError> {
        match categories {
            document::Categories::Text(texts) => {
                let count = texts.len();
                let missing = texts.iter().position(Option::is_none);
                self.hold(count.saturating_mul(CATEGORY_BYTES))?;
                let mut places: HashMap<Box<str>, usize> = HashMap::with_capacity(count);
                for (place, text) in texts.into_iter().enumerate() {
                    let Some(text) = text else { continue };
                    if let Some(first) = places.insert(text.into(), place) {
                        return Err(wrong(path, format!("category {place} is category {first} once more")));
                    }
                }
                Ok((Categories::Text { places, missing }, count))
            }
            document::Categories::Number => {
                let (tensor, [count]) = self.take(path, "categories", Dtype::F64)?;
                self.hold(count.saturating_mul(8))?;
                let mut values = tensor.numbers(0, count)?;
                let missing = values.iter().position(|value| value.is_nan());
                let known = missing.unwrap_or(count);
                if let Some(place) = values.iter().skip(known).position(|value| !value.is_nan()) {
                    return Err(tensor.wrong(known + place, "a number behind the missing values"));
                }
                values.truncate(known);
                // As they are looked up: one of the two zeros, and by the total order.
                values.iter_mut().for_each(|value| *value += 0.0);
                let ascends = |pair: &[f64]| matches!(pair, [first, second] if first < second);
                if let Some(place) = values.windows(2).position(|pair| !ascends(pair)) {
                    return Err(tensor.wrong(place + 1, "categories that do not ascend"));
                }
                Ok((Categories::Number { values, missing }, count))
            }
        }
    }

    fn one_hot(
        &mut self,
        path: &Path,
        encoder: document::OneHotEncoder,
        names: &[String],
    ) -> Result<OneHotEncoder, ParametersError> {
        check_count(path, "encoded columns", encoder.columns.len(), names.len())?;
        let mut columns = Vec::with_capacity(names.len());
        for (at, (column, name)) in encoder.columns.into_iter().zip(names).enumerate() {
            let path = path.member("columns").position(at);
            let document::OneHotColumn { categories, outputs, unknown, labels } = column;
            let (categories, count) = self.categories(&path, categories)?;
            if outputs.len() != count {
                return Err(wrong(&path, format!("{} outputs for {count} categories", outputs.len())));
            }
            let width = labels.len();
            if let Some(output) = outputs.iter().chain([&unknown]).flatten().find(|output| **output >= width)
            {
                return Err(wrong(&path, format!("output {output} of {width}")));
            }
            columns.push(OneHotColumn { name: name.as_str().into(), categories, outputs, unknown, labels });
        }
        // Whether scikit-learn's output was sparse is known by what a scaler behind it does.
        Ok(OneHotEncoder { columns, refuse_unknown: encoder.refuse_unknown, sparse: false })
    }

    fn ordinal(
        &mut self,
        path: &Path,
        encoder: document::OrdinalEncoder,
        names: &[String],
    ) -> Result<OrdinalEncoder, ParametersError> {
        check_count(path, "encoded columns", encoder.columns.len(), names.len())?;
        let unknown = if encoder.refuse_unknown {
            Unknown::Refuse
        } else {
            Unknown::Becomes(self.number(path, "unknown_value")?)
        };
        let mut columns = Vec::with_capacity(names.len());
        for (at, (column, name)) in encoder.columns.into_iter().zip(names).enumerate() {
            let path = path.member("columns").position(at);
            let (categories, count) = self.categories(&path, column.categories)?;
            let codes = self.numbers(&path, "codes", count)?;
            columns.push(OrdinalColumn { name: name.as_str().into(), categories, codes });
        }
        Ok(OrdinalEncoder { columns, unknown })
    }

    // Estimators.

    fn estimator(
        &mut self,
        path: &Path,
        estimator: document::Estimator,
        features: usize,
        classes: Option<usize>,
    ) -> Result<Estimator, ParametersError> {
        let regresses = || match classes {
            None => Ok(()),
            Some(_) => Err(wrong(path, "a regressor with classes")),
        };
        Ok(match estimator {
            document::Estimator::Constant {} => {
                regresses()?;
                let intercepts = self.finite_numbers(&path.member("constant"), "value", 1)?;
                Estimator::Linear(Linear { coefficients: vec![Vec::new()], intercepts })
            }
            document::Estimator::Linear {} => {
                regresses()?;
                Estimator::Linear(self.linear(&path.member("linear"), 1, features)?)
            }
            document::Estimator::Logistic { link } => {
                let (link, decides_once) = match link {
                    document::Link::Sigmoid => (Link::Sigmoid, true),
                    document::Link::SymmetricSoftmax => (Link::SymmetricSoftmax, true),
                    document::Link::OneVersusRest => (Link::OneVersusRest, false),
                    document::Link::Softmax => (Link::Softmax, false),
                };
                let decisions = match classes {
                    Some(2) if decides_once => 1,
                    Some(count) if count > 2 && !decides_once => count,
                    _ => return Err(wrong(path, "a link that does not fit the number of classes")),
                };
                let linear = self.linear(&path.member("logistic"), decisions, features)?;
                Estimator::Logistic { linear, link }
            }
            document::Estimator::Forest { accepts_missing, missing_left } => {
                let outputs = classes.unwrap_or(1);
                let path = path.member("forest");
                let trees = trees::read(self, &path, features, outputs, missing_left)?;
                let tree_count = trees.len();
                if tree_count == 0 {
                    return Err(wrong(&path, "a forest without trees"));
                }
                let accepts = if accepts_missing { Accepts::Missing } else { Accepts::Finite };
                Estimator::Forest(Forest {
                    ensemble: Ensemble::new(vec![trees]),
                    tree_count,
                    outputs,
                    accepts,
                })
            }
            document::Estimator::Boosting { loss, outputs, missing_left, initial } => {
                let path = path.member("boosting");
                let (loss, expected) = match (loss, classes) {
                    (document::Loss::Regression, None) => (BoostingLoss::Regression, 1),
                    (document::Loss::BinaryBySign, Some(2)) => {
                        (BoostingLoss::Binary { zero_is_positive: true }, 1)
                    }
                    (document::Loss::BinaryByProbability, Some(2)) => {
                        (BoostingLoss::Binary { zero_is_positive: false }, 1)
                    }
                    (document::Loss::Exponential, Some(2)) => (BoostingLoss::Exponential, 1),
                    (document::Loss::Multiclass, Some(count)) if count > 2 => {
                        (BoostingLoss::Multiclass, count)
                    }
                    _ => return Err(wrong(&path, "a loss that does not fit the number of classes")),
                };
                if outputs != expected {
                    return Err(wrong(&path, format!("{outputs} outputs where {expected} are expected")));
                }
                let trees = trees::read(self, &path, features, 1, missing_left)?;
                let ensemble = Ensemble::new(by_output(&path, trees, outputs)?);
                let initial = self.initial(&path.member("initial"), initial, features, loss, outputs)?;
                Estimator::Boosting(Boosting { ensemble, initial, loss })
            }
        })
    }

    fn linear(&mut self, path: &Path, outputs: usize, features: usize) -> Result<Linear, ParametersError> {
        let (tensor, shape) = self.take(path, "coefficients", Dtype::F64)?;
        if shape != [outputs, features] {
            return Err(tensor.wrong(None, format!("its shape is {shape:?}, not {:?}", [outputs, features])));
        }
        self.hold(tensor.length.saturating_mul(8))?;
        let row = |output| {
            let row = tensor.numbers(output * features, features)?;
            check_finite(&row, output * features, |index, what| tensor.wrong(index, what))?;
            Ok(row)
        };
        let coefficients = (0..outputs).map(row).collect::<Result<_, ParametersError>>()?;
        Ok(Linear { coefficients, intercepts: self.finite_numbers(path, "intercepts", outputs)? })
    }

    fn initial(
        &mut self,
        path: &Path,
        initial: document::Initial,
        features: usize,
        loss: BoostingLoss,
        outputs: usize,
    ) -> Result<Initial, ParametersError> {
        match initial {
            document::Initial::Constant {} => {
                self.finite_numbers(&path.member("constant"), "values", outputs).map(Initial::Constant)
            }
            document::Initial::Estimator { centred, predictor } => {
                let path = path.member("estimator");
                let epsilon = self.finite_numbers(&path, "epsilon", 1)?.first().copied().unwrap_or(0.0);
                if !(0.0..0.5).contains(&epsilon) {
                    return Err(wrong(&path, format!("an epsilon of {epsilon}")));
                }
                let names = placeholders(features);
                self.hold_texts(&names)?;
                let predictor = self.predictor(&path.member("predictor"), *predictor, names)?;
                let classes = predictor.classes.as_ref().map(Vec::len);
                let expected = match loss {
                    BoostingLoss::Regression => None,
                    BoostingLoss::Binary { .. } | BoostingLoss::Exponential => Some(2),
                    BoostingLoss::Multiclass => Some(outputs),
                };
                if classes != expected {
                    return Err(wrong(&path, "another number of classes than the boosting on it"));
                }
                if !predictor.is_exact_in_32_bits() {
                    let what =
                        "boosting on a scaler or a linear model, whose 32-bit sums cannot be reproduced";
                    return Err(wrong(&path, what));
                }
                Ok(Initial::Estimator { predictor: Box::new(predictor), epsilon, centred })
            }
        }
    }
}

/// The trees of each output, of which all have as many.
fn by_output(path: &Path, trees: Vec<Tree>, outputs: usize) -> Result<Vec<Vec<Tree>>, ParametersError> {
    let count = trees.len();
    if !count.is_multiple_of(outputs) {
        return Err(wrong(path, format!("{count} trees for {outputs} outputs")));
    }
    let mut trees = trees.into_iter();
    Ok((0..outputs).map(|_| trees.by_ref().take(count / outputs).collect()).collect())
}
