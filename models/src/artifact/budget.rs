//! Budget for reading an artifact: steps, bytes and time, charged where the work is done.
//!
//! One budget covers the decompression, the pickle machine and the interpretation of what it left behind. An artifact
//! can refer to one value from many places. So work is charged each time that it is done, and not once a value.

use std::{cell::Cell, time::Instant};

use super::{Limits, ReadError};

/// Counts what has been spent. Cells, because the graph is read through shared references.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    /// Steps taken so far.
    steps: Cell<u64>,
    /// Bytes held now.
    held: Cell<usize>,
    /// Bytes decompressed so far. Larger artifacts may take more steps and hold more bytes.
    decompressed: Cell<u64>,
    /// The number of steps after which the clock is read next.
    next_look_at_clock: Cell<u64>,
}

/// An artifact costs more than its [`Limits`] allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverBudget {
    Limit { limit: u64, what: &'static str },
    Deadline,
}

/// Reading the clock takes some 25 ns, a step about as long.
const STEPS_BETWEEN_LOOKS_AT_CLOCK: u64 = 1 << 14;

/// Bytes that an allocation takes beside its contents.
pub(crate) const ALLOCATION_BYTES: usize = 16;

/// Bytes that a text takes, with its `String` and the allocation.
pub(crate) fn text_bytes(text: &str) -> usize {
    text.len() + size_of::<String>() + ALLOCATION_BYTES
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            steps: Cell::new(0),
            held: Cell::new(0),
            decompressed: Cell::new(0),
            next_look_at_clock: Cell::new(STEPS_BETWEEN_LOOKS_AT_CLOCK),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Notes how many bytes have been decompressed.
    ///
    /// # Errors
    /// More than allowed, or the deadline has passed.
    pub(super) fn decompressed(&self, bytes: u64) -> Result<(), OverBudget> {
        self.decompressed.set(bytes);
        if bytes > self.limits.decompressed_bytes {
            return Err(OverBudget::Limit {
                limit: self.limits.decompressed_bytes,
                what: "decompressed bytes",
            });
        }
        self.look_at_clock()
    }

    /// Spends steps. One step is what it takes to look at a value: some 20 ns.
    ///
    /// # Errors
    /// More than allowed, or the deadline has passed.
    pub(crate) fn spend(&self, steps: usize) -> Result<(), OverBudget> {
        let spent = self.steps.get().saturating_add(steps as u64);
        self.steps.set(spent);
        let limit = self.limits.steps.saturating_add(self.decompressed.get().saturating_mul(STEPS_PER_BYTE));
        if spent > limit {
            return Err(OverBudget::Limit { limit, what: "steps" });
        }
        if spent >= self.next_look_at_clock.get() {
            self.next_look_at_clock.set(spent.saturating_add(STEPS_BETWEEN_LOOKS_AT_CLOCK));
            self.look_at_clock()?;
        }
        Ok(())
    }

    /// Counts bytes that are about to be allocated.
    ///
    /// # Errors
    /// More than may be held.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), OverBudget> {
        let held = self.held.get().saturating_add(bytes);
        let decompressed = usize::try_from(self.decompressed.get()).unwrap_or(usize::MAX);
        let limit = self.limits.overhead_bytes.saturating_add(decompressed).min(self.limits.retained_bytes);
        if held > limit {
            return Err(OverBudget::Limit { limit: limit as u64, what: "bytes of values at a time" });
        }
        self.held.set(held);
        Ok(())
    }

    /// Counts bytes that have been freed.
    pub(crate) fn release(&self, bytes: usize) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    fn look_at_clock(&self) -> Result<(), OverBudget> {
        match self.limits.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(OverBudget::Deadline),
            _ => Ok(()),
        }
    }
}

/// Steps that each decompressed byte adds to the fixed number.
const STEPS_PER_BYTE: u64 = 4;

impl OverBudget {
    /// The error of a reader that stands at a byte.
    pub(super) fn at(self, offset: u64) -> ReadError {
        match self {
            Self::Limit { limit, what } => ReadError::Limit { offset, limit, what },
            Self::Deadline => ReadError::Deadline,
        }
    }
}
