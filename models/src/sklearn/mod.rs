//! From the graph of an artifact to a model: what each attribute of scikit-learn's estimators means, by version.
//!
//! A file predicts as the version that wrote it would (`_sklearn_version` in every estimator's state).

mod describe;
mod estimators;
mod refusal;
mod transformers;

use std::fmt;

pub use describe::{Description, Step, Trees};
pub(crate) use estimators::MOST_COLUMNS;

use crate::{
    artifact::{Elements, Graph, Handle, OverBudget, ReadError, Value, text_bytes},
    model::Model,
};

/// Pipelines inside each other, and the like.
const DEEPEST_NESTING: usize = 16;

/// scikit-learn's version, without the patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    const OLDEST: Self = Self::v1(0);
    /// Newer ones may mean something else by the same attributes.
    const NEWEST: Self = Self::v1(9);

    const fn v1(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|number| number.parse().ok());
        Some(Self { major: numbers.next()??, minor: numbers.next()?? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Reads the estimator or pipeline that an artifact consists of.
pub(crate) fn model(graph: Graph) -> Result<Model, ReadError> {
    let root = graph.root();
    let mut reader = Reader { graph, place: Vec::new(), steps: Vec::new(), sklearn_version: String::new() };
    reader.model(root)
}

struct Reader {
    graph: Graph,
    /// The steps from the outermost inwards, for messages.
    place: Vec<String>,
    /// What was found, for people.
    steps: Vec<Step>,
    sklearn_version: String,
}

/// A value without structure.
#[derive(Debug, Clone, PartialEq)]
enum Plain {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Other(Handle),
}

impl Plain {
    /// An element of an array of numbers or texts.
    fn of_element(value: Value) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value),
            Value::Str(text) => Self::Text(text),
            _ => Self::None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as Python's float() has it")]
    fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    fn is_nan(&self) -> bool {
        matches!(self, Self::Float(value) if value.is_nan())
    }
}

/// A number as Python's `repr` writes it. Rust's shortest form differs in NaN, in exponents of ten, and where two texts
/// of the same length are equally near: Python takes the one that ends in an even digit.
pub(crate) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    let shortest = format!("{number:?}");
    let digits = format!("{number:e}");
    let Some((digits, exponent)) = digits.split_once('e') else { return shortest };
    let after_first = digits.bytes().filter(u8::is_ascii_digit).count().saturating_sub(1);
    // Formatting to a given length rounds half to even.
    let even = match exponent.parse::<usize>() {
        Ok(exponent) if exponent < 16 => format!("{number:.*}", after_first.saturating_sub(exponent).max(1)),
        _ => format!("{number:.after_first$e}"),
    };
    let is_other_form = even.contains('e') != shortest.contains('e') || even.len() != shortest.len();
    let text = if is_other_form || even.parse() != Ok(number) { shortest } else { even };
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// An estimator's class and attributes.
#[derive(Clone, Copy)]
struct Estimated {
    class: &'static str,
    state: Handle,
    version: Version,
}

impl Reader {
    fn unsupported(&self, what: impl Into<String>) -> ReadError {
        ReadError::Unsupported { place: self.here(), what: what.into() }
    }

    /// The place of the reader, for messages.
    fn here(&self) -> String {
        if self.place.is_empty() { "the artifact".to_owned() } else { self.place.join(".") }
    }

    // The budget.

    /// Adds the place where a budget was exceeded.
    fn within<T>(&self, result: Result<T, OverBudget>) -> Result<T, ReadError> {
        result.map_err(|over| match over {
            OverBudget::Limit { limit, what } => ReadError::Budget { place: self.here(), limit, what },
            OverBudget::Deadline => ReadError::Deadline,
        })
    }

    /// Charges a step for each element, and `bytes` for the value that is made of it.
    fn charge(&self, elements: usize, bytes: usize) -> Result<(), ReadError> {
        let budget = self.graph.budget();
        self.within(budget.spend(elements))?;
        self.within(budget.hold(elements.saturating_mul(bytes)))
    }

    /// Charges texts that are about to be copied.
    fn charge_texts<'t>(&self, texts: impl IntoIterator<Item = &'t String>) -> Result<(), ReadError> {
        let (mut count, mut bytes) = (0_usize, 0_usize);
        for text in texts {
            count += 1;
            bytes = bytes.saturating_add(text_bytes(text));
        }
        self.within(self.graph.budget().spend(count))?;
        self.within(self.graph.budget().hold(bytes))
    }

    /// Reads something inside of the place where the reader is.
    fn inside<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        if self.place.len() >= DEEPEST_NESTING {
            return Err(self.unsupported("estimators inside each other too deeply"));
        }
        self.place.push(name.to_owned());
        let result = read(self)?;
        self.place.pop();
        Ok(result)
    }

    /// The estimator behind a handle.
    fn estimated(&self, handle: Handle) -> Result<Estimated, ReadError> {
        let Value::Object(object) = self.graph.get(handle) else {
            return Err(self.unsupported("an estimator was expected here"));
        };
        let class = object.class.name;
        let state = object.state.ok_or_else(|| self.unsupported(format!("{class} without attributes")))?;
        self.charge(1, 0)?;
        let version = self.within(self.graph.item(state, "_sklearn_version"))?;
        let version = version.and_then(|version| self.graph.str(version));
        let version = version.and_then(Version::parse).ok_or_else(|| {
            self.unsupported(format!("{class} does not say which version of scikit-learn wrote it"))
        })?;
        if !(Version::OLDEST..=Version::NEWEST).contains(&version) {
            return Err(self.unsupported(format!(
                "{class} was written by scikit-learn {version}; {} to {} are understood",
                Version::OLDEST,
                Version::NEWEST
            )));
        }
        Ok(Estimated { class, state, version })
    }

    // Attributes.

    fn field(&self, estimated: Estimated, name: &str) -> Result<Option<Handle>, ReadError> {
        self.within(self.graph.item(estimated.state, name))
    }

    fn required(&self, estimated: Estimated, name: &str) -> Result<Handle, ReadError> {
        self.field(estimated, name)?.ok_or_else(|| {
            let class = estimated.class;
            self.unsupported(format!(
                "{class} has no attribute {name:?}: it is not fitted, or not understood"
            ))
        })
    }

    fn unexpected(&self, estimated: Estimated, name: &str) -> ReadError {
        self.unsupported(format!("the attribute {name:?} of {} is not understood", estimated.class))
    }

    /// The value behind a handle, or the only element of an array of numbers or texts.
    ///
    /// Looks no further: an array of objects is never opened here, since it may contain itself.
    fn plain(&self, handle: Handle) -> Result<Plain, ReadError> {
        self.charge(1, 0)?;
        Ok(match self.graph.get(handle) {
            Value::None => Plain::None,
            Value::Bool(value) => Plain::Bool(*value),
            Value::Int(value) => Plain::Int(*value),
            Value::Float(value) => Plain::Float(*value),
            Value::Str(text) => {
                self.charge(1, text_bytes(text))?;
                Plain::Text(text.clone())
            }
            Value::Array(array) if array.count() == Some(1) => {
                self.charge(1, array.dtype.size())?;
                match array.elements() {
                    Some(Elements::Values(mut values)) => {
                        values.pop().map_or(Plain::Other(handle), Plain::of_element)
                    }
                    _ => Plain::Other(handle),
                }
            }
            _ => Plain::Other(handle),
        })
    }

    /// How many elements a tuple, list or array has.
    fn length(&self, handle: Handle) -> Option<usize> {
        match self.graph.get(handle) {
            Value::Array(array) => array.count(),
            _ => self.graph.elements(handle).map(<[Handle]>::len),
        }
    }

    /// The elements of a tuple, list or array, in C order; nothing for something else.
    fn list(&self, handle: Handle) -> Result<Option<Vec<Plain>>, ReadError> {
        let handle = match self.graph.get(handle) {
            // A list with a memory of where it came from (`sklearn/compose/_column_transformer.py`).
            Value::Object(object) if object.class.name == "_RemainderColsList" => {
                let Some(state) = object.state else { return Ok(None) };
                let Some(data) = self.within(self.graph.item(state, "data"))? else { return Ok(None) };
                data
            }
            _ => handle,
        };
        let Some(length) = self.length(handle) else { return Ok(None) };
        // An element is a value first, and a plain one then.
        self.charge(length, size_of::<Value>() + size_of::<Plain>())?;
        let handles = match self.graph.get(handle) {
            Value::Array(array) => {
                // Texts of an array take a quarter of its bytes or more.
                self.charge(1, length.saturating_mul(array.dtype.size()))?;
                match array.elements() {
                    Some(Elements::Handles(handles)) => handles,
                    Some(Elements::Values(values)) => {
                        return Ok(Some(values.into_iter().map(Plain::of_element).collect()));
                    }
                    None => return Ok(None),
                }
            }
            _ => self.graph.elements(handle).unwrap_or_default().to_vec(),
        };
        handles.into_iter().map(|handle| self.plain(handle)).collect::<Result<_, _>>().map(Some)
    }

    fn numbers_of(&self, handle: Handle) -> Result<Option<Vec<f64>>, ReadError> {
        if let Value::Array(array) = self.graph.get(handle) {
            self.charge(array.count().unwrap_or(0), size_of::<f64>())?;
            if let Some(numbers) = array.numbers() {
                return Ok(Some(numbers));
            }
        }
        Ok(self.list(handle)?.and_then(|list| list.iter().map(Plain::number).collect()))
    }

    fn shape(&self, handle: Handle) -> Option<&[usize]> {
        match self.graph.get(handle) {
            Value::Array(array) => Some(&array.shape),
            _ => None,
        }
    }

    fn numbers(&self, estimated: Estimated, name: &str) -> Result<Vec<f64>, ReadError> {
        let handle = self.required(estimated, name)?;
        self.numbers_of(handle)?.ok_or_else(|| self.unexpected(estimated, name))
    }

    /// Numbers, or nothing where the attribute is `None` or not there.
    fn optional_numbers(&self, estimated: Estimated, name: &str) -> Result<Option<Vec<f64>>, ReadError> {
        match self.field(estimated, name)?.map(|handle| self.graph.get(handle)) {
            None | Some(Value::None) => Ok(None),
            Some(_) => self.numbers(estimated, name).map(Some),
        }
    }

    fn flag(&self, estimated: Estimated, name: &str, default: bool) -> Result<bool, ReadError> {
        Ok(match self.field(estimated, name)?.map(|handle| self.graph.get(handle)) {
            Some(Value::Bool(value)) => *value,
            _ => default,
        })
    }

    /// A text, where the attribute is there and is one.
    fn optional_text(&self, estimated: Estimated, name: &str) -> Result<Option<&str>, ReadError> {
        Ok(self.field(estimated, name)?.and_then(|value| self.graph.str(value)))
    }

    /// Whether an attribute is not there or is `None`.
    fn is_none(&self, estimated: Estimated, name: &str) -> Result<bool, ReadError> {
        Ok(self.field(estimated, name)?.is_none_or(|value| matches!(self.graph.get(value), Value::None)))
    }

    fn text(&self, estimated: Estimated, name: &str) -> Result<&str, ReadError> {
        self.graph.str(self.required(estimated, name)?).ok_or_else(|| self.unexpected(estimated, name))
    }

    fn number(&self, estimated: Estimated, name: &str) -> Result<f64, ReadError> {
        self.plain(self.required(estimated, name)?)?.number().ok_or_else(|| self.unexpected(estimated, name))
    }

    fn count(&self, estimated: Estimated, name: &str) -> Result<usize, ReadError> {
        let handle = self.required(estimated, name)?;
        let count = match self.plain(handle)? {
            Plain::Int(count) => usize::try_from(count).ok(),
            _ => None,
        };
        count.ok_or_else(|| self.unexpected(estimated, name))
    }

    /// As many numbers as there are columns.
    fn check_length(
        &self,
        estimated: Estimated,
        name: &str,
        found: usize,
        columns: usize,
    ) -> Result<(), ReadError> {
        if found == columns {
            return Ok(());
        }
        let class = estimated.class;
        Err(self.unsupported(format!("{class} has {found} values in {name:?} for {columns} columns")))
    }
}

#[cfg(test)]
mod tests {
    use super::python_float;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (number, python) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.0001, "0.0001"),
            (1e-5, "1e-05"),
            (-1.5e-7, "-1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (2.5e300, "2.5e+300"),
            // Two texts of 17 digits are equally near.
            (-7_804_924_830_930_469.0 / 4.0, "-1951231207732617.2"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(python_float(number), python);
        }
    }
}
