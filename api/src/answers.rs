//! The bodies of one generation's answers.

use std::collections::{BTreeMap, HashMap};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use shared::{
    Asset, Generation, ModelName, RejectedArtifact, Snapshot,
    answer::{SymbolAnswer, whole_seconds},
};

use crate::rendered::{Momentary, RenderError, Rendered};

/// Everything that can be asked about one state of the store. It is replaced as a whole, so that no two answers
/// that were taken from it can be of different generations.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) health: Momentary,
    /// What is said when a reload has succeeded.
    pub(crate) reloaded: Momentary,
    /// Nothing before the first generation.
    pub(crate) served: Option<Served>,
}

/// The answers of one generation.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) generation: Generation,
    pub(crate) models: Rendered,
    pub(crate) symbols: Rendered,
    pub(crate) by_asset: HashMap<Asset, Rendered>,
}

/// Why nothing is served.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    /// The store has not been asked yet.
    Starting,
    /// The store was asked and could not answer.
    StoreUnavailable,
    /// The store holds no prediction.
    NoPredictions,
}

/// `GET /health`.
#[derive(Serialize)]
struct Health<'a> {
    status: &'static str,
    models_loaded: bool,
    total_models: usize,
    models: Vec<&'a ModelName>,
    versions: BTreeMap<&'a ModelName, &'a str>,
    /// Why the status is not `healthy`, for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// `GET /models`.
#[derive(Serialize)]
struct Models<'a> {
    total_models: usize,
    models: Vec<&'a ModelName>,
    versions: BTreeMap<&'a ModelName, &'a str>,
    /// When the newest of them was read.
    last_loaded: Option<Second>,
    rejected: &'a [RejectedArtifact],
    #[serde(flatten)]
    origin: Origin,
}

/// `GET /symbols`.
#[derive(Serialize)]
struct Symbols<'a> {
    total_symbols: usize,
    symbols: Vec<&'a Asset>,
    #[serde(flatten)]
    origin: Origin,
}

/// `GET /reload`.
#[derive(Serialize)]
struct Reloaded<'a> {
    message: &'static str,
    total_models: usize,
    models: &'a [&'a ModelName],
}

/// Which snapshot an answer was made of.
#[derive(Clone, Copy, Serialize)]
struct Origin {
    timestamp: Second,
    geracao: Generation,
}

/// An instant as the documentation shows it.
#[derive(Clone, Copy, Serialize)]
#[serde(transparent)]
struct Second(#[serde(serialize_with = "whole_seconds")] Timestamp);

impl Waiting {
    fn status(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::StoreUnavailable => "store_unavailable",
            Self::NoPredictions => "no_predictions",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Starting => "o serviço está iniciando",
            Self::StoreUnavailable => "não foi possível ler as previsões publicadas",
            Self::NoPredictions => "ainda não há previsões publicadas",
        }
    }
}

impl Reloaded<'_> {
    fn render(models: &[&ModelName]) -> Momentary {
        let answer =
            Reloaded { message: "Modelos recarregados com sucesso", total_models: models.len(), models };
        Momentary::json(StatusCode::OK, &answer)
    }
}

impl Answers {
    /// The answers while there is no generation to serve.
    pub(crate) fn waiting(reason: Waiting) -> Self {
        let health = Health {
            status: reason.status(),
            models_loaded: false,
            total_models: 0,
            models: Vec::new(),
            versions: BTreeMap::new(),
            detail: Some(reason.detail()),
            origin: None,
        };
        Self {
            health: Momentary::json(StatusCode::SERVICE_UNAVAILABLE, &health),
            reloaded: Reloaded::render(&[]),
            served: None,
        }
    }

    /// The generation that is served, if one is.
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.served.as_ref().map(|served| served.generation)
    }

    /// All answers of a snapshot.
    pub(crate) fn render(snapshot: &Snapshot) -> Result<Self, RenderError> {
        let models: Vec<&ModelName> = snapshot.models.iter().map(|model| &model.name).collect();
        let versions: BTreeMap<_, _> =
            snapshot.models.iter().map(|model| (&model.name, model.version.as_str())).collect();
        let origin = Origin { timestamp: Second(snapshot.scored_at), geracao: snapshot.generation };
        let problem = (!snapshot.has_predictions()).then_some(Waiting::NoPredictions);

        let health = Health {
            status: problem.map_or("healthy", Waiting::status),
            models_loaded: !models.is_empty(),
            total_models: models.len(),
            models: models.clone(),
            versions: versions.clone(),
            detail: problem.map(Waiting::detail),
            origin: Some(origin),
        };
        let health_status = if problem.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let symbols = Symbols {
            total_symbols: snapshot.assets.len(),
            symbols: snapshot.assets.keys().collect(),
            origin,
        };
        let mut by_asset = HashMap::with_capacity(snapshot.assets.len());
        for (asset, predictions) in &snapshot.assets {
            let answer = Rendered::json(&SymbolAnswer::new(snapshot, asset, predictions))?;
            by_asset.insert(asset.clone(), answer);
        }
        let reloaded = Reloaded::render(&models);
        let served = Served {
            generation: snapshot.generation,
            models: Rendered::json(&Models {
                total_models: models.len(),
                models,
                versions,
                last_loaded: snapshot.models.iter().map(|model| model.loaded_at).max().map(Second),
                rejected: &snapshot.rejected,
                origin,
            })?,
            symbols: Rendered::json(&symbols)?,
            by_asset,
        };
        Ok(Self { health: Momentary::json(health_status, &health), reloaded, served: Some(served) })
    }
}
