use std::io;

use thiserror::Error;

/// A parameter file that cannot be read.
#[derive(Debug, Error)]
pub enum ParametersError {
    /// The file could not be opened, mapped or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are no safetensors file, or a damaged one.
    #[error("no sound safetensors file: {0}")]
    Container(String),
    /// The file is of another version of the format.
    #[error("schema {found}, where {understood} is understood")]
    Schema {
        /// The file's version.
        found: u64,
        /// The version that is understood.
        understood: u64,
    },
    /// The deadline of [`Limits::deadline`](crate::Limits::deadline) has passed.
    #[error("reading it takes longer than allowed")]
    Deadline,
    /// Reading on would cost more than allowed.
    #[error("more than {limit} {what}")]
    Limit {
        /// The limit of [`Limits`](crate::Limits), or a fixed one.
        limit: u64,
        /// What it counts.
        what: &'static str,
    },
    /// The JSON that describes the pipeline is damaged, contradicts itself, or says something that is not understood.
    #[error("{path}: {what}")]
    Description {
        /// The object of the JSON: members and positions from the outermost inwards, joined by dots.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// A tensor is not there, not of the type or shape that the JSON asks for, or holds something impossible.
    #[error("tensor {name}{}: {what}", place(.index))]
    Tensor {
        /// The tensor's name.
        name: String,
        /// The first element that is wrong, counted over the whole tensor.
        index: Option<usize>,
        /// What is wrong.
        what: String,
    },
}

impl ParametersError {
    /// Whether the bytes are truncated or damaged, so that another copy of the file may be sound.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Container(_) => true,
            Self::Io(source) => source.kind() != io::ErrorKind::Unsupported,
            _ => false,
        }
    }
}

fn place(index: &Option<usize>) -> String {
    index.map(|index| format!("[{index}]")).unwrap_or_default()
}

/// A model that the parameter format cannot express.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {what}")]
pub struct InexpressibleError {
    /// The object of the JSON that would have described it.
    pub path: String,
    /// What cannot be expressed.
    pub what: String,
}
