//! Which version of a model is in force: the newest that can be read, can predict from the rows, and does not say
//! something altogether different from the version that it replaces.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use models::Model;
use shared::{ModelName, ModelVersion, Object, RejectedArtifact, ServedModel};
use tokio::task::spawn_blocking;

use super::{
    source::{Lasts, Refusal, Source},
    training::ModelInForce,
};
use crate::{
    catalogue::{Artifact, Artifacts},
    events,
    score::{ModelScores, score},
    tables::NewestRows,
};

/// A model in force, in memory.
#[derive(Clone)]
pub(super) struct InForce {
    pub(super) served: ServedModel,
    pub(super) object: Object,
    pub(super) model: Arc<Model>,
    /// What it says of which rows; nothing as long as there are none.
    scored: Option<(Arc<NewestRows>, Arc<ModelScores>)>,
}

/// What is known of the version in force before the choice.
pub(super) enum Before {
    /// There is none.
    Nothing,
    /// An earlier reload of this process chose it.
    InMemory(InForce),
    /// Readers are served it, and this process has not read it.
    Published(ModelVersion),
}

/// The data on which models of a name were compared: until when, and the most rows.
#[derive(Clone, Copy)]
pub(super) struct Compared {
    pub(super) until: Date,
    pub(super) rows: usize,
}

/// What was chosen for one name.
pub(super) struct Choice {
    pub(super) name: ModelName,
    pub(super) in_force: Option<InForce>,
    /// Newer artifacts than the one in force, and why they are not.
    pub(super) rejected: Vec<RejectedArtifact>,
    /// Keys of artifacts that could not be read for a reason that may pass.
    pub(super) pending: Vec<String>,
    /// Why the version that readers are served cannot be read. Then nothing is in force: an older version would take a
    /// newer one away, and its last answers stay.
    pub(super) unreadable: Option<Refusal>,
}

impl Choice {
    fn note(&mut self, key: &str, refusal: &Refusal) {
        if refusal.may_pass() {
            self.pending.push(key.to_owned());
        }
        if refusal.is_reported() {
            self.rejected.push(RejectedArtifact { key: key.to_owned(), reason: refusal.reason.clone() });
        }
    }
}

impl InForce {
    pub(super) fn scores(&self) -> Option<&ModelScores> {
        self.scored.as_ref().map(|(_, scores)| &**scores)
    }

    /// As it is shown to retraining.
    pub(super) fn as_model(&self, compared: &BTreeMap<ModelName, Compared>) -> ModelInForce {
        let known = compared.get(&self.served.name);
        let own = self.served.comparison.as_ref();
        ModelInForce {
            trained_until: own.map_or_else(
                || self.served.version.trained_at().to_zoned(TimeZone::UTC).date(),
                |comparison| comparison.data_until,
            ),
            served: self.served.clone(),
            model: Arc::clone(&self.model),
            compared_until: known.map(|known| known.until),
            compared_rows: known.map_or(0, |known| known.rows),
        }
    }

    pub(super) fn has_predictions(&self) -> bool {
        self.scores().is_some_and(ModelScores::has_predictions)
    }

    /// Whether it can predict anything from these rows; computes.
    pub(super) fn can_use(&self, rows: &NewestRows) -> bool {
        score(&self.served.name, &self.model, &rows.table).is_ok_and(|scores| scores.has_predictions())
    }
}

pub(super) async fn choose(
    source: Arc<Source>,
    name: ModelName,
    artifacts: Artifacts,
    before: Before,
    rows: Option<Arc<NewestRows>>,
    versions_tried: usize,
) -> Choice {
    let mut choice =
        Choice { name, in_force: None, rejected: Vec::new(), pending: Vec::new(), unreadable: None };
    let artifacts = without_copies(&source, artifacts, &mut choice).await;
    let served = match &before {
        Before::Published(version) => Some(version.clone()),
        _ => None,
    };
    let current = match before {
        Before::Nothing => None,
        Before::InMemory(in_force) => Some(in_force),
        Before::Published(version) => {
            match published(&source, &choice.name, &artifacts, &version, rows.as_ref()).await {
                Ok(published) => published,
                Err(refusal) if refusal.may_pass() => {
                    // Without it, nothing can be held against a newer version.
                    choice.pending = artifacts.into_iter().map(|artifact| artifact.object.key).collect();
                    choice.unreadable = Some(refusal);
                    return choice;
                }
                Err(_) => None,
            }
        }
    };
    // A version that was removed from the bucket was removed on purpose: whatever is left takes its place.
    let guard = current
        .as_ref()
        .filter(|current| artifacts.iter().any(|artifact| artifact.object.key == current.object.key));
    let mut tried = 0_usize;
    for artifact in artifacts {
        let before = current.as_ref().filter(|current| current.object.key == artifact.object.key);
        // However many unusable ones came after it, what is served is not given up for them.
        if tried >= versions_tried && before.is_none() {
            continue;
        }
        tried = tried.saturating_add(1);
        let refusal = match admit(&source, &choice.name, &artifact, before, guard, rows.as_ref()).await {
            Ok(in_force) => {
                choice.in_force = Some(in_force);
                break;
            }
            Err(refusal) => refusal,
        };
        choice.note(&artifact.object.key, &refusal);
        if served.as_ref() == Some(&artifact.version) && refusal.lasts != Lasts::ForGood {
            choice.unreadable = Some(refusal);
            break;
        }
        // What was read under this key is overwritten by something unusable: it stays, from memory.
        if let Some(before) = before.filter(|before| before.object != artifact.object) {
            let stays = scored(&choice.name, before.clone(), rows.as_ref()).await;
            if let Ok(stays) = stays {
                choice.in_force = Some(stays);
                break;
            }
        }
    }
    choice
}

/// All artifacts, newest first, except `latest` ones that are copies of another.
async fn without_copies(source: &Source, mut artifacts: Artifacts, choice: &mut Choice) -> Vec<Artifact> {
    let mut kept = Vec::new();
    for latest in std::mem::take(&mut artifacts.latest) {
        let mut is_a_copy = false;
        for versioned in &artifacts.versioned {
            // As long as it is not known, it is taken for what it usually is.
            is_a_copy =
                source.have_same_bytes(&latest.object, &versioned.object).await.unwrap_or_else(|refusal| {
                    if refusal.may_pass() {
                        choice.pending.push(latest.object.key.clone());
                    } else {
                        choice.note(&latest.object.key, &refusal);
                    }
                    true
                });
            if is_a_copy {
                break;
            }
        }
        if !is_a_copy {
            kept.push(latest);
        }
    }
    artifacts.latest = kept;
    artifacts.newest_first()
}

/// The version that readers are served, if newer ones are to be held against it.
async fn published(
    source: &Source,
    name: &ModelName,
    artifacts: &[Artifact],
    version: &ModelVersion,
    rows: Option<&Arc<NewestRows>>,
) -> Result<Option<InForce>, Refusal> {
    let place = artifacts.iter().position(|artifact| artifact.version == *version);
    let Some(artifact) = place.filter(|place| *place > 0).and_then(|place| artifacts.get(place)) else {
        return Ok(None);
    };
    let in_force = read(source, name, artifact).await?;
    scored(name, in_force, rows).await.map(Some)
}

/// Reads an artifact, unless it is in memory, asks it about the rows, and holds its answers against those of the
/// version in force.
async fn admit(
    source: &Source,
    name: &ModelName,
    artifact: &Artifact,
    before: Option<&InForce>,
    guard: Option<&InForce>,
    rows: Option<&Arc<NewestRows>>,
) -> Result<InForce, Refusal> {
    let object = &artifact.object;
    let held_against = guard.map(|guard| &guard.object);
    if let Some(reason) = source.known_refusal(object, rows, held_against) {
        return Err(Refusal::for_good(reason));
    }
    let admitted = async {
        let candidate = match before.filter(|before| before.object == *object) {
            Some(before) => before.clone(),
            None => read(source, name, artifact).await?,
        };
        let candidate = scored(name, candidate, rows).await?;
        let Some(guard) = guard.filter(|guard| guard.object != *object) else { return Ok(candidate) };
        // If the version in force cannot predict from these rows, there is nothing to lose.
        if let Ok(guard) = scored(name, guard.clone(), rows).await
            && let (Some(new), Some(old)) = (candidate.scores(), guard.scores())
        {
            let check = source.settings().admission.check(new, old);
            check.map_err(|error| Refusal::for_good(error.to_string()))?;
        }
        Ok(candidate)
    };
    admitted.await.inspect_err(|refusal: &Refusal| {
        if refusal.lasts == Lasts::ForGood {
            source.refuse(object, &refusal.reason, rows, held_against);
        }
    })
}

pub(super) async fn read(source: &Source, name: &ModelName, artifact: &Artifact) -> Result<InForce, Refusal> {
    let (object, begun) = (&artifact.object, Instant::now());
    let model = source.read_model(object).await?;
    events::ModelLoaded { model: name, key: &object.key, bytes: object.size, took: begun.elapsed() }.emit();
    Ok(InForce {
        served: ServedModel {
            name: name.clone(),
            version: artifact.version.clone(),
            loaded_at: Timestamp::now(),
            comparison: None,
            lost: None,
            stale: None,
        },
        object: object.clone(),
        model: Arc::new(model),
        scored: None,
    })
}

/// The same model with what it says of the rows.
async fn scored(
    name: &ModelName,
    in_force: InForce,
    rows: Option<&Arc<NewestRows>>,
) -> Result<InForce, Refusal> {
    let Some(rows) = rows else { return Ok(InForce { scored: None, ..in_force }) };
    if in_force.scored.as_ref().is_some_and(|(before, _)| Arc::ptr_eq(before, rows)) {
        return Ok(in_force);
    }
    let (asks, model, asked) = (name.clone(), Arc::clone(&in_force.model), Arc::clone(rows));
    let begun = Instant::now();
    let scores = match spawn_blocking(move || score(&asks, &model, &asked.table)).await {
        Ok(Ok(scores)) => scores,
        Ok(Err(error)) => return Err(Refusal::for_good(error.to_string())),
        Err(_) => return Err(Refusal::for_good("the model crashed while predicting")),
    };
    events::ModelScored { model: name, assets: rows.assets.len(), took: begun.elapsed() }.emit();
    Ok(InForce { scored: Some((Arc::clone(rows), Arc::new(scores))), ..in_force })
}
