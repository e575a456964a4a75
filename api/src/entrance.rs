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
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;

use crate::{
    Service,
    events::{RequestAnswered, Route},
    listeners::Activity,
    router,
};

/// Where all requests enter: they are counted, may come from any origin, and reach their answer on the shortest way
/// there is.
pub(crate) struct Entrance {
    service: Arc<Service>,
    router: TowerToHyperService<Router>,
}

impl Entrance {
    pub(crate) fn new(service: Arc<Service>) -> Self {
        Self { router: TowerToHyperService::new(router::router(&service)), service }
    }

    /// The answer to one request.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Result<Response<Body>, Infallible> {
        let begun = Instant::now();
        let route = Route::of(request.uri().path());
        let asked =
            RequestAnswered::is_logged().then(|| (request.method().clone(), request.uri().path().to_owned()));
        let response = self.cross_origin(request, activity).await?;
        RequestAnswered { route, status: response.status(), elapsed: begun.elapsed(), asked }.emit();
        Ok(response)
    }

    /// Lets pages of any origin read the answers, which hold nothing that belongs to one user.
    async fn cross_origin(
        &self,
        request: Request<Incoming>,
        activity: &Activity,
    ) -> Result<Response<Body>, Infallible> {
        const ANY: HeaderValue = HeaderValue::from_static("*");
        let is_preflight = request.method() == Method::OPTIONS
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let mut response =
            if is_preflight { preflight() } else { self.shortest_way(request, activity).await? };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
        Ok(response)
    }

    /// Nearly all requests are for `/symbol/{ativo}` with a plain symbol. For these the router would take more time
    /// than finding the answer does; it sees all others, also those that need decoding.
    async fn shortest_way(
        &self,
        mut request: Request<Incoming>,
        activity: &Activity,
    ) -> Result<Response<Body>, Infallible> {
        if request.method() == Method::GET
            && let Some(symbol) = request.uri().path().strip_prefix("/symbol/")
            && !symbol.is_empty()
            && !symbol.contains(['/', '%'])
        {
            let predictions = &self.service.predictions;
            let known = router::symbol_in_memory(&predictions.now(), symbol, request.headers());
            return Ok(match known {
                Ok(response) => response,
                // In a box, so that those who need not wait carry nothing of this with them.
                Err(asset) => Box::pin(router::symbol_in_store(predictions, asset, request.headers())).await,
            });
        }
        request.extensions_mut().insert(activity.clone());
        self.router.call(request).await
    }
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
    let allowed = HeaderValue::from_static("authorization, content-type, if-none-match");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    // A day, which is the most that browsers keep.
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
