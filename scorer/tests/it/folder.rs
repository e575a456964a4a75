//! The folder behaves as an object store and as a source of events.

use std::{
    fs,
    io::Write,
    time::{Duration, Instant},
};

use scorer::FolderWatch;
use shared::{Change, EventSource, conformance};

use crate::world::FolderBucket;

#[tokio::test]
async fn the_folder_behaves_as_an_object_store() {
    conformance::object_store(async || {
        let bucket = FolderBucket::empty();
        (bucket.store(), bucket)
    })
    .await;
}

#[tokio::test]
async fn the_folder_can_be_written_to() {
    let kept = std::sync::Mutex::new(Vec::new());
    conformance::object_writer(async || {
        let bucket = FolderBucket::empty();
        let store = bucket.store();
        kept.lock().unwrap().push(bucket);
        store
    })
    .await;
}

#[tokio::test]
async fn the_folder_behaves_as_an_event_source() {
    conformance::event_source(async || {
        let bucket = FolderBucket::empty();
        (FolderWatch::start(bucket.store()).await.unwrap(), bucket)
    })
    .await;
}

#[tokio::test]
async fn a_change_is_given_within_a_second_of_the_last_write_and_not_before_it() {
    let bucket = FolderBucket::empty();
    fs::create_dir_all(bucket.path().join("models")).unwrap();
    let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
    let path = bucket.path().join("models/regressor_rf_20250729-2130.joblib");
    let writer = std::thread::spawn(move || {
        let mut file = fs::File::create(path).unwrap();
        for _ in 0..10 {
            file.write_all(&[0; 1000]).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
        file.write_all(&[1]).unwrap();
        Instant::now()
    });
    let batch = watch.receive().await.unwrap();
    let given = Instant::now();
    let last_write = writer.join().unwrap();
    assert_eq!(batch.changes, [Change::Object("models/regressor_rf_20250729-2130.joblib".to_owned())]);
    let delay = given.checked_duration_since(last_write).expect("given while it was written");
    assert!(delay < Duration::from_secs(1), "{delay:?}");
}

#[tokio::test]
async fn a_file_that_is_renamed_into_place_is_given_at_once() {
    let bucket = FolderBucket::empty();
    bucket.write("models/regressor_rf.joblib.part", b"content");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
    let folder = bucket.path().join("models");
    let begun = Instant::now();
    fs::rename(folder.join("regressor_rf.joblib.part"), folder.join("regressor_rf.joblib")).unwrap();
    let batch = watch.receive().await.unwrap();
    assert_eq!(batch.changes, [Change::Object("models/regressor_rf.joblib".to_owned())]);
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn temporary_files_are_no_change() {
    let bucket = FolderBucket::empty();
    let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
    bucket.write("models/.regressor_rf.joblib.tmp", b"content");
    bucket.write("models/regressor_rf.joblib.part", b"content");
    let nothing = tokio::time::timeout(Duration::from_millis(800), watch.receive()).await;
    assert!(nothing.is_err());
}
