//! A reload, step by step: list the bucket, choose the rows, choose each model's version, score, publish.
//!
//! What was read once is kept in memory by the identity of its object (key, size, time and ETag), so that a reload
//! reads only what changed. Nothing that is kept is given up before the whole reload is known to succeed.

mod choice;
mod history;
mod rows;
mod source;
mod training;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Instant,
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
    rows::{Rows, RowsMemory},
    source::Source,
};
use crate::{
    Admission, Progress,
    catalogue::{Catalogue, FEATURES, MODELS, RAW},
    events, score,
    tables::{TableLimits, UnusableRows},
};

/// More rejected artifacts than this are counted and not named: a bucket may be full of something else.
const MAX_REJECTED: usize = 100;

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
        self.reload_as(TraceId::new()).await
    }

    /// As [`reload`](Self::reload), as a part of the work of this name.
    ///
    /// # Errors
    /// As [`reload`](Self::reload).
    pub async fn reload_as(&self, trace_id: TraceId) -> Result<Reload, ReloadError> {
        let reload = async {
            let mut state = self.state.lock().await;
            let begun = Instant::now();
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
        let mut chosen = BTreeMap::new();
        for choice in choices {
            findings.incomplete |= choice.incomplete;
            findings.reject_all(choice.rejected);
            chosen.extend(choice.in_force.map(|in_force| (choice.name, in_force)));
        }
        let compared = self.compare(&mut chosen, &catalogue, &mut findings).await;

        let listed: HashSet<Object> = listing.into_iter().collect();
        self.source.forget_all_but(&listed);
        let newly_unusable = match &rows {
            Some(rows) if !state.rows.as_ref().is_some_and(|before| before.is(rows)) => {
                rows.rows.unusable.clone()
            }
            _ => Vec::new(),
        };
        let incomplete = findings.incomplete;
        if incomplete {
            let missing = served.keys().find(|name| !chosen.contains_key(name)).map(ToString::to_string);
            let no_rows = (rows.is_none() && !served.is_empty()).then(|| "the feature table".to_owned());
            if let Some(missing) = missing.or(no_rows) {
                // The next try does not read again what could be read.
                (state.models, state.rows) = (chosen, rows);
                let reason = findings.rejected().into_iter().next();
                let reason =
                    reason.map_or_else(String::new, |first| format!("{}: {}", first.key, first.reason));
                return Err(ReloadError::Incomplete { missing, reason });
            }
        }
        let stale_after_days = self.source.settings().stale_after_days;
        let tomorrow = scored_at.to_zoned(TimeZone::UTC).date().saturating_add(1.day());
        let snapshot = Snapshot {
            generation,
            scored_at,
            trace_id,
            models: chosen.values().map(|in_force| in_force.served.clone()).collect(),
            rejected: findings.rejected(),
            assets: assets(rows.clone(), chosen.values().cloned().collect(), stale_after_days, tomorrow)
                .await?,
        };
        let newly_rejected = newly_rejected(state.newest.as_deref(), &snapshot);
        let (snapshot, publication) = self.publish(snapshot).await?;

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
            listed,
        })
    }

    /// The versions that readers are served at the moment, where no reload of this process has come to them: what
    /// they are replaced by is held against them also after a restart.
    async fn served(&self, state: &State) -> Result<BTreeMap<ModelName, ModelVersion>, ReloadError> {
        // A store that is behind is not served: readers keep what they have.
        let is_behind = self.watch().borrow().damage == Some(Damage::Behind);
        if state.newest.is_some() || is_behind {
            return Ok(BTreeMap::new());
        }
        let current = self.predictions.current().await?;
        let models = current.iter().flat_map(|summary| &summary.models);
        Ok(models.map(|model| (model.name.clone(), model.version.clone())).collect())
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
        let first_reason = choices.iter().flat_map(|choice| &choice.rejected).next();
        let because = first_reason.map_or_else(String::new, |rejected| format!(": {}", rejected.reason));
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
                        findings.reject(&object.key, refusal.reason);
                        findings.incomplete |= refusal.may_pass;
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
    incomplete: bool,
}

impl Findings {
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
