//! The behaviour that every [`PredictionStore`] must show, to be run against each implementation.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{AssetPredictions, Generation, Outcome, Prediction, PredictionStore, PublishError, Snapshot};

/// Runs the whole suite; `make` gives an empty store each time it is called.
///
/// # Panics
/// Where the store does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a suite of assertions")]
pub async fn prediction_store<S: PredictionStore>(make: impl Fn() -> S) {
    nothing_is_current_before_the_first_publication(make()).await;
    what_is_published_is_current_and_whole(make()).await;
    generations_are_drawn_in_order(make()).await;
    an_older_or_equal_generation_never_replaces_a_newer_one(make()).await;
    watchers_see_the_newest_generation(make()).await;
    concurrent_readers_see_no_gap_and_no_step_back(make()).await;

    async fn nothing_is_current_before_the_first_publication(store: impl PredictionStore) {
        assert!(store.current().await.unwrap().is_none());
        assert_eq!(*store.watch().borrow(), None);
    }

    async fn what_is_published_is_current_and_whole(store: impl PredictionStore) {
        let snapshot = sample(store.next_generation().await.unwrap());
        store.publish(Arc::clone(&snapshot)).await.unwrap();
        assert_eq!(store.current().await.unwrap().as_deref(), Some(&*snapshot));
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
        assert_eq!(store.current().await.unwrap().unwrap().generation, newer);
    }

    async fn watchers_see_the_newest_generation(store: impl PredictionStore) {
        let mut watcher = store.watch();
        let mut last = Generation(0);
        for _ in 0..3 {
            last = store.next_generation().await.unwrap();
            store.publish(sample(last)).await.unwrap();
        }
        let seen = watcher.wait_for(|generation| *generation == Some(last));
        tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap().unwrap();
    }

    async fn concurrent_readers_see_no_gap_and_no_step_back(store: impl PredictionStore) {
        let store = Arc::new(store);
        let first = store.next_generation().await.unwrap();
        store.publish(sample(first)).await.unwrap();
        let reader = tokio::spawn({
            let store = Arc::clone(&store);
            async move {
                let mut newest = first;
                for _ in 0..200 {
                    let snapshot = store.current().await.unwrap().unwrap();
                    assert!(snapshot.generation >= newest, "a reader stepped back");
                    assert_eq!(*snapshot, *sample_at(snapshot.generation, snapshot.scored_at));
                    newest = snapshot.generation;
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

fn sample(generation: Generation) -> Arc<Snapshot> {
    // Whole seconds, as an implementation may keep no more.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    sample_at(generation, now)
}

/// A snapshot whose every number follows from its generation, so that a mixture of two is noticed.
#[expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "constants and small numbers")]
fn sample_at(generation: Generation, scored_at: Timestamp) -> Arc<Snapshot> {
    let prediction = |model: &str, outcome| Prediction {
        model: model.parse().unwrap(),
        version: "20250729-2130".parse().unwrap(),
        outcome,
    };
    let predictions = vec![
        prediction("regressor_rf", Outcome::Close(generation.0 as f64 + 0.5)),
        prediction(
            "classifier_rf",
            Outcome::Direction { class: 1, probability: 1.0 / (generation.0 as f64 + 1.0) },
        ),
    ];
    let asset = AssetPredictions {
        data_date: Some(jiff::civil::date(2025, 2, 20)),
        predictions,
        failures: Vec::new(),
    };
    let assets = ["BTC", "ETH"].iter().map(|symbol| (symbol.parse().unwrap(), asset.clone())).collect();
    Arc::new(Snapshot { generation, scored_at, models: Vec::new(), rejected: Vec::new(), assets })
}
