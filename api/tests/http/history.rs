use std::{collections::BTreeMap, sync::Arc};

use api::{Api, Settings};
use hyper::StatusCode;
use jiff::civil::date;
use serde_json::json;
use shared::{
    Evaluation, HistoryStore, MemoryStore, Metrics, ModelHistory, RunId, ScoredDay, TrackRecord,
    answer::Number,
};

use crate::server::{Server, TIMESTAMP, snapshot};

/// A server that tells of days that are over, and has no predictions yet.
pub(crate) async fn serving_histories(store: Arc<MemoryStore>) -> Server {
    let api = Api::new(Arc::clone(&store) as _).with_histories(Arc::clone(&store) as _);
    Server::begin(api.with_settings(Settings::default()), store, "127.0.0.1:0").await
}

/// A server whose store has what a backfill left of BTC.
pub(crate) async fn server() -> Server {
    let store = Arc::new(MemoryStore::default());
    let day = |day: i8, next: Option<f64>| ScoredDay {
        data: date(2025, 7, day),
        predicao: Number::Close(45000.0 + f64::from(day)),
        probabilidade: None,
        fechamento: Some(45000.0),
        fechamento_next: next,
        direction_next: next.map(|next| u8::from(next > 45000.0)),
    };
    let versao: shared::ModelVersion = "20250729-2130".parse().unwrap();
    let execucao = RunId("20240101-20250729-0123456789abcdef".into());
    let history = ModelHistory {
        versao: versao.clone(),
        execucao: execucao.clone(),
        previsoes: vec![day(27, Some(44000.0)), day(28, Some(45500.5)), day(29, None)],
    };
    let models = BTreeMap::from([("regressor_rf".parse().unwrap(), history)]);
    store.put_history(&"BTC".parse().unwrap(), &models).await.unwrap();
    let geral =
        Metrics { previsoes: 2, mae: Some(763.75), acerto_direcional: Some(0.5), ..Metrics::default() };
    let record = TrackRecord {
        versao,
        execucao,
        avaliado_em: TIMESTAMP.parse().unwrap(),
        de: date(2024, 1, 1),
        ate: date(2025, 7, 29),
        metricas: Evaluation {
            geral,
            por_dia: BTreeMap::from([(date(2025, 7, 28), geral)]),
            por_ativo: BTreeMap::from([("BTC".parse().unwrap(), geral)]),
        },
    };
    store.put_track_record(&"regressor_old".parse().unwrap(), &record).await.unwrap();
    store.put_track_record(&"regressor_rf".parse().unwrap(), &record).await.unwrap();

    let server = serving_histories(store).await;
    server.publish(snapshot(7)).await;
    server
}

#[tokio::test]
async fn a_history_is_answered_as_documented_as_far_back_as_asked() {
    let server = server().await;
    let two = server.get("/symbol/btc/historico?dias=2").await;
    assert_eq!(
        two.text(),
        r#"{"ativo":"BTC","dias":2,"modelos":{"regressor_rf":{"versao":"20250729-2130","execucao":"20240101-20250729-0123456789abcdef","previsoes":[{"data":"2025-07-28","predicao":45028.0,"fechamento":45000.0,"fechamento_next":45500.5,"direction_next":1},{"data":"2025-07-29","predicao":45029.0,"fechamento":45000.0}]}},"total_modelos":1}"#
    );
    let all = server.get("/symbol/BTC/historico").await.json();
    assert_eq!(all["modelos"]["regressor_rf"]["previsoes"].as_array().unwrap().len(), 3);
    let etag = two.header("etag").unwrap();
    let again = server.send("GET", "/symbol/BTC/historico?dias=2", &[("if-none-match", etag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    let none = server.get("/symbol/ETH/historico").await.json();
    assert_eq!(none, json!({"ativo": "ETH", "dias": 90, "modelos": {}, "total_modelos": 0}));
}

#[tokio::test]
async fn a_models_track_record_is_answered_as_documented() {
    let server = server().await;
    let answer = server.get("/models/regressor_rf").await;
    assert_eq!(
        answer.text(),
        r#"{"modelo":"regressor_rf","tipo":"regressor","em_uso":{"versao":"20250729-2130","dados_ate":"2025-07-28","ativos":2,"falhas":1},"avaliacao":{"versao":"20250729-2130","execucao":"20240101-20250729-0123456789abcdef","avaliado_em":"2025-07-29T21:30:00Z","de":"2024-01-01","ate":"2025-07-29","geral":{"previsoes":2,"mae":763.75,"acerto_direcional":0.5},"por_dia":{"2025-07-28":{"previsoes":2,"mae":763.75,"acerto_direcional":0.5}},"por_ativo":{"BTC":{"previsoes":2,"mae":763.75,"acerto_direcional":0.5}}}}"#
    );
    let not_evaluated = server.get("/models/classifier_rf").await.json();
    assert!(not_evaluated["em_uso"].is_object() && not_evaluated["avaliacao"].is_null());
    let not_in_force = server.get("/models/regressor_old").await.json();
    assert!(not_in_force["em_uso"].is_null() && not_in_force["avaliacao"].is_object());
}

#[tokio::test]
async fn what_is_not_known_or_not_a_number_of_days_is_an_error_of_the_documented_shape() {
    let server = server().await;
    for (path, status, detail) in [
        ("/symbol/XYZ/historico", 404, "ativo XYZ desconhecido; veja /symbols"),
        (
            "/symbol/BTC/historico?dias=0",
            400,
            "dias inválido: \"0\"; é esperado um número inteiro de 1 a 3650",
        ),
        ("/models/regressor_xyz", 404, "modelo \"regressor_xyz\" desconhecido; veja /models"),
        ("/models/xyz", 404, "modelo \"xyz\" desconhecido; veja /models"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.json(), json!({"detail": detail, "status": status}), "{path}");
    }
    let bad = server.get("/symbol/B$C/historico").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}
