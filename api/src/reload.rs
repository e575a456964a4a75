//! Asking for a reload: one at a time, however many ask.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

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
            let asked = self.queue().asked;
            let reload = Arc::clone(&self.reload);
            // Another task, so that a panic is a failure like any other.
            let result = match tokio::spawn(async move { reload.reload().await }).await {
                Ok(result) => result,
                Err(panicked) => Err(ReloadError::internal(panicked)),
            };
            if let Err(error) = &result {
                tracing::error!(error = error as &dyn Error, "reload failed");
            }
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
