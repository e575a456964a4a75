//! Many assets at once: their answers, and how they compare.

use std::sync::Arc;

use api::Settings;
use hyper::StatusCode;
use serde_json::{Value, json};
use shared::PredictionStore;

use crate::{
    server::{Server, snapshot},
    store::Distant,
};

const JSON: &str = "application/json; charset=utf-8";

async fn distant(memory_budget: u64) -> Server<Distant> {
    let settings = Settings { memory_budget, ..Settings::default() };
    let server = Server::over(Arc::new(Distant::default()), None, settings).await;
    server.publish(snapshot(7)).await;
    server
}

#[tokio::test]
async fn many_assets_are_answered_as_each_would_be_alone() {
    for memory_budget in [256_000_000, 2000] {
        let server = distant(memory_budget).await;
        let [btc, eth] = [server.get("/symbol/BTC").await.json(), server.get("/symbol/ETH").await.json()];
        let expected = json!({
            "total_ativos": 2, "ativos": {"BTC": btc, "ETH": eth}, "desconhecidos": ["XYZ"],
            "timestamp": "2025-07-29T21:30:00Z", "geracao": 7,
        });
        for path in [
            "/symbols?ativos=eth,BTC,xyz,btc",
            "/symbols?ativos=ETH&ativos=BTC,XYZ",
            "/symbols?x=1&ativos=%42TC%2Ceth%2C+xyz",
        ] {
            assert_eq!(server.get(path).await.json(), expected, "{path}");
        }
        let posted = server.post("/symbols", JSON, r#"{"ativos": ["eth", " BTC", "XYZ"]}"#).await;
        assert_eq!(posted.json(), expected);
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_answered_is_refused() {
    let server = Server::serving(snapshot(1)).await;
    let symbols = |count: usize| (0..count).map(|number| format!("A{number}")).collect::<Vec<_>>();
    for (query, status) in [
        ("ativos=", 400),
        ("ativos=BTC,", 400),
        ("ativos=B/C", 400),
        ("ativos=%FF", 400),
        (&*format!("ativos={}", symbols(500).join(",")), 200),
        (&*format!("ativos={}", symbols(501).join(",")), 400),
    ] {
        assert_eq!(server.get(&format!("/symbols?{query}")).await.status.as_u16(), status, "{query}");
    }
    let list = |count| json!({"ativos": symbols(count)}).to_string();
    for (media_type, body, status) in [
        (JSON, &*list(500), 200),
        (JSON, &*list(501), 400),
        (JSON, r#"{"ativos": []}"#, 400),
        (JSON, r#"{"ativos": ["B/C"]}"#, 400),
        (JSON, r#"{"ativos": [1]}"#, 400),
        (JSON, r#"{"ativos": "BTC"}"#, 400),
        (JSON, r#"["BTC"]"#, 400),
        (JSON, "", 400),
        ("text/plain", r#"{"ativos": ["BTC"]}"#, 415),
        (JSON, &*" ".repeat(32 * 1024 + 1), 413),
    ] {
        let answer = server.post("/symbols", media_type, body).await;
        assert_eq!(answer.status.as_u16(), status, "{media_type} {}", &body[..body.len().min(80)]);
        assert!(status == 200 || answer.body.len() < 300, "{}", answer.text());
    }
}

#[tokio::test]
async fn assets_are_ranked_by_what_a_model_says_of_them() {
    let server = Server::serving(snapshot(1)).await;
    let ranked = async |query: &str| {
        let ranking = server.get(&format!("/ranking?{query}")).await.json();
        let places = ranking["ranking"].as_array().unwrap().iter();
        places.map(|place| place["ativo"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("modelo=regressor_rf", "BTC ETH"),
        ("modelo=regressor_rf&por=variacao&ordem=asc", "ETH BTC"),
        ("modelo=regressor_rf&por=variacao&limite=1", "BTC"),
        ("modelo=regressor_rf&ordem=asc&limite=1", "ETH"),
        // Of one value, so in the order of the alphabet.
        ("modelo=regressor_rf&por=predicao", "BTC ETH"),
        ("modelo=regressor_rf&por=predicao&ordem=asc", "BTC ETH"),
        ("modelo=classifier_rf", "BTC"),
    ] {
        assert_eq!(ranked(query).await, expected, "{query}");
    }
    let ranking = server.get("/ranking?modelo=regressor_rf").await.json();
    assert_eq!((&ranking["total"], &ranking["sem_valor"]), (&json!(2), &json!(1)));
    assert_eq!(
        ranking["ranking"][1],
        json!({
            "posicao": 2, "ativo": "ETH", "predicao": 1.5, "ultimo_fechamento": 2.0, "variacao": -0.25,
            "dados_ate": "2025-07-28",
        })
    );
    for (query, status) in [
        ("", 400),
        ("modelo=rf", 400),
        ("modelo=regressor_xyz", 404),
        ("modelo=regressor_rf&por=probabilidade", 404),
        ("modelo=classifier_rf&por=variacao", 404),
        ("modelo=regressor_rf&por=x", 400),
        ("modelo=regressor_rf&ordem=x", 400),
        ("modelo=regressor_rf&limite=0", 400),
        ("modelo=regressor_rf&limite=1001", 400),
    ] {
        assert_eq!(server.get(&format!("/ranking?{query}")).await.status.as_u16(), status, "{query}");
    }
}

#[tokio::test]
async fn all_predictions_are_given_side_by_side() {
    let server = Server::serving(snapshot(1)).await;
    let columns = server.get("/painel/dados").await.json();
    assert_eq!(columns["symbols"], json!(["BTC", "DOGE", "ETH"]));
    assert_eq!(columns["dados_ate"], json!(["2025-07-28", null, "2025-07-28"]));
    assert_eq!(columns["ultimo_fechamento"], json!([1.0, null, 2.0]));
    let of = |model: usize, field: &str| -> &Value { &columns["modelos"][model][field] };
    assert_eq!(of(0, "predicao"), &json!([1.5, null, 1.5]));
    assert_eq!(
        (of(1, "predicao"), of(1, "probabilidade")),
        (&json!([1, null, null]), &json!([0.75, null, null]))
    );
    server.publish(snapshot(2)).await;
    assert_eq!(server.get("/painel/dados").await.json()["ultimo_fechamento"], json!([2.0, null, 3.0]));
}

#[tokio::test]
async fn what_has_no_room_in_memory_is_not_compared() {
    let server = distant(2000).await;
    for path in ["/ranking?modelo=regressor_rf", "/painel/dados"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("memória"), "{}", answer.text());
    }
    server.store.set_away(true);
    assert_eq!(server.get("/symbols?ativos=BTC").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(server.store.current().await.is_err());
}
