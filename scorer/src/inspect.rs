use std::{fmt, fs::File, io, path::Path};

use models::{Description, Limits, Model, ReadError};
use serde::Serialize;
use thiserror::Error;

use crate::{Progress, progress::TrackedReader};

/// What is inside an artifact: [`Display`](fmt::Display) for people, [`Serialize`] for programs.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The file, as it was named.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its content.
    pub artifact: Description,
}

/// An artifact could not be looked into.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The file cannot be opened.
    #[error("{file:?} cannot be opened")]
    Open {
        /// The file, as it was named.
        file: String,
        /// What stood in the way.
        source: io::Error,
    },
    /// The file is not a model that can be read.
    #[error("{file:?} is not a usable model")]
    Read {
        /// The file, as it was named.
        file: String,
        /// What is wrong with it.
        source: ReadError,
    },
}

/// Looks into an artifact; blocks.
///
/// # Errors
/// The file cannot be opened, or is not a model.
pub fn inspect(path: &Path, limits: &Limits, progress: &Progress) -> Result<Inspection, InspectError> {
    let file = path.display().to_string();
    let unopened = |source| InspectError::Open { file: file.clone(), source };
    let opened = File::open(path).map_err(unopened)?;
    let metadata = opened.metadata().map_err(unopened)?;
    if !metadata.is_file() {
        return Err(unopened(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    progress.begin();
    progress.expect(metadata.len());
    let (reader, _) = TrackedReader::new(Box::new(opened), &file, progress);
    let model = Model::read(io::BufReader::new(reader), limits);
    progress.end();
    let model = model.map_err(|source| InspectError::Read { file: file.clone(), source })?;
    Ok(Inspection { bytes: metadata.len(), artifact: model.describe().clone(), file })
}

impl fmt::Display for Inspection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}  ({} bytes)", self.file, self.bytes)?;
        self.artifact.fmt(formatter)
    }
}
