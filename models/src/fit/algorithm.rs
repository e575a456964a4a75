//! Hyper-parameters of estimators, under scikit-learn's names and with its defaults.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SpecificationError;
use crate::sklearn::python_float;

/// An estimator and its hyper-parameters. In files the `class` says which it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class")]
#[expect(missing_docs, reason = "they are scikit-learn's classes")]
pub enum Algorithm {
    LinearRegression(LinearRegression),
    LogisticRegression(LogisticRegression),
    RandomForestRegressor(RandomForestRegressor),
    RandomForestClassifier(RandomForestClassifier),
    GradientBoostingRegressor(GradientBoostingRegressor),
    GradientBoostingClassifier(GradientBoostingClassifier),
}

/// A number of things, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Amount {
    /// A whole number is a count.
    Count(usize),
    /// A real number is a share.
    Fraction(f64),
}

/// How many features are looked at for a split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaxFeatures {
    /// So many, or such a share of all.
    Amount(Amount),
    /// A function of their number.
    Rule(FeatureRule),
}

/// A number of features that depends on how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureRule {
    /// The square root, rounded down.
    Sqrt,
    /// The binary logarithm, rounded down.
    Log2,
    /// Until scikit-learn 1.2: all for regression, the square root for classification.
    Auto,
}

/// The criterion of regression trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegressionCriterion {
    /// The mean squared error.
    #[default]
    // scikit-learn 1.9 writes `deprecated` where nothing was chosen for boosting.
    #[serde(alias = "mse", alias = "deprecated")]
    SquaredError,
    /// Friedman's improvement score, which prefers the same splits: scikit-learn 1.9 gave it up for that reason.
    FriedmanMse,
}

/// The criterion of classification trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassificationCriterion {
    /// The Gini impurity.
    #[default]
    Gini,
}

/// How classes of different sizes are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeight {
    /// So that all classes weigh the same together.
    Balanced,
}

/// A value as Python writes it.
trait Repr {
    fn repr(&self) -> String;
}

impl Repr for bool {
    fn repr(&self) -> String {
        if *self { "True" } else { "False" }.to_owned()
    }
}

impl Repr for usize {
    fn repr(&self) -> String {
        self.to_string()
    }
}

impl Repr for u32 {
    fn repr(&self) -> String {
        self.to_string()
    }
}

impl Repr for f64 {
    fn repr(&self) -> String {
        python_float(*self)
    }
}

impl<T: Repr> Repr for Option<T> {
    fn repr(&self) -> String {
        self.as_ref().map_or_else(|| "None".to_owned(), Repr::repr)
    }
}

impl Repr for Amount {
    fn repr(&self) -> String {
        match self {
            Self::Count(count) => count.repr(),
            Self::Fraction(fraction) => fraction.repr(),
        }
    }
}

impl Repr for MaxFeatures {
    fn repr(&self) -> String {
        match self {
            Self::Amount(amount) => amount.repr(),
            Self::Rule(FeatureRule::Sqrt) => "'sqrt'".to_owned(),
            Self::Rule(FeatureRule::Log2) => "'log2'".to_owned(),
            Self::Rule(FeatureRule::Auto) => "'auto'".to_owned(),
        }
    }
}

impl Repr for RegressionCriterion {
    fn repr(&self) -> String {
        match self {
            Self::SquaredError => "'squared_error'".to_owned(),
            Self::FriedmanMse => "'friedman_mse'".to_owned(),
        }
    }
}

impl Repr for ClassificationCriterion {
    fn repr(&self) -> String {
        "'gini'".to_owned()
    }
}

impl Repr for ClassWeight {
    fn repr(&self) -> String {
        "'balanced'".to_owned()
    }
}

/// Hyper-parameters with defaults; what is not among them is refused when they are read.
macro_rules! hyper_parameters {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $parameter:ident: $type:ty = $default:expr,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[expect(clippy::allow_attributes, reason = "one of the classes has such a parameter")]
        #[allow(non_snake_case, reason = "the names are scikit-learn's")]
        pub struct $name {
            $($(#[$meaning])* pub $parameter: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($parameter: $default,)* }
            }
        }

        impl $name {
            fn written(&self) -> BTreeMap<String, String> {
                BTreeMap::from([$((stringify!($parameter).to_owned(), self.$parameter.repr()),)*])
            }
        }
    };
}

/// The same, with those that all trees have, and how to get at them.
macro_rules! tree_parameters {
    ($(#[$about:meta])* $name:ident, $max_depth:expr, $max_features:expr, $classifies:expr, { $($rest:tt)* }) => {
        hyper_parameters! {
            $(#[$about])*
            $name {
                /// The number of trees.
                n_estimators: usize = 100,
                /// The most splits on a path; none for no bound.
                max_depth: Option<usize> = $max_depth,
                /// Nodes of fewer samples are not split.
                min_samples_split: Amount = Amount::Count(2),
                /// Splits that would leave fewer on a side are not made.
                min_samples_leaf: Amount = Amount::Count(1),
                /// The same, as a share of all weight.
                min_weight_fraction_leaf: f64 = 0.0,
                /// How many features are looked at for each split; none for all.
                max_features: Option<MaxFeatures> = $max_features,
                /// The most leaves of a tree. Then the splits that gain most are made first.
                max_leaf_nodes: Option<usize> = None,
                /// Splits that gain less are not made.
                min_impurity_decrease: f64 = 0.0,
                /// The seed. None is 0: a fit can always be repeated.
                random_state: Option<u32> = None,
                /// Groups each column's values into so many bins before anything else, as scikit-learn's
                /// `HistGradientBoosting*` do, whose name for it this is. None looks at all values.
                max_bins: Option<usize> = None,
                $($rest)*
            }
        }

        impl $name {
            pub(super) fn growth(&self) -> Growth {
                Growth {
                    max_depth: self.max_depth,
                    min_samples_split: self.min_samples_split,
                    min_samples_leaf: self.min_samples_leaf,
                    min_weight_fraction_leaf: self.min_weight_fraction_leaf,
                    max_features: FeatureCount { bound: self.max_features, classifies: $classifies },
                    max_leaf_nodes: self.max_leaf_nodes,
                    min_impurity_decrease: self.min_impurity_decrease,
                }
            }

            fn check_trees(&self) -> Result<(), SpecificationError> {
                const MOST_TREES: usize = 100_000;
                const MOST_BINS: usize = 1 << 16;
                require("n_estimators", (1..=MOST_TREES).contains(&self.n_estimators), "1 to 100000")?;
                require(
                    "max_bins",
                    self.max_bins.is_none_or(|bins| (2..=MOST_BINS).contains(&bins)),
                    "2 to 65536",
                )?;
                self.growth().check()
            }
        }
    };
}

hyper_parameters! {
    /// Ordinary least squares; of several solutions the smallest.
    LinearRegression {
        /// Whether there is a constant term.
        fit_intercept: bool = true,
        /// Directions in which the features vary by less than this, relative to the one in which they vary most, count
        /// as none: LAPACK's `rcond`, as scikit-learn 1.9 has it.
        tol: f64 = 1e-6,
    }
}

hyper_parameters! {
    /// Logistic regression of two classes with an L2 penalty: the objective of scikit-learn's `lbfgs` solver, minimised
    /// to full precision.
    LogisticRegression {
        /// The inverse of the penalty's strength.
        C: f64 = 1.0,
        /// Whether there is a constant term, which is not penalised.
        fit_intercept: bool = true,
        /// Weights of the classes.
        class_weight: Option<ClassWeight> = None,
        /// The most iterations. Newton's method takes some ten.
        max_iter: usize = 100,
    }
}

tree_parameters! {
    /// A forest whose predictions are the means of its trees'.
    RandomForestRegressor, None, Some(MaxFeatures::Amount(Amount::Fraction(1.0))), false, {
        /// What makes a split good.
        criterion: RegressionCriterion = RegressionCriterion::SquaredError,
        /// Whether each tree is grown from samples that are drawn with replacement.
        bootstrap: bool = true,
        /// How many of them are drawn; none for as many as there are rows.
        max_samples: Option<Amount> = None,
    }
}

tree_parameters! {
    /// A forest whose probabilities are the means of its trees'.
    RandomForestClassifier, None, Some(MaxFeatures::Rule(FeatureRule::Sqrt)), true, {
        /// What makes a split good.
        criterion: ClassificationCriterion = ClassificationCriterion::Gini,
        /// Weights of the classes.
        class_weight: Option<ClassWeight> = None,
        /// Whether each tree is grown from samples that are drawn with replacement.
        bootstrap: bool = true,
        /// How many of them are drawn; none for as many as there are rows.
        max_samples: Option<Amount> = None,
    }
}

tree_parameters! {
    /// Trees that each correct the squared error of those before.
    GradientBoostingRegressor, Some(3), None, false, {
        /// What makes a split good.
        criterion: RegressionCriterion = RegressionCriterion::FriedmanMse,
        /// What each tree's predictions are multiplied by.
        learning_rate: f64 = 0.1,
        /// The share of rows that each tree is grown from, drawn without replacement.
        subsample: f64 = 1.0,
    }
}

tree_parameters! {
    /// Trees that each correct the log loss of those before, of two classes.
    GradientBoostingClassifier, Some(3), None, false, {
        /// What makes a split good.
        criterion: RegressionCriterion = RegressionCriterion::FriedmanMse,
        /// What each tree's predictions are multiplied by.
        learning_rate: f64 = 0.1,
        /// The share of rows that each tree is grown from, drawn without replacement.
        subsample: f64 = 1.0,
    }
}

fn require(parameter: &'static str, holds: bool, expected: &'static str) -> Result<(), SpecificationError> {
    if holds { Ok(()) } else { Err(SpecificationError::OutOfRange { parameter, expected }) }
}

/// What all trees have in common.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    pub(super) max_depth: Option<usize>,
    pub(super) min_samples_split: Amount,
    pub(super) min_samples_leaf: Amount,
    pub(super) min_weight_fraction_leaf: f64,
    pub(super) max_features: FeatureCount,
    pub(super) max_leaf_nodes: Option<usize>,
    pub(super) min_impurity_decrease: f64,
}

/// A [`MaxFeatures`] together with what `auto` depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeatureCount {
    bound: Option<MaxFeatures>,
    classifies: bool,
}

/// What fitting a forest needs to know.
pub(super) struct ForestParameters {
    pub(super) n_estimators: usize,
    pub(super) bootstrap: bool,
    pub(super) max_samples: Option<Amount>,
    pub(super) random_state: Option<u32>,
    pub(super) growth: Growth,
}

/// What boosting needs to know.
pub(super) struct BoostingParameters {
    pub(super) n_estimators: usize,
    pub(super) learning_rate: f64,
    pub(super) subsample: f64,
    pub(super) random_state: Option<u32>,
    pub(super) growth: Growth,
}

impl Amount {
    /// A number of samples; a share is rounded up.
    pub(super) fn of_samples(self, rows: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Fraction(fraction) => share(fraction, rows, f64::ceil),
        }
    }

    fn is_within(self, least: usize) -> bool {
        match self {
            Self::Count(count) => count >= least,
            Self::Fraction(fraction) => fraction > 0.0 && fraction <= 1.0,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as Python computes it"
)]
fn share(fraction: f64, of: usize, round: impl Fn(f64) -> f64) -> usize {
    round(fraction * of as f64) as usize
}

impl FeatureCount {
    /// How many of so many features (`_fit`, `sklearn/tree/_classes.py`).
    pub(super) fn count(self, features: usize) -> usize {
        let count = match self.bound {
            None => features,
            Some(MaxFeatures::Amount(Amount::Count(count))) => count,
            Some(MaxFeatures::Amount(Amount::Fraction(fraction))) => share(fraction, features, f64::floor),
            Some(MaxFeatures::Rule(FeatureRule::Sqrt)) => features.isqrt(),
            Some(MaxFeatures::Rule(FeatureRule::Log2)) => features.checked_ilog2().unwrap_or(0) as usize,
            Some(MaxFeatures::Rule(FeatureRule::Auto)) if self.classifies => features.isqrt(),
            Some(MaxFeatures::Rule(FeatureRule::Auto)) => features,
        };
        count.max(1)
    }
}

impl Growth {
    /// Nodes of fewer samples are leaves.
    pub(super) fn least_samples_to_split(&self, rows: usize) -> usize {
        let least = self.min_samples_split.of_samples(rows).max(2);
        least.max(self.min_samples_leaf.of_samples(rows).saturating_mul(2))
    }

    fn check(&self) -> Result<(), SpecificationError> {
        require("max_depth", self.max_depth != Some(0), "at least 1, or none")?;
        require(
            "min_samples_split",
            self.min_samples_split.is_within(2),
            "at least 2, or a share up to 1.0",
        )?;
        require("min_samples_leaf", self.min_samples_leaf.is_within(1), "at least 1, or a share up to 1.0")?;
        let fraction = self.min_weight_fraction_leaf;
        require("min_weight_fraction_leaf", (0.0..=0.5).contains(&fraction), "0.0 to 0.5")?;
        let bound = match self.max_features.bound {
            Some(MaxFeatures::Amount(amount)) => amount.is_within(1),
            _ => true,
        };
        require("max_features", bound, "at least 1, or a share up to 1.0")?;
        require(
            "max_leaf_nodes",
            self.max_leaf_nodes.is_none_or(|leaves| leaves >= 2),
            "at least 2, or none",
        )?;
        let decrease = self.min_impurity_decrease;
        require("min_impurity_decrease", decrease >= 0.0 && decrease.is_finite(), "at least 0.0")
    }
}

fn check_bootstrap(bootstrap: bool, max_samples: Option<Amount>) -> Result<(), SpecificationError> {
    require("max_samples", max_samples.is_none_or(|amount| amount.is_within(1)), "at least 1, or a share")?;
    require("max_samples", bootstrap || max_samples.is_none(), "none without bootstrap")
}

fn check_steps(learning_rate: f64, subsample: f64) -> Result<(), SpecificationError> {
    require("learning_rate", learning_rate > 0.0 && learning_rate.is_finite(), "above 0.0")?;
    require("subsample", subsample > 0.0 && subsample <= 1.0, "above 0.0, to 1.0")
}

impl Algorithm {
    /// scikit-learn's class.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::LinearRegression(_) => "LinearRegression",
            Self::LogisticRegression(_) => "LogisticRegression",
            Self::RandomForestRegressor(_) => "RandomForestRegressor",
            Self::RandomForestClassifier(_) => "RandomForestClassifier",
            Self::GradientBoostingRegressor(_) => "GradientBoostingRegressor",
            Self::GradientBoostingClassifier(_) => "GradientBoostingClassifier",
        }
    }

    /// Whether it predicts classes.
    #[must_use]
    pub fn classifies(&self) -> bool {
        matches!(
            self,
            Self::LogisticRegression(_)
                | Self::RandomForestClassifier(_)
                | Self::GradientBoostingClassifier(_)
        )
    }

    /// Changes the seed, where there is one.
    #[must_use]
    pub fn with_random_state(mut self, seed: u32) -> Self {
        match &mut self {
            Self::LinearRegression(_) | Self::LogisticRegression(_) => {}
            Self::RandomForestRegressor(parameters) => parameters.random_state = Some(seed),
            Self::RandomForestClassifier(parameters) => parameters.random_state = Some(seed),
            Self::GradientBoostingRegressor(parameters) => parameters.random_state = Some(seed),
            Self::GradientBoostingClassifier(parameters) => parameters.random_state = Some(seed),
        }
        self
    }

    /// The parameters as Python would write them.
    pub(super) fn written(&self) -> BTreeMap<String, String> {
        match self {
            Self::LinearRegression(parameters) => parameters.written(),
            Self::LogisticRegression(parameters) => parameters.written(),
            Self::RandomForestRegressor(parameters) => parameters.written(),
            Self::RandomForestClassifier(parameters) => parameters.written(),
            Self::GradientBoostingRegressor(parameters) => parameters.written(),
            Self::GradientBoostingClassifier(parameters) => parameters.written(),
        }
    }

    /// Whether all are in their ranges.
    pub(super) fn check(&self) -> Result<(), SpecificationError> {
        match self {
            Self::LinearRegression(parameters) => {
                require("tol", parameters.tol >= 0.0 && parameters.tol < 1.0, "0.0 to below 1.0")
            }
            Self::LogisticRegression(parameters) => {
                require("C", parameters.C > 0.0 && parameters.C.is_finite(), "above 0.0")?;
                require("max_iter", parameters.max_iter >= 1, "at least 1")
            }
            Self::RandomForestRegressor(parameters) => {
                check_bootstrap(parameters.bootstrap, parameters.max_samples)?;
                parameters.check_trees()
            }
            Self::RandomForestClassifier(parameters) => {
                check_bootstrap(parameters.bootstrap, parameters.max_samples)?;
                parameters.check_trees()
            }
            Self::GradientBoostingRegressor(parameters) => {
                check_steps(parameters.learning_rate, parameters.subsample)?;
                parameters.check_trees()
            }
            Self::GradientBoostingClassifier(parameters) => {
                check_steps(parameters.learning_rate, parameters.subsample)?;
                parameters.check_trees()
            }
        }
    }
}
