//! The folder behaves as an object store and as a source of events.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use scorer::{FolderStore, FolderWatch};
use shared::{Change, EventSource, ObjectStore, PredictionStore, conformance};
use tempfile::TempDir;

use crate::{SOON, world::FolderBucket};

/// Without a notification a change is found after five seconds.
const NOTIFIED: Duration = Duration::from_secs(4);

/// Publishes a folder by pointing a link to it.
trait Publisher {
    /// Where the bucket is.
    fn bucket(&self) -> PathBuf;
    /// Publishes these files instead of those before, and then removes those.
    fn publish(&self, number: u32, files: &[(&str, &[u8])]);
}

fn write_all(folder: &Path, files: &[(&str, &[u8])]) {
    for (key, content) in files {
        let path = folder.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// git-sync: each revision has a work tree of its own, and the link to the current one is replaced by a rename.
struct GitSync(TempDir);

impl Publisher for GitSync {
    fn bucket(&self) -> PathBuf {
        self.0.path().join("current")
    }

    fn publish(&self, number: u32, files: &[(&str, &[u8])]) {
        let (root, link) = (self.0.path(), self.bucket());
        let before = fs::read_link(&link).ok();
        let tree = PathBuf::from(format!(".worktrees/{number:040x}"));
        write_all(&root.join(&tree), files);
        symlink(&tree, root.join("tmp-link")).unwrap();
        fs::rename(root.join("tmp-link"), link).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(root.join(before)).unwrap();
        }
    }
}

/// A volume of a ConfigMap in Kubernetes. The files are in a hidden folder, and `..data` is a link to it. A rename
/// replaces that link. Users see links that lead through it.
struct ConfigMapVolume(TempDir);

impl Publisher for ConfigMapVolume {
    fn bucket(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn publish(&self, number: u32, files: &[(&str, &[u8])]) {
        let volume = self.0.path();
        let before = fs::read_link(volume.join("..data")).ok();
        let folder = format!("..2025_07_29_21_30_00.{number}");
        write_all(&volume.join(&folder), files);
        symlink(folder, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        let names: BTreeSet<&str> = files.iter().filter_map(|(key, _)| key.split('/').next()).collect();
        for name in names {
            if fs::symlink_metadata(volume.join(name)).is_err() {
                symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(volume.join(before)).unwrap();
        }
    }
}

fn publishers() -> [Box<dyn Publisher + Sync>; 2] {
    let folder = || tempfile::tempdir().unwrap();
    [Box::new(GitSync(folder())), Box::new(ConfigMapVolume(folder()))]
}

#[tokio::test]
async fn a_link_that_is_pointed_elsewhere_is_followed() {
    for publisher in publishers() {
        publisher.publish(1, &[("models/a", b"one"), ("models/latest/b", b"one"), ("raw.csv", b"one")]);
        let store = FolderStore::open_folder(publisher.bucket()).unwrap();
        let mut watch = FolderWatch::start(store.clone()).await.unwrap();
        // Twice, since the second time another folder has to be watched than at first.
        for number in 2..=3 {
            let content = number.to_string();
            let content = content.as_bytes();
            publisher.publish(number, &[("models/a", content), ("models/c", content), ("raw.csv", content)]);
            let mut awaited = BTreeSet::from(["models/a", "models/c", "raw.csv"]);
            while !awaited.is_empty() {
                let batch = tokio::time::timeout(SOON, watch.receive()).await.unwrap().unwrap();
                for change in &batch.changes {
                    if let Change::Object(key) | Change::Removed(key) = change {
                        awaited.remove(key.as_str());
                    }
                }
            }
            let listed = store.list("").await.unwrap();
            let keys: Vec<&str> = listed.iter().map(|object| object.key.as_str()).collect();
            assert_eq!(keys, ["models/a", "models/c", "raw.csv"]);
            let mut read = Vec::new();
            store.open("models/a").await.unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
        }
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_by_another_is_followed() {
    let around = tempfile::tempdir().unwrap();
    let bucket = around.path().join("bucket");
    write_all(&bucket, &[("models/a", b"one")]);
    let mut watch = FolderWatch::start(FolderStore::open_folder(&bucket).unwrap()).await.unwrap();
    for name in ["models/b", "models/c"] {
        write_all(&around.path().join("next"), &[(name, b"two")]);
        fs::rename(&bucket, around.path().join(name.replace('/', "-"))).unwrap();
        fs::rename(around.path().join("next"), &bucket).unwrap();
        let given = async {
            loop {
                // Between the two renames there is no folder.
                let Ok(batch) = watch.receive().await else { continue };
                if batch.changes.contains(&Change::Object(name.to_owned())) {
                    break;
                }
            }
        };
        tokio::time::timeout(SOON, given).await.unwrap();
    }
}

#[test]
fn a_listing_never_mixes_two_publications() {
    const FILES: usize = 200;
    let keys: Vec<String> = (0..FILES).map(|number| format!("models/{number:03}")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for publisher in publishers() {
        let publish = |number: u32| {
            // The size tells which publication a file belongs to.
            let content = vec![0; number as usize];
            let files: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), &content[..])).collect();
            publisher.publish(number, &files);
        };
        publish(1);
        let store = FolderStore::open_folder(publisher.bucket()).unwrap();
        for number in 2..60 {
            let listed = std::thread::scope(|scope| {
                scope.spawn(|| publish(number));
                runtime.block_on(store.list("models/")).unwrap()
            });
            let sizes: BTreeSet<u64> = listed.iter().map(|object| object.size).collect();
            assert_eq!((listed.len(), sizes.len()), (FILES, 1), "{sizes:?}");
        }
    }
}

#[tokio::test]
async fn models_that_cannot_be_read_are_not_taken_for_removed() {
    let bucket = FolderBucket::sample();
    let (engine, predictions) = bucket.engine();
    engine.reload().await.unwrap();
    let before = predictions.current().await.unwrap().unwrap();
    let models = bucket.path().join("models");
    let aside = bucket.path().join(".aside");
    fs::rename(&models, &aside).unwrap();
    // More links than the system follows.
    let mut target = ".aside".to_owned();
    for number in 0..45 {
        let name = format!(".link{number}");
        symlink(target, bucket.path().join(&name)).unwrap();
        target = name;
    }
    symlink(target, &models).unwrap();
    let error = engine.reload().await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("models"), "{error}");
    let current = predictions.current().await.unwrap().unwrap();
    assert_eq!((current.generation, current.models.len()), (before.generation, 5));

    fs::remove_file(&models).unwrap();
    fs::rename(&aside, &models).unwrap();
    assert_eq!(engine.reload().await.unwrap().snapshot.models.len(), 5);
}

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
async fn a_change_is_given_soon_after_the_last_write_and_not_before_it() {
    loop {
        let bucket = FolderBucket::empty();
        fs::create_dir_all(bucket.path().join("models")).unwrap();
        let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
        let path = bucket.path().join("models/regressor_rf_20250729-2130.joblib");
        let writer = std::thread::spawn(move || {
            let mut file = fs::File::create(path).unwrap();
            let mut written = Instant::now();
            let mut longest = Duration::ZERO;
            for _ in 0..10 {
                file.write_all(&[0; 1000]).unwrap();
                longest = longest.max(written.elapsed());
                written = Instant::now();
                std::thread::sleep(Duration::from_millis(60));
            }
            file.write_all(&[1]).unwrap();
            (longest.max(written.elapsed()), Instant::now())
        });
        let batch = watch.receive().await.unwrap();
        let given = Instant::now();
        let (longest, last_write) = writer.join().unwrap();
        // A machine that stalls the writer makes the file quiet. Then the attempt proves nothing.
        if longest < Duration::from_millis(150) {
            let key = "models/regressor_rf_20250729-2130.joblib".to_owned();
            assert_eq!(batch.changes, [Change::Object(key)]);
            let delay = given.checked_duration_since(last_write).expect("given while it was written");
            assert!(delay < NOTIFIED, "{delay:?}");
            break;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_into_place_is_given_at_once() {
    let bucket = FolderBucket::empty();
    bucket.write("models/regressor_rf.joblib.part", b"content");
    // It was written long ago, so that nothing has to become quiet.
    let part = fs::File::options().write(true).open(bucket.path().join("models/regressor_rf.joblib.part"));
    part.unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
    let folder = bucket.path().join("models");
    let begun = Instant::now();
    fs::rename(folder.join("regressor_rf.joblib.part"), folder.join("regressor_rf.joblib")).unwrap();
    let batch = watch.receive().await.unwrap();
    assert_eq!(batch.changes, [Change::Object("models/regressor_rf.joblib".to_owned())]);
    assert!(begun.elapsed() < NOTIFIED, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn temporary_files_are_no_change() {
    let bucket = FolderBucket::empty();
    let mut watch = FolderWatch::start(bucket.store()).await.unwrap();
    bucket.write("models/.regressor_rf.joblib.tmp", b"content");
    for name in ["regressor_rf.joblib.part", "regressor_rf.joblib.1a2B3c4D", "_SUCCESS", "._SUCCESS.crc"] {
        bucket.write(&format!("models/{name}"), b"content");
    }
    // A slow machine may overlook a change, and never invents one.
    let nothing = tokio::time::timeout(Duration::from_millis(800), watch.receive()).await;
    assert!(nothing.is_err());
}
