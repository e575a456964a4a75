use std::collections::BTreeMap;

use jiff::{Timestamp, civil::date};

use crate::{
    Asset, Evaluation, HistoryStore, Metrics, ModelHistory, ModelName, RunId, ScoredDay, TrackRecord,
    answer::Number,
};

/// The suite for stores of histories; `make` gives an empty one.
///
/// # Panics
/// Where the store does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, reason = "a suite of assertions")]
pub async fn history_store<S: HistoryStore>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let [btc, eth] = ["BTC", "ETH"].map(|symbol| symbol.parse::<Asset>().unwrap());
    let [rf, log] = ["regressor_rf", "classifier_log"].map(|name| name.parse::<ModelName>().unwrap());
    assert_eq!(store.history(&btc).await.unwrap(), BTreeMap::new());
    assert_eq!(store.track_record(&rf).await.unwrap(), None);

    let of_both = BTreeMap::from([(rf.clone(), history("one", 0.1)), (log.clone(), history("one", 0.2))]);
    for _ in 0..2 {
        store.put_history(&btc, &of_both).await.unwrap();
        assert_eq!(store.history(&btc).await.unwrap(), of_both, "what is left twice is there once");
    }
    assert_eq!(store.history(&eth).await.unwrap(), BTreeMap::new(), "nobody left anything of this asset");

    let of_one = BTreeMap::from([(rf.clone(), history("two", 0.3))]);
    store.put_history(&btc, &of_one).await.unwrap();
    let both = store.history(&btc).await.unwrap();
    assert_eq!((&both[&rf], &both[&log]), (&of_one[&rf], &of_both[&log]), "the other model's stays");

    for run in ["one", "one", "two"] {
        store.put_track_record(&rf, &record(run)).await.unwrap();
        assert_eq!(store.track_record(&rf).await.unwrap(), Some(record(run)));
    }
    assert_eq!(store.track_record(&log).await.unwrap(), None);
}

#[expect(clippy::unwrap_used, reason = "constants")]
fn history(run: &str, probability: f64) -> ModelHistory {
    let known = ScoredDay {
        data: date(2025, 2, 19),
        predicao: Number::Class(1),
        probabilidade: Some(probability),
        fechamento: Some(0.1 + 0.2),
        fechamento_next: Some(1e-300),
        direction_next: Some(0),
    };
    let open = ScoredDay {
        data: date(2025, 2, 20),
        predicao: Number::Close(1.0),
        fechamento_next: None,
        direction_next: None,
        ..known
    };
    let versao = "20250729-2130".parse().unwrap();
    ModelHistory { versao, execucao: RunId(run.into()), previsoes: vec![known, open] }
}

#[expect(clippy::unwrap_used, reason = "constants")]
fn record(run: &str) -> TrackRecord {
    let geral = Metrics { previsoes: 3, mae: Some(0.1 + 0.2), ..Metrics::default() };
    TrackRecord {
        versao: "20250729-2130".parse().unwrap(),
        execucao: RunId(run.into()),
        avaliado_em: Timestamp::UNIX_EPOCH,
        de: date(2024, 1, 1),
        ate: date(2025, 2, 20),
        metricas: Evaluation {
            geral,
            por_dia: BTreeMap::from([(date(2025, 2, 19), geral), (date(2025, 2, 20), Metrics::default())]),
            por_ativo: BTreeMap::from([("BTC".parse().unwrap(), geral)]),
        },
    }
}
