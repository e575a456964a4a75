use std::{error::Error, pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{Batch, Engine, EventError, EventSource, Reload, ReloadError};

/// After a reload that was not complete, the next one is tried after this time, then after twice of it, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How often the bucket is looked at although nothing was heard of it, so that missed events do no lasting harm.
const RECONCILE: Duration = Duration::from_secs(300);

/// More batches than this are not held back for the next try. They are released and come again.
const MAX_HELD: usize = 64;

/// Reloads at first and whenever something changes, until `shutdown` completes.
///
/// Changes that come together cause one reload. They are acknowledged when it is done and published. After a reload
/// that failed, or could not read something for a reason that may pass, they are held back and the reload is tried
/// again with growing pauses; a new change is not kept waiting by them. Events only make it fast, the bucket is the
/// truth: it is looked at every five minutes in any case.
pub async fn follow<E: EventSource>(engine: &Engine, mut events: E, shutdown: impl Future<Output = ()>) {
    let mut held: Vec<Batch<E::Receipt>> = Vec::new();
    let mut next = Next::now();
    let mut source_fails = false;
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = sleep_until(next.due) => {}
            batch = events.receive() => match batch {
                Ok(batch) => {
                    source_fails = false;
                    held.push(batch);
                }
                Err(error) => {
                    // Once, however often it is tried again.
                    if !source_fails {
                        log(&error);
                    }
                    source_fails = true;
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(FIRST_RETRY) => continue,
                    }
                }
            },
        }
        // A reload may be cancelled at any time, and does not keep the process from ending.
        let result = tokio::select! {
            () = &mut shutdown => break,
            result = engine.reload() => result,
        };
        if is_complete(result) {
            next = Next::after_success();
            for batch in held.drain(..) {
                settled(events.acknowledge(batch).await);
            }
        } else {
            next = next.after_failure();
            while held.len() > MAX_HELD {
                settled(events.release(held.remove(0)).await);
            }
        }
    }
    for batch in held {
        settled(events.release(batch).await);
    }
}

fn is_complete(result: Result<Reload, ReloadError>) -> bool {
    match result {
        Ok(reload) => {
            reload.log();
            !reload.incomplete
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "reload failed; what is served stays");
            false
        }
    }
}

fn settled(result: Result<(), EventError>) {
    if let Err(error) = result {
        log(&error);
    }
}

fn log(error: &EventError) {
    tracing::warn!(error = error as &dyn Error, "event source");
}

/// When to reload although nothing changed.
struct Next {
    due: Instant,
    /// How long the last pause after a failure was; nothing if the last reload succeeded.
    pause: Duration,
}

impl Next {
    fn now() -> Self {
        Self { due: Instant::now(), pause: Duration::ZERO }
    }

    fn after_success() -> Self {
        Self { due: Instant::now() + RECONCILE, pause: Duration::ZERO }
    }

    fn after_failure(&self) -> Self {
        let pause = self.pause.saturating_mul(2).clamp(FIRST_RETRY, LONGEST_RETRY);
        Self { due: Instant::now() + pause, pause }
    }
}
