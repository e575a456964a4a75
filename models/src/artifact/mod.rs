//! From bytes to a graph of values: decompression, the pickle machine, numpy arrays.
//!
//! Nothing here knows what an estimator means; with one exception: a `sklearn.tree` node array is compacted as
//! soon as its tree is complete (see [`crate::tree`]), because an artifact's trees, kept as they are written,
//! would take several times the memory of the model.

mod compression;
mod known;
mod machine;
mod numpy;
mod source;
mod value;

use std::io::{self, Read};

use thiserror::Error;

pub(crate) use known::{Known, class_name};
pub(crate) use numpy::{Array, Data, Dtype, Elements, Field, Kind, Scalar};
pub(crate) use value::{Graph, Handle, Object, Value};

/// Bounds on what reading an artifact may cost, whatever it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes the artifact may decompress to. Default: 8 GiB.
    pub decompressed_bytes: u64,
    /// How many values (numbers, texts, lists, objects …) it may hold. Default: 8 million.
    pub values: usize,
    /// How many bytes of texts and arrays may be held at a time; compacted trees do not count. Default: 1 GiB.
    pub retained_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { decompressed_bytes: 8 << 30, values: 8_000_000, retained_bytes: 1 << 30 }
    }
}

/// An artifact that cannot be read. Offsets count bytes of the decompressed stream.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The bytes could not be read or decompressed.
    #[error("byte {offset}: {source}")]
    Io {
        /// How many bytes were decoded before.
        offset: u64,
        /// What went wrong.
        source: io::Error,
    },
    /// The artifact names a class or function that is not understood. Nothing is ever imported or called.
    #[error("byte {offset}: {module}.{name} is not among the classes and functions that are understood")]
    Forbidden {
        /// Where it is named.
        offset: u64,
        /// The Python module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// Reading on would cost more than allowed.
    #[error("byte {offset}: more than {limit} {what}")]
    Limit {
        /// Where the limit was reached.
        offset: u64,
        /// The limit of [`Limits`], or a fixed one.
        limit: u64,
        /// What it counts.
        what: &'static str,
    },
    /// The bytes are no joblib file or pickle, or a damaged one.
    #[error("byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The artifact is sound, but holds something that this crate cannot predict with.
    #[error("{place}: {what}")]
    Unsupported {
        /// The step, from the outermost inwards, such as `prep.cat.OneHotEncoder`.
        place: String,
        /// What is not supported.
        what: String,
    },
}

/// Reads a joblib file or pickle, compressed or not.
pub(crate) fn read(reader: impl Read + Send, limits: &Limits) -> Result<Graph, ReadError> {
    compression::with_chunks(reader, |chunks| {
        let source = source::Source::new(chunks, limits.decompressed_bytes);
        machine::Machine::new(source, limits).run()
    })
}
