use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use shared::ObjectReader;

/// Loads that are done within this time show no bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar of the bytes read of those to be read, on standard error if that is a terminal, while a load takes long.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    /// When the bar is to appear; nothing if there is no load, or it has appeared.
    shown_from: Arc<Mutex<Option<Instant>>>,
    /// Whether there is to be a bar at all.
    wanted: bool,
}

impl Progress {
    /// Shows nothing, ever.
    #[must_use]
    pub fn none() -> Self {
        Self { bar: ProgressBar::hidden(), shown_from: Arc::default(), wanted: false }
    }

    /// Shows a bar where there is a terminal.
    #[must_use]
    pub fn on_terminal() -> Self {
        Self { wanted: true, ..Self::none() }
    }

    /// A load begins.
    pub(crate) fn begin(&self) {
        if !self.wanted {
            return;
        }
        self.bar.reset();
        self.bar.set_length(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta} {wide_msg}") {
            self.bar.set_style(style);
        }
        *self.shown_from() = Instant::now().checked_add(PATIENCE);
    }

    /// So many rows are going to be scored; the bar is of rows until the next load.
    pub(crate) fn begin_rows(&self, rows: usize) {
        self.begin();
        self.bar.set_length(u64::try_from(rows).unwrap_or(u64::MAX));
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len} rows {per_sec} {eta} {wide_msg}")
        {
            self.bar.set_style(style);
        }
    }

    /// So many rows were scored.
    pub(crate) fn rows_done(&self, rows: usize, until: impl std::fmt::Display) {
        if self.wanted {
            self.advance(&until.to_string(), rows);
        }
    }

    /// So many more bytes are going to be read.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bar.inc_length(bytes);
    }

    /// The load has ended.
    pub(crate) fn end(&self) {
        if self.wanted {
            *self.shown_from() = None;
            self.bar.finish_and_clear();
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn advance(&self, key: &str, bytes: usize) {
        let mut shown_from = self.shown_from();
        if shown_from.is_some_and(|from| from <= Instant::now()) {
            *shown_from = None;
            // Draws on terminals only.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        drop(shown_from);
        self.bar.set_message(key.to_owned());
        self.bar.inc(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    fn shown_from(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.shown_from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object being read: tells its progress, and remembers whether the store failed, because to a parser that looks
/// the same as an object that ends too early.
pub(crate) struct TrackedReader {
    reader: ObjectReader,
    key: String,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
}

impl TrackedReader {
    /// The reader, and what tells afterwards whether the store failed.
    pub(crate) fn new(reader: ObjectReader, key: &str, progress: &Progress) -> (Self, Arc<AtomicBool>) {
        let interrupted = Arc::new(AtomicBool::new(false));
        let this = Self {
            reader,
            key: key.to_owned(),
            progress: progress.clone(),
            interrupted: Arc::clone(&interrupted),
        };
        (this, interrupted)
    }
}

impl Read for TrackedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.reader.read(buffer);
        match &result {
            Ok(bytes) if self.progress.wanted => self.progress.advance(&self.key, *bytes),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.interrupted.store(true, Ordering::Relaxed),
        }
        result
    }
}
