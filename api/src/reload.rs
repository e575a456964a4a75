//! Asking for a reload: one at a time, however many ask.

use std::{
    error::Error,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use axum::http::{HeaderMap, header::AUTHORIZATION};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::events::{ReloadAsked, ReloadEnded};

/// Something that can read the bucket again when a user asks for it.
#[async_trait]
pub trait Reload: Send + Sync + 'static {
    /// Looks at the whole bucket and publishes what it finds to the store that the API reads. When this returns,
    /// the publication is done. It is called for one request at a time, and runs to its end even if the one who
    /// asked has gone.
    ///
    /// # Errors
    /// Nothing new could be published. What is served stays.
    async fn reload(&self) -> Result<(), ReloadError>;
}

/// A reload that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ReloadError {
    /// What went wrong, for the one who asked to read. It is sent as it is, so it holds no secret.
    pub message: String,
    /// What caused it. It is logged and not sent.
    #[source]
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// What a request for a reload has to bring, in `Authorization: Bearer`. It is never shown, not even for debugging.
#[derive(Clone)]
pub struct ReloadToken(Box<str>);

/// A text that cannot be a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token that is not empty expected")]
pub struct EmptyToken;

impl ReloadToken {
    /// Whether a request with these headers brings the token. How long that takes says nothing about it but its
    /// length.
    pub(crate) fn is_in(&self, request: &HeaderMap) -> bool {
        let brought = request.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
        });
        brought.is_some_and(|token| self.0.as_bytes().ct_eq(token).into())
    }
}

impl FromStr for ReloadToken {
    type Err = EmptyToken;

    fn from_str(text: &str) -> Result<Self, EmptyToken> {
        let token = text.trim();
        if token.is_empty() { Err(EmptyToken) } else { Ok(Self(token.into())) }
    }
}

impl fmt::Debug for ReloadToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReloadToken(…)")
    }
}

/// Runs reloads for everyone who asks. Whoever asks while one is running shares the next one with all others who
/// do, since the running one may have passed already what they want to be read.
pub(crate) struct Reloads {
    reload: Arc<dyn Reload>,
    queue: Mutex<Queue>,
    finished: watch::Sender<Finished>,
}

#[derive(Default)]
struct Queue {
    /// How many have asked.
    asked: u64,
    running: bool,
}

struct Finished {
    /// How many had asked before the reload began.
    asked: u64,
    result: Result<(), ReloadError>,
}

impl Reloads {
    pub(crate) fn new(reload: Arc<dyn Reload>) -> Self {
        let finished = watch::Sender::new(Finished { asked: 0, result: Ok(()) });
        Self { reload, queue: Mutex::default(), finished }
    }

    /// Completes when a reload has that began after this call.
    pub(crate) async fn ask(self: &Arc<Self>) -> Result<(), ReloadError> {
        let ticket = {
            let mut queue = self.queue();
            queue.asked += 1;
            ReloadAsked { coalesced: queue.running }.emit();
            if !queue.running {
                queue.running = true;
                // A task of its own: a client that hangs up stops nothing.
                tokio::spawn(Arc::clone(self).run());
            }
            queue.asked
        };
        let mut finished = self.finished.subscribe();
        match finished.wait_for(|finished| finished.asked >= ticket).await {
            Ok(finished) => finished.result.clone(),
            // The sender lives in `self`.
            Err(closed) => Err(ReloadError::internal(closed)),
        }
    }

    async fn run(self: Arc<Self>) {
        loop {
            let (asked, begun) = (self.queue().asked, Instant::now());
            let reload = Arc::clone(&self.reload);
            // Another task, so that a panic is a failure like any other.
            let result = match tokio::spawn(async move { reload.reload().await }).await {
                Ok(result) => result,
                Err(panicked) => Err(ReloadError::internal(panicked)),
            };
            let failure = result.as_ref().err().map(|error| error as &(dyn Error + 'static));
            ReloadEnded { elapsed: begun.elapsed(), failure }.emit();
            self.finished.send_replace(Finished { asked, result });
            let mut queue = self.queue();
            if queue.asked == asked {
                queue.running = false;
                return;
            }
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        // Two fields that are always set together: nothing can be half-done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadError {
    fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        Self { message: "erro interno".to_owned(), source: Some(Arc::new(source)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Counts its runs, each of which waits for a permit.
    struct Counting {
        runs: AtomicUsize,
        permits: Semaphore,
    }

    #[async_trait]
    impl Reload for Counting {
        async fn reload(&self) -> Result<(), ReloadError> {
            let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
            self.permits.acquire().await.unwrap().forget();
            assert_ne!(run, 3, "the third run panics");
            Ok(())
        }
    }

    #[test]
    fn a_token_is_brought_as_a_bearer_has_to_and_shown_to_nobody() {
        let token: ReloadToken = " s3cret ".parse().unwrap();
        for (header, brought) in [
            ("Bearer s3cret", true),
            ("bearer  s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3crets", false),
            ("Bearer S3CRET", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let request = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(token.is_in(&request), brought, "{header:?}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert!(!format!("{token:?}").contains("s3cret"));
        assert_eq!(" ".parse::<ReloadToken>().unwrap_err(), EmptyToken);
    }

    #[tokio::test]
    async fn those_who_ask_during_a_reload_share_the_next_and_a_panic_ends_only_its_own() {
        let counting = Arc::new(Counting { runs: AtomicUsize::new(0), permits: Semaphore::new(0) });
        let reloads = Arc::new(Reloads::new(Arc::clone(&counting) as Arc<dyn Reload>));
        let ask = || {
            let reloads = Arc::clone(&reloads);
            tokio::spawn(async move { reloads.ask().await })
        };
        let first = ask();
        while counting.runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let later = [ask(), ask(), ask()];
        while reloads.queue().asked < 4 {
            tokio::task::yield_now().await;
        }
        counting.permits.add_permits(1);
        first.await.unwrap().unwrap();
        assert!(later.iter().all(|asked| !asked.is_finished()));
        counting.permits.add_permits(1);
        for asked in later {
            asked.await.unwrap().unwrap();
        }
        assert_eq!(counting.runs.load(Ordering::SeqCst), 2);

        counting.permits.add_permits(2);
        assert_eq!(ask().await.unwrap().unwrap_err().message, "erro interno");
        ask().await.unwrap().unwrap();
    }
}
