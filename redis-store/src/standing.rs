//! Whether what a store holds is older than what it held before.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use shared::Generation;

use crate::ledger::Pointer;

/// The newest state of the store that this process has seen.
///
/// The number of a publication and of a rollback are drawn from one sequence, which also grows over a server that has lost
/// everything. So a state with a smaller number is an older one: the server was restored from an old copy, or a replica
/// that lagged was promoted. An older pointer is a rollback only beside a larger number.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<State>);

/// In the order of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// The number of the last publication or rollback.
    number: u64,
    /// The generation that is current since.
    current: u64,
}

/// The store holds an older state than it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    held: State,
    newest: State,
}

impl fmt::Display for Behind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, newest } = self;
        write!(
            formatter,
            "the server has lost what was published last: it holds generation {}, and generation {} was current at {}; \
             it was restored from an older copy, or a replica that lagged was promoted; the scorer publishes again",
            held.current, newest.current, newest.number
        )
    }
}

impl Standing {
    /// Takes note of a state, or says what is newer. An empty store is not behind: it says nothing.
    pub(crate) fn seen(&self, (current, published): Pointer) -> Result<(), Behind> {
        let Some(current) = current else { return Ok(()) };
        let held = State { number: published.unwrap_or(current).max(current), current };
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held < *newest {
            return Err(Behind { held, newest: *newest });
        }
        *newest = held;
        Ok(())
    }

    /// Takes note of what this process has published.
    pub(crate) fn published(&self, generation: Generation) {
        // What is newer by now stays.
        let _ = self.seen((Some(generation.0), Some(generation.0)));
    }

    /// The largest number that is known.
    pub(crate) fn largest(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_pointer_is_a_rollback_only_beside_a_larger_number() {
        let standing = Standing::default();
        assert!(standing.seen((None, None)).is_ok());
        assert!(standing.seen((Some(5), Some(5))).is_ok());
        assert!(standing.seen((Some(9), Some(9))).is_ok());
        assert!(standing.seen((Some(5), Some(5))).is_err(), "an older copy");
        assert!(standing.seen((Some(5), Some(9))).is_err(), "a pointer that was moved back by hand");
        assert!(standing.seen((Some(5), Some(12))).is_ok(), "a rollback");
        assert!(standing.seen((Some(9), Some(9))).is_err(), "a replica that has not heard of the rollback");
        assert!(standing.seen((None, None)).is_ok(), "an empty store is noticed elsewhere");
        assert_eq!(standing.largest(), 12);
        assert!(standing.seen((Some(13), Some(13))).is_ok());
    }
}
