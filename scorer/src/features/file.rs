use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use thiserror::Error;

use super::{Candles, Features, parquet::WriteError, read_raw};
use crate::{
    Progress,
    progress::TrackedReader,
    tables::{TableError, TableLimits},
};

/// Candles could not be read from a file, or a feature table not be saved to one.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file cannot be opened or read.
    #[error("{file:?} cannot be read")]
    Read {
        /// The file, as it was named.
        file: String,
        /// What stood in the way.
        source: io::Error,
    },
    /// The file's content is of no use.
    #[error("{file:?} is not a usable raw.csv")]
    Content {
        /// The file, as it was named.
        file: String,
        /// What is wrong with it.
        source: TableError,
    },
    /// The table cannot be saved there.
    #[error("{file:?} cannot be written")]
    Write {
        /// The file, as it was named.
        file: String,
        /// What stood in the way.
        source: io::Error,
    },
    /// The table has no parquet form.
    #[error("{file:?} cannot be written")]
    Table {
        /// The file, as it was named.
        file: String,
        /// What stood in the way.
        source: WriteError,
    },
}

/// The candles of a `raw.csv` file, as [`read_raw`] reads them; blocks.
///
/// # Errors
/// The file cannot be read, or [`read_raw`] refuses its content.
pub fn read_raw_file(path: &Path, limits: &TableLimits, progress: &Progress) -> Result<Candles, FileError> {
    let file = path.display().to_string();
    let unread = |source| FileError::Read { file: file.clone(), source };
    let opened = File::open(path).map_err(unread)?;
    let size = opened.metadata().map_err(unread)?.len();
    progress.begin();
    progress.expect(size);
    let (reader, _) = TrackedReader::new(Box::new(opened), &file, progress);
    let mut content = Vec::new();
    // One byte more than the limit, so that the limit is seen to be exceeded.
    let read = reader.take(limits.bytes.saturating_add(1)).read_to_end(&mut content);
    progress.end();
    read.map_err(unread)?;
    progress.busy("sorting the rows by asset");
    let candles = read_raw(&content, limits);
    progress.end();
    candles.map_err(|source| FileError::Content { file: file.clone(), source })
}

impl Features {
    /// Saves the table as a parquet file, as [`write_parquet`](Self::write_parquet) writes it; blocks.
    ///
    /// Folders on the way are made. The file appears as a whole: it is written under another name beforehand.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let file = path.display().to_string();
        let unwritten = |source| FileError::Write { file: file.clone(), source };
        let name = path.file_name().ok_or_else(|| unwritten(io::ErrorKind::InvalidFilename.into()))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unwritten)?;
        }
        // In the same folder, since only there a file can be renamed as one step; hidden from whoever looks for tables.
        let unfinished = path.with_file_name(format!(".{}.{}.tmp", name.display(), std::process::id()));
        let written = self.write_file(&unfinished, &file);
        let moved = written.and_then(|()| fs::rename(&unfinished, path).map_err(unwritten));
        if moved.is_err() {
            // It may not even exist; the first error is the one that counts.
            let _ = fs::remove_file(&unfinished);
        }
        moved
    }

    fn write_file(&self, path: &Path, file: &str) -> Result<(), FileError> {
        let unwritten = |source| FileError::Write { file: file.to_owned(), source };
        let mut output = BufWriter::new(File::create(path).map_err(unwritten)?);
        self.write_parquet(&mut output)
            .map_err(|source| FileError::Table { file: file.to_owned(), source })?;
        output.flush().and_then(|()| output.get_ref().sync_all()).map_err(unwritten)
    }
}
