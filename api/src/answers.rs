//! The bodies of one generation's answers.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroUsize,
    sync::Arc,
};

use axum::http::StatusCode;
use bytes::Bytes;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use shared::{
    Asset, Comparison, Contender, Generation, ModelName, ModelSummary, RejectedArtifact, Summary,
    answer::whole_seconds,
};
use tokio::sync::OnceCell;

use crate::{
    columns::Columns,
    rendered::{Momentary, RenderError, Rendered},
};

/// Everything that can be asked about one state of the store. It is replaced as a whole, so that no two answers
/// that were taken from it can be of different generations.
#[derive(Debug)]
pub(crate) enum Answers {
    /// There was no generation yet.
    Waiting(Waiting),
    Serving(Served),
}

/// The answers of one generation.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) summary: Arc<Summary>,
    pub(crate) models: Box<Rendered>,
    pub(crate) symbols: Symbols,
}

/// The answers that there is one of for each asset, and the one that lists the assets.
#[derive(Debug)]
pub(crate) enum Symbols {
    /// All of them.
    InMemory { list: Arc<Rendered>, by_asset: HashMap<Asset, Rendered>, columns: OnceCell<Arc<Columns>> },
    /// They take too much memory together, so they are read from the store when they are asked for.
    InStore { list: OnceCell<Arc<Rendered>> },
}

/// Why nothing is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The store has not been asked yet.
    Starting,
    /// The store was asked and could not answer.
    StoreUnavailable,
    /// The store holds no prediction.
    NoPredictions,
}

/// Why what is served may not be the newest, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The store cannot be reached.
    Unreachable(Timestamp),
    /// What the store holds cannot be read.
    Unreadable(Timestamp),
    /// The store holds nothing any more.
    Emptied(Timestamp),
    /// The store holds an older generation than the one that is served.
    Behind(Timestamp),
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
    detail: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    /// The age of the predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    idade_segundos: Option<u64>,
    /// For how long the store could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    sem_contato_segundos: Option<u64>,
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
    detalhes: BTreeMap<&'a ModelName, Details<'a>>,
    /// How many assets have rows that lie far behind those of the others; left out if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    ativos_desatualizados: Option<NonZeroUsize>,
    #[serde(flatten)]
    origin: Origin,
}

/// How fresh and how complete one model's predictions are.
#[derive(Serialize)]
struct Details<'a> {
    previsto_em: Second,
    /// The day of the newest row that it predicted from.
    #[serde(skip_serializing_if = "Option::is_none")]
    dados_ate: Option<Date>,
    /// The day of the oldest row that it predicted from, if it is another day.
    #[serde(skip_serializing_if = "Option::is_none")]
    dados_mais_antigos: Option<Date>,
    /// How many assets it has a prediction for.
    ativos: usize,
    /// How many it has none for.
    falhas: usize,
    /// How it did beside the version before it, if it was retrained here.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparacao: Option<Compared<'a>>,
    /// How the last model that was to replace it did, if it was not better.
    #[serde(skip_serializing_if = "Option::is_none")]
    desafiante: Option<Compared<'a>>,
    /// Why its predictions are those of an earlier generation, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    desatualizado: Option<&'a str>,
}

/// Why a retrained model replaced the one before it, or did not.
#[derive(Serialize)]
struct Compared<'a> {
    /// The version that the retrained model would have; nothing where it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    versao: Option<&'a str>,
    /// The metric that decided; smaller is better.
    metrica: &'a str,
    margem: f64,
    /// The retrained model's.
    metricas: &'a BTreeMap<String, f64>,
    /// The rows that it was fitted on to be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    linhas_treino: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anterior: Option<Former<'a>>,
    /// The rows that they were compared on.
    linhas: usize,
    de: Date,
    ate: Date,
}

/// The model that was replaced, or stayed.
#[derive(Serialize)]
struct Former<'a> {
    versao: &'a str,
    metricas: &'a BTreeMap<String, f64>,
    /// Nothing where it was compared as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    linhas_treino: Option<usize>,
}

impl<'a> From<&'a Comparison> for Compared<'a> {
    fn from(comparison: &'a Comparison) -> Self {
        let former = |former: &'a Contender| Former {
            versao: former.version.as_str(),
            metricas: &former.metrics,
            linhas_treino: former.fitted_rows,
        };
        Self {
            versao: (!comparison.accepted).then_some(comparison.challenger.version.as_str()),
            metrica: &comparison.metric,
            margem: comparison.margin,
            metricas: &comparison.challenger.metrics,
            linhas_treino: comparison.challenger.fitted_rows,
            anterior: comparison.in_force.as_ref().map(former),
            linhas: comparison.rows,
            de: comparison.from,
            ate: comparison.to,
        }
    }
}

/// `GET /symbols`.
#[derive(Serialize)]
struct List<'a> {
    total_symbols: usize,
    symbols: Vec<&'a Asset>,
    /// Those whose rows lie far behind those of the others; left out if there are none.
    #[serde(skip_serializing_if = "<[Asset]>::is_empty")]
    desatualizados: &'a [Asset],
    #[serde(flatten)]
    origin: Origin,
}

/// `GET /reload`.
#[derive(Serialize)]
struct Reloaded<'a> {
    message: &'static str,
    total_models: usize,
    models: Vec<&'a ModelName>,
}

/// Which snapshot an answer was made of.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Origin {
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

impl Trouble {
    fn since(self) -> Timestamp {
        let (Self::Unreachable(since) | Self::Unreadable(since) | Self::Emptied(since) | Self::Behind(since)) =
            self;
        since
    }

    fn detail(self, now: Timestamp) -> String {
        let seconds = seconds_between(self.since(), now);
        let trouble = match self {
            Self::Unreachable(_) => "sem contato com o armazenamento das previsões",
            Self::Unreadable(_) => "as previsões publicadas não podem ser lidas",
            Self::Emptied(_) => "o armazenamento das previsões está vazio",
            Self::Behind(_) => "o armazenamento das previsões voltou a um estado mais antigo",
        };
        format!("{trouble} há {seconds} s; as últimas previsões lidas continuam servidas")
    }
}

/// Clocks of two machines differ: what is from the future is new.
pub(crate) fn seconds_between(earlier: Timestamp, later: Timestamp) -> u64 {
    u64::try_from(later.duration_since(earlier).as_secs()).unwrap_or(0)
}

impl Answers {
    /// What is served, if anything is.
    pub(crate) fn served(&self) -> Option<&Served> {
        match self {
            Self::Waiting(_) => None,
            Self::Serving(served) => Some(served),
        }
    }

    /// `GET /health`.
    pub(crate) fn health(&self, trouble: Option<Trouble>, now: Timestamp) -> Momentary {
        let (summary, waiting) = match self {
            Self::Waiting(reason) => (None, Some(*reason)),
            Self::Serving(served) => {
                let nothing = (!served.summary.has_predictions()).then_some(Waiting::NoPredictions);
                (Some(&*served.summary), nothing)
            }
        };
        let models = summary.map_or(&[][..], |summary| &summary.models);
        let trouble = trouble.filter(|_| summary.is_some());
        let without_contact = match trouble {
            Some(Trouble::Unreachable(since) | Trouble::Unreadable(since)) => Some(since),
            Some(Trouble::Emptied(_) | Trouble::Behind(_)) | None => None,
        };
        let health = Health {
            status: match (waiting, trouble) {
                (Some(reason), _) => reason.status(),
                (None, Some(_)) => "degraded",
                (None, None) => "healthy",
            },
            models_loaded: !models.is_empty(),
            total_models: models.len(),
            models: names(models),
            versions: versions(models),
            detail: waiting
                .map(|reason| reason.detail().to_owned())
                .or_else(|| trouble.map(|trouble| trouble.detail(now))),
            origin: summary.map(Origin::from),
            idade_segundos: summary.map(|summary| seconds_between(summary.scored_at, now)),
            sem_contato_segundos: without_contact.map(|since| seconds_between(since, now)),
        };
        // Predictions that are old are better than none, so it stays in the load balancer.
        let status = if waiting.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Momentary::json(status, &health)
    }

    /// What is said when a reload has succeeded.
    pub(crate) fn reloaded(&self) -> Momentary {
        let models = self.served().map_or_else(Vec::new, |served| names(&served.summary.models));
        let message = "Modelos recarregados com sucesso";
        Momentary::json(StatusCode::OK, &Reloaded { message, total_models: models.len(), models })
    }
}

impl Served {
    /// How much memory all answers of a generation take at most. It is little more than what their bodies have, as
    /// long as these are too small to be compressed; a compressed copy has no more than half of the body.
    pub(crate) fn bytes_in_memory(summary: &Summary) -> u64 {
        let overhead = Rendered::OVERHEAD_BYTES.saturating_mul(summary.assets as u64);
        summary.answer_bytes.saturating_add(overhead)
    }

    /// A generation whose answers stay in the store.
    pub(crate) fn in_store(summary: Arc<Summary>) -> Result<Self, RenderError> {
        let symbols = Symbols::InStore { list: OnceCell::new() };
        Ok(Self { models: Box::new(models(&summary)?), summary, symbols })
    }

    /// A generation with all its answers. Takes a while when they are many.
    pub(crate) fn in_memory(
        summary: Arc<Summary>,
        answers: BTreeMap<Asset, Bytes>,
    ) -> Result<Self, RenderError> {
        let list = Arc::new(list(&summary, answers.keys())?);
        let mut by_asset = HashMap::with_capacity(answers.len());
        for (asset, body) in answers {
            by_asset.insert(asset, Rendered::dated(body, summary.scored_at)?);
        }
        let symbols = Symbols::InMemory { list, by_asset, columns: OnceCell::new() };
        Ok(Self { models: Box::new(models(&summary)?), summary, symbols })
    }
}

/// The body of `GET /symbols`.
pub(crate) fn list<'a>(
    summary: &Summary,
    assets: impl IntoIterator<Item = &'a Asset>,
) -> Result<Rendered, RenderError> {
    let symbols: Vec<&Asset> = assets.into_iter().collect();
    let list = List {
        total_symbols: symbols.len(),
        symbols,
        desatualizados: &summary.stale,
        origin: Origin::from(summary),
    };
    Ok(Rendered::dated(serde_json::to_vec(&list)?.into(), summary.scored_at)?)
}

/// The body of `GET /models`.
fn models(summary: &Summary) -> Result<Rendered, RenderError> {
    let models = Models {
        total_models: summary.models.len(),
        models: names(&summary.models),
        versions: versions(&summary.models),
        last_loaded: summary.models.iter().map(|model| model.loaded_at).max().map(Second),
        rejected: &summary.rejected,
        detalhes: summary.models.iter().map(|model| (&model.name, details(summary, model))).collect(),
        ativos_desatualizados: NonZeroUsize::new(summary.stale.len()),
        origin: Origin::from(summary),
    };
    Ok(Rendered::dated(serde_json::to_vec(&models)?.into(), summary.scored_at)?)
}

fn details<'a>(summary: &Summary, model: &'a ModelSummary) -> Details<'a> {
    Details {
        previsto_em: Second(summary.scored_at),
        dados_ate: model.data_until,
        dados_mais_antigos: model.oldest_data.filter(|day| Some(*day) != model.data_until),
        ativos: model.predicted,
        falhas: model.failed,
        comparacao: model.comparison.as_deref().map(Compared::from),
        desafiante: model.lost.as_deref().map(Compared::from),
        desatualizado: model.stale.as_deref().map(|stale| stale.reason.as_str()),
    }
}

fn names(models: &[ModelSummary]) -> Vec<&ModelName> {
    models.iter().map(|model| &model.name).collect()
}

fn versions(models: &[ModelSummary]) -> BTreeMap<&ModelName, &str> {
    models.iter().map(|model| (&model.name, model.version.as_str())).collect()
}

impl From<&Summary> for Origin {
    fn from(summary: &Summary) -> Self {
        Self { timestamp: Second(summary.scored_at), geracao: summary.generation }
    }
}
