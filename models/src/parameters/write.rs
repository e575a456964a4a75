//! From a model to a parameter file.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, View};

use super::{
    document::{self, Document, Operation, Path, SCHEMA},
    error::InexpressibleError,
    source::DESCRIPTION,
    trees,
};
use crate::{
    features::Accepts,
    linear::{Linear, Link},
    model::{Boosting, BoostingLoss, Estimator, Forest, Initial, Model, Predictor},
    pipeline::{
        Categories, Fill, Imputer, MissingIndicator, MissingValue, OneHotEncoder, OrdinalEncoder, Scaler,
        Transformer, Unknown,
    },
    predictions::Label,
};

/// The tensors that have been written.
#[derive(Default)]
pub(super) struct Written(Vec<(String, Tensor)>);

struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Tensor {
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

impl Written {
    pub(super) fn tensor(
        &mut self,
        object: &Path,
        name: &str,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: impl IntoIterator<Item = u8>,
    ) {
        let bytes = bytes.into_iter().collect();
        self.0.push((object.member(name).as_str().to_owned(), Tensor { dtype, shape, bytes }));
    }

    fn numbers(&mut self, object: &Path, name: &str, numbers: &[f64]) {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.tensor(object, name, Dtype::F64, vec![numbers.len()], bytes);
    }

    /// Numbers none of which may be infinite or NaN.
    pub(super) fn finite(
        &mut self,
        object: &Path,
        name: &str,
        shape: Vec<usize>,
        numbers: &[f64],
    ) -> Result<(), InexpressibleError> {
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(inexpressible(object, format!("{number} among the {name}")));
        }
        self.tensor(object, name, Dtype::F64, shape, numbers.iter().flat_map(|number| number.to_le_bytes()));
        Ok(())
    }
}

fn inexpressible(path: &Path, what: impl Into<String>) -> InexpressibleError {
    InexpressibleError { path: path.to_string(), what: what.into() }
}

/// Writes a model.
pub(super) fn write(model: &Model, written_by: &str) -> Result<Vec<u8>, InexpressibleError> {
    let mut written = Written::default();
    let description = model.describe();
    let step = |step: &crate::Step| document::Step {
        path: step.path.clone(),
        class: step.class.to_owned(),
        parameters: step.parameters.clone(),
    };
    let document::Predictor { transformer, estimator, classes } =
        written.predictor(&Path::default(), model.predictor())?;
    let document = Document {
        schema: SCHEMA,
        written_by: written_by.to_owned(),
        sklearn_version: description.sklearn_version.clone(),
        columns: match model.columns() {
            Some(names) => document::Columns::Names(names.iter().map(ToString::to_string).collect()),
            None => document::Columns::Count(description.column_count),
        },
        steps: description.steps.iter().map(step).collect(),
        transformer,
        estimator,
        classes,
    };
    let broken = |error: String| inexpressible(&Path::default(), error);
    let text = serde_json::to_string(&document).map_err(|error| broken(error.to_string()))?;
    let metadata = [(DESCRIPTION.to_owned(), text)].into_iter().collect();
    safetensors::serialize(written.0, Some(metadata)).map_err(|error| broken(error.to_string()))
}

impl Written {
    fn predictor(
        &mut self,
        path: &Path,
        predictor: &Predictor,
    ) -> Result<document::Predictor, InexpressibleError> {
        let transformer = self.transformer(&path.member("transformer"), &predictor.transformer)?;
        let classes = predictor.classes.as_deref().map(|classes| self.classes(path, classes)).transpose()?;
        let estimator = self.estimator(&path.member("estimator"), predictor)?;
        Ok(document::Predictor { transformer, estimator, classes })
    }

    fn classes(&mut self, path: &Path, labels: &[Label]) -> Result<document::Classes, InexpressibleError> {
        fn all<T>(labels: &[Label], one: impl Fn(&Label) -> Option<T>) -> Option<Vec<T>> {
            labels.iter().map(one).collect()
        }
        let boolean = |label: &Label| if let Label::Bool(value) = label { Some(*value) } else { None };
        let integer = |label: &Label| if let Label::Integer(value) = label { Some(*value) } else { None };
        let text =
            |label: &Label| if let Label::Text(value) = label { Some(value.to_string()) } else { None };
        let real = |label: &Label| if let Label::Real(value) = label { Some(*value) } else { None };
        if let Some(values) = all(labels, boolean) {
            Ok(document::Classes::Boolean(values))
        } else if let Some(values) = all(labels, integer) {
            Ok(document::Classes::Integer(values))
        } else if let Some(values) = all(labels, text) {
            Ok(document::Classes::Text(values))
        } else if let Some(values) = all(labels, real) {
            self.finite(path, "classes", vec![values.len()], &values)?;
            Ok(document::Classes::Real(values.len()))
        } else {
            Err(inexpressible(&path.member("classes"), "classes of several types"))
        }
    }

    // Transformers.

    fn transformer(
        &mut self,
        path: &Path,
        transformer: &Transformer,
    ) -> Result<document::Transformer, InexpressibleError> {
        Ok(match transformer {
            Transformer::Passthrough => document::Transformer::Passthrough {},
            Transformer::Pipeline(steps) => {
                let path = path.member("pipeline");
                let step = |(at, step)| self.transformer(&path.position(at), step);
                document::Transformer::Pipeline(steps.iter().enumerate().map(step).collect::<Result<_, _>>()?)
            }
            Transformer::Columns(columns) => {
                let path = path.member("columns");
                let mut parts = Vec::with_capacity(columns.parts.len());
                for (at, part) in columns.parts.iter().enumerate() {
                    let path = path.position(at);
                    if let Some(weight) = part.weight {
                        self.finite(&path, "weight", vec![1], &[weight])?;
                    }
                    parts.push(document::Part {
                        columns: part.columns.clone(),
                        weighted: part.weight.is_some(),
                        transformer: self.transformer(&path.member("transformer"), &part.transformer)?,
                    });
                }
                document::Transformer::Columns(parts)
            }
            Transformer::Imputer(imputer) => {
                document::Transformer::Imputer(self.imputer(&path.member("imputer"), imputer))
            }
            Transformer::MissingIndicator(indicator) => {
                let path = path.member("missing_indicator");
                document::Transformer::MissingIndicator(self.missing_indicator(&path, indicator))
            }
            Transformer::Scaler(scaler) => {
                document::Transformer::Scaler(self.scaler(&path.member("scaler"), scaler))
            }
            Transformer::OneHot(encoder) => {
                document::Transformer::OneHot(self.one_hot(&path.member("one_hot"), encoder)?)
            }
            Transformer::Ordinal(encoder) => {
                document::Transformer::Ordinal(self.ordinal(&path.member("ordinal"), encoder)?)
            }
        })
    }

    fn missing(&mut self, path: &Path, missing: &MissingValue) -> document::Missing {
        match missing {
            MissingValue::Nan => document::Missing::Nan,
            MissingValue::Text(text) => document::Missing::Text(text.to_string()),
            MissingValue::Number(number) => {
                self.numbers(path, "missing_value", &[*number]);
                document::Missing::Number
            }
        }
    }

    fn imputer(&mut self, path: &Path, imputer: &Imputer) -> document::Imputer {
        let number = |fill: &Fill| if let Fill::Number(number) = fill { *number } else { f64::NAN };
        let fill = |fill: &Fill| match fill {
            Fill::Number(_) => document::Fill::Number,
            Fill::Text(text) => document::Fill::Text(text.to_string()),
            Fill::Drop => document::Fill::Drop,
        };
        self.numbers(path, "fill", &imputer.fills.iter().map(number).collect::<Vec<f64>>());
        document::Imputer {
            missing: self.missing(path, &imputer.missing),
            fill: imputer.fills.iter().map(fill).collect(),
            indicator: imputer
                .indicator
                .as_ref()
                .map(|indicator| self.missing_indicator(&path.member("indicator"), indicator)),
        }
    }

    fn missing_indicator(&mut self, path: &Path, indicator: &MissingIndicator) -> document::MissingIndicator {
        document::MissingIndicator {
            missing: self.missing(path, &indicator.missing),
            features: indicator.features.clone(),
        }
    }

    fn scaler(&mut self, path: &Path, scaler: &Scaler) -> document::Scaler {
        let clip = scaler.clip.map(|(low, high)| vec![low, high]);
        let operations = [
            (Operation::Subtract, &scaler.subtract),
            (Operation::Divide, &scaler.divide),
            (Operation::Multiply, &scaler.multiply),
            (Operation::Add, &scaler.add),
            (Operation::Clip, &clip),
        ];
        let mut written = Vec::new();
        for (operation, numbers) in operations {
            if let Some(numbers) = numbers {
                self.numbers(path, operation.name(), numbers);
                written.push(operation);
            }
        }
        document::Scaler { operations: written }
    }

    /// The categories of a column, of which there are `count`.
    fn categories(
        &mut self,
        path: &Path,
        categories: &Categories,
        count: usize,
    ) -> Result<document::Categories, InexpressibleError> {
        let ambiguous =
            || inexpressible(path, "categories that occur twice, or missing ones among the others");
        match categories {
            Categories::Text { places, missing } => {
                let mut texts = vec![None; count];
                for (text, place) in places {
                    *texts.get_mut(*place).ok_or_else(ambiguous)? = Some(text.to_string());
                }
                if texts.iter().position(Option::is_none) != *missing {
                    return Err(ambiguous());
                }
                Ok(document::Categories::Text(texts))
            }
            Categories::Number { values, missing } => {
                // Missing ones come last.
                if missing.is_some_and(|missing| missing != values.len())
                    || missing.is_some() != (values.len() < count)
                {
                    return Err(ambiguous());
                }
                let missing = std::iter::repeat(f64::NAN);
                let numbers: Vec<f64> = values.iter().copied().chain(missing).take(count).collect();
                self.numbers(path, "categories", &numbers);
                Ok(document::Categories::Number)
            }
        }
    }

    fn one_hot(
        &mut self,
        path: &Path,
        encoder: &OneHotEncoder,
    ) -> Result<document::OneHotEncoder, InexpressibleError> {
        let mut columns = Vec::with_capacity(encoder.columns.len());
        for (at, column) in encoder.columns.iter().enumerate() {
            let path = path.member("columns").position(at);
            columns.push(document::OneHotColumn {
                categories: self.categories(&path, &column.categories, column.outputs.len())?,
                outputs: column.outputs.clone(),
                unknown: column.unknown,
                labels: column.labels.clone(),
            });
        }
        Ok(document::OneHotEncoder { refuse_unknown: encoder.refuse_unknown, columns })
    }

    fn ordinal(
        &mut self,
        path: &Path,
        encoder: &OrdinalEncoder,
    ) -> Result<document::OrdinalEncoder, InexpressibleError> {
        if let Unknown::Becomes(number) = encoder.unknown {
            self.numbers(path, "unknown_value", &[number]);
        }
        let mut columns = Vec::with_capacity(encoder.columns.len());
        for (at, column) in encoder.columns.iter().enumerate() {
            let path = path.member("columns").position(at);
            self.numbers(&path, "codes", &column.codes);
            let categories = self.categories(&path, &column.categories, column.codes.len())?;
            columns.push(document::OrdinalColumn { categories });
        }
        Ok(document::OrdinalEncoder { refuse_unknown: encoder.unknown == Unknown::Refuse, columns })
    }

    // Estimators.

    fn estimator(
        &mut self,
        path: &Path,
        predictor: &Predictor,
    ) -> Result<document::Estimator, InexpressibleError> {
        let features = predictor.feature_names.len();
        match &predictor.estimator {
            Estimator::Linear(Linear { coefficients, intercepts })
                if coefficients.iter().all(Vec::is_empty) =>
            {
                self.finite(&path.member("constant"), "value", vec![1], intercepts)?;
                Ok(document::Estimator::Constant {})
            }
            Estimator::Linear(linear) => {
                self.linear(&path.member("linear"), linear, features)?;
                Ok(document::Estimator::Linear {})
            }
            Estimator::Logistic { linear, link } => {
                self.linear(&path.member("logistic"), linear, features)?;
                let link = match link {
                    Link::Sigmoid => document::Link::Sigmoid,
                    Link::SymmetricSoftmax => document::Link::SymmetricSoftmax,
                    Link::OneVersusRest => document::Link::OneVersusRest,
                    Link::Softmax => document::Link::Softmax,
                };
                Ok(document::Estimator::Logistic { link })
            }
            Estimator::Forest(Forest { ensemble, outputs, accepts, .. }) => {
                let missing_left = trees::write(self, &path.member("forest"), ensemble, *outputs)?;
                let accepts_missing = *accepts == Accepts::Missing;
                Ok(document::Estimator::Forest { accepts_missing, missing_left })
            }
            Estimator::Boosting(boosting) => self.boosting(&path.member("boosting"), boosting),
        }
    }

    fn linear(&mut self, path: &Path, linear: &Linear, features: usize) -> Result<(), InexpressibleError> {
        let Linear { coefficients, intercepts } = linear;
        if coefficients.iter().any(|row| row.len() != features) || coefficients.len() != intercepts.len() {
            return Err(inexpressible(path, "another number of coefficients than of features"));
        }
        self.finite(path, "coefficients", vec![coefficients.len(), features], &coefficients.concat())?;
        self.finite(path, "intercepts", vec![intercepts.len()], intercepts)
    }

    fn boosting(
        &mut self,
        path: &Path,
        boosting: &Boosting,
    ) -> Result<document::Estimator, InexpressibleError> {
        let Boosting { ensemble, initial, loss } = boosting;
        let outputs = ensemble.sum_count();
        if !ensemble.has_equal_sums() {
            return Err(inexpressible(path, "outputs with different numbers of trees"));
        }
        let missing_left = trees::write(self, path, ensemble, 1)?;
        let initial = match initial {
            Initial::Constant(values) => {
                let path = path.member("initial").member("constant");
                self.finite(&path, "values", vec![values.len()], values)?;
                document::Initial::Constant {}
            }
            Initial::Estimator { predictor, epsilon, centred } => {
                let path = path.member("initial").member("estimator");
                self.finite(&path, "epsilon", vec![1], &[*epsilon])?;
                let predictor = Box::new(self.predictor(&path.member("predictor"), predictor)?);
                document::Initial::Estimator { centred: *centred, predictor }
            }
        };
        let loss = match loss {
            BoostingLoss::Regression => document::Loss::Regression,
            BoostingLoss::Binary { zero_is_positive: true } => document::Loss::BinaryBySign,
            BoostingLoss::Binary { zero_is_positive: false } => document::Loss::BinaryByProbability,
            BoostingLoss::Exponential => document::Loss::Exponential,
            BoostingLoss::Multiclass => document::Loss::Multiclass,
        };
        Ok(document::Estimator::Boosting { loss, outputs, missing_left, initial })
    }
}
