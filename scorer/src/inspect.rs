use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Write},
    path::Path,
};

use models::{Description, InexpressibleError, Limits, Model};
use serde::Serialize;
use thiserror::Error;

use crate::{Progress, catalogue::Format, progress::TrackedReader};

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
        source: Box<dyn Error + Send + Sync>,
    },
    /// Parameter files have no form for something in the model.
    #[error("{file:?} cannot be converted")]
    Inexpressible {
        /// The file, as it was named.
        file: String,
        /// What there is no form for.
        source: InexpressibleError,
    },
    /// The parameter file cannot be written.
    #[error("{file:?} cannot be written")]
    Write {
        /// The file to be written, as it was named.
        file: String,
        /// What stood in the way.
        source: io::Error,
    },
}

/// Looks into an artifact; blocks.
///
/// # Errors
/// The file cannot be opened, or is not a model.
pub fn inspect(path: &Path, limits: &Limits, progress: &Progress) -> Result<Inspection, InspectError> {
    let (model, bytes) = read(path, limits, progress)?;
    Ok(Inspection { file: path.display().to_string(), bytes, artifact: model.describe().clone() })
}

/// Writes the model of an artifact as a parameter file, and gives that file's size; blocks.
///
/// What is at `to` is replaced when all of it is written.
///
/// # Errors
/// The artifact is not a model, has no form as parameters, or the file cannot be written.
pub fn convert(path: &Path, to: &Path, limits: &Limits, progress: &Progress) -> Result<u64, InspectError> {
    let (model, _) = read(path, limits, progress)?;
    let file = path.display().to_string();
    let written_by = concat!("cripto-prediction ", env!("CARGO_PKG_VERSION"));
    let bytes =
        model.write_parameters(written_by).map_err(|source| InspectError::Inexpressible { file, source })?;
    let write = || {
        // A program that has the old file mapped keeps it. The unfinished file is hidden from programs that watch the folder.
        let name = to.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let unfinished = to.with_file_name(format!(".{}.{}.tmp", name.display(), std::process::id()));
        let written = File::create(&unfinished).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&unfinished, to)
        });
        if written.is_err() {
            // It may not even exist; the first error is the one that counts.
            let _ = std::fs::remove_file(&unfinished);
        }
        written
    };
    write().map_err(|source| InspectError::Write { file: to.display().to_string(), source })?;
    Ok(bytes.len() as u64)
}

fn read(path: &Path, limits: &Limits, progress: &Progress) -> Result<(Model, u64), InspectError> {
    let file = path.display().to_string();
    let unopened = |source| InspectError::Open { file: file.clone(), source };
    let opened = File::open(path).map_err(unopened)?;
    let metadata = opened.metadata().map_err(unopened)?;
    if !metadata.is_file() {
        return Err(unopened(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    if Format::of(&file) == Some(Format::Parameters) {
        let model = Model::map_parameters(path, limits);
        let model = model.map_err(|error| InspectError::Read { file, source: error.into() })?;
        return Ok((model, metadata.len()));
    }
    progress.begin();
    progress.expect(metadata.len());
    let (reader, _) = TrackedReader::new(Box::new(opened), &file, progress);
    let model = Model::read(io::BufReader::new(reader), limits);
    progress.end();
    let model = model.map_err(|error| InspectError::Read { file, source: error.into() })?;
    Ok((model, metadata.len()))
}

impl fmt::Display for Inspection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}  ({} bytes)", self.file, self.bytes)?;
        self.artifact.fmt(formatter)
    }
}
