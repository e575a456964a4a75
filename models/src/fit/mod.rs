//! Training: scikit-learn's pipelines fitted in Rust, with its hyper-parameters and by its rules.
//!
//! * **For:** fitting the pipelines that this crate reads, so that a model can be trained again where its predictions
//!   are used: imputers, one-hot encoder and scaler before a linear model, a random forest or gradient boosting.
//! * **Comes in, goes out:** a [`Specification`] (written down, or taken from a model) fits a linfa dataset of a
//!   [`Table`] and a [`Target`] by linfa's `Fit`, and gives a [`Model`] like any other.
//! * **Must never know:** where tables come from, when a model is trained and whether it is any good; that is
//!   [`evaluation`](crate::evaluation) and its callers.
//!
//! ```
//! use linfa::{DatasetBase, traits::Fit};
//! use models::{Column, Table, fit::{Algorithm, FitError, LinearRegression, Specification, Target}};
//!
//! let table = Table::new([
//!     ("ativo", Column::text([Some("BTC"), Some("ETH"), Some("BTC"), Some("ETH")])),
//!     ("fechamento", Column::Number(vec![10.0, 1.0, 12.0, f64::NAN])),
//! ])?;
//! let dataset = DatasetBase::new(table, Target::Values(vec![11.0, 1.1, 13.0, 1.2]));
//! let specification =
//!     Specification::new(Algorithm::LinearRegression(LinearRegression::default())).categorical(["ativo"]).scale(true);
//! let model = specification.fit(&dataset).map_err(|error: FitError| error)?;
//! println!("{}", model.describe());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is scikit-learn's
//!
//! The rules are those of scikit-learn 1.9. A seed draws the same bootstrap samples and features as there (numpy's
//! generator is part of this module). Where sums are exact, as for classes and whole numbers, whole forests are the
//! same; otherwise trees are the same but where two splits are equal and rounding decides. Linear models are fitted to
//! full precision.

mod algorithm;
mod boosting;
mod criterion;
mod forest;
mod grow;
mod least_squares;
mod logistic;
mod matrix;
mod parameters;
mod preparation;
mod random;

use std::collections::BTreeMap;

pub use algorithm::{
    Algorithm, Amount, ClassWeight, ClassificationCriterion, FeatureRule, GradientBoostingClassifier,
    GradientBoostingRegressor, LinearRegression, LogisticRegression, MaxFeatures, RandomForestClassifier,
    RandomForestRegressor, RegressionCriterion,
};
use linfa::{DatasetBase, ParamGuard, traits::Fit};
pub use parameters::UnsupportedModel;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::{
    algorithm::{BoostingParameters, ForestParameters},
    boosting::Loss,
    forest::ForestTarget,
    matrix::Matrix,
    preparation::Preparation,
};
use crate::{
    features::{Accepts, LinearColumn, linear_columns},
    forest::Ensemble,
    linear::{Linear, Link},
    model::{Boosting, BoostingLoss, Estimator, Forest, Initial, Model, Predictor},
    pipeline::{Block, Inputs, Refusals},
    predictions::{Label, PredictError, RowError},
    sklearn::{Description, Step},
    table::Table,
    tree::Tree,
};

/// The scikit-learn whose rules are followed.
const RULES_OF: &str = "1.9";

/// A pipeline to be fitted: which columns go in, how they are prepared, and the estimator with its hyper-parameters.
///
/// It can be deserialized, for example from TOML; parameters that are unknown are refused there, and values that are
/// out of range by [`ParamGuard::check_ref`], which `fit` calls first.
///
/// ```toml
/// categorical = ["ativo"]
/// scale = true
///
/// [estimator]
/// class = "LogisticRegression"
/// C = 1.0
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Specification(ValidSpecification);

/// A [`Specification`] whose values are in their ranges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidSpecification {
    /// Columns of text: missing values become the most frequent one, and each value becomes a feature.
    #[serde(default)]
    categorical: Vec<Box<str>>,
    /// Columns of numbers: missing values become the median. None for all others of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    numeric: Option<Vec<Box<str>>>,
    /// Whether columns of numbers are standardised.
    #[serde(default)]
    scale: bool,
    estimator: Algorithm,
}

/// What a model is to predict, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Of a regressor.
    Values(Vec<f64>),
    /// Of a classifier.
    Classes {
        /// The classes, in the order of the model's probabilities.
        labels: Vec<Label>,
        /// Each row's class, as its place among them.
        codes: Vec<u32>,
    },
}

/// A specification with a value that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecificationError {
    /// A parameter's value.
    #[error("the parameter {parameter:?} has to be {expected}")]
    OutOfRange {
        /// The parameter's name.
        parameter: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A column is named twice.
    #[error("the column {0:?} is named twice")]
    ColumnTwice(String),
}

/// A fit that failed.
#[derive(Debug, Error)]
pub enum FitError {
    /// The specification.
    #[error(transparent)]
    Specification(#[from] SpecificationError),
    /// The table has no rows or lacks columns.
    #[error(transparent)]
    Table(#[from] PredictError),
    /// The table and the target, or the weights, differ in length.
    #[error("{found} {what} for {rows} rows")]
    Length {
        /// Targets or weights.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// A regressor was given classes, or a classifier values.
    #[error("{class} is fitted to {expected}")]
    WrongTarget {
        /// The estimator.
        class: &'static str,
        /// What it is fitted to.
        expected: &'static str,
    },
    /// A target or weight is not finite, or a weight is negative, or all are zero.
    #[error("the {what} of row {row} is {value}")]
    Value {
        /// Target or weight.
        what: &'static str,
        /// The row.
        row: usize,
        /// The value.
        value: f64,
    },
    /// All weights are zero.
    #[error("all weights are zero")]
    NoWeight,
    /// A classifier's rows are all of one class, or of more than can be told apart.
    #[error("{class} was given {found} classes and is for {expected}")]
    ClassCount {
        /// The estimator.
        class: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        expected: &'static str,
    },
    /// A value of a feature is infinite, or too large for the 32-bit numbers that trees compare.
    #[error("feature {feature:?} is infinite or too large in a row")]
    NotFinite {
        /// The feature's name.
        feature: String,
    },
    /// A categorical column holds numbers.
    #[error("column {column:?} holds numbers where text was expected")]
    NotText {
        /// The column's name.
        column: String,
    },
    /// A categorical column is missing in all rows.
    #[error("column {column:?} has no values")]
    NoValues {
        /// The column's name.
        column: String,
    },
    /// Nothing is left to learn from.
    #[error("no column has values")]
    NoFeatures,
    /// Rows are counted with 32 bits.
    #[error("more than 4294967295 rows")]
    TooManyRows,
    /// Each tree would draw many times more rows than there are.
    #[error("max_samples = {count}, and of {rows} rows at most {most} are drawn")]
    TooManySamples {
        /// How many were to be drawn.
        count: usize,
        /// How many rows there are.
        rows: usize,
        /// How many may be drawn.
        most: usize,
    },
    /// A forest that would not fit into memory.
    #[error("{trees} trees of up to {leaves} leaves each are more than {most} leaves together")]
    TooManyLeaves {
        /// How many trees.
        trees: usize,
        /// How many leaves each may have.
        leaves: usize,
        /// How many there may be together.
        most: usize,
    },
    /// Newton's method did not arrive.
    #[error("logistic regression did not converge in {0} iterations")]
    NoConvergence(usize),
    /// A tree beyond what predictions can be made from.
    #[error("{0}")]
    Tree(String),
    /// linfa's own.
    #[error(transparent)]
    Linfa(#[from] linfa::Error),
}

impl Specification {
    /// An estimator on all columns of a table, as numbers.
    #[must_use]
    pub fn new(estimator: Algorithm) -> Self {
        Self(ValidSpecification { categorical: Vec::new(), numeric: None, scale: false, estimator })
    }

    /// With these columns as categories.
    #[must_use]
    pub fn categorical<N: Into<Box<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.0.categorical = names.into_iter().map(Into::into).collect();
        self
    }

    /// With these columns as numbers, instead of all others.
    #[must_use]
    pub fn numeric<N: Into<Box<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.0.numeric = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// With numbers standardised, or not.
    #[must_use]
    pub fn scale(mut self, scale: bool) -> Self {
        self.0.scale = scale;
        self
    }

    /// With another estimator.
    #[must_use]
    pub fn with_estimator(mut self, estimator: Algorithm) -> Self {
        self.0.estimator = estimator;
        self
    }

    /// The estimator.
    #[must_use]
    pub fn estimator(&self) -> &Algorithm {
        &self.0.estimator
    }

    /// The specification with which a model was fitted: its columns and hyper-parameters.
    ///
    /// # Errors
    /// The model is another kind of pipeline, or has a parameter that cannot be had here.
    pub fn of(model: &Model) -> Result<Self, UnsupportedModel> {
        parameters::specification_of(model)
    }
}

impl ParamGuard for Specification {
    type Checked = ValidSpecification;
    type Error = SpecificationError;

    fn check_ref(&self) -> Result<&ValidSpecification, SpecificationError> {
        let mut seen = std::collections::HashSet::new();
        let names = self.0.categorical.iter().chain(self.0.numeric.iter().flatten());
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
            return Err(SpecificationError::ColumnTwice(twice.to_string()));
        }
        self.0.estimator.check()?;
        Ok(&self.0)
    }

    fn check(self) -> Result<ValidSpecification, SpecificationError> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl Target {
    /// Classes from each row's label. They are in ascending order, as numpy has them.
    pub fn classes(labels: impl IntoIterator<Item = i64>) -> Self {
        let rows: Vec<i64> = labels.into_iter().collect();
        let known: std::collections::BTreeSet<i64> = rows.iter().copied().collect();
        let places: BTreeMap<i64, u32> = known.into_iter().zip(0..).collect();
        let codes = rows.iter().filter_map(|label| places.get(label).copied()).collect();
        Self::Classes { labels: places.into_keys().map(Label::Integer).collect(), codes }
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Classes { codes, .. } => codes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the rows.
    #[must_use]
    pub fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        match self {
            Self::Values(values) => Self::Values(values.get(rows).unwrap_or_default().to_vec()),
            Self::Classes { labels, codes } => {
                Self::Classes { labels: labels.clone(), codes: codes.get(rows).unwrap_or_default().to_vec() }
            }
        }
    }

    fn check(&self, estimator: &Algorithm) -> Result<(), FitError> {
        let class = estimator.class();
        match self {
            Self::Values(values) if !estimator.classifies() => {
                match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                    Some((row, value)) => Err(FitError::Value { what: "target", row, value: *value }),
                    None => Ok(()),
                }
            }
            Self::Classes { labels, codes } if estimator.classifies() => {
                let unknown = |code: &&u32| **code as usize >= labels.len();
                if let Some(code) = codes.iter().find(unknown) {
                    return Err(FitError::Tree(format!("class {code} of {}", labels.len())));
                }
                let mut seen = vec![false; labels.len()];
                codes.iter().filter_map(|code| usize::try_from(*code).ok()).for_each(|code| {
                    seen.iter_mut().skip(code).take(1).for_each(|seen| *seen = true);
                });
                let found = seen.iter().filter(|seen| **seen).count();
                let is_forest = matches!(estimator, Algorithm::RandomForestClassifier(_));
                let (most, expected) = if is_forest { (forest::MOST_CLASSES, "2 to 64") } else { (2, "2") };
                if found < labels.len() || !(2..=most).contains(&found) {
                    return Err(FitError::ClassCount { class, found, expected });
                }
                Ok(())
            }
            Self::Values(_) => Err(FitError::WrongTarget { class, expected: "classes" }),
            Self::Classes { .. } => Err(FitError::WrongTarget { class, expected: "values" }),
        }
    }
}

impl Fit<Table, Target, FitError> for ValidSpecification {
    type Object = Model;

    /// Fits the transformers, applies them, and fits the estimator. With the rayon pool in which it is called, whose
    /// size changes nothing.
    fn fit(&self, dataset: &DatasetBase<Table, Target>) -> Result<Model, FitError> {
        let (table, target) = (&dataset.records, &dataset.targets);
        let rows = table.rows();
        if target.len() != rows {
            return Err(FitError::Length { what: "targets", found: target.len(), rows });
        }
        target.check(&self.estimator)?;
        let weights = checked_weights(dataset.weights(), rows)?;
        let preparation = Preparation {
            categorical: self.categorical.clone(),
            numeric: self.numeric.clone().unwrap_or_else(|| self.other_columns(table)),
            scale: self.scale,
        };
        let names = preparation.names();
        let transformer = preparation.fit(table)?;
        let feature_names = transformer.names(names.iter().map(ToString::to_string).collect());
        if feature_names.is_empty() {
            return Err(FitError::NoFeatures);
        }
        let inputs = Inputs::new(table, Some(&names), &vec![true; names.len()])?;
        let block = transformer.transform(inputs.block(0..rows), &mut Refusals::default())?;
        let estimator = self.fit_estimator(block, target, weights.as_deref(), &feature_names)?;
        let classes = match target {
            Target::Values(_) => None,
            Target::Classes { labels, .. } => Some(labels.clone()),
        };
        let predictor = Predictor { transformer, estimator, classes, feature_names };
        let description = Description::of_fitted(RULES_OF, &names, self.steps(), &predictor);
        let inputs = names.len();
        Ok(Model::new(Some(names), inputs, predictor, description))
    }
}

impl ValidSpecification {
    /// The columns of a table that are not categories.
    fn other_columns(&self, table: &Table) -> Vec<Box<str>> {
        let others = table.columns().map(|(name, _)| name);
        others.filter(|name| self.categorical.iter().all(|known| **known != **name)).map(Into::into).collect()
    }

    fn fit_estimator(
        &self,
        block: Block<'_>,
        target: &Target,
        weights: Option<&[f64]>,
        feature_names: &[String],
    ) -> Result<Estimator, FitError> {
        let name = |place: usize| feature_names.get(place).cloned().unwrap_or_default();
        let matrix = |block: Block<'_>, max_bins| Matrix::new(block, max_bins, name);
        match (&self.estimator, target) {
            (Algorithm::LinearRegression(parameters), Target::Values(values)) => {
                let columns = numbers(block, &name)?;
                let LinearRegression { fit_intercept, tol } = *parameters;
                let solution = least_squares::fit(columns, values, weights, fit_intercept, tol);
                Ok(Estimator::Linear(Linear {
                    coefficients: vec![solution.coefficients],
                    intercepts: vec![solution.intercept],
                }))
            }
            (Algorithm::LogisticRegression(parameters), Target::Classes { codes, .. }) => {
                let weights = class_weighted(weights, parameters.class_weight, codes, 2)
                    .unwrap_or_else(|| vec![1.0; codes.len()]);
                let mut columns = numbers(block, &name)?;
                if parameters.fit_intercept {
                    columns.push(vec![1.0; codes.len()]);
                }
                let target: Vec<f64> = codes.iter().map(|code| f64::from(*code)).collect();
                let problem = logistic::Problem {
                    columns: &columns,
                    target: &target,
                    weights: &weights,
                    c: parameters.C,
                    fit_intercept: parameters.fit_intercept,
                    max_iter: parameters.max_iter,
                };
                let solution = problem.solve().ok_or(FitError::NoConvergence(parameters.max_iter))?;
                let linear = Linear {
                    coefficients: vec![solution.coefficients],
                    intercepts: vec![solution.intercept],
                };
                Ok(Estimator::Logistic { linear, link: Link::Sigmoid })
            }
            (Algorithm::RandomForestRegressor(parameters), Target::Values(values)) => {
                let forest = ForestParameters {
                    n_estimators: parameters.n_estimators,
                    bootstrap: parameters.bootstrap,
                    max_samples: parameters.max_samples,
                    random_state: parameters.random_state,
                    growth: parameters.growth(),
                };
                let matrix = matrix(block, parameters.max_bins)?;
                let trees = forest::fit(&forest, &matrix, &ForestTarget::Values(values), weights)?;
                Ok(averaged(trees, 1))
            }
            (Algorithm::RandomForestClassifier(parameters), Target::Classes { labels, codes }) => {
                let forest = ForestParameters {
                    n_estimators: parameters.n_estimators,
                    bootstrap: parameters.bootstrap,
                    max_samples: parameters.max_samples,
                    random_state: parameters.random_state,
                    growth: parameters.growth(),
                };
                let count = labels.len();
                let weights = class_weighted(weights, parameters.class_weight, codes, count);
                let matrix = matrix(block, parameters.max_bins)?;
                let target = ForestTarget::Classes { codes, count };
                let trees = forest::fit(&forest, &matrix, &target, weights.as_deref())?;
                Ok(averaged(trees, count))
            }
            (Algorithm::GradientBoostingRegressor(parameters), Target::Values(values)) => {
                let boosting = BoostingParameters {
                    n_estimators: parameters.n_estimators,
                    learning_rate: parameters.learning_rate,
                    subsample: parameters.subsample,
                    random_state: parameters.random_state,
                    growth: parameters.growth(),
                };
                let matrix = matrix(block, parameters.max_bins)?;
                let (initial, trees) =
                    boosting::fit(&boosting, Loss::SquaredError, &matrix, values, weights)?;
                Ok(added(initial, trees, BoostingLoss::Regression))
            }
            (Algorithm::GradientBoostingClassifier(parameters), Target::Classes { codes, .. }) => {
                let boosting = BoostingParameters {
                    n_estimators: parameters.n_estimators,
                    learning_rate: parameters.learning_rate,
                    subsample: parameters.subsample,
                    random_state: parameters.random_state,
                    growth: parameters.growth(),
                };
                let values: Vec<f64> = codes.iter().map(|code| f64::from(*code)).collect();
                let matrix = matrix(block, parameters.max_bins)?;
                let (initial, trees) = boosting::fit(&boosting, Loss::LogLoss, &matrix, &values, weights)?;
                Ok(added(initial, trees, BoostingLoss::Binary { zero_is_positive: true }))
            }
            (estimator, target) => target.check(estimator).and(Err(FitError::NoFeatures)),
        }
    }

    /// The pipeline as scikit-learn's would be described, step by step.
    fn steps(&self) -> Vec<Step> {
        let step = |path: &[&str], class: &'static str, parameters: &[(&str, &str)]| Step {
            path: path.iter().map(ToString::to_string).collect(),
            class,
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let mut steps = vec![step(&[], "Pipeline", &[]), step(&["prep"], "ColumnTransformer", &[])];
        if !self.categorical.is_empty() {
            steps.extend([
                step(&["prep", "cat"], "Pipeline", &[]),
                step(&["prep", "cat", "imputer"], "SimpleImputer", &[("strategy", "'most_frequent'")]),
                step(&["prep", "cat", "onehot"], "OneHotEncoder", &[("handle_unknown", "'ignore'")]),
            ]);
        }
        steps.push(step(&["prep", "num"], "Pipeline", &[]));
        steps.push(step(&["prep", "num", "imputer"], "SimpleImputer", &[("strategy", "'median'")]));
        if self.scale {
            steps.push(step(&["prep", "num", "scaler"], "StandardScaler", &[]));
        }
        steps.push(Step {
            path: vec!["model".to_owned()],
            class: self.estimator.class(),
            parameters: self.estimator.written(),
        });
        steps
    }
}

/// The features as linear models are fitted to them.
fn numbers(block: Block<'_>, name: &dyn Fn(usize) -> String) -> Result<Vec<Vec<f64>>, FitError> {
    let mut refusals = Refusals::default();
    let columns = linear_columns(block, name, &mut refusals);
    if let Some(RowError::Missing { feature } | RowError::NotFinite { feature }) =
        refusals.rows.into_values().next()
    {
        return Err(FitError::NotFinite { feature });
    }
    let numbers = |column| match column {
        LinearColumn::Numbers(numbers) => numbers.into_vec(),
        LinearColumn::Indicator { places, hot } => {
            places.iter().map(|place| f64::from(u8::from(*place == hot))).collect()
        }
    };
    Ok(columns.into_iter().map(numbers).collect())
}

fn checked_weights(weights: Option<&[f32]>, rows: usize) -> Result<Option<Vec<f64>>, FitError> {
    let Some(weights) = weights else { return Ok(None) };
    if weights.len() != rows {
        return Err(FitError::Length { what: "weights", found: weights.len(), rows });
    }
    let usable = |weight: f32| weight.is_finite() && weight >= 0.0;
    if let Some((row, weight)) = weights.iter().enumerate().find(|(_, weight)| !usable(**weight)) {
        return Err(FitError::Value { what: "weight", row, value: f64::from(*weight) });
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        return Err(FitError::NoWeight);
    }
    Ok(Some(weights.iter().copied().map(f64::from).collect()))
}

/// The weights of the rows times those of their classes (`compute_class_weight`, `sklearn/utils/class_weight.py`).
fn class_weighted(
    weights: Option<&[f64]>,
    class_weight: Option<ClassWeight>,
    codes: &[u32],
    count: usize,
) -> Option<Vec<f64>> {
    let Some(ClassWeight::Balanced) = class_weight else { return weights.map(<[f64]>::to_vec) };
    let weight = |row: usize| weights.map_or(1.0, |weights| weights.get(row).copied().unwrap_or_default());
    let mut of_class = vec![0.0; count];
    for (row, code) in codes.iter().enumerate() {
        of_class.iter_mut().skip(*code as usize).take(1).for_each(|sum| *sum += weight(row));
    }
    let total: f64 = of_class.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of classes")]
    let balanced: Vec<f64> = of_class.iter().map(|sum| total / (count as f64 * sum)).collect();
    let of_row =
        |(row, code): (usize, &u32)| weight(row) * balanced.get(*code as usize).copied().unwrap_or_default();
    Some(codes.iter().enumerate().map(of_row).collect())
}

fn averaged(trees: Vec<Tree>, outputs: usize) -> Estimator {
    let tree_count = trees.len();
    let ensemble = Ensemble::new(vec![trees]);
    // Fitted to rows without missing values, and so asked for such.
    Estimator::Forest(Forest { ensemble, tree_count, outputs, accepts: Accepts::Finite })
}

fn added(initial: f64, trees: Vec<Tree>, loss: BoostingLoss) -> Estimator {
    let ensemble = Ensemble::new(vec![trees]);
    Estimator::Boosting(Boosting { ensemble, initial: Initial::Constant(vec![initial]), loss })
}
