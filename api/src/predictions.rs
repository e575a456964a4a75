//! The generation that is served now, and how the next one takes its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use shared::{AnswerError, Asset, Damage, Following, PredictionStore, StoreError, Summary};
use thiserror::Error;
use tokio::{
    sync::{self, oneshot, watch},
    time::{sleep, timeout},
};

use crate::{
    Settings,
    answers::{self, Answers, Served, Symbols, Trouble, Waiting},
    columns::Columns,
    events::{AnswerUnreadable, GenerationServed, GenerationUnreadable},
    many::Many,
    rendered::{RenderError, Rendered},
    single::{SingleAnswers, SingleError},
};

/// How soon a store that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How many answers of one request are read from the store at once.
const READS_AT_ONCE: usize = 16;

/// How many generations in turn may be gone before they were read, in one attempt to read the current one.
const MAX_GONE: usize = 5;

/// The answers that are given now. Readers of what is in memory take no lock and never wait for a change.
pub(crate) struct Predictions {
    store: Arc<dyn PredictionStore>,
    following: watch::Receiver<Following>,
    answers: ArcSwap<Answers>,
    /// Tells that another generation is served.
    served: watch::Sender<()>,
    /// Held while answers are being replaced, so that what was read first cannot overtake what was read later.
    replacing: sync::Mutex<()>,
    /// Why the last look into the store brought nothing, and since when none has.
    trouble: Mutex<Option<Trouble>>,
    single: SingleAnswers,
    memory_budget: u64,
    store_wait: Duration,
}

/// What is served could not be brought up to date.
#[derive(Debug, Error)]
pub(crate) enum RefreshError {
    #[error(transparent)]
    Answers(#[from] AnswerError),
    #[error(transparent)]
    Render(#[from] RenderError),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> Self {
        Self::Answers(error.into())
    }
}

/// There is no answer for one who asked. Why, has been logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// There was no generation yet.
    NothingServed,
    /// The store did not give it, or not in time.
    StoreUnavailable,
    /// It takes all answers in memory, and they have no room there.
    NotInMemory,
}

/// An answer that may have to be read from the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// Of all assets.
    List,
    Symbol(&'a Asset),
}

impl<'a> Asked<'a> {
    fn asset(self) -> Option<&'a Asset> {
        match self {
            Asked::List => None,
            Asked::Symbol(asset) => Some(asset),
        }
    }
}

impl Predictions {
    pub(crate) fn new(store: Arc<dyn PredictionStore>, settings: &Settings) -> Self {
        Self {
            following: store.watch(),
            store,
            answers: ArcSwap::from_pointee(Answers::Waiting(Waiting::Starting)),
            served: watch::Sender::new(()),
            replacing: sync::Mutex::new(()),
            trouble: Mutex::new(None),
            single: SingleAnswers::new(settings.memory_budget),
            memory_budget: settings.memory_budget,
            store_wait: settings.store_wait,
        }
    }

    /// The answers as they are now. One request takes them once, so that it sees one generation.
    pub(crate) fn now(&self) -> Guard<Arc<Answers>> {
        self.answers.load()
    }

    /// Changes whenever another generation is served.
    pub(crate) fn served(&self) -> watch::Receiver<()> {
        self.served.subscribe()
    }

    /// Why what is served may not be the newest.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.unreachable_since().map(Trouble::Unreachable).or(*self.last_trouble())
    }

    pub(crate) fn unreachable_since(&self) -> Option<Timestamp> {
        self.following.borrow().unreachable_since
    }

    /// How many bytes of memory the answers take, as they are counted against the budget.
    pub(crate) fn answer_bytes(&self) -> u64 {
        let now = self.now();
        let whole = now.served().filter(|served| matches!(served.symbols, Symbols::InMemory { .. }));
        whole.map_or(0, |served| Served::bytes_in_memory(&served.summary)).saturating_add(self.single.bytes())
    }

    /// An answer, from memory or from the store; nothing if the asset is not known.
    pub(crate) async fn answer(&self, asked: Asked<'_>) -> Result<Option<Arc<Rendered>>, Unanswered> {
        let reading = async {
            loop {
                let answers = self.answers.load_full();
                let served = answers.served().ok_or(Unanswered::NothingServed)?;
                let error = match self.read(served, asked).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                self.next_generation(&answers, asked.asset(), &error).await?;
            }
        };
        timeout(self.store_wait, reading).await.unwrap_or_else(|elapsed| {
            self.log_unanswered(asked.asset(), &elapsed);
            Err(Unanswered::StoreUnavailable)
        })
    }

    /// The answers for many assets, all of one generation.
    pub(crate) async fn many<'a>(&self, assets: &'a BTreeSet<Asset>) -> Result<Many<'a>, Unanswered> {
        let reading = async {
            loop {
                let answers = self.answers.load_full();
                let served = answers.served().ok_or(Unanswered::NothingServed)?;
                let error = match self.read_many(served, assets).await {
                    Ok(answers) => return Ok(Many { summary: Arc::clone(&served.summary), answers }),
                    Err(error) => error,
                };
                self.next_generation(&answers, None, &error).await?;
            }
        };
        timeout(self.store_wait, reading).await.unwrap_or_else(|elapsed| {
            self.log_unanswered(None, &elapsed);
            Err(Unanswered::StoreUnavailable)
        })
    }

    /// All answers side by side. Whoever asks first waits for them to be read.
    pub(crate) async fn columns(&self) -> Result<Arc<Columns>, Unanswered> {
        let answers = self.answers.load_full();
        let served = answers.served().ok_or(Unanswered::NothingServed)?;
        let Symbols::InMemory { columns, .. } = &served.symbols else { return Err(Unanswered::NotInMemory) };
        let read = async {
            let answers = Arc::clone(&answers);
            let reading = tokio::task::spawn_blocking(move || match answers.served() {
                Some(Served { summary, symbols: Symbols::InMemory { by_asset, .. }, .. }) => {
                    Columns::read(Arc::clone(summary), by_asset).map(Arc::new).map_err(Some)
                }
                _ => Err(None),
            });
            reading.await.map_err(|abandoned| Some(RenderError::from(abandoned)))?
        };
        columns.get_or_try_init(|| read).await.cloned().map_err(|error| {
            if let Some(error) = error {
                self.log_unanswered(None, &error);
            }
            Unanswered::StoreUnavailable
        })
    }

    /// After an answer could not be read: is there another generation by now, which may have it?
    async fn next_generation(
        &self,
        answers: &Arc<Answers>,
        asset: Option<&Asset>,
        error: &SingleError,
    ) -> Result<(), Unanswered> {
        if let SingleError::Answer(AnswerError::Gone(_)) = error {
            self.refresh().await.map_err(|_| Unanswered::StoreUnavailable)?;
            // Each round is of another generation, so that this ends.
            if !Arc::ptr_eq(answers, &self.now()) {
                return Ok(());
            }
        }
        self.log_unanswered(asset, error);
        Err(Unanswered::StoreUnavailable)
    }

    async fn read_many<'a>(
        &self,
        served: &Served,
        assets: &'a BTreeSet<Asset>,
    ) -> Result<BTreeMap<&'a Asset, Option<Bytes>>, SingleError> {
        let mut answers = BTreeMap::new();
        match &served.symbols {
            Symbols::InMemory { by_asset, .. } => {
                let body = |asset| by_asset.get(asset).map(|answer| answer.body().clone());
                answers.extend(assets.iter().map(|asset| (asset, body(asset))));
            }
            Symbols::InStore { .. } => {
                let mut left = assets.iter();
                loop {
                    let some: Vec<&Asset> = left.by_ref().take(READS_AT_ONCE).collect();
                    if some.is_empty() {
                        break;
                    }
                    let reads =
                        some.iter().map(|asset| self.single.get(&*self.store, &served.summary, asset));
                    let read = try_join_all(reads).await?;
                    let bodies = read.into_iter().map(|answer| answer.map(|answer| answer.body().clone()));
                    answers.extend(some.into_iter().zip(bodies));
                }
            }
        }
        Ok(answers)
    }

    async fn read(&self, served: &Served, asked: Asked<'_>) -> Result<Option<Arc<Rendered>>, SingleError> {
        match (&served.symbols, asked) {
            (Symbols::InMemory { list, .. }, Asked::List) => Ok(Some(Arc::clone(list))),
            (Symbols::InMemory { by_asset, .. }, Asked::Symbol(asset)) => {
                Ok(by_asset.get(asset).cloned().map(Arc::new))
            }
            (Symbols::InStore { list }, Asked::List) => {
                let list = list.get_or_try_init(|| self.read_list(&served.summary)).await?;
                Ok(Some(Arc::clone(list)))
            }
            (Symbols::InStore { .. }, Asked::Symbol(asset)) => {
                self.single.get(&*self.store, &served.summary, asset).await
            }
        }
    }

    async fn read_list(&self, summary: &Arc<Summary>) -> Result<Arc<Rendered>, SingleError> {
        let assets = self.store.assets(summary).await?;
        let summary = Arc::clone(summary);
        // A list of a million takes a while to compress.
        let list = tokio::task::spawn_blocking(move || answers::list(&summary, &assets));
        Ok(Arc::new(list.await.map_err(RenderError::from)??))
    }

    fn log_unanswered(&self, asset: Option<&Asset>, error: &(dyn std::error::Error + 'static)) {
        AnswerUnreadable { asset, error, known: self.unreachable_since().is_some() }.emit();
    }

    /// Refreshes whenever the store tells of a change, until it tells nothing any more. `looked` is told of the
    /// first look into the store, whatever came of it.
    pub(crate) async fn follow(&self, looked: oneshot::Sender<()>) {
        let mut looked = Some(looked);
        let mut following = self.following.clone();
        loop {
            // Seen before the store is read, so that a change in between is noticed.
            following.mark_unchanged();
            let refreshed = self.refresh().await;
            if let Some(looked) = looked.take() {
                // Nobody waits that long.
                let _ = looked.send(());
            }
            if refreshed.is_err() {
                sleep(RETRY).await;
            } else if following.changed().await.is_err() {
                return;
            }
        }
    }

    /// Serves what the store holds now. What was served before stays if that fails, and the failure is logged.
    pub(crate) async fn refresh(&self) -> Result<(), RefreshError> {
        let _turn = self.replacing.lock().await;
        let refreshed = self.replace().await;
        if let Err(error) = &refreshed {
            let since = match *self.last_trouble() {
                Some(Trouble::Unreadable(since) | Trouble::Behind(since)) => Some(since),
                _ => None,
            };
            let known = since.is_some() || self.unreachable_since().is_some();
            GenerationUnreadable { error, known }.emit();
            let since = since.unwrap_or_else(Timestamp::now);
            let is_behind = self.following.borrow().damage == Some(Damage::Behind);
            let trouble = if is_behind { Trouble::Behind(since) } else { Trouble::Unreadable(since) };
            *self.last_trouble() = Some(trouble);
            self.wait(Waiting::StoreUnavailable);
        }
        refreshed
    }

    async fn replace(&self) -> Result<(), RefreshError> {
        let begun = Instant::now();
        let mut gone = 0;
        let answers = loop {
            let Some(summary) = self.store.current().await? else {
                self.nothing_published();
                return Ok(());
            };
            // Not only a larger number is news: an operator may have taken a generation back.
            if self.now().served().is_some_and(|served| *served.summary == *summary) {
                break None;
            }
            match self.load(summary).await {
                Err(RefreshError::Answers(AnswerError::Gone(_))) if gone < MAX_GONE => gone += 1,
                loaded => break Some(loaded?),
            }
        };
        *self.last_trouble() = None;
        let Some(served) = answers else { return Ok(()) };
        let summary = Arc::clone(&served.summary);
        let mode = match &served.symbols {
            Symbols::InMemory { .. } => "memory",
            Symbols::InStore { .. } => "single",
        };
        let is_whole = matches!(served.symbols, Symbols::InMemory { .. });
        self.answers.store(Arc::new(Answers::Serving(served)));
        self.served.send_replace(());
        if is_whole {
            self.single.clear();
        }
        GenerationServed { summary: &summary, mode, elapsed: begun.elapsed() }.emit();
        Ok(())
    }

    async fn load(&self, summary: Arc<Summary>) -> Result<Served, RefreshError> {
        if Served::bytes_in_memory(&summary) > self.memory_budget {
            return Ok(Served::in_store(summary)?);
        }
        let answers = self.store.answers(&summary).await?;
        // Many assets take longer to render than a request may wait for its turn.
        let rendering = tokio::task::spawn_blocking(move || Served::in_memory(summary, answers));
        Ok(rendering.await.map_err(RenderError::from)??)
    }

    fn nothing_published(&self) {
        let mut trouble = self.last_trouble();
        if !matches!(*trouble, Some(Trouble::Emptied(_))) {
            *trouble = Some(Trouble::Emptied(Timestamp::now()));
        }
        drop(trouble);
        self.wait(Waiting::NoPredictions);
    }

    /// Says why nothing is served. A store that fails or was emptied takes nothing away from what is.
    fn wait(&self, reason: Waiting) {
        if self.now().served().is_none() {
            self.answers.store(Arc::new(Answers::Waiting(reason)));
        }
    }

    fn last_trouble(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        // One value, set at once: nothing can be half-done.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
