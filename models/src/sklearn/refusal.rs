//! Says what an artifact holds where an estimator was expected, to the person who uploaded it.

use super::{Reader, python_float};
use crate::{
    artifact::{Handle, ReadError, Value},
    pipeline::excerpt,
};

/// More keys or elements than this are counted and not named.
const MOST_NAMED: usize = 8;

impl Reader {
    /// The refusal of an artifact whose outermost value is not an estimator.
    pub(super) fn not_alone(&self, root: Handle) -> ReadError {
        let found = self.in_words(root);
        self.unsupported(format!(
            "it holds {found}; the fitted Pipeline or estimator must be stored alone: joblib.dump(pipeline, path)"
        ))
    }

    fn in_words(&self, handle: Handle) -> String {
        match self.graph.get(handle) {
            Value::None => "None".to_owned(),
            Value::Bool(_) => "a truth value".to_owned(),
            Value::Int(_) | Value::Float(_) => "a number".to_owned(),
            Value::Str(_) => "a string".to_owned(),
            Value::Bytes(_) => "bytes".to_owned(),
            Value::Array(_) => "an array".to_owned(),
            Value::Object(object) => object.class.name.to_owned(),
            Value::Dict(items) => {
                let keys = items.iter().take(MOST_NAMED).map(|(key, _)| self.key_in_words(*key));
                format!("a dict with {}", enumerated("key", keys.collect(), items.len()))
            }
            Value::Tuple(elements) => self.elements_in_words("a tuple", elements),
            Value::List(elements) => self.elements_in_words("a list", elements),
            _ => "something else than an estimator".to_owned(),
        }
    }

    fn key_in_words(&self, key: Handle) -> String {
        match self.graph.get(key) {
            Value::Str(text) => format!("{:?}", excerpt(text)),
            Value::Int(key) => key.to_string(),
            Value::Float(key) => python_float(*key),
            _ => "…".to_owned(),
        }
    }

    /// Elements by their kinds, and not by what is in them, so that nothing is followed into its depth.
    fn elements_in_words(&self, what: &str, elements: &[Handle]) -> String {
        let named = elements.iter().take(MOST_NAMED).map(|element| match self.graph.get(*element) {
            Value::Dict(_) => "a dict".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::List(_) => "a list".to_owned(),
            _ => self.in_words(*element),
        });
        format!("{what} of {}", enumerated("element", named.collect(), elements.len()))
    }
}

/// How many there are of something, and the names of the first.
fn enumerated(what: &str, named: Vec<String>, count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    let more = if count > named.len() { ", …" } else { "" };
    match count {
        0 => format!("no {what}s"),
        _ => format!("{count} {what}{plural} ({}{more})", named.join(", ")),
    }
}
