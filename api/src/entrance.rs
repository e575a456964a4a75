//! What happens to every request before and after the router.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderValue, Method, Request, Response, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        },
    },
};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use crate::{Api, predictions::Predictions, router};

/// Where all requests enter: they are logged, may come from any origin, and reach their answer on the shortest
/// way there is.
pub(crate) struct Entrance {
    predictions: Arc<Predictions>,
    router: TowerToHyperService<Router>,
}

impl Entrance {
    pub(crate) fn new(api: &Api) -> Self {
        Self {
            predictions: Arc::clone(&api.predictions),
            router: TowerToHyperService::new(router::router(api)),
        }
    }

    /// The answer to one request, and its log line if anyone reads it.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return self.cross_origin(request).await;
        }
        let (begun, method, path) =
            (Instant::now(), request.method().clone(), request.uri().path().to_owned());
        let response = self.cross_origin(request).await?;
        tracing::debug!(
            %method,
            path,
            status = response.status().as_u16(),
            micros = begun.elapsed().as_micros(),
            "request"
        );
        Ok(response)
    }

    /// Lets pages of any origin read the answers, which hold nothing that belongs to one user.
    async fn cross_origin(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        const ANY: HeaderValue = HeaderValue::from_static("*");
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let mut response = if is_preflight { preflight() } else { self.shortest_way(request).await? };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
        Ok(response)
    }

    /// Nearly all requests are for `/symbol/{ativo}` with a plain symbol. For these the router would take more time
    /// than finding the answer does; it sees all others, also those that need decoding.
    async fn shortest_way(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if request.method() == Method::GET
            && let Some(symbol) = request.uri().path().strip_prefix("/symbol/")
            && !symbol.is_empty()
            && !symbol.contains(['/', '%'])
        {
            return Ok(router::symbol_answer(&self.predictions.now(), symbol, request.headers()));
        }
        self.router.call(request).await
    }
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("if-none-match"));
    // A day, which is the most that browsers keep.
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
