//! Which path gets which answer.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use axum::{
    Extension, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use serde::Serialize;
use shared::Asset;

use crate::{
    Service,
    answers::{Answers, Symbols},
    docs,
    error::ApiError,
    events::ReloadRefused,
    history,
    listeners::{self, Activity},
    many, metrics, painel,
    predictions::{Asked, Predictions},
    query,
    ranking::Ranking,
    rendered::{JSON, Momentary, RenderError, Rendered},
};

/// The OpenAPI 3.1 document of this API, as `GET /openapi.json` sends it.
pub const OPENAPI: &str = include_str!("openapi.json");

/// `GET /`, word for word as documented.
#[derive(Serialize)]
struct Root {
    message: &'static str,
    version: &'static str,
    docs: &'static str,
    health: &'static str,
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

static ROOT: LazyLock<Rendered> = LazyLock::new(|| {
    Rendered::json(&Root {
        message: "Cripto Prediction API",
        version: "1.0.0",
        docs: "/docs",
        health: "/health",
    })
    .expect("constants have a JSON form")
});

static OPENAPI_ANSWER: LazyLock<Rendered> =
    LazyLock::new(|| Rendered::new(JSON, OPENAPI).expect("memory takes what is written to it"));

pub(crate) fn router(service: &Arc<Service>) -> Router {
    Router::new()
        .route("/", get(async |request: Request| ROOT.respond(request.headers())))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/models", get(models))
        .route("/models/{nome}", get(history::model))
        .route("/symbols", get(symbols).post(many_symbols))
        .route("/ranking", get(ranking))
        .route("/eventos", get(events))
        .route("/painel/dados", get(columns))
        .route("/symbol/{ativo}", get(symbol))
        .route("/symbol/{ativo}/historico", get(history::symbol))
        .route("/reload", get(reload).head(async || ApiError::OnlyGet))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async |request: Request| OPENAPI_ANSWER.respond(request.headers())))
        .with_state(Arc::clone(service))
        .merge(docs::router())
        .merge(painel::router())
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
}

async fn health(State(service): State<Arc<Service>>) -> Momentary {
    let trouble = service.predictions.trouble();
    service.predictions.now().health(trouble, Timestamp::now())
}

async fn live() -> Momentary {
    Momentary::json(StatusCode::OK, &Live { status: "alive" })
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    let text = metrics::render(&service.predictions, Timestamp::now());
    ([(CONTENT_TYPE, shared::metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")], text).into_response()
}

async fn models(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    let now = service.predictions.now();
    let served = now.served().ok_or(ApiError::NothingServed)?;
    Ok(served.models.respond(request.headers()))
}

async fn symbols(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    if let Some(assets) = many::from_query(request.uri().query().unwrap_or_default())? {
        return symbols_of(&service, &assets, request.headers()).await;
    }
    // Only an asset can be unknown.
    let list = service.predictions.answer(Asked::List).await?.ok_or(ApiError::StoreUnavailable)?;
    Ok(list.respond(request.headers()))
}

async fn many_symbols(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let assets = many::from_body(&head.headers, body).await?;
    symbols_of(&service, &assets, &head.headers).await
}

async fn symbols_of(
    service: &Service,
    assets: &BTreeSet<Asset>,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    Ok(service.predictions.many(assets).await?.render()?.respond(request))
}

async fn ranking(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    let ranking = Ranking::from_query(request.uri().query().unwrap_or_default())?;
    let columns = service.predictions.columns().await?;
    // A million assets take longer to order than others should have to wait.
    let ordering = tokio::task::spawn_blocking(move || ranking.answer(&columns));
    Ok(ordering.await.map_err(RenderError::from)??.respond(request.headers()))
}

/// `GET /painel/dados`.
async fn columns(State(service): State<Arc<Service>>, request: Request) -> Result<Response, ApiError> {
    Ok(service.predictions.columns().await?.rendered.respond(request.headers()))
}

async fn events(
    State(service): State<Arc<Service>>,
    Extension(activity): Extension<Activity>,
) -> Result<Response, ApiError> {
    listeners::listen(&service, activity)
}

async fn symbol(
    State(service): State<Arc<Service>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let Ok(Path(text)) = path else {
        // What is not even UTF-8 cannot be shown.
        return ApiError::BadSymbol(String::new()).into_response();
    };
    let known = symbol_in_memory(&service.predictions.now(), &text, request.headers());
    match known {
        Ok(response) => response,
        Err(asset) => symbol_in_store(&service.predictions, asset, request.headers()).await,
    }
}

/// `GET /symbol/{ativo}`, with the symbol as the user wrote it: the answer if it can be given at once, or else the
/// asset.
pub(crate) fn symbol_in_memory(
    answers: &Answers,
    text: &str,
    request: &HeaderMap,
) -> Result<Response, Asset> {
    let Ok(asset) = text.parse::<Asset>() else {
        return Ok(ApiError::BadSymbol(query::shown(text)).into_response());
    };
    match answers.served().map(|served| &served.symbols) {
        Some(Symbols::InMemory { by_asset, .. }) => Ok(match by_asset.get(&asset) {
            Some(answer) => answer.respond(request),
            None => ApiError::UnknownAsset(asset).into_response(),
        }),
        Some(Symbols::InStore { .. }) => Err(asset),
        None => Ok(ApiError::NothingServed.into_response()),
    }
}

/// The answer of an asset that has to be read.
pub(crate) async fn symbol_in_store(
    predictions: &Predictions,
    asset: Asset,
    request: &HeaderMap,
) -> Response {
    match predictions.answer(Asked::Symbol(&asset)).await {
        Ok(Some(answer)) => answer.respond(request),
        Ok(None) => ApiError::UnknownAsset(asset).into_response(),
        Err(reason) => ApiError::from(reason).into_response(),
    }
}

async fn reload(State(service): State<Arc<Service>>, request: Request) -> Result<Momentary, ApiError> {
    let reloads = service.reloads.as_ref().ok_or(ApiError::CannotReload)?;
    if service.settings.reload_token.as_ref().is_some_and(|token| !token.is_in(request.headers())) {
        ReloadRefused.emit();
        return Err(ApiError::Unauthorized);
    }
    let reloaded = async {
        reloads.ask().await.map_err(ApiError::ReloadFailed)?;
        // The answer is about what the reload published, whether or not the follower has noticed yet.
        service.predictions.refresh().await.map_err(|_| ApiError::CannotRefresh)
    };
    match tokio::time::timeout(service.settings.reload_wait, reloaded).await {
        Ok(finished) => finished.map(|()| service.predictions.now().reloaded()),
        Err(_) => Ok(Momentary::json(
            StatusCode::ACCEPTED,
            &Message { message: "A recarga continua; veja o resultado em /models" },
        )),
    }
}
