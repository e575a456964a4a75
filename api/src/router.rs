//! Which path gets which answer.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use shared::Asset;

use crate::{
    Api,
    answers::{Answers, Served},
    docs,
    error::ApiError,
    rendered::{JSON, Momentary, Rendered},
};

/// The OpenAPI 3.1 document of this API, as `GET /openapi.json` sends it.
pub const OPENAPI: &str = include_str!("openapi.json");

/// How much of a text that is no symbol is repeated to the one who sent it.
const SHOWN_CHARS: usize = 64;

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

pub(crate) fn router(api: &Api) -> Router {
    Router::new()
        .route("/", get(async |request: Request| ROOT.respond(request.headers())))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/models", get(models))
        .route("/symbols", get(symbols))
        .route("/symbol/{ativo}", get(symbol))
        .route("/reload", get(reload))
        .route("/openapi.json", get(async |request: Request| OPENAPI_ANSWER.respond(request.headers())))
        .with_state(Arc::new(api.clone()))
        .merge(docs::router())
        .fallback(async || ApiError::UnknownPath)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
}

async fn health(State(api): State<Arc<Api>>) -> Momentary {
    api.predictions.now().health.clone()
}

async fn live() -> Momentary {
    Momentary::json(StatusCode::OK, &Live { status: "alive" })
}

async fn models(State(api): State<Arc<Api>>, request: Request) -> Response {
    served(&api.predictions.now(), |served| Ok(served.models.respond(request.headers())))
}

async fn symbols(State(api): State<Arc<Api>>, request: Request) -> Response {
    served(&api.predictions.now(), |served| Ok(served.symbols.respond(request.headers())))
}

async fn symbol(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    match path {
        Ok(Path(text)) => symbol_answer(&api.predictions.now(), &text, request.headers()),
        // What is not even UTF-8 cannot be shown.
        Err(_) => ApiError::BadSymbol(String::new()).into_response(),
    }
}

/// `GET /symbol/{ativo}`, with the symbol as the user wrote it.
pub(crate) fn symbol_answer(answers: &Answers, text: &str, request: &HeaderMap) -> Response {
    match text.parse::<Asset>() {
        Ok(asset) => served(answers, |served| {
            let answer = served.by_asset.get(&asset).ok_or(ApiError::UnknownAsset(asset))?;
            Ok(answer.respond(request))
        }),
        Err(_) => ApiError::BadSymbol(text.chars().take(SHOWN_CHARS).collect()).into_response(),
    }
}

fn served(answers: &Answers, answer: impl FnOnce(&Served) -> Result<Response, ApiError>) -> Response {
    answers.served.as_ref().ok_or(ApiError::NothingServed).and_then(answer).into_response()
}

async fn reload(State(api): State<Arc<Api>>) -> Result<Momentary, ApiError> {
    let reloads = api.reloads.as_ref().ok_or(ApiError::CannotReload)?;
    let reloaded = async {
        reloads.ask().await.map_err(ApiError::ReloadFailed)?;
        // The answer is about what the reload published, whether or not the follower has noticed yet.
        api.predictions.refresh().await.map_err(|_| ApiError::CannotRefresh)
    };
    match tokio::time::timeout(api.settings.reload_wait, reloaded).await {
        Ok(finished) => finished.map(|()| api.predictions.now().reloaded.clone()),
        Err(_) => Ok(Momentary::json(
            StatusCode::ACCEPTED,
            &Message { message: "A recarga continua; veja o resultado em /models" },
        )),
    }
}
