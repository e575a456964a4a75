//! From a model's description back to a specification.
//!
//! A description has the constructor's parameters as Python writes them. They go through the same deserialization as a
//! file's, so that there is one list of what is known; parameters that have no bearing on a fit are left out before,
//! and those that may only have one value are checked.

use serde::{
    Deserialize,
    de::{
        Deserializer, IntoDeserializer, Visitor,
        value::{Error as DeError, MapDeserializer},
    },
    forward_to_deserialize_any,
};
use thiserror::Error;

use super::{Algorithm, Specification};
use crate::{model::Model, pipeline::Transformer, sklearn::Step};

/// A model that cannot be fitted again here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnsupportedModel {
    /// Another pipeline than imputers, one-hot encoder and scaler before an estimator.
    #[error("{0}")]
    Pipeline(String),
    /// A hyper-parameter with a value that cannot be had.
    #[error("{class} with {parameter}={value} cannot be fitted")]
    Parameter {
        /// scikit-learn's class.
        class: &'static str,
        /// The parameter's name.
        parameter: String,
        /// Its value, as Python writes it.
        value: String,
    },
    /// A hyper-parameter that the artifact has, but not as a plain value.
    #[error("the parameter {parameter:?} of {class} is no plain value")]
    NotPlain {
        /// scikit-learn's class.
        class: &'static str,
        /// The parameter's name.
        parameter: &'static str,
    },
    /// Another estimator, or a parameter of the wrong type.
    #[error("{class} cannot be fitted: {problem}")]
    Estimator {
        /// scikit-learn's class.
        class: &'static str,
        /// Why.
        problem: String,
    },
}

/// Parameters without bearing on the fitted model.
const IDLE: [&str; 14] = [
    "n_jobs",
    "verbose",
    "warm_start",
    "oob_score",
    "copy",
    "copy_X",
    "dtype",
    "sparse",
    "sparse_output",
    "fill_value",
    "feature_name_combiner",
    "keep_empty_features",
    "memory",
    "transform_input",
];

/// Parameters of one class that have no bearing.
const IDLE_OF_CLASS: [(&str, &[&str]); 4] = [
    // All forests have the attribute.
    ("RandomForestRegressor", &["class_weight"]),
    // Newton's method goes on to full precision, and draws nothing.
    ("LogisticRegression", &["tol", "intercept_scaling", "random_state", "max_iter"]),
    ("GradientBoostingRegressor", &["alpha", "validation_fraction", "tol"]),
    ("GradientBoostingClassifier", &["validation_fraction", "tol"]),
];

/// Parameters that may only have these values.
const ONLY: [(&str, &[&str]); 21] = [
    ("normalize", &["False", "'deprecated'"]),
    ("missing_values", &["nan", "NaN"]),
    ("add_indicator", &["False"]),
    ("handle_unknown", &["'ignore'"]),
    ("drop", &["None"]),
    ("min_frequency", &["None"]),
    ("max_categories", &["None"]),
    ("categories", &["'auto'"]),
    ("with_mean", &["True"]),
    ("with_std", &["True"]),
    ("positive", &["False"]),
    ("penalty", &["'l2'", "'deprecated'"]),
    ("l1_ratio", &["None", "0.0", "0"]),
    ("dual", &["False"]),
    // All of these have one minimum; liblinear penalises the constant term, too.
    ("solver", &["'lbfgs'", "'newton-cg'", "'newton-cholesky'", "'sag'", "'saga'"]),
    ("multi_class", &["'auto'", "'ovr'", "'deprecated'"]),
    ("loss", &["'squared_error'", "'ls'", "'log_loss'", "'deviance'"]),
    ("init", &["None"]),
    ("n_iter_no_change", &["None"]),
    ("ccp_alpha", &["0.0", "0"]),
    ("monotonic_cst", &["None"]),
];

/// Parameters that every version has. A value that is not plain is not in a description, and must not be taken for the
/// default.
const NEEDED: [(&str, &[&str]); 6] = [
    ("LinearRegression", &["fit_intercept"]),
    ("LogisticRegression", &["C", "fit_intercept", "class_weight"]),
    (
        "RandomForestRegressor",
        &["n_estimators", "criterion", "max_depth", "max_features", "bootstrap", "max_samples"],
    ),
    (
        "RandomForestClassifier",
        &[
            "n_estimators",
            "criterion",
            "max_depth",
            "max_features",
            "bootstrap",
            "max_samples",
            "class_weight",
        ],
    ),
    (
        "GradientBoostingRegressor",
        &["n_estimators", "learning_rate", "subsample", "max_depth", "max_features"],
    ),
    (
        "GradientBoostingClassifier",
        &["n_estimators", "learning_rate", "subsample", "max_depth", "max_features"],
    ),
];

pub(super) fn specification_of(model: &Model) -> Result<Specification, UnsupportedModel> {
    let steps = &model.describe().steps;
    let is_preparation = |step: &&Step| {
        matches!(
            step.class,
            "Pipeline" | "ColumnTransformer" | "SimpleImputer" | "OneHotEncoder" | "StandardScaler"
        )
    };
    // What comes behind the estimator is inside of it: what boosting starts from, which follows from `init`.
    let Some(estimator) = steps.iter().find(|step| !is_preparation(step)) else {
        return Err(UnsupportedModel::Pipeline("the model has no estimator".to_owned()));
    };
    let mut strategies = Vec::new();
    for step in steps.iter().take_while(is_preparation) {
        match step.class {
            "Pipeline" | "ColumnTransformer" => continue,
            "SimpleImputer" => strategies.push(step.parameters.get("strategy").cloned().unwrap_or_default()),
            _ => {}
        }
        check(step, |name, _| name != "strategy")?;
    }
    let (categorical, numeric, scale) = columns(model)?;
    let expected: &[&str] =
        if categorical.is_empty() { &["'median'"] } else { &["'most_frequent'", "'median'"] };
    if strategies != expected {
        let strategies = strategies.join(" and ");
        return Err(UnsupportedModel::Pipeline(format!("SimpleImputer with the strategies {strategies}")));
    }
    let specification = Specification::new(algorithm(estimator)?).numeric(numeric).scale(scale);
    Ok(specification.categorical(categorical))
}

type Names = Vec<Box<str>>;

/// The categorical columns, those of numbers, and whether these are scaled.
fn columns(model: &Model) -> Result<(Names, Names, bool), UnsupportedModel> {
    let unknown = || {
        let what = "only imputers, a one-hot encoder and a scaler in a ColumnTransformer can be fitted";
        UnsupportedModel::Pipeline(what.to_owned())
    };
    let names = model.columns().ok_or_else(unknown)?;
    let steps = flat(&model.predictor().transformer);
    let [Transformer::Columns(transformer)] = steps.as_slice() else { return Err(unknown()) };
    let (mut categorical, mut numeric, mut scale) = (None, None, false);
    for part in &transformer.parts {
        let columns: Option<Names> = part.columns.iter().map(|place| names.get(*place).cloned()).collect();
        let (slot, is_scaled) = match flat(&part.transformer).as_slice() {
            [Transformer::Imputer(_), Transformer::OneHot(_)] if numeric.is_none() => {
                (&mut categorical, false)
            }
            [Transformer::Imputer(_)] => (&mut numeric, false),
            [Transformer::Imputer(_), Transformer::Scaler(_)] => (&mut numeric, true),
            _ => return Err(unknown()),
        };
        scale |= is_scaled;
        if part.weight.is_some() || slot.is_some() {
            return Err(unknown());
        }
        *slot = columns;
    }
    Ok((categorical.unwrap_or_default(), numeric.ok_or_else(unknown)?, scale))
}

/// The steps that do something, of pipelines inside each other.
fn flat(transformer: &Transformer) -> Vec<&Transformer> {
    match transformer {
        Transformer::Passthrough => Vec::new(),
        Transformer::Pipeline(steps) => steps.iter().flat_map(flat).collect(),
        step => vec![step],
    }
}

/// Checks parameters that may have one value only. Gives the others.
fn check(
    step: &Step,
    mut is_left: impl FnMut(&str, &str) -> bool,
) -> Result<Vec<(String, Plain)>, UnsupportedModel> {
    let idle_of_class = IDLE_OF_CLASS.iter().find(|(class, _)| *class == step.class).map(|(_, idle)| *idle);
    let mut left = Vec::new();
    for (parameter, value) in &step.parameters {
        let name = parameter.as_str();
        if IDLE.contains(&name) || idle_of_class.is_some_and(|idle| idle.contains(&name)) {
            continue;
        }
        if let Some((_, allowed)) = ONLY.iter().find(|(only, _)| *only == name) {
            if !allowed.contains(&value.as_str()) {
                return Err(UnsupportedModel::Parameter {
                    class: step.class,
                    parameter: parameter.clone(),
                    value: value.clone(),
                });
            }
        } else if is_left(name, value) {
            left.push((parameter.clone(), Plain::parse(value)));
        }
    }
    Ok(left)
}

fn algorithm(step: &Step) -> Result<Algorithm, UnsupportedModel> {
    let class = step.class;
    if let Some((_, needed)) = NEEDED.iter().find(|(of, _)| *of == class)
        && let Some(parameter) = needed.iter().find(|name| !step.parameters.contains_key(**name))
    {
        return Err(UnsupportedModel::NotPlain { class, parameter });
    }
    // Its proxy for the criterion is another, but only since 1.9 are there no others.
    let parameters = check(step, |_, _| true)?;
    let parameters = MapDeserializer::new(parameters.into_iter());
    let algorithm: Result<Algorithm, DeError> = match class {
        "LinearRegression" => Deserialize::deserialize(parameters).map(Algorithm::LinearRegression),
        "LogisticRegression" => Deserialize::deserialize(parameters).map(Algorithm::LogisticRegression),
        "RandomForestRegressor" => Deserialize::deserialize(parameters).map(Algorithm::RandomForestRegressor),
        "RandomForestClassifier" => {
            Deserialize::deserialize(parameters).map(Algorithm::RandomForestClassifier)
        }
        "GradientBoostingRegressor" => {
            Deserialize::deserialize(parameters).map(Algorithm::GradientBoostingRegressor)
        }
        "GradientBoostingClassifier" => {
            Deserialize::deserialize(parameters).map(Algorithm::GradientBoostingClassifier)
        }
        _ => {
            return Err(UnsupportedModel::Estimator {
                class,
                problem: "there is no algorithm for it".to_owned(),
            });
        }
    };
    algorithm.map_err(|error| UnsupportedModel::Estimator { class, problem: error.to_string() })
}

/// A parameter's value.
#[derive(Debug, Clone)]
enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Plain {
    fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "True" => Self::Bool(true),
            "False" => Self::Bool(false),
            _ => {
                if let Ok(value) = text.parse() {
                    Self::Int(value)
                } else if let Ok(value) = text.parse() {
                    Self::Float(value)
                } else {
                    Self::Text(text.trim_matches('\'').to_owned())
                }
            }
        }
    }
}

impl IntoDeserializer<'_, DeError> for Plain {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Plain {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Self::None => visitor.visit_none(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Int(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Self::Float(value) => visitor.visit_f64(value),
            Self::Text(value) => visitor.visit_string(value),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Self::None => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match self {
            Self::Text(value) => visitor.visit_enum(IntoDeserializer::<DeError>::into_deserializer(value)),
            value => value.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
