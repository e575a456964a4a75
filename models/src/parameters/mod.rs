//! Parameter files: the open format `*.safetensors` of fitted pipelines, which `docs/parameters.md` specifies.
//!
//! * **For:** reading models in milliseconds, from files that other languages can write and read.
//! * **Comes in, goes out:** bytes or a file, and a [`Model`] that predicts as the one that was written, to the bit.
//! * **Must never know:** scikit-learn's attributes, pickles, where files are kept.

mod document;
mod error;
mod read;
mod source;
mod trees;
mod write;

use std::{fs::File, path};

pub use error::{InexpressibleError, ParametersError};

use self::source::Source;
use crate::{artifact::Limits, model::Model};

impl Model {
    /// Reads a parameter file that is in memory.
    ///
    /// # Errors
    /// The bytes are no parameter file, damaged, of another version, beyond the limits, or contradict themselves.
    pub fn read_parameters(bytes: &[u8], limits: &Limits) -> Result<Self, ParametersError> {
        read::read(&Source::Bytes(bytes), limits)
    }

    /// Reads a parameter file through a memory map, once from its beginning to its end.
    ///
    /// Nothing of the map is kept. Whoever replaces the file meanwhile has to do so by renaming another one over it:
    /// cutting a mapped file short ends the process that reads it.
    ///
    /// ```no_run
    /// let path = "models/regressor_rf_20250729-2130.safetensors";
    /// let model = models::Model::map_parameters(path, &models::Limits::default())?;
    /// # Ok::<(), models::ParametersError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::read_parameters`], or the file cannot be opened or mapped.
    pub fn map_parameters(path: impl AsRef<path::Path>, limits: &Limits) -> Result<Self, ParametersError> {
        read::read(&Source::map(&File::open(path)?)?, limits)
    }

    /// The model as a parameter file. Equal models give equal bytes.
    ///
    /// `written_by` names the program, for people.
    ///
    /// # Errors
    /// The model has something that the format cannot express, such as a leaf value that is not finite.
    pub fn write_parameters(&self, written_by: &str) -> Result<Vec<u8>, InexpressibleError> {
        write::write(self, written_by)
    }
}
