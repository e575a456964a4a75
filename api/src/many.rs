//! The answers for many assets at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    body::{self, Body},
    http::{HeaderMap, header::CONTENT_TYPE},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use shared::{Asset, Summary};

use crate::{
    answers::Origin,
    error::ApiError,
    query,
    rendered::{RenderError, Rendered},
};

/// How many assets may be asked for at once. Their answers have some 300 kB together.
pub(crate) const MAX_ASSETS: usize = 500;

/// The longest body of `POST /symbols`: so many symbols of the longest kind, and room for white space.
const MAX_BODY_BYTES: usize = 32 * 1024;

/// The body of `POST /symbols`.
#[derive(Deserialize)]
struct Request {
    ativos: Vec<String>,
}

/// The answers of those assets that a generation has. An asset that it does not have has no answer.
pub(crate) struct Many<'a> {
    pub(crate) summary: Arc<Summary>,
    pub(crate) answers: BTreeMap<&'a Asset, Option<Bytes>>,
}

/// `GET /symbols?ativos=` and `POST /symbols`. The answers are the very texts of `GET /symbol/{ativo}`.
#[derive(Serialize)]
struct ManyAnswer<'a> {
    total_ativos: usize,
    ativos: BTreeMap<&'a Asset, &'a RawValue>,
    desconhecidos: Vec<&'a Asset>,
    #[serde(flatten)]
    origin: Origin,
}

/// The assets in `ativos`, separated by commas or in several parameters; nothing if there is no such parameter.
pub(crate) fn from_query(query: &str) -> Result<Option<BTreeSet<Asset>>, ApiError> {
    let lists: Vec<_> = query::pairs(query).filter(|(name, _)| name == "ativos").collect();
    if lists.is_empty() {
        return Ok(None);
    }
    assets(lists.iter().flat_map(|(_, list)| list.split(','))).map(Some)
}

/// The assets in the body of a request.
pub(crate) async fn from_body(headers: &HeaderMap, body: Body) -> Result<BTreeSet<Asset>, ApiError> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::NoJson);
    }
    // A body that ends before its time has nobody who reads the answer.
    let body = body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| ApiError::LongBody(MAX_BODY_BYTES))?;
    let request: Request =
        serde_json::from_slice(&body).map_err(|error| ApiError::BadBody(error.to_string()))?;
    assets(request.ativos.iter().map(String::as_str))
}

fn assets<'a>(symbols: impl Iterator<Item = &'a str>) -> Result<BTreeSet<Asset>, ApiError> {
    let mut assets = BTreeSet::new();
    for (place, symbol) in symbols.enumerate() {
        if place == MAX_ASSETS {
            return Err(ApiError::TooManyAssets(MAX_ASSETS));
        }
        assets.insert(symbol.parse().map_err(|_| ApiError::BadSymbol(query::shown(symbol)))?);
    }
    if assets.is_empty() { Err(ApiError::NoAssets(MAX_ASSETS)) } else { Ok(assets) }
}

impl Many<'_> {
    pub(crate) fn render(&self) -> Result<Rendered, RenderError> {
        let mut ativos = BTreeMap::new();
        let mut desconhecidos = Vec::new();
        for (asset, answer) in &self.answers {
            match answer {
                Some(body) => _ = ativos.insert(*asset, serde_json::from_slice::<&RawValue>(body)?),
                None => desconhecidos.push(*asset),
            }
        }
        let origin = Origin::from(&*self.summary);
        let answer = ManyAnswer { total_ativos: ativos.len(), ativos, desconhecidos, origin };
        Ok(Rendered::dated(serde_json::to_vec(&answer)?.into(), self.summary.scored_at)?)
    }
}
