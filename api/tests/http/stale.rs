//! Assets whose data lie far behind those of the others are marked wherever they are shown.

use std::sync::Arc;

use api::Settings;
use jiff::{Timestamp, civil::date};
use serde_json::json;
use shared::{STALE_AFTER_DAYS, Snapshot, mark_stale};

use crate::{
    server::{Server, snapshot},
    store::Distant,
};

/// ETH has a row that is 400 days older than that of BTC; of DOGE no day is known.
pub(crate) fn with_a_stale_asset(mut snapshot: Snapshot) -> Snapshot {
    let ancient = date(2024, 6, 23);
    snapshot.assets.get_mut(&"ETH".parse().unwrap()).unwrap().data_date = Some(ancient);
    mark_stale(&mut snapshot.assets, STALE_AFTER_DAYS, date(2025, 7, 30));
    snapshot
}

#[tokio::test]
async fn a_stale_asset_is_marked_in_every_answer_that_shows_it() {
    // In memory, and read from the store one by one.
    for memory_budget in [256_000_000, 2000] {
        let settings = Settings { memory_budget, ..Settings::default() };
        let server = Server::over(Arc::new(Distant::default()), None, settings).await;
        server.publish(with_a_stale_asset(snapshot(7))).await;
        let marks = async |symbol: &str| {
            server.get(&format!("/symbol/{symbol}")).await.json()["desatualizado"].clone()
        };
        assert_eq!(marks("ETH").await, json!(true));
        for symbol in ["BTC", "DOGE"] {
            assert_eq!(marks(symbol).await, json!(null), "{symbol}");
        }
        assert_eq!(server.get("/symbols").await.json()["desatualizados"], json!(["ETH"]));
        let many = server.get("/symbols?ativos=ETH").await.json();
        assert_eq!(many["ativos"]["ETH"]["desatualizado"], true);
        let models = server.get("/models").await.json();
        assert_eq!(models["ativos_desatualizados"], 1);
        let of_regressor = &models["detalhes"]["regressor_rf"];
        assert_eq!(of_regressor["dados_ate"], "2025-07-28");
        assert_eq!(of_regressor["dados_mais_antigos"], "2024-06-23");
        assert_eq!(
            models["detalhes"]["classifier_rf"]["dados_mais_antigos"],
            json!(null),
            "it is the same day"
        );
    }
    let server = Server::serving(with_a_stale_asset(snapshot(1))).await;
    let ranking = server.get("/ranking?modelo=regressor_rf").await.json();
    let marks: Vec<_> = ranking["ranking"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| (&place["ativo"], &place["desatualizado"]))
        .collect();
    assert_eq!(marks, [(&json!("BTC"), &json!(null)), (&json!("ETH"), &json!(true))]);
    assert_eq!(server.get("/painel/dados").await.json()["desatualizado"], json!([false, false, true]));
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("\ncripto_stale_assets 1\n"), "{}", metrics.text());
    let line = metrics
        .text()
        .lines()
        .find(|line| line.starts_with("cripto_oldest_data_age_seconds{model=\"regressor_rf\"} "));
    let seconds: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let expected = Timestamp::now().duration_since("2024-06-23T00:00:00Z".parse().unwrap()).as_secs_f64();
    assert!((expected - 60.0..=expected).contains(&seconds), "{seconds} is not {expected}");
}

#[tokio::test]
async fn nothing_is_marked_where_nothing_is_stale() {
    let server = Server::serving(snapshot(1)).await;
    assert_eq!(server.get("/symbols").await.json()["desatualizados"], json!(null));
    assert_eq!(server.get("/models").await.json()["ativos_desatualizados"], json!(null));
    assert!(server.get("/metrics").await.text().contains("\ncripto_stale_assets 0\n"));
}
