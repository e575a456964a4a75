//! From bytes to a graph of values: decompression, the pickle machine, numpy arrays.
//!
//! Nothing here knows what an estimator means; with one exception: a `sklearn.tree` node array is compacted as
//! soon as its tree is complete (see [`crate::tree`]), because an artifact's trees, kept as they are written,
//! would take several times the memory of the model.

mod budget;
mod compression;
mod known;
mod machine;
mod numpy;
mod source;
mod value;

use std::{
    io::{self, Read},
    rc::Rc,
    time::Instant,
};

use thiserror::Error;

pub(crate) use budget::{ALLOCATION_BYTES, OverBudget, text_bytes};
pub use compression::{GIT_LFS_POINTER, is_git_lfs_pointer};
pub(crate) use known::{Known, class_name};
pub(crate) use numpy::{Array, Data, Dtype, Elements, Field, Kind, Scalar};
pub(crate) use value::{Graph, Handle, Object, Value};

/// Bounds on what reading an artifact may cost, whatever it says of itself.
///
/// They cover decompression, the pickle machine and the interpretation of what it described. With the default limits an
/// artifact of less than 10 MB is read or refused within 2 s. Reading it takes at most 256 MB beyond its decompressed
/// size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of bytes that the artifact may decompress to. Default: 8 GiB. A ratio to the compressed size,
    /// which depends on the compression, is a limit too.
    pub decompressed_bytes: u64,
    /// Maximum number of values (numbers, texts, lists, objects …). Default: 8 million.
    pub values: usize,
    /// Maximum number of bytes held at a time; compacted trees do not count. Default: 1 GiB.
    pub retained_bytes: usize,
    /// Maximum number of bytes held at a time beyond what has been decompressed. Default: 160 MiB.
    pub overhead_bytes: usize,
    /// Maximum number of steps, each of which looks at one value. Four more are allowed for each decompressed byte.
    /// Default: 64 million.
    pub steps: u64,
    /// The instant at which reading gives up. Default: none.
    pub deadline: Option<Instant>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decompressed_bytes: 8 << 30,
            values: 8_000_000,
            retained_bytes: 1 << 30,
            overhead_bytes: 160 << 20,
            steps: 64_000_000,
            deadline: None,
        }
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
    /// The artifact names classes or functions that are not understood. Nothing is ever imported or called.
    #[error("byte {offset}: {} not among the classes and functions that are understood", listed(names))]
    Forbidden {
        /// Where the first of them is named.
        offset: u64,
        /// The names with their modules, in the order of their first appearance, and at most
        /// [`MOST_FORBIDDEN_NAMES`].
        names: Vec<String>,
    },
    /// The deadline of [`Limits::deadline`] has passed.
    #[error("reading it takes longer than allowed")]
    Deadline,
    /// Interpreting what was read would cost more than allowed.
    #[error("{place}: more than {limit} {what}")]
    Budget {
        /// The step, as in [`ReadError::Unsupported`].
        place: String,
        /// The limit of [`Limits`].
        limit: u64,
        /// What it counts.
        what: &'static str,
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

/// How many unknown names [`ReadError::Forbidden`] lists at most.
pub const MOST_FORBIDDEN_NAMES: usize = 32;

fn listed(names: &[String]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    let more = if names.len() >= MOST_FORBIDDEN_NAMES { " and maybe more" } else { "" };
    format!("{}{more} {verb}", names.join(", "))
}

impl ReadError {
    /// Whether the bytes are truncated or damaged, so that another copy of the file may be sound.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Malformed { .. } => true,
            Self::Io { source, .. } => source.kind() != io::ErrorKind::Unsupported,
            _ => false,
        }
    }
}

/// Reads a joblib file or pickle, compressed or not.
pub(crate) fn read(reader: impl Read + Send, limits: &Limits) -> Result<Graph, ReadError> {
    compression::with_chunks(reader, |chunks| {
        let budget = Rc::new(budget::Budget::new(limits));
        let source = source::Source::new(chunks, Rc::clone(&budget));
        machine::Machine::new(source, Graph::new(budget)).run()
    })
}
