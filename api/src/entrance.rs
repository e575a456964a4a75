//! What happens to every request before and after the router.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderValue, Method, Request, Response, StatusCode, Version,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST,
        },
    },
    response::IntoResponse,
};
use hyper::{body::Incoming, service::Service as _};
use hyper_util::service::TowerToHyperService;

use crate::{
    Service,
    error::ApiError,
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
        let response = if names_its_host(&request) {
            self.cross_origin(request, activity).await?
        } else {
            ApiError::BadHost.into_response()
        };
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

/// Whether a request has one `Host`, or none where it need not have one (RFC 9112, section 3.2).
fn names_its_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.as_bytes().iter().all(|byte| may_be_in_a_host(*byte)),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// The characters of `uri-host [ ":" port ]` (RFC 3986, section 3.2.2).
fn may_be_in_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
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
