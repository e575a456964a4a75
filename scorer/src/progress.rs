use std::{
    io::{self, Read, Write},
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

/// A spinner moves so often.
const TICK: Duration = Duration::from_millis(120);

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
        self.show(0, "{bar:30} {bytes}/{total_bytes}, {eta} left  {wide_msg}");
    }

    /// So many rows are going to be scored; the bar is of rows until the next load.
    pub(crate) fn begin_rows(&self, rows: usize) {
        if self.wanted {
            let rows = u64::try_from(rows).unwrap_or(u64::MAX);
            self.show(rows, "{bar:30} {human_pos}/{human_len} rows, {eta} left  to {wide_msg}");
        }
    }

    /// Something takes its time of which nobody knows how much is left, until [`end`](Self::end) or the next load.
    pub fn busy(&self, what: &str) {
        if self.wanted {
            self.show(0, "{spinner} {msg}, {elapsed}");
            *self.shown_from() = None;
            self.bar.set_message(what.to_owned());
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(TICK);
        }
    }

    fn show(&self, length: u64, template: &str) {
        self.bar.disable_steady_tick();
        self.bar.reset();
        self.bar.set_length(length);
        self.bar.set_message("");
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        *self.shown_from() = Instant::now().checked_add(PATIENCE);
    }

    /// Standard error, for lines that are to stand above the bar.
    #[must_use]
    pub fn stderr(&self) -> AboveBar {
        AboveBar(self.bar.clone())
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

    /// What was shown has ended.
    pub fn end(&self) {
        if self.wanted {
            self.bar.disable_steady_tick();
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

/// Writes to standard error, and draws the bar of a [`Progress`] again below what was written.
#[derive(Debug)]
pub struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
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
