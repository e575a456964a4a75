use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    AnswerError, Asset, AssetPredictions, Digest, Generation, ModelName, Outcome, Prediction,
    PredictionFailure, PredictionStore, PublishError, RejectedArtifact, ServedModel, Snapshot, Summary,
    TraceId, answer,
};

/// The suite for prediction stores; `make` gives an empty store each time it is called.
///
/// # Panics
/// Where the store does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a suite of assertions")]
pub async fn prediction_store<S: PredictionStore>(make: impl AsyncFn() -> S) {
    nothing_is_current_before_the_first_publication(make().await).await;
    what_is_published_is_current_and_whole(make().await).await;
    a_snapshot_without_assets_is_one_too(make().await).await;
    many_assets_are_all_there(make().await).await;
    generations_are_drawn_in_order(make().await).await;
    an_older_or_equal_generation_never_replaces_a_newer_one(make().await).await;
    what_is_confirmed_is_what_is_current(make().await).await;
    watchers_see_the_newest_generation(make().await).await;
    concurrent_readers_see_no_gap_and_no_step_back(make().await).await;

    async fn nothing_is_current_before_the_first_publication(store: impl PredictionStore) {
        assert!(store.current().await.unwrap().is_none());
        assert_eq!(store.watch().borrow().generation, None);
        let digest = Digest::of(&sample(Generation(1)));
        assert_eq!(store.confirm(digest).await.unwrap(), None);
    }

    async fn what_is_published_is_current_and_whole(store: impl PredictionStore) {
        let snapshot = sample(store.next_generation().await.unwrap());
        store.publish(Arc::clone(&snapshot)).await.unwrap();
        is_published(&store, &snapshot).await;
    }

    async fn a_snapshot_without_assets_is_one_too(store: impl PredictionStore) {
        let generation = store.next_generation().await.unwrap();
        let snapshot =
            Snapshot { models: Vec::new(), assets: BTreeMap::new(), ..(*sample(generation)).clone() };
        let snapshot = Arc::new(snapshot);
        store.publish(Arc::clone(&snapshot)).await.unwrap();
        is_published(&store, &snapshot).await;
    }

    async fn many_assets_are_all_there(store: impl PredictionStore) {
        let mut snapshot = (*sample(store.next_generation().await.unwrap())).clone();
        let asset = snapshot.assets.values().next().unwrap().clone();
        let names = (0..5000).map(|number| format!("ASSET-{number}").parse::<Asset>().unwrap());
        snapshot.assets.extend(names.map(|name| (name, asset.clone())));
        let snapshot = Arc::new(snapshot);
        store.publish(Arc::clone(&snapshot)).await.unwrap();
        is_published(&store, &snapshot).await;
    }

    /// Whether a snapshot is current, however it is read.
    async fn is_published(store: &impl PredictionStore, snapshot: &Snapshot) {
        let expected = answers_of(snapshot);
        let bytes = expected.values().map(|answer| answer.len() as u64).sum();
        let summary = store.current().await.unwrap().unwrap();
        assert_eq!(*summary, snapshot.summary(bytes));
        assert!(store.answers(&summary).await.unwrap() == expected, "all answers at once");
        let assets: Vec<Asset> = snapshot.assets.keys().cloned().collect();
        assert!(store.assets(&summary).await.unwrap() == assets, "the assets");
        for asset in assets.iter().step_by(100) {
            assert_eq!(store.answer(&summary, asset).await.unwrap().as_ref(), expected.get(asset), "{asset}");
        }
        let unknown = "UNKNOWN".parse().unwrap();
        assert_eq!(store.answer(&summary, &unknown).await.unwrap(), None);
        let never = Summary { generation: Generation(u64::from(u32::MAX)), ..(*summary).clone() };
        for asset in assets.iter().chain([&unknown]).take(3) {
            assert!(matches!(store.answer(&never, asset).await, Err(AnswerError::Gone(_))), "{asset}");
        }
        assert!(matches!(store.answers(&never).await, Err(AnswerError::Gone(_))));
        assert!(matches!(store.assets(&never).await, Err(AnswerError::Gone(_))));
    }

    async fn generations_are_drawn_in_order(store: impl PredictionStore) {
        let first = store.next_generation().await.unwrap();
        let second = store.next_generation().await.unwrap();
        assert!(first < second);
    }

    async fn an_older_or_equal_generation_never_replaces_a_newer_one(store: impl PredictionStore) {
        let older = store.next_generation().await.unwrap();
        let newer = store.next_generation().await.unwrap();
        store.publish(sample(newer)).await.unwrap();
        for offered in [older, newer] {
            match store.publish(sample(offered)).await {
                Err(PublishError::Superseded { current, .. }) => assert_eq!(current, newer),
                other => panic!("generation {offered} after {newer}: {other:?}"),
            }
        }
        is_published(&store, &sample(newer)).await;
    }

    async fn what_is_confirmed_is_what_is_current(store: impl PredictionStore) {
        let [older, newer] =
            [store.next_generation().await.unwrap(), store.next_generation().await.unwrap()].map(sample);
        store.publish(Arc::clone(&older)).await.unwrap();
        assert_eq!(store.confirm(Digest::of(&older)).await.unwrap(), Some(older.generation));
        assert_eq!(store.confirm(Digest::of(&newer)).await.unwrap(), None);
        store.publish(Arc::clone(&newer)).await.unwrap();
        assert_eq!(store.confirm(Digest::of(&newer)).await.unwrap(), Some(newer.generation));
        assert_eq!(store.confirm(Digest::of(&older)).await.unwrap(), None, "it is superseded");
    }

    async fn watchers_see_the_newest_generation(store: impl PredictionStore) {
        let mut watcher = store.watch();
        let mut last = Generation(0);
        for _ in 0..3 {
            last = store.next_generation().await.unwrap();
            store.publish(sample(last)).await.unwrap();
        }
        let seen = watcher.wait_for(|following| following.generation == Some(last));
        // Longer than it takes, also on a busy machine.
        let seen = *tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap().unwrap();
        assert_eq!(seen.unreachable_since, None);
    }

    async fn concurrent_readers_see_no_gap_and_no_step_back(store: impl PredictionStore) {
        let store = Arc::new(store);
        let first = store.next_generation().await.unwrap();
        store.publish(sample(first)).await.unwrap();
        let reader = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                let mut newest = first;
                let mut read = 0;
                while read < 200 {
                    let summary = store.current().await.unwrap().unwrap();
                    assert!(summary.generation >= newest, "a reader stepped back");
                    newest = summary.generation;
                    // It may be replaced in between, and is never half there.
                    match store.answers(&summary).await {
                        Ok(answers) => assert_eq!(answers, answers_of(&sample(newest))),
                        Err(AnswerError::Gone(generation)) => {
                            assert_eq!(generation, newest);
                            assert!(store.current().await.unwrap().unwrap().generation > newest);
                        }
                        Err(error) => panic!("{error}"),
                    }
                    read += 1;
                    // The publisher may be on the same thread.
                    tokio::task::yield_now().await;
                }
            }
        });
        for _ in 0..50 {
            let generation = store.next_generation().await.unwrap();
            store.publish(sample(generation)).await.unwrap();
        }
        reader.await.unwrap();
    }
}

fn answers_of(snapshot: &Snapshot) -> BTreeMap<Asset, Bytes> {
    let render = |(asset, predictions)| {
        let asset: &Asset = asset;
        (asset.clone(), answer::render(snapshot, asset, predictions).into())
    };
    snapshot.assets.iter().map(render).collect()
}

/// A snapshot whose every number follows from its generation, so that a mixture of two is noticed.
#[expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "constants and small numbers")]
fn sample(generation: Generation) -> Arc<Snapshot> {
    let scored_at = Timestamp::UNIX_EPOCH;
    let name = |text: &str| text.parse::<ModelName>().unwrap();
    let prediction = |model: &str, outcome| Prediction {
        model: name(model),
        version: "20250729-2130".parse().unwrap(),
        outcome,
    };
    let close = prediction("regressor_rf", Outcome::Close(generation.0 as f64 + 0.5));
    let probability = 1.0 / (generation.0 as f64 + 1.0);
    let direction = prediction("classifier_rf", Outcome::Direction { class: 1, probability });
    let failure =
        PredictionFailure { model: name("classifier_rf"), reason: "ação \"não\" finita\n".to_owned() };
    let data_date = Some(jiff::civil::date(2025, 2, 20));
    let whole = AssetPredictions {
        data_date,
        last_close: Some(0.1 + 0.2),
        predictions: vec![close.clone(), direction],
        failures: Vec::new(),
        is_stale: false,
    };
    let half = AssetPredictions {
        predictions: vec![close],
        failures: vec![failure],
        is_stale: true,
        ..Default::default()
    };
    let model = |text: &str| ServedModel {
        name: name(text),
        version: "20250729-2130".parse().unwrap(),
        loaded_at: scored_at,
        comparison: None,
        lost: None,
        stale: None,
    };
    Arc::new(Snapshot {
        generation,
        scored_at,
        trace_id: TRACE.parse::<TraceId>().unwrap(),
        bucket: None,
        models: vec![model("regressor_rf"), model("classifier_rf")],
        rejected: vec![RejectedArtifact { key: "models/ç.joblib".to_owned(), reason: "não".to_owned() }],
        assets: [("BTC", whole), ("ETH", half)]
            .map(|(symbol, asset)| (symbol.parse().unwrap(), asset))
            .into(),
    })
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
