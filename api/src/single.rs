//! Answers that are read one by one, because all of them together take more memory than they may.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use shared::{AnswerError, Asset, Generation, PredictionStore, Summary};
use thiserror::Error;

use crate::{
    events::CacheAsked,
    rendered::{RenderError, Rendered},
};

/// An answer never changes, so nothing in here is ever wrong; what nobody asks for any more makes room.
type Key = (Generation, Asset);

/// An answer, or that the generation has no such asset, which is not asked twice either.
type Answer = Option<Arc<Rendered>>;

/// Answers that were asked for lately, by generation and asset.
#[derive(Debug)]
pub(crate) struct SingleAnswers(Cache<Key, Answer, Bytes>);

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Key, Answer> for Bytes {
    fn weight(&self, _: &Key, answer: &Answer) -> u64 {
        answer.as_ref().map_or(Rendered::OVERHEAD_BYTES, |answer| answer.bytes())
    }
}

/// An answer could not be had.
#[derive(Debug, Error)]
pub(crate) enum SingleError {
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl SingleAnswers {
    /// A cache that takes so many bytes at most.
    pub(crate) fn new(budget: u64) -> Self {
        // Only how the cache is divided depends on the number.
        let about = usize::try_from(budget / (2 * Rendered::OVERHEAD_BYTES)).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(about, budget, Bytes))
    }

    /// One answer of a generation. Those who ask for the same one at the same time wait for one reading; when that
    /// fails or is given up, the next of them reads.
    pub(crate) async fn get(
        &self,
        store: &dyn PredictionStore,
        summary: &Summary,
        asset: &Asset,
    ) -> Result<Answer, SingleError> {
        let key = (summary.generation, asset.clone());
        let mut hit = true;
        let read = async {
            hit = false;
            let Some(body) = store.answer(summary, asset).await? else { return Ok(None) };
            let rendered = Rendered::dated(body, summary.scored_at).map_err(RenderError::from)?;
            Ok(Some(Arc::new(rendered)))
        };
        let answer = self.0.get_or_insert_async(&key, read).await;
        CacheAsked { hit }.emit();
        answer
    }

    /// How many bytes the answers take.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// Makes room for what is kept elsewhere now.
    pub(crate) fn clear(&self) {
        if !self.0.is_empty() {
            self.0.clear();
        }
    }
}
