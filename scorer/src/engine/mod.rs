//! A reload, step by step: list the bucket, choose the rows, choose each model's version, score, publish.
//!
//! **An object** is in one of four states:
//!
//! | state | how it comes about | what follows |
//! |---|---|---|
//! | usable | it was read | it is kept in memory and not read again |
//! | refused for good | its bytes are not what they should be | listed with its reason, and not read again |
//! | unreadable until somebody acts | 403, 404, an archive, a read that took too long | listed with its reason; tried again at the reconciliation, or when somebody asks |
//! | unreadable for a while | time-outs, `SlowDown`, 500, a connection that broke | listed with one reason for all of these; tried again by the backoff |
//!
//! A published reason is the same for every try: it holds no request id. So an object that stays unreadable publishes
//! nothing new.
//!
//! **A model** whose object cannot be read keeps its last answers. A process that has read the model has it in memory. A
//! process that was restarted takes the answers from the store and marks them as stale; a fault that may pass is
//! waited for first, for a few tries.
//!
//! **A message** is done when the effect of its own changes is published, or when the store has what the bucket gives.
//! Only objects that are unreadable for a while keep their messages waiting.
//!
//! What was read once is kept in memory by the identity of its object (key, size, time and ETag), so that a reload
//! reads only what changed. Nothing that is kept is given up before the whole reload is known to succeed.

mod choice;
mod history;
mod last;
mod rows;
mod source;
mod training;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use shared::{
    AssetPredictions, Damage, Digest, Following, ModelName, ModelVersion, Object, ObjectError, ObjectStore,
    PredictionStore, PublishError, RejectedArtifact, STALE_AFTER_DAYS, ServedModel, Snapshot, StoreError,
    TraceId, mark_stale,
};
use thiserror::Error;
use tokio::{
    sync::{Mutex, watch},
    task::{JoinError, JoinSet, spawn_blocking},
};
use tracing::{Instrument, Span};

pub use self::history::{History, HistoryError, LoadedModel, Wanted};
pub use self::training::{Data, DataError, InForce, ModelInForce, TrainingRows};

use self::{
    choice::{Before, Choice, Compared, InForce as Chosen},
    last::Last,
    rows::{Rows, RowsMemory},
    source::{Lasts, Refusal, Source},
};
use crate::{
    Admission, Progress,
    catalogue::{Catalogue, FEATURES, MODELS, RAW},
    events, score,
    tables::{TableLimits, UnusableRows},
};

/// More rejected artifacts than this are counted and not named: a bucket may be full of something else.
const MAX_REJECTED: usize = 100;

/// A process that was restarted waits for so many reloads for a served model that cannot be read for a while. Then the others
/// go on, and its last answers are marked as stale.
const WAITS: usize = 3;

/// How much a reload looks at. The bucket is listed in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Objects that are new. Those that could not be read wait for their next try.
    Changed,
    /// These, and objects that could not be read for a reason that may pass.
    Retry,
    /// These, and objects that cannot be read until somebody acts.
    Everything,
}

/// The bounds of a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What reading one model may cost.
    pub model_limits: models::Limits,
    /// The largest parameter file, in bytes. It is in memory while it is read. Default 1 GiB.
    pub parameter_bytes: u64,
    /// What reading one table may cost.
    pub table_limits: TableLimits,
    /// How many objects are read at a time. Each model being read needs memory of its own beside the models in
    /// force, so this bounds the peak. Default 2.
    pub concurrent_reads: usize,
    /// When the newest version of a model or table is unusable, how many versions are tried until one is usable.
    /// What is in memory already is always considered. Default 3.
    pub versions_tried: usize,
    /// How long reading one object may take, from its first byte to the last step of interpreting it. Then it is given
    /// up. Default 2 minutes.
    pub read_timeout: Duration,
    /// How far a new version of a model may differ from the version that it replaces.
    pub admission: Admission,
    /// How many days an asset's row may lie behind the newest of all before it is marked as stale. Default
    /// [`STALE_AFTER_DAYS`].
    pub stale_after_days: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_limits: models::Limits::default(),
            parameter_bytes: 1 << 30,
            table_limits: TableLimits::default(),
            concurrent_reads: 2,
            versions_tried: 3,
            read_timeout: Duration::from_secs(120),
            admission: Admission::default(),
            stale_after_days: STALE_AFTER_DAYS,
        }
    }
}

/// Keeps a [`PredictionStore`] in step with an [`ObjectStore`], one [`reload`](Self::reload) at a time.
pub struct Engine {
    source: Arc<Source>,
    predictions: Arc<dyn PredictionStore>,
    state: Mutex<State>,
    in_force: watch::Sender<Option<Arc<InForce>>>,
}

/// What a reload leaves for the next one.
#[derive(Default)]
struct State {
    models: BTreeMap<ModelName, Chosen>,
    rows: Option<Rows>,
    memory: RowsMemory,
    newest: Option<Arc<Snapshot>>,
    /// What the store held when this process began, as long as something of it is served.
    last: Option<Arc<Last>>,
    /// The models whose last answers are served.
    carried: BTreeMap<ModelName, ModelVersion>,
    /// How many reloads have waited for a served model.
    waits: usize,
}

/// What a reload did.
#[derive(Debug, Clone)]
pub struct Reload {
    /// What is in force now.
    pub snapshot: Arc<Snapshot>,
    /// Whether the snapshot is new.
    pub publication: Publication,
    /// Which table the rows are from, for a person to read.
    pub table: Option<String>,
    /// Those of the snapshot's rejected artifacts that the snapshot before it does not list.
    pub newly_rejected: Vec<RejectedArtifact>,
    /// Rows of a newly read table that belong to no asset.
    pub newly_unusable: Vec<UnusableRows>,
    /// Something could not be read for a reason that may pass; another reload may do better.
    pub incomplete: bool,
    /// The keys of the objects that could not be read for such a reason.
    pub pending: BTreeSet<String>,
    /// The objects of models and feature tables that were there when the bucket was listed.
    listed: HashSet<Object>,
}

/// What became of a reload's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// It is the current one.
    Published,
    /// It says the same as the current one, which stays, whichever process made it.
    Unchanged,
    /// Another process has published a later one.
    Superseded,
}

/// A reload that could not be done; what was served is untouched.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The bucket could not be listed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The prediction store failed.
    #[error(transparent)]
    Predictions(#[from] StoreError),
    /// Something that is served could not be read, and nothing of it is in memory: a snapshot without it would take
    /// it away.
    #[error("not published, since {missing} could not be read and is served: {reason}")]
    Incomplete {
        /// The model, or the tables.
        missing: String,
        /// What was wrong with the first object that could not be read.
        reason: String,
    },
    /// A task of the reload ended before its time.
    #[error("the reload was interrupted")]
    Interrupted(#[from] JoinError),
}

/// Where a reload failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the bucket.
    Bucket,
    /// At the prediction store.
    Store,
    /// In this process.
    Scorer,
}

impl Place {
    /// The label of metrics and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Store => "store",
            Self::Scorer => "scorer",
        }
    }
}

impl ReloadError {
    /// Where it failed.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Objects(_) | Self::Incomplete { .. } => Place::Bucket,
            Self::Predictions(_) => Place::Store,
            Self::Interrupted(_) => Place::Scorer,
        }
    }

    /// The kind of the fault, as a label of metrics and log lines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Objects(error) => error.kind().as_str(),
            Self::Incomplete { .. } => "incomplete",
            Self::Predictions(_) => "store",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

impl Engine {
    /// An engine that has read nothing yet.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        predictions: Arc<dyn PredictionStore>,
        settings: Settings,
        progress: Progress,
    ) -> Self {
        Self {
            source: Arc::new(Source::new(objects, settings, progress)),
            predictions,
            state: Mutex::default(),
            in_force: watch::Sender::new(None),
        }
    }

    /// Looks at the whole bucket, reads what changed, scores and publishes. What was done and refused is logged.
    ///
    /// One reload runs at a time; others wait. May be cancelled: what was served then stays.
    ///
    /// # Errors
    /// The bucket cannot be listed, or the predictions cannot be published. Whatever is wrong with single objects
    /// is no error: it is listed in the snapshot's `rejected`.
    pub async fn reload(&self) -> Result<Reload, ReloadError> {
        self.reload_as(TraceId::new(), Look::Everything).await
    }

    /// As [`reload`](Self::reload), as a part of the work of this name, and looking at this much.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn reload_as(&self, trace_id: TraceId, look: Look) -> Result<Reload, ReloadError> {
        let reload = async {
            let mut state = self.state.lock().await;
            let begun = Instant::now();
            self.source.begin(look);
            self.source.progress().begin();
            let result = self.reload_from(&mut state, trace_id).await;
            self.source.progress().end();
            result.inspect(|reload| reload.emit(begun))
        };
        reload.instrument(events::span(trace_id)).await
    }

    /// What the prediction store holds, followed as it changes.
    pub fn watch(&self) -> watch::Receiver<Following> {
        self.predictions.watch()
    }

    async fn reload_from(&self, state: &mut State, trace_id: TraceId) -> Result<Reload, ReloadError> {
        // The number comes first: whoever draws a later one has seen a later bucket.
        let generation = self.predictions.next_generation().await?;
        let scored_at = Timestamp::now();
        let served = self.served(state).await?;

        let listed = [MODELS, FEATURES, RAW].map(|prefix| self.source.list(prefix));
        let mut listing = try_join_all(listed).await?.concat();
        // Of candles there is one file; what else begins like it is somebody else's.
        listing.retain(|object| !object.key.starts_with(RAW) || object.key == RAW);
        let catalogue = Catalogue::new(listing.iter().cloned());
        let mut findings = Findings::default();
        findings.reject_all(catalogue.unfit.iter().cloned());

        let newest = rows::choose(&self.source, state, &catalogue, &mut findings).await?;
        let (rows, choices) = self.choose_models(state, &served, &catalogue, newest, &mut findings).await?;
        let (mut chosen, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
        for choice in choices {
            findings.pending.extend(choice.pending);
            findings.reject_all(choice.rejected);
            unreadable.extend(choice.unreadable.map(|refusal| (choice.name.clone(), refusal)));
            chosen.extend(choice.in_force.map(|in_force| (choice.name, in_force)));
        }
        let compared = self.compare(&mut chosen, &catalogue, &mut findings).await;

        let mut known: HashSet<Object> = listing.iter().cloned().collect();
        known.extend(std::mem::take(&mut findings.listed));
        self.source.forget_all_but(&known);
        let bucket = Some(fingerprint(&known));
        let listed: HashSet<Object> = listing.into_iter().collect();
        let newly_unusable = match &rows {
            Some(rows) if !state.rows.as_ref().is_some_and(|before| before.is(rows)) => {
                rows.rows.unusable.clone()
            }
            _ => Vec::new(),
        };
        let carried = self.carried(state, &served, unreadable, &catalogue, rows.as_ref(), &findings).await;
        let carried = match carried {
            Ok(carried) => carried,
            Err(error) => {
                // The next try does not read again what could be read.
                (state.models, state.rows) = (chosen, rows);
                return Err(error);
            }
        };
        let stale_after_days = self.source.settings().stale_after_days;
        let tomorrow = scored_at.to_zoned(TimeZone::UTC).date().saturating_add(1.day());
        let scored = chosen.values().cloned().collect();
        let mut assets = assets(rows.clone(), scored, stale_after_days, tomorrow).await?;
        let mut models: Vec<ServedModel> = chosen.values().map(|in_force| in_force.served.clone()).collect();
        if let Some(last) = state.last.as_ref().filter(|_| !carried.is_empty()) {
            if rows.is_none() {
                assets = last.assets();
                shared::mark_stale(&mut assets, stale_after_days, tomorrow);
            }
            last.add(&carried, &mut assets);
            models.retain(|model| carried.iter().all(|carried| carried.name != model.name));
            models.extend(carried.iter().cloned());
            models.sort_by(|one, other| one.name.cmp(&other.name));
        }
        let incomplete = !findings.pending.is_empty();
        let pending = std::mem::take(&mut findings.pending);
        let snapshot = Snapshot {
            generation,
            scored_at,
            trace_id,
            bucket,
            models,
            rejected: findings.rejected(),
            assets,
        };
        let newly_rejected = newly_rejected(state.newest.as_deref(), &snapshot);
        let (snapshot, publication) = self.publish(snapshot).await?;

        state.carried = carried.into_iter().map(|model| (model.name, model.version)).collect();
        if state.carried.is_empty() {
            state.last = None;
        }
        state.waits = 0;
        state.models = chosen;
        state.rows = rows;
        self.in_force.send_replace(Some(Arc::new(InForce {
            models: state.models.values().map(|chosen| chosen.as_model(&compared)).collect(),
            data: state.rows.as_ref().and_then(Data::of),
            tables: catalogue.dated_tables,
        })));
        state.newest = Some(Arc::clone(&snapshot));
        Ok(Reload {
            snapshot,
            publication,
            table: state.rows.as_ref().map(|rows| rows.origin.clone()),
            newly_rejected,
            newly_unusable,
            incomplete,
            pending,
            listed,
        })
    }

    /// The versions that readers are served at the moment, where no reload of this process has come to them: what
    /// they are replaced by is held against them also after a restart.
    async fn served(&self, state: &State) -> Result<BTreeMap<ModelName, ModelVersion>, ReloadError> {
        if state.newest.is_some() {
            return Ok(state.carried.clone());
        }
        // A store that is behind is not served: readers keep what they have.
        if self.watch().borrow().damage == Some(Damage::Behind) {
            return Ok(BTreeMap::new());
        }
        let current = self.predictions.current().await?;
        let models = current.iter().flat_map(|summary| &summary.models);
        Ok(models.map(|model| (model.name.clone(), model.version.clone())).collect())
    }

    /// The models whose last answers stay, since what they are read from cannot be read.
    async fn carried(
        &self,
        state: &mut State,
        served: &BTreeMap<ModelName, ModelVersion>,
        unreadable: BTreeMap<ModelName, Refusal>,
        catalogue: &Catalogue,
        rows: Option<&Rows>,
        findings: &Findings,
    ) -> Result<Vec<ServedModel>, ReloadError> {
        let mut missing: BTreeMap<&ModelName, &Refusal> =
            unreadable.iter().filter(|(name, _)| served.contains_key(*name)).collect();
        if let Some(refusal) = findings.table.as_ref().filter(|_| rows.is_none()) {
            // Without rows no model has new answers. A model that was removed from the bucket has none at all.
            let still_there = served.keys().filter(|name| catalogue.models.contains_key(*name));
            missing.extend(still_there.map(|name| (name, refusal)));
        }
        let model = missing
            .iter()
            .find(|(name, refusal)| refusal.may_pass() && !state.carried.contains_key(**name))
            .map(|(name, refusal)| (name.to_string(), *refusal));
        // Older rows would take newer ones away.
        let first_table = findings.table.as_ref().filter(|_| state.newest.is_none() && !served.is_empty());
        let table = first_table.filter(|refusal| refusal.may_pass());
        let waited_for = model.or_else(|| Some(("the feature table".to_owned(), table?)));
        if let Some((missing, refusal)) = waited_for
            && state.waits < WAITS
        {
            state.waits = state.waits.saturating_add(1);
            return Err(ReloadError::Incomplete { missing, reason: refusal.reason.clone() });
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        if state.last.is_none() {
            state.last = Last::read(&*self.predictions).await?;
        }
        let last = state.last.as_ref();
        Ok(missing.into_iter().filter_map(|(name, refusal)| last?.served(name, &refusal.reason)).collect())
    }

    /// Chooses each model's version, and with them whether the newest rows are fit to replace those in force: they
    /// are if any model can use them.
    async fn choose_models(
        &self,
        state: &State,
        served: &BTreeMap<ModelName, ModelVersion>,
        catalogue: &Catalogue,
        newest: Option<Rows>,
        findings: &mut Findings,
    ) -> Result<(Option<Rows>, Vec<Choice>), ReloadError> {
        let versions_tried = self.source.settings().versions_tried;
        let in_force = state.rows.clone().filter(|_| state.models.values().any(Chosen::has_predictions));
        let (Some(new), Some(old)) = (&newest, in_force) else {
            let choices = self.choices(state, served, catalogue, newest.as_ref(), versions_tried).await?;
            return Ok((newest, choices));
        };
        if new.is(&old) || self.any_can_use(state, new).await? {
            let choices = self.choices(state, served, catalogue, Some(new), versions_tried).await?;
            return Ok((newest, choices));
        }
        // Newer models may have come along with the new table. Older ones are not read for its sake.
        let choices = self.choices(state, served, catalogue, Some(new), 1).await?;
        if choices.iter().filter_map(|choice| choice.in_force.as_ref()).any(Chosen::has_predictions) {
            return Ok((newest, choices));
        }
        let of_models = choices.iter().flat_map(|choice| &choice.rejected).map(|rejected| &*rejected.reason);
        let scores = choices.iter().filter_map(|choice| choice.in_force.as_ref()?.scores());
        let first_reason = of_models.chain(scores.filter_map(score::ModelScores::first_failure)).next();
        let because = first_reason.map_or_else(String::new, |reason| format!(": {reason}"));
        findings.reject(&new.origin, format!("no model can predict from this table{because}"));
        let choices = self.choices(state, served, catalogue, Some(&old), versions_tried).await?;
        Ok((Some(old), choices))
    }

    async fn any_can_use(&self, state: &State, rows: &Rows) -> Result<bool, JoinError> {
        let models: Vec<Chosen> = state.models.values().cloned().collect();
        let rows = Arc::clone(&rows.rows);
        spawn_blocking(move || models.iter().any(|in_force| in_force.can_use(&rows))).await
    }

    async fn choices(
        &self,
        state: &State,
        served: &BTreeMap<ModelName, ModelVersion>,
        catalogue: &Catalogue,
        rows: Option<&Rows>,
        versions_tried: usize,
    ) -> Result<Vec<Choice>, JoinError> {
        let mut tasks = JoinSet::new();
        for (name, artifacts) in &catalogue.models {
            let before = match (state.models.get(name), served.get(name)) {
                (Some(in_force), _) => Before::InMemory(in_force.clone()),
                (None, Some(version)) => Before::Published(version.clone()),
                (None, None) => Before::Nothing,
            };
            let choice = choice::choose(
                Arc::clone(&self.source),
                name.clone(),
                artifacts.clone(),
                before,
                rows.map(|rows| Arc::clone(&rows.rows)),
                versions_tried,
            );
            tasks.spawn(choice.instrument(Span::current()));
        }
        let mut choices = Vec::new();
        while let Some(choice) = tasks.join_next().await {
            choices.push(choice?);
        }
        choices.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(choices)
    }

    /// Notes what came of comparing models, of those in force in themselves, and until when the data of each name's
    /// newest comparison were.
    async fn compare(
        &self,
        chosen: &mut BTreeMap<ModelName, Chosen>,
        catalogue: &Catalogue,
        findings: &mut Findings,
    ) -> BTreeMap<ModelName, Compared> {
        let mut compared: BTreeMap<ModelName, Compared> = BTreeMap::new();
        for (name, chosen) in chosen {
            let Some(comparisons) = catalogue.comparisons.get(name) else { continue };
            let (mut of_chosen, mut lost) = (None, None);
            let newest = comparisons.last_key_value();
            let own = comparisons.get_key_value(&chosen.served.version);
            for (version, object) in newest.into_iter().chain(own.filter(|own| Some(*own) != newest)) {
                match self.source.comparison(object).await {
                    Ok(comparison) => {
                        if *version == chosen.served.version {
                            of_chosen = Some(Box::new((*comparison).clone()));
                        } else if *version > chosen.served.version && !comparison.accepted {
                            lost = Some(Box::new((*comparison).clone()));
                        }
                        let rows = comparison.challenger.fitted_rows.unwrap_or_default();
                        let rows = rows.saturating_add(comparison.rows);
                        let known = Compared { until: comparison.data_until, rows };
                        let most = compared.entry(name.clone()).or_insert(known);
                        *most = Compared { until: most.until.max(known.until), rows: most.rows.max(rows) };
                    }
                    Err(refusal) => {
                        findings.note_object(&object.key, &refusal);
                    }
                }
            }
            (chosen.served.comparison, chosen.served.lost) = (of_chosen, lost);
        }
        compared
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(Arc<Snapshot>, Publication), ReloadError> {
        if let Some(generation) = self.predictions.confirm(Digest::of(&snapshot)).await? {
            return Ok((Arc::new(Snapshot { generation, ..snapshot }), Publication::Unchanged));
        }
        let snapshot = Arc::new(snapshot);
        match self.predictions.publish(Arc::clone(&snapshot)).await {
            Ok(()) => Ok((snapshot, Publication::Published)),
            Err(PublishError::Superseded { .. }) => Ok((snapshot, Publication::Superseded)),
            Err(PublishError::Store(error)) => Err(error.into()),
        }
    }
}

impl Reload {
    /// Whether the bucket, when it was listed, lacked this object of a model or a feature table. Of other objects
    /// nothing is known.
    #[must_use]
    pub fn lacks(&self, key: &str) -> bool {
        (key.starts_with(MODELS) || key.starts_with(FEATURES))
            && !self.listed.iter().any(|object| object.key == key)
    }

    fn emit(&self, begun: Instant) {
        for rejected in &self.newly_rejected {
            events::Rejected(rejected).emit();
        }
        let table = self.table.as_deref();
        for rows in &self.newly_unusable {
            events::RowsWithoutAsset { table, rows }.emit();
        }
        let (publication, incomplete, took) = (self.publication, self.incomplete, begun.elapsed());
        events::Reloaded { snapshot: &self.snapshot, publication, incomplete, table, took }.emit();
    }
}

/// What a reload found wrong.
#[derive(Debug, Default)]
struct Findings {
    rejected: Vec<RejectedArtifact>,
    /// Keys of objects that could not be read for a reason that may pass.
    pending: BTreeSet<String>,
    /// A served version cannot be read.
    unreadable: bool,
    /// The first table that cannot be read.
    table: Option<Refusal>,
    /// Objects that were listed besides models, feature tables and candles.
    listed: Vec<Object>,
}

impl Findings {
    /// Notes a table that cannot be used.
    fn note_table(&mut self, key: &str, refusal: &Refusal) {
        self.note_object(key, refusal);
        if refusal.lasts != Lasts::ForGood {
            self.table.get_or_insert_with(|| refusal.clone());
        }
    }

    fn note_object(&mut self, key: &str, refusal: &Refusal) {
        if refusal.may_pass() {
            self.pending.insert(key.to_owned());
        }
        if refusal.is_reported() {
            self.reject(key, refusal.reason.clone());
        }
    }

    fn reject(&mut self, key: &str, reason: String) {
        self.rejected.push(RejectedArtifact { key: key.to_owned(), reason });
    }

    fn reject_all(&mut self, rejected: impl IntoIterator<Item = RejectedArtifact>) {
        self.rejected.extend(rejected);
    }

    /// In the order of their keys, and not too many.
    fn rejected(mut self) -> Vec<RejectedArtifact> {
        self.rejected.sort_by(|one, other| one.key.cmp(&other.key));
        self.rejected.dedup();
        let others = self.rejected.len().saturating_sub(MAX_REJECTED);
        self.rejected.truncate(MAX_REJECTED);
        if others > 0 {
            self.reject("…", format!("and {others} more objects"));
        }
        self.rejected
    }
}

/// Fingerprint of a listing.
fn fingerprint(listed: &HashSet<Object>) -> u64 {
    // In an order of its own, since a set has another one each time. Two builds may hash differently, which ends a rollback.
    let listed: BTreeMap<&str, &Object> = listed.iter().map(|object| (object.key.as_str(), object)).collect();
    let mut hasher = DefaultHasher::new();
    for object in listed.values() {
        object.hash(&mut hasher);
    }
    hasher.finish()
}

async fn assets(
    rows: Option<Rows>,
    chosen: Vec<Chosen>,
    stale_after_days: u16,
    tomorrow: Date,
) -> Result<BTreeMap<shared::Asset, AssetPredictions>, JoinError> {
    let Some(rows) = rows else { return Ok(BTreeMap::new()) };
    spawn_blocking(move || {
        let scored: Vec<(&ServedModel, &score::ModelScores)> =
            chosen.iter().filter_map(|in_force| Some((&in_force.served, in_force.scores()?))).collect();
        let mut assets = score::by_asset(&rows.rows, &scored);
        mark_stale(&mut assets, stale_after_days, tomorrow);
        assets
    })
    .await
}

fn newly_rejected(before: Option<&Snapshot>, snapshot: &Snapshot) -> Vec<RejectedArtifact> {
    let known: BTreeSet<(&str, &str)> = before
        .iter()
        .flat_map(|before| &before.rejected)
        .map(|rejected| (rejected.key.as_str(), rejected.reason.as_str()))
        .collect();
    let is_new =
        |rejected: &&RejectedArtifact| !known.contains(&(rejected.key.as_str(), rejected.reason.as_str()));
    snapshot.rejected.iter().filter(is_new).cloned().collect()
}
