use std::io::Read;

use flate2::read::GzDecoder;
use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::json;

use crate::server::{Server, TIMESTAMP, snapshot, without_predictions};

#[tokio::test]
async fn the_answers_are_the_documented_ones() {
    let server = Server::serving(snapshot(7)).await;
    for (path, expected) in [
        ("/", r#"{"message":"Cripto Prediction API","version":"1.0.0","docs":"/docs","health":"/health"}"#),
        ("/health/live", r#"{"status":"alive"}"#),
        (
            "/models",
            r#"{"total_models":2,"models":["regressor_rf","classifier_rf"],"versions":{"regressor_rf":"20250729-2130","classifier_rf":"20250729-2130"},"last_loaded":"2025-07-29T21:30:00Z","rejected":[{"key":"models/regressor_svr_20250730-0100.joblib","reason":"sklearn.svm._classes.SVR is not supported"}],"detalhes":{"regressor_rf":{"previsto_em":"2025-07-29T21:30:00Z","dados_ate":"2025-07-28","ativos":2,"falhas":1,"comparacao":{"metrica":"rmse","margem":0.02,"metricas":{"rmse":1.5},"linhas_treino":1400,"anterior":{"versao":"20250722-2130","metricas":{"rmse":1.75},"linhas_treino":1400},"linhas":280,"de":"2025-06-18","ate":"2025-07-27"}},"classifier_rf":{"previsto_em":"2025-07-29T21:30:00Z","dados_ate":"2025-07-28","ativos":1,"falhas":2,"desafiante":{"versao":"20250730-2130","metrica":"rmse","margem":0.02,"metricas":{"rmse":1.5},"linhas_treino":1400,"anterior":{"versao":"20250722-2130","metricas":{"rmse":1.75},"linhas_treino":1400},"linhas":280,"de":"2025-06-18","ate":"2025-07-27"}}},"timestamp":"2025-07-29T21:30:00Z","geracao":7}"#,
        ),
        (
            "/symbols",
            r#"{"total_symbols":3,"symbols":["BTC","DOGE","ETH"],"timestamp":"2025-07-29T21:30:00Z","geracao":7}"#,
        ),
        (
            "/symbol/BTC",
            r#"{"ativo":"BTC","timestamp":"2025-07-29T21:30:00Z","modelos":{"regressor_rf":{"predicao":7.5,"modelo":"regressor_rf","tipo":"regressor","versao":"20250729-2130"},"classifier_rf":{"predicao":1,"probabilidade":0.75,"modelo":"classifier_rf","tipo":"classifier","versao":"20250729-2130"}},"total_modelos":2,"dados_ate":"2025-07-28","ultimo_fechamento":7.0,"geracao":7}"#,
        ),
        (
            "/symbol/DOGE",
            r#"{"ativo":"DOGE","timestamp":"2025-07-29T21:30:00Z","modelos":{},"total_modelos":0,"geracao":7,"falhas":{"regressor_rf":"the prediction is not finite","classifier_rf":"the prediction is not finite"}}"#,
        ),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, expected), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    let health = server.get("/health").await;
    let (health, age) = health.text().split_once(r#","idade_segundos":"#).unwrap();
    assert_eq!(
        health,
        r#"{"status":"healthy","models_loaded":true,"total_models":2,"models":["regressor_rf","classifier_rf"],"versions":{"regressor_rf":"20250729-2130","classifier_rf":"20250729-2130"},"timestamp":"2025-07-29T21:30:00Z","geracao":7"#
    );
    let expected = Timestamp::now().duration_since(TIMESTAMP.parse().unwrap()).as_secs();
    let age: i64 = age.strip_suffix('}').unwrap().parse().unwrap();
    assert!((expected - 60..=expected).contains(&age), "{age} is not {expected}");
}

#[tokio::test]
async fn predictions_say_when_they_were_made() {
    let server = Server::serving(snapshot(1)).await;
    for path in ["/symbol/BTC", "/symbols", "/models"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("last-modified"), Some("Tue, 29 Jul 2025 21:30:00 GMT"), "{path}");
    }
}

#[tokio::test]
async fn symbols_match_without_regard_to_case_and_encoding() {
    let server = Server::serving(snapshot(1)).await;
    let expected = server.get("/symbol/BTC").await;
    for path in ["/symbol/btc", "/symbol/bTc", "/symbol/%42TC", "/symbol/%20btc", "/symbol/BTC?x=1"] {
        assert_eq!(server.get(path).await.body, expected.body, "{path}");
    }
}

#[tokio::test]
async fn errors_are_json_of_one_shape() {
    let server = Server::serving(snapshot(1)).await;
    for (method, path, status, detail) in [
        ("GET", "/symbol/xyz", 404, "ativo XYZ desconhecido; veja /symbols"),
        (
            "GET",
            "/symbol/B%2FC",
            400,
            "símbolo inválido: \"B/C\"; são esperados de 1 a 32 letras, dígitos, '.', '-' ou '_'",
        ),
        (
            "GET",
            "/symbol/B$C",
            400,
            "símbolo inválido: \"B$C\"; são esperados de 1 a 32 letras, dígitos, '.', '-' ou '_'",
        ),
        (
            "GET",
            "/symbol/%FF",
            400,
            "símbolo inválido: \"\"; são esperados de 1 a 32 letras, dígitos, '.', '-' ou '_'",
        ),
        ("GET", "/symbol/", 404, "caminho desconhecido; veja /docs"),
        ("GET", "/symbol/BTC/", 404, "caminho desconhecido; veja /docs"),
        ("GET", "/favicon.ico", 404, "caminho desconhecido; veja /docs"),
        ("POST", "/symbol/BTC", 405, "método não permitido neste caminho"),
        ("DELETE", "/models", 405, "método não permitido neste caminho"),
        ("OPTIONS", "/models", 405, "método não permitido neste caminho"),
        ("GET", "/reload", 501, "a recarga não está disponível neste servidor"),
    ] {
        let answer = server.send(method, path, &[]).await;
        assert_eq!(answer.json(), json!({"detail": detail, "status": status}), "{method} {path}");
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    let long = server.get(&format!("/symbol/{}", "A".repeat(5000))).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    assert!(long.body.len() < 300, "a long symbol is repeated in full");
}

#[tokio::test]
async fn a_client_that_has_the_answer_is_told_so() {
    let server = Server::serving(snapshot(1)).await;
    for path in [
        "/",
        "/symbol/BTC",
        "/symbols",
        "/symbols?ativos=BTC",
        "/ranking?modelo=regressor_rf",
        "/models",
        "/openapi.json",
        "/docs",
        "/docs/swagger-ui.css",
        "/painel",
        "/painel/painel.js",
        "/painel/start.js",
        "/painel/dados",
    ] {
        let first = server.get(path).await;
        let etag = first.header("etag").unwrap();
        for known in [etag, "*", &format!("\"other\", W/{etag}")] {
            let again = server.send("GET", path, &[("if-none-match", known)]).await;
            assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path} {known}");
            assert_eq!(again.header("etag"), Some(etag));
            assert_eq!(again.header("cache-control"), Some("no-cache"));
        }
        let other = server.send("GET", path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.body, first.body);
    }
    let before = server.get("/symbol/BTC").await;
    server.publish(snapshot(2)).await;
    let known = [("if-none-match", before.header("etag").unwrap())];
    assert_eq!(server.send("GET", "/symbol/BTC", &known).await.status, StatusCode::OK);
}

#[tokio::test]
async fn answers_about_the_moment_are_kept_by_nobody() {
    let server = Server::serving(snapshot(1)).await;
    for path in ["/health", "/health/live"] {
        let answer = server.get(path).await;
        assert_eq!((answer.header("cache-control"), answer.header("etag")), (Some("no-store"), None));
    }
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_accept_it() {
    let server = Server::serving(snapshot(1)).await;
    for path in ["/openapi.json", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"] {
        let plain = server.get(path).await;
        let compressed = server.send("GET", path, &[("accept-encoding", "br, gzip;q=0.8")]).await;
        assert_eq!((plain.header("vary"), plain.header("content-encoding")), (Some("accept-encoding"), None));
        assert_eq!(compressed.header("vary"), Some("accept-encoding"));
        assert_eq!(compressed.header("content-encoding"), Some("gzip"));
        assert_ne!(plain.header("etag"), compressed.header("etag"));
        let mut unpacked = Vec::new();
        GzDecoder::new(&*compressed.body).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain.body, "{path} is another one when it is compressed");
    }
    let small = server.send("GET", "/symbol/BTC", &[("accept-encoding", "gzip")]).await;
    assert_eq!((small.header("content-encoding"), small.header("vary")), (None, None));
}

#[tokio::test]
async fn pages_of_other_origins_may_read() {
    let server = Server::serving(snapshot(1)).await;
    for path in ["/symbol/BTC", "/symbol/XYZ", "/models", "/nowhere"] {
        let answer = server.send("GET", path, &[("origin", "https://example.org")]).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(answer.header("access-control-expose-headers"), Some("etag"), "{path}");
    }
    let asked = [("origin", "https://example.org"), ("access-control-request-method", "GET")];
    let preflight = server.send("OPTIONS", "/symbol/BTC", &asked).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, POST"));
    let allowed = preflight.header("access-control-allow-headers");
    assert_eq!(allowed, Some("authorization, content-type, if-none-match"));
}

#[tokio::test]
async fn head_says_what_get_would() {
    let server = Server::serving(snapshot(1)).await;
    for path in ["/", "/health", "/models", "/symbol/BTC", "/symbol/XYZ", "/docs"] {
        let mut get = server.get(path).await;
        let mut head = server.send("HEAD", path, &[]).await;
        get.headers.remove("date");
        head.headers.remove("date");
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.headers, get.headers, "{path}");
    }
}

#[tokio::test]
async fn a_bucket_in_which_nothing_could_be_scored_is_answered_as_it_is() {
    let server = Server::serving(without_predictions(1)).await;
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["status"], "no_predictions");
    let models = server.get("/models").await.json();
    assert_eq!((&models["total_models"], &models["last_loaded"]), (&json!(0), &json!(null)));
    assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::NOT_FOUND);
}
