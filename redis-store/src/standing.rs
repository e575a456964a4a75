//! Whether what a store holds is older than what it held before.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
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

/// The last publication or rollback, in the order of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct State {
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

impl Behind {
    /// The generation that an operator went back to, if the newest state is that of a rollback.
    pub(crate) fn rolled_back_to(self) -> Option<Generation> {
        let State { number, current } = self.newest;
        (number > current).then_some(Generation(current))
    }
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
    /// The newest state until now. Ask for it before the store is asked: an answer that was overtaken by a publication is
    /// older than that publication, and no sign of a loss.
    pub(crate) fn until_now(&self) -> State {
        *self.newest()
    }

    /// Takes note of a state, or says that it is older than one that was seen before the store was asked. An empty store
    /// is not behind: it says nothing.
    pub(crate) fn seen(&self, (current, published): Pointer, before: State) -> Result<(), Behind> {
        let Some(current) = current else { return Ok(()) };
        let held = State { number: published.unwrap_or(current).max(current), current };
        if held < before {
            return Err(Behind { held, newest: before });
        }
        let mut newest = self.newest();
        *newest = newest.max(held);
        Ok(())
    }

    /// Takes note of what this process has published.
    pub(crate) fn published(&self, generation: Generation) {
        let mut newest = self.newest();
        *newest = newest.max(State { number: generation.0, current: generation.0 });
    }

    /// The largest number that is known.
    pub(crate) fn largest(&self) -> u64 {
        self.newest().number
    }

    fn newest(&self) -> MutexGuard<'_, State> {
        // A number is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_pointer_is_a_rollback_only_beside_a_larger_number() {
        let standing = Standing::default();
        let seen = |current, published| standing.seen((current, published), standing.until_now());
        assert!(seen(None, None).is_ok());
        assert!(seen(Some(5), Some(5)).is_ok());
        assert!(seen(Some(9), Some(9)).is_ok());
        assert!(seen(Some(5), Some(5)).is_err(), "an older copy");
        assert!(seen(Some(5), Some(9)).is_err(), "a pointer that was moved back by hand");
        assert!(seen(Some(5), Some(12)).is_ok(), "a rollback");
        assert!(seen(Some(9), Some(9)).is_err(), "a replica that has not heard of the rollback");
        assert!(seen(None, None).is_ok(), "an empty store is noticed elsewhere");
        assert_eq!(standing.largest(), 12);
        assert!(seen(Some(13), Some(13)).is_ok());
    }

    #[test]
    fn an_answer_that_was_overtaken_is_no_sign_of_a_loss() {
        let standing = Standing::default();
        let before = standing.until_now();
        standing.published(Generation(9));
        assert!(standing.seen((Some(5), Some(5)), before).is_ok());
        assert_eq!(standing.largest(), 9);
        assert!(standing.seen((Some(5), Some(5)), standing.until_now()).is_err());
    }
}
