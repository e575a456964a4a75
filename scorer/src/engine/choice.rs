//! Which version of a model is in force: the newest that can be read and can predict from the rows.

use std::sync::Arc;

use jiff::Timestamp;
use models::Model;
use shared::{ModelName, RejectedArtifact, ServedModel};
use tokio::task::spawn_blocking;

use super::source::{Refusal, Source};
use crate::{
    Object,
    catalogue::{Artifact, Artifacts},
    score::{ModelScores, score},
    tables::NewestRows,
};

/// A model in force, in memory.
#[derive(Clone)]
pub(super) struct InForce {
    pub(super) served: ServedModel,
    object: Object,
    model: Arc<Model>,
    /// What it says of which rows; nothing as long as there are none.
    scored: Option<(Arc<NewestRows>, Arc<ModelScores>)>,
}

/// What was chosen for one name.
pub(super) struct Choice {
    pub(super) name: ModelName,
    pub(super) in_force: Option<InForce>,
    /// Newer artifacts than the one in force, and why they are not.
    pub(super) rejected: Vec<RejectedArtifact>,
    /// Something could not be read for a reason that may pass.
    pub(super) incomplete: bool,
}

impl InForce {
    pub(super) fn scores(&self) -> Option<&ModelScores> {
        self.scored.as_ref().map(|(_, scores)| &**scores)
    }

    pub(super) fn has_predictions(&self) -> bool {
        self.scores().is_some_and(ModelScores::has_predictions)
    }

    /// Whether it can predict anything from these rows; computes.
    pub(super) fn can_use(&self, rows: &NewestRows) -> bool {
        score(&self.served.name, &self.model, rows).is_ok_and(|scores| scores.has_predictions())
    }
}

pub(super) async fn choose(
    source: Arc<Source>,
    name: ModelName,
    artifacts: Artifacts,
    current: Option<InForce>,
    rows: Option<Arc<NewestRows>>,
    versions_tried: usize,
) -> Choice {
    let mut choice = Choice { name, in_force: None, rejected: Vec::new(), incomplete: false };
    let artifacts = without_copies(&source, artifacts, &mut choice).await;
    let mut tried = 0_usize;
    for artifact in artifacts {
        let before = current.as_ref().filter(|current| current.object.key == artifact.object.key);
        // However many unusable ones came after it, what is served is not given up for them.
        if tried >= versions_tried && before.is_none() {
            continue;
        }
        tried = tried.saturating_add(1);
        let refusal = match admit(&source, &choice.name, &artifact, before, rows.as_ref()).await {
            Ok(in_force) => {
                choice.in_force = Some(in_force);
                break;
            }
            Err(refusal) => refusal,
        };
        choice.incomplete |= refusal.may_pass;
        choice.rejected.push(RejectedArtifact { key: artifact.object.key.clone(), reason: refusal.reason });
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

/// All artifacts, newest first, except a `latest` one that is a copy of another.
async fn without_copies(source: &Source, mut artifacts: Artifacts, choice: &mut Choice) -> Vec<Artifact> {
    if let Some(latest) = &artifacts.latest {
        for versioned in &artifacts.versioned {
            match source.have_same_bytes(&latest.object, &versioned.object).await {
                Ok(false) => continue,
                Ok(true) => {}
                // As long as it is not known, it is taken for what it usually is.
                Err(_) => choice.incomplete = true,
            }
            artifacts.latest = None;
            break;
        }
    }
    artifacts.newest_first()
}

/// Reads an artifact, unless it is in memory, and asks it about the rows.
async fn admit(
    source: &Source,
    name: &ModelName,
    artifact: &Artifact,
    before: Option<&InForce>,
    rows: Option<&Arc<NewestRows>>,
) -> Result<InForce, Refusal> {
    let object = &artifact.object;
    if let Some(reason) = source.known_refusal(object, rows) {
        return Err(Refusal::for_good(reason));
    }
    let candidate = match before.filter(|before| before.object == *object) {
        Some(before) => before.clone(),
        None => {
            let model = source.read_model(object).await?;
            let (name, version, loaded_at) = (name.clone(), artifact.version.clone(), Timestamp::now());
            InForce {
                served: ServedModel { name, version, loaded_at },
                object: object.clone(),
                model: Arc::new(model),
                scored: None,
            }
        }
    };
    scored(name, candidate, rows).await.inspect_err(|refusal| source.refuse(object, &refusal.reason, rows))
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
    let (name, model, asked) = (name.clone(), Arc::clone(&in_force.model), Arc::clone(rows));
    let scores = match spawn_blocking(move || score(&name, &model, &asked)).await {
        Ok(Ok(scores)) => scores,
        Ok(Err(error)) => return Err(Refusal::for_good(error.to_string())),
        Err(_) => return Err(Refusal::for_good("the model crashed while predicting")),
    };
    Ok(InForce { scored: Some((Arc::clone(rows), Arc::new(scores))), ..in_force })
}
