//! The dashboard: one page for people, from files that are part of the binary, over the same answers as any other
//! client's. It asks no other host for anything.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Request,
    http::{
        HeaderMap, HeaderValue,
        header::{ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY, VARY},
    },
    response::Response,
    routing::get,
};

use crate::{
    docs::{CSS, EMBEDDED, HTML, JAVASCRIPT},
    rendered::Rendered,
};

/// Nothing from elsewhere, nothing inline, and no text that becomes markup.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

const PAGE: &str = include_str!("painel/painel.html");

static PORTUGUESE: LazyLock<Rendered> = LazyLock::new(|| Rendered::new(HTML, PAGE).expect(EMBEDDED));
static ENGLISH: LazyLock<Rendered> = LazyLock::new(|| {
    let page = PAGE.replacen("lang=\"pt-BR\"", "lang=\"en\"", 1);
    Rendered::new(HTML, page).expect(EMBEDDED)
});

pub(crate) fn router() -> Router {
    let mut router = Router::new().route("/painel", get(page));
    for (path, media_type, content) in [
        ("/painel/painel.css", CSS, include_str!("painel/painel.css")),
        ("/painel/painel.js", JAVASCRIPT, include_str!("painel/painel.js")),
        ("/painel/asset.js", JAVASCRIPT, include_str!("painel/asset.js")),
        ("/painel/chart.js", JAVASCRIPT, include_str!("painel/chart.js")),
        ("/painel/data.js", JAVASCRIPT, include_str!("painel/data.js")),
        ("/painel/dom.js", JAVASCRIPT, include_str!("painel/dom.js")),
        ("/painel/models.js", JAVASCRIPT, include_str!("painel/models.js")),
        ("/painel/record.js", JAVASCRIPT, include_str!("painel/record.js")),
        ("/painel/start.js", JAVASCRIPT, include_str!("painel/start.js")),
        ("/painel/table.js", JAVASCRIPT, include_str!("painel/table.js")),
        ("/painel/words.js", JAVASCRIPT, include_str!("painel/words.js")),
    ] {
        let file = Rendered::new(media_type, content).expect(EMBEDDED);
        router =
            router.route(path, get(async move |request: Request| guarded(file.respond(request.headers()))));
    }
    router
}

async fn page(request: Request) -> Response {
    let rendered = if prefers_english(request.headers()) { &ENGLISH } else { &PORTUGUESE };
    let mut response = rendered.respond(request.headers());
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-language"));
    guarded(response)
}

fn guarded(mut response: Response) -> Response {
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

/// Whether `Accept-Language` puts English before Portuguese. Browsers name languages in the order of their weights.
fn prefers_english(request: &HeaderMap) -> bool {
    let languages = request.get_all(ACCEPT_LANGUAGE).into_iter().filter_map(|line| line.to_str().ok());
    let mut languages = languages.flat_map(|line| line.split(',')).map(|language| language.trim().get(..2));
    languages.find_map(|language| match language?.to_ascii_lowercase().as_str() {
        "pt" => Some(false),
        "en" => Some(true),
        _ => None,
    }) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_english_rather_than_portuguese_gets_it() {
        for (languages, english) in [
            (&["en-US,en;q=0.9"][..], true),
            (&["de-DE, en;q=0.5"], true),
            (&["de", "EN"], true),
            (&["pt-BR,pt;q=0.9,en;q=0.8"], false),
            (&["de, pt;q=0.5, en;q=0.4"], false),
            (&["de"], false),
            (&["", "*"], false),
            (&[], false),
        ] {
            let request: HeaderMap =
                languages.iter().map(|line| (ACCEPT_LANGUAGE, HeaderValue::from_static(line))).collect();
            assert_eq!(prefers_english(&request), english, "{languages:?}");
        }
    }
}
