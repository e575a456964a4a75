//! The generation that is served now, and how the next one takes its place.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use shared::{PredictionStore, StoreError};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::{
    answers::{Answers, Waiting},
    rendered::RenderError,
};

/// How soon a store that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The answers that are given now. Readers take no lock and never wait for a change.
pub(crate) struct Predictions {
    store: Arc<dyn PredictionStore>,
    answers: ArcSwap<Answers>,
    /// Held while answers are being replaced, so that an older generation cannot overtake a newer one.
    replacing: Mutex<()>,
}

/// What is served could not be brought up to date.
#[derive(Debug, Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl Predictions {
    pub(crate) fn new(store: Arc<dyn PredictionStore>) -> Self {
        Self {
            store,
            answers: ArcSwap::from_pointee(Answers::waiting(Waiting::Starting)),
            replacing: Mutex::new(()),
        }
    }

    /// The answers as they are now. One request takes them once, so that it sees one generation.
    pub(crate) fn now(&self) -> Guard<Arc<Answers>> {
        self.answers.load()
    }

    /// Refreshes whenever the store's generation changes, until the store's watch ends.
    pub(crate) async fn follow(&self) {
        let mut generations = self.store.watch();
        loop {
            // Seen before the store is read, so that a change in between is noticed.
            generations.mark_unchanged();
            if self.refresh().await.is_err() {
                tokio::time::sleep(RETRY).await;
            } else if generations.changed().await.is_err() {
                return;
            }
        }
    }

    /// Serves what the store holds now. What was served before stays if that fails, and the failure is logged.
    pub(crate) async fn refresh(&self) -> Result<(), RefreshError> {
        let _turn = self.replacing.lock().await;
        let refreshed = self.replace().await;
        if let Err(error) = &refreshed {
            tracing::error!(error = error as &dyn std::error::Error, "cannot read the published predictions");
            self.wait(Waiting::StoreUnavailable);
        }
        refreshed
    }

    async fn replace(&self) -> Result<(), RefreshError> {
        let Some(snapshot) = self.store.current().await? else {
            self.wait(Waiting::NoPredictions);
            return Ok(());
        };
        let generation = snapshot.generation;
        if self.now().generation() >= Some(generation) {
            return Ok(());
        }
        // Many assets take longer to render than a request may wait for its turn.
        let answers = tokio::task::spawn_blocking(move || Answers::render(&snapshot))
            .await
            .map_err(RenderError::from)??;
        self.answers.store(Arc::new(answers));
        tracing::info!(%generation, "serving a new generation");
        Ok(())
    }

    /// Says why nothing is served. A store that fails or was emptied takes nothing away from what is.
    fn wait(&self, reason: Waiting) {
        if self.now().served.is_none() {
            self.answers.store(Arc::new(Answers::waiting(reason)));
        }
    }
}
