//! What models said of days that are over, and how right they were, as a backfill left it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use jiff::civil::Date;
use serde::Serialize;
use shared::{Asset, ModelHistory, ModelName, ModelSummary, ModelVersion, StoreError, TrackRecord};
use tokio::time::timeout;

use crate::{
    Service, error::ApiError, events::HistoryUnreadable, predictions::Asked, query, rendered::Rendered,
};

/// How many days are answered if the request does not say.
const DEFAULT_DAYS: usize = 90;

/// More days than a backfill keeps.
const MAX_DAYS: usize = 3650;

/// `GET /symbol/{ativo}/historico`.
#[derive(Serialize)]
struct SymbolHistory {
    ativo: Asset,
    /// How many days were asked for.
    dias: usize,
    modelos: BTreeMap<ModelName, ModelHistory>,
    total_modelos: usize,
}

/// `GET /models/{nome}`.
#[derive(Serialize)]
struct ModelAnswer {
    modelo: ModelName,
    tipo: &'static str,
    /// The model as it is in force; nothing if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    em_uso: Option<InForce>,
    /// What the newest backfill found out; nothing if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    avaliacao: Option<TrackRecord>,
}

#[derive(Serialize)]
struct InForce {
    versao: ModelVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    dados_ate: Option<Date>,
    ativos: usize,
    falhas: usize,
}

impl From<&ModelSummary> for InForce {
    fn from(summary: &ModelSummary) -> Self {
        Self {
            versao: summary.version.clone(),
            dados_ate: summary.data_until,
            ativos: summary.predicted,
            falhas: summary.failed,
        }
    }
}

pub(crate) async fn symbol(
    State(service): State<Arc<Service>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let text = path.map_or_else(|_| String::new(), |Path(text)| text);
    let bad = |_| ApiError::BadSymbol(query::shown(&text));
    let ativo: Asset = text.parse().map_err(bad)?;
    let dias = days(request.uri().query().unwrap_or_default())?;
    let mut modelos = match &service.histories {
        Some(histories) => read(&service, histories.history(&ativo)).await?,
        None => BTreeMap::new(),
    };
    if modelos.is_empty() && service.predictions.answer(Asked::Symbol(&ativo)).await?.is_none() {
        return Err(ApiError::UnknownAsset(ativo));
    }
    for history in modelos.values_mut() {
        let surplus = history.previsoes.len().saturating_sub(dias);
        history.previsoes.drain(..surplus);
    }
    let answer = SymbolHistory { ativo, dias, total_modelos: modelos.len(), modelos };
    respond(&answer, &request)
}

pub(crate) async fn model(
    State(service): State<Arc<Service>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let text = path.map_or_else(|_| String::new(), |Path(text)| text);
    let unknown = || ApiError::UnknownModel(query::shown(&text));
    let modelo: ModelName = text.parse().map_err(|_| unknown())?;
    let em_uso = service.predictions.now().served().and_then(|served| {
        served.summary.models.iter().find(|model| model.name == modelo).map(InForce::from)
    });
    let avaliacao = match &service.histories {
        Some(histories) => read(&service, histories.track_record(&modelo)).await?,
        None => None,
    };
    if em_uso.is_none() && avaliacao.is_none() {
        return Err(unknown());
    }
    respond(&ModelAnswer { tipo: modelo.kind().as_str(), modelo, em_uso, avaliacao }, &request)
}

/// `dias` of a query.
fn days(query: &str) -> Result<usize, ApiError> {
    const EXPECTED: &str = "um número inteiro de 1 a 3650";
    let Some((name, value)) = query::pairs(query).find(|(name, _)| name == "dias") else {
        return Ok(DEFAULT_DAYS);
    };
    let days = query::parsed(&name, &value, EXPECTED)?;
    if (1..=MAX_DAYS).contains(&days) { Ok(days) } else { Err(query::wrong(&name, &value, EXPECTED)) }
}

async fn read<T>(
    service: &Service,
    reading: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, ApiError> {
    let late = |_| StoreError { message: "no history in time".to_owned(), source: None };
    let read = timeout(service.settings.store_wait, reading).await.map_err(late).flatten();
    read.map_err(|error| {
        HistoryUnreadable(&error).emit();
        ApiError::StoreUnavailable
    })
}

fn respond(answer: &impl Serialize, request: &Request) -> Result<Response, ApiError> {
    let rendered = Rendered::json(answer).map_err(|error| {
        HistoryUnreadable(&error).emit();
        ApiError::StoreUnavailable
    })?;
    Ok(rendered.respond(request.headers()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_whole_numbers_within_reason() {
        for (query, expected) in
            [("", Some(90)), ("x=1", Some(90)), ("dias=7", Some(7)), ("x&dias=3650&dias=1", Some(3650))]
        {
            assert_eq!(days(query).ok(), expected, "{query}");
        }
        for query in ["dias=", "dias=0", "dias=-1", "dias=1.5", "dias=3651", "dias=99999999999999999999"] {
            assert!(days(query).is_err(), "{query}");
        }
    }
}
