//! Swagger UI, from files that are part of the binary. `assets/swagger-ui/README.md` says where they are from.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header::CONTENT_SECURITY_POLICY},
    routing::{MethodRouter, get},
};

use crate::rendered::Rendered;

/// The browser itself refuses whatever is not from here. Swagger UI sets styles and draws with `data:` images.
const SAME_ORIGIN_ONLY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub(crate) const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
pub(crate) const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");

static PAGE: LazyLock<Rendered> =
    LazyLock::new(|| Rendered::new(HTML, include_str!("docs.html")).expect(EMBEDDED));
static START: LazyLock<Rendered> =
    LazyLock::new(|| Rendered::new(JAVASCRIPT, include_str!("docs.js")).expect(EMBEDDED));
static SCRIPT: LazyLock<Rendered> = LazyLock::new(|| {
    Rendered::from_gzip(JAVASCRIPT, include_bytes!("../assets/swagger-ui/swagger-ui-bundle.js.gz"))
        .expect(EMBEDDED)
});
static STYLE: LazyLock<Rendered> = LazyLock::new(|| {
    Rendered::from_gzip(CSS, include_bytes!("../assets/swagger-ui/swagger-ui.css.gz")).expect(EMBEDDED)
});

pub(crate) const EMBEDDED: &str = "what is part of the binary is well-formed";

pub(crate) fn router() -> Router {
    Router::new()
        .route("/docs", file(&PAGE))
        .route("/docs/start.js", file(&START))
        .route("/docs/swagger-ui-bundle.js", file(&SCRIPT))
        .route("/docs/swagger-ui.css", file(&STYLE))
}

fn file(content: &'static LazyLock<Rendered>) -> MethodRouter {
    get(async move |request: Request| {
        let mut response = content.respond(request.headers());
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, SAME_ORIGIN_ONLY);
        response
    })
}
