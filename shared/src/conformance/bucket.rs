//! The behaviour that every [`ObjectStore`] and every [`EventSource`] must show, to be run against each
//! implementation.
//!
//! Both are read-only, so each suite needs a [`World`]: the same bucket, seen from the side of those who
//! write to it.

use std::{collections::BTreeSet, io::Read, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Batch, Change, EventSource, ObjectError, ObjectReader, ObjectStore, ObjectWriter};

/// A bucket that a suite may write to, empty at first.
#[async_trait]
pub trait World: Send + Sync {
    /// Creates or overwrites an object.
    async fn put(&self, key: &str, content: &[u8]);
    /// Removes an object.
    async fn remove(&self, key: &str);
}

/// Longer than an event takes, also on a busy machine. A test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);

/// An event that must not arrive is waited for so long. A slow machine may overlook one, and never invents one.
const NEVER: Duration = Duration::from_millis(1500);

/// The suite for object stores; `make` gives a new bucket each time it is called.
///
/// # Panics
/// Where the store does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a suite of assertions")]
pub async fn object_store<S: ObjectStore, W: World>(make: impl AsyncFn() -> (S, W)) {
    an_empty_bucket_is_no_error(make().await).await;
    listings_are_ordered_complete_and_by_prefix(make().await).await;
    an_object_is_read_as_it_was_written(make().await).await;
    what_is_overwritten_is_another_object(make().await).await;
    what_is_removed_is_gone(make().await).await;
    what_is_not_there_is_not_found(make().await).await;
    what_was_listed_is_read_and_nothing_later(make().await).await;

    async fn an_empty_bucket_is_no_error((store, _world): (impl ObjectStore, impl World)) {
        assert_eq!(store.list("").await.unwrap(), []);
        assert_eq!(store.list("models/").await.unwrap(), []);
    }

    async fn listings_are_ordered_complete_and_by_prefix((store, world): (impl ObjectStore, impl World)) {
        let mut expected: Vec<String> = (0..1100).map(|number| format!("many/{number:04}.csv")).collect();
        for key in &expected {
            world.put(key, b"x").await;
        }
        world.put("models/latest/regressor_rf.joblib", b"12345").await;
        world.put("models/regressor_rf_20250729-2130.joblib", b"123").await;
        let keys = async |prefix: &str| -> Vec<String> {
            store.list(prefix).await.unwrap().into_iter().map(|object| object.key).collect()
        };
        assert_eq!(keys("many/").await, expected, "more than one page");
        assert_eq!(keys("many/000").await.len(), 10, "a prefix need not end with a slash");
        assert_eq!(
            keys("models/").await,
            ["models/latest/regressor_rf.joblib", "models/regressor_rf_20250729-2130.joblib"]
        );
        assert_eq!(keys("nothing/").await, [""; 0]);
        expected.extend(keys("models/").await);
        assert_eq!(keys("").await, expected);
        let sizes: Vec<u64> = store.list("models/").await.unwrap().iter().map(|object| object.size).collect();
        assert_eq!(sizes, [5, 3]);
    }

    async fn an_object_is_read_as_it_was_written((store, world): (impl ObjectStore, impl World)) {
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        for (key, content) in [("models/large.joblib", &content[..]), ("models/empty.joblib", &[])] {
            world.put(key, content).await;
            assert!(read(&store, key).await.unwrap() == content, "{key}");
        }
    }

    async fn what_is_overwritten_is_another_object((store, world): (impl ObjectStore, impl World)) {
        world.put("a", b"one").await;
        let before = store.list("a").await.unwrap();
        assert_eq!(store.list("a").await.unwrap(), before, "nothing changed in between");
        world.put("a", b"two").await;
        assert_ne!(store.list("a").await.unwrap(), before);
        assert_eq!(read(&store, "a").await.unwrap(), b"two");
    }

    async fn what_is_removed_is_gone((store, world): (impl ObjectStore, impl World)) {
        world.put("models/a", b"one").await;
        world.remove("models/a").await;
        assert_eq!(store.list("").await.unwrap(), []);
        assert!(matches!(store.open("models/a").await, Err(ObjectError::NotFound { .. })));
    }

    async fn what_is_not_there_is_not_found((store, world): (impl ObjectStore, impl World)) {
        world.put("models/a", b"one").await;
        match store.open("models/b").await {
            Err(ObjectError::NotFound { key, bucket }) => {
                assert_eq!((key.as_str(), bucket.as_str()), ("models/b", store.bucket()));
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("read"),
        }
    }

    async fn what_was_listed_is_read_and_nothing_later((store, world): (impl ObjectStore, impl World)) {
        world.put("models/a", b"one").await;
        let listed = store.list("models/").await.unwrap().remove(0);
        assert_eq!(whole(store.open_listed(&listed).await.unwrap()).await, b"one");
        assert_eq!(
            whole(store.open_listed(&listed).await.unwrap()).await,
            b"one",
            "as often as it is asked for"
        );
        // Of the same length, so that nothing but the store's own mark tells them apart.
        world.put("models/a", b"two").await;
        match store.open_listed(&listed).await {
            Err(ObjectError::Changed { key, bucket }) => {
                assert_eq!((key.as_str(), bucket.as_str()), ("models/a", store.bucket()));
            }
            Err(other) => panic!("{other:?}"),
            Ok(reader) => panic!("read {:?}", whole(reader).await),
        }
        let listed = store.list("models/").await.unwrap().remove(0);
        assert_eq!(whole(store.open_listed(&listed).await.unwrap()).await, b"two");
        world.remove("models/a").await;
        assert!(matches!(store.open_listed(&listed).await, Err(ObjectError::NotFound { .. })));
    }

    async fn read(store: &impl ObjectStore, key: &str) -> Result<Vec<u8>, ObjectError> {
        Ok(whole(store.open(key).await?).await)
    }

    async fn whole(mut reader: ObjectReader) -> Vec<u8> {
        let whole = tokio::task::spawn_blocking(move || {
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            content
        });
        whole.await.unwrap()
    }
}

/// The suite for stores that can be written to; `make` gives one on an empty bucket each time it is called.
///
/// # Panics
/// Where the store does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, reason = "a suite of assertions")]
pub async fn object_writer<S: ObjectStore + ObjectWriter>(make: impl AsyncFn() -> S) {
    let store = make().await;
    let key = "predictions/regressor_rf/20250729-2130/dt=2025-02-20/part-00000.parquet";
    let large = Bytes::from(vec![7_u8; 3 << 20]);
    for content in [Bytes::from_static(b"one"), Bytes::new(), large, Bytes::from_static(b"two")] {
        store.put(key, content.clone()).await.unwrap();
        let listed = store.list("predictions/").await.unwrap();
        assert_eq!(listed.len(), 1, "one object in the place of the other");
        assert_eq!((listed[0].key.as_str(), listed[0].size), (key, content.len() as u64));
        let mut reader = store.open(key).await.unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read
        });
        assert!(read.await.unwrap() == content, "{} bytes", content.len());
    }
    let neighbour = "predictions/regressor_rf/20250729-2130/dt=2025-02-20/part-00001.parquet";
    store.put(neighbour, Bytes::from_static(b"three")).await.unwrap();
    for attempt in ["removed", "removed before"] {
        store.delete(key).await.unwrap();
        let listed = store.list("predictions/").await.unwrap();
        let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, [neighbour], "{attempt}");
        let opened = store.open(key).await.err();
        assert!(matches!(opened, Some(ObjectError::NotFound { .. })), "{attempt}: {opened:?}");
    }
    store.delete("nothing/like/it").await.unwrap();
    for invalid in [store.put("", Bytes::new()).await, store.delete("").await] {
        assert!(matches!(invalid, Err(ObjectError::InvalidKey { .. })), "{invalid:?}");
    }
}

/// The suite for event sources; `make` gives a new bucket, and a source of its changes, each time it is called.
///
/// # Panics
/// Where the source does not behave as the trait's documentation says.
#[expect(clippy::unwrap_used, reason = "a suite of assertions")]
pub async fn event_source<E: EventSource, W: World>(make: impl AsyncFn() -> (E, W)) {
    every_kind_of_change_arrives(make().await).await;
    what_is_acknowledged_does_not_come_again(make().await).await;
    what_is_released_comes_again(make().await).await;
    a_cancelled_receive_loses_nothing(make().await).await;
    many_changes_all_arrive(make().await).await;

    async fn every_kind_of_change_arrives((mut source, world): (impl EventSource, impl World)) {
        world.put("models/new/deep/a.joblib", b"one").await;
        arrives(&mut source, ["models/new/deep/a.joblib"]).await;
        world.put("models/new/deep/a.joblib", b"two").await;
        arrives(&mut source, ["models/new/deep/a.joblib"]).await;
        world.remove("models/new/deep/a.joblib").await;
        arrives(&mut source, ["models/new/deep/a.joblib"]).await;
    }

    async fn what_is_acknowledged_does_not_come_again((mut source, world): (impl EventSource, impl World)) {
        world.put("a", b"one").await;
        arrives(&mut source, ["a"]).await;
        let again = tokio::time::timeout(NEVER, source.receive()).await;
        assert!(again.is_err(), "{:?}", again.unwrap().unwrap().changes);
    }

    async fn what_is_released_comes_again((mut source, world): (impl EventSource, impl World)) {
        world.put("a", b"one").await;
        let batch = receive(&mut source).await;
        assert_eq!(batch.changes, [Change::Object("a".to_owned())]);
        source.release(batch).await.unwrap();
        arrives(&mut source, ["a"]).await;
    }

    async fn a_cancelled_receive_loses_nothing((mut source, world): (impl EventSource, impl World)) {
        world.put("a", b"one").await;
        // Wherever the time happens to end, nothing may be lost.
        for _ in 0..40 {
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(15), source.receive()).await {
                source.release(batch.unwrap()).await.unwrap();
            }
        }
        arrives(&mut source, ["a"]).await;
    }

    async fn many_changes_all_arrive((mut source, world): (impl EventSource, impl World)) {
        let keys: Vec<String> = (0..300).map(|number| format!("data/{number}/x.csv")).collect();
        for key in &keys {
            world.put(key, b"x").await;
        }
        arrives(&mut source, keys.iter().map(String::as_str)).await;
    }

    async fn receive<E: EventSource>(source: &mut E) -> Batch<E::Receipt> {
        tokio::time::timeout(SOON, source.receive()).await.unwrap().unwrap()
    }

    /// Receives and acknowledges until all of `keys` have been seen.
    async fn arrives<'a>(source: &mut impl EventSource, keys: impl IntoIterator<Item = &'a str>) {
        let mut awaited: BTreeSet<&str> = keys.into_iter().collect();
        while !awaited.is_empty() {
            let batch = receive(source).await;
            for change in &batch.changes {
                match change {
                    Change::Object(key) | Change::Removed(key) => _ = awaited.remove(key.as_str()),
                    Change::Anything => awaited.clear(),
                    Change::Requested(_) => {}
                }
            }
            source.acknowledge(batch).await.unwrap();
        }
    }
}
