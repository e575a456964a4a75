//! The JSON of a parameter file, as `docs/parameters.md` specifies it.
//!
//! It holds no floating-point number: those are tensors, so that no parser's rounding can change a prediction.
//! A tensor belongs to an object of the JSON and is called by that object's [`Path`] and its own name.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};

/// The version of the format that is written, and the only one that is read.
pub(super) const SCHEMA: u64 = 1;

/// What every version has: read before anything else is.
#[derive(Deserialize)]
pub(super) struct Versioned {
    pub(super) schema: u64,
}

/// The whole.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) schema: u64,
    pub(super) written_by: String,
    pub(super) sklearn_version: String,
    pub(super) columns: Columns,
    pub(super) steps: Vec<Step>,
    pub(super) transformer: Transformer,
    pub(super) estimator: Estimator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) classes: Option<Classes>,
}

/// The columns that the model was fitted on: names, or how many.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Columns {
    Names(Vec<String>),
    Count(usize),
}

/// One line of the description for people, as [`crate::Step`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) path: Vec<String>,
    pub(super) class: String,
    #[serde(deserialize_with = "distinct")]
    pub(super) parameters: BTreeMap<String, String>,
}

/// An estimator and what comes before it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Predictor {
    pub(super) transformer: Transformer,
    pub(super) estimator: Estimator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) classes: Option<Classes>,
}

/// A classifier's classes; real ones are the tensor `classes`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Classes {
    Boolean(Vec<bool>),
    Integer(Vec<i64>),
    Text(Vec<String>),
    Real(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Transformer {
    Passthrough {},
    Pipeline(Vec<Transformer>),
    Columns(Vec<Part>),
    Imputer(Imputer),
    MissingIndicator(MissingIndicator),
    Scaler(Scaler),
    OneHot(OneHotEncoder),
    Ordinal(OrdinalEncoder),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) columns: Vec<usize>,
    /// Whether there is the tensor `weight`.
    pub(super) weighted: bool,
    pub(super) transformer: Transformer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Imputer {
    pub(super) missing: Missing,
    pub(super) fill: Vec<Fill>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) indicator: Option<MissingIndicator>,
}

/// What counts as missing; a number is the tensor `missing_value`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Missing {
    Nan,
    Number,
    Text(String),
}

/// What a column's missing values become; numbers are in the tensor `fill`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fill {
    Number,
    Text(String),
    Drop,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissingIndicator {
    pub(super) missing: Missing,
    pub(super) features: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaler {
    /// Each has a tensor of its name; always in this order.
    pub(super) operations: Vec<Operation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Subtract,
    Divide,
    Multiply,
    Add,
    Clip,
}

impl Operation {
    /// The tensor's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Subtract => "subtract",
            Self::Divide => "divide",
            Self::Multiply => "multiply",
            Self::Add => "add",
            Self::Clip => "clip",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneHotEncoder {
    pub(super) refuse_unknown: bool,
    pub(super) columns: Vec<OneHotColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneHotColumn {
    pub(super) categories: Categories,
    pub(super) outputs: Vec<Option<usize>>,
    pub(super) unknown: Option<usize>,
    pub(super) labels: Vec<String>,
}

/// Categories in their order; null is a missing value. Numbers are the tensor `categories`, NaN a missing value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Categories {
    Text(Vec<Option<String>>),
    Number,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrdinalEncoder {
    /// Otherwise unknown categories become the tensor `unknown_value`.
    pub(super) refuse_unknown: bool,
    pub(super) columns: Vec<OrdinalColumn>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrdinalColumn {
    pub(super) categories: Categories,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Estimator {
    Constant {},
    Linear {},
    Logistic { link: Link },
    Forest { accepts_missing: bool, missing_left: bool },
    Boosting { loss: Loss, outputs: usize, missing_left: bool, initial: Initial },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Link {
    Sigmoid,
    SymmetricSoftmax,
    OneVersusRest,
    Softmax,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Loss {
    Regression,
    BinaryBySign,
    BinaryByProbability,
    Exponential,
    Multiclass,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Initial {
    Constant {},
    Estimator { centred: bool, predictor: Box<Predictor> },
}

/// Where an object is in the JSON: members and positions, joined by dots. The whole is the empty path.
#[derive(Debug, Clone, Default)]
pub(super) struct Path(String);

impl Path {
    /// The object that is a member of this one, or the tensor of that name that belongs to this one.
    pub(super) fn member(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The object at a position of this list.
    pub(super) fn position(&self, position: usize) -> Self {
        self.member(&position.to_string())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "the description" } else { &self.0 })
    }
}

/// A map none of whose names occurs twice: which of two is meant would depend on the reader.
pub(super) fn distinct<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Distinct<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Distinct<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((name, value)) = entries.next_entry::<String, T>()? {
                if map.contains_key(&name) {
                    return Err(A::Error::custom(format!("{name:?} occurs twice")));
                }
                map.insert(name, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Distinct(PhantomData))
}
