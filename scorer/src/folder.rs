use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use shared::{Object, ObjectError, ObjectReader, ObjectStore, ObjectWriter};

/// How long a file has to be left alone before it counts as completely written.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// How long [`FolderStore::open`] waits for a file to become quiet before it gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A folder with more files than this is hardly meant to be a bucket: somebody named `/` by mistake.
const MAX_OBJECTS: usize = 1_000_000;

/// Deeper folders are not looked into; the contract's keys have two or three parts.
const MAX_DEPTH: usize = 8;

/// A local folder in the shape of the bucket: a file's path below the folder is its key.
///
/// * Hidden files and files that end in `.part`, `.tmp` or `~` are work in progress and no objects.
/// * A symbolic link to a file counts if the file lies inside the folder; links to folders are not followed.
/// * A file that is being written is not read: [`open`](ObjectStore::open) waits until nobody has written to it for
///   200 ms, at most two seconds. A file whose time of modification lies in the future counts as quiet, since
///   clocks of network drives may be ahead.
#[derive(Debug, Clone)]
pub struct FolderStore {
    folder: Arc<Folder>,
}

#[derive(Debug)]
struct Folder {
    /// As the user wrote it, for messages.
    name: String,
    /// Absolute and free of links, so that a file's own path can be compared with it.
    root: PathBuf,
}

impl FolderStore {
    /// A store of the files in `folder`.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open_folder(folder: impl AsRef<Path>) -> Result<Self, ObjectError> {
        let name = folder.as_ref().display().to_string();
        let unusable = |source: io::Error| ObjectError::List { bucket: name.clone(), source: source.into() };
        let root = folder.as_ref().canonicalize().map_err(unusable)?;
        if !root.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { folder: Arc::new(Folder { name, root }) })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.folder.root
    }

    /// All objects; blocks.
    pub(crate) fn walk(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        let mut objects = Vec::new();
        self.folder.walk_into(&self.folder.root, "", prefix, MAX_DEPTH, &mut objects)?;
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    async fn on_a_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await
    }
}

#[async_trait]
impl ObjectStore for FolderStore {
    fn bucket(&self) -> &str {
        &self.folder.name
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        let prefix = prefix.to_owned();
        match self.on_a_blocking_thread(move |store| store.walk(&prefix)).await {
            Ok(listing) => listing,
            Err(error) => Err(ObjectError::List { bucket: self.folder.name.clone(), source: error.into() }),
        }
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = key.to_owned();
            let attempt = self.on_a_blocking_thread(move |store| store.folder.open_if_quiet(&asked)).await;
            match attempt.unwrap_or_else(|error| Err(self.folder.unreadable(key, error)))? {
                Attempt::Opened(file) => return Ok(Box::new(file)),
                Attempt::WrittenAgo(age) if Instant::now() < deadline => {
                    sleep(QUIET.saturating_sub(age)).await
                }
                Attempt::WrittenAgo(_) => {
                    let bucket = self.folder.name.clone();
                    return Err(ObjectError::BeingWritten { bucket, key: key.to_owned() });
                }
            }
        }
    }
}

#[async_trait]
impl ObjectWriter for FolderStore {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), ObjectError> {
        let asked = key.to_owned();
        let written = self.on_a_blocking_thread(move |store| store.folder.write(&asked, &content)).await;
        written.unwrap_or_else(|error| Err(self.folder.unwritable(key, error.into())))
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let asked = key.to_owned();
        let removed = self.on_a_blocking_thread(move |store| store.folder.remove(&asked)).await;
        removed.unwrap_or_else(|error| Err(self.folder.unremovable(key, error.into())))
    }
}

enum Attempt {
    Opened(fs::File),
    WrittenAgo(Duration),
}

impl Folder {
    fn walk_into(
        &self,
        folder: &Path,
        key_of_folder: &str,
        prefix: &str,
        depth: usize,
        objects: &mut Vec<Object>,
    ) -> Result<(), ObjectError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // A folder inside may be removed, or closed to us, while the listing is made; the bucket itself may not.
            Err(_) if folder != self.root => return Ok(()),
            Err(source) => {
                return Err(ObjectError::List { bucket: self.name.clone(), source: source.into() });
            }
        };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().filter(|name| !is_work_in_progress(name)) else { continue };
            let key =
                if key_of_folder.is_empty() { name.to_owned() } else { format!("{key_of_folder}/{name}") };
            let Ok(file_type) = entry.file_type() else { continue };
            if file_type.is_dir() {
                let may_match = key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"));
                if may_match && depth > 1 {
                    self.walk_into(&entry.path(), &key, prefix, depth - 1, objects)?;
                }
                continue;
            }
            if !key.starts_with(prefix) {
                continue;
            }
            if file_type.is_symlink() && !self.leads_inside(&entry.path()) {
                continue;
            }
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if !metadata.is_file() {
                continue;
            }
            if objects.len() >= MAX_OBJECTS {
                return Err(ObjectError::TooMany { bucket: self.name.clone(), limit: MAX_OBJECTS });
            }
            objects.push(Object {
                key,
                size: metadata.len(),
                last_modified: modified(&metadata),
                etag: fingerprint(&metadata),
            });
        }
        Ok(())
    }

    fn open_if_quiet(&self, key: &str) -> Result<Attempt, ObjectError> {
        let path = self.path_of(key)?;
        // Only regular files are opened: to open a named pipe would wait for its writer.
        let metadata = fs::metadata(&path).map_err(|error| self.unreadable(key, error))?;
        if !metadata.is_file() || !self.leads_inside(&path) {
            return Err(self.invalid(key));
        }
        match age(&metadata) {
            Some(age) if age < QUIET => Ok(Attempt::WrittenAgo(age)),
            _ => fs::File::open(&path).map(Attempt::Opened).map_err(|error| self.unreadable(key, error)),
        }
    }

    /// The file appears as a whole: it is written under another name beforehand.
    fn write(&self, key: &str, content: &[u8]) -> Result<(), ObjectError> {
        let path = self.path_of(key)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.invalid(key));
        };
        fs::create_dir_all(folder).map_err(|error| self.unwritable(key, error))?;
        if !self.leads_inside(folder) {
            return Err(self.invalid(key));
        }
        let number = fastrand::u64(..);
        let unfinished = path.with_file_name(format!(".{}.{number:016x}.tmp", name.display()));
        let written = fs::write(&unfinished, content).and_then(|()| fs::rename(&unfinished, &path));
        written.map_err(|error| {
            // It may not even exist; the first error is the one that counts.
            let _ = fs::remove_file(&unfinished);
            self.unwritable(key, error)
        })
    }

    fn remove(&self, key: &str) -> Result<(), ObjectError> {
        let path = self.path_of(key)?;
        match fs::symlink_metadata(&path) {
            // A folder of its name may be a file.
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Ok(());
            }
            Err(error) => return Err(self.unremovable(key, error)),
            // A link is removed itself, wherever it leads; what leads to it has to be inside.
            Ok(metadata) if metadata.is_dir() => return Err(self.invalid(key)),
            Ok(_) => {}
        }
        if !path.parent().is_some_and(|folder| self.leads_inside(folder)) {
            return Err(self.invalid(key));
        }
        match fs::remove_file(&path) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| self.unremovable(key, error)),
        }
    }

    /// The path of a key that [`Self::walk_into`] could have given.
    fn path_of(&self, key: &str) -> Result<PathBuf, ObjectError> {
        let parts: Vec<&str> = key.split('/').collect();
        let is_plain = |part: &&str| {
            let mut components = Path::new(part).components();
            let first = matches!(components.next(), Some(Component::Normal(name)) if name == *part);
            first && components.next().is_none() && !part.contains(['\\', '\0']) && !is_work_in_progress(part)
        };
        if parts.len() > MAX_DEPTH || !parts.iter().all(is_plain) {
            return Err(self.invalid(key));
        }
        Ok(parts.iter().fold(self.root.clone(), |path, part| path.join(part)))
    }

    fn leads_inside(&self, path: &Path) -> bool {
        path.canonicalize().is_ok_and(|target| target.starts_with(&self.root))
    }

    fn invalid(&self, key: &str) -> ObjectError {
        ObjectError::InvalidKey { bucket: self.name.clone(), key: key.to_owned() }
    }

    fn unwritable(&self, key: &str, error: io::Error) -> ObjectError {
        ObjectError::Write { bucket: self.name.clone(), key: key.to_owned(), source: error.into() }
    }

    fn unremovable(&self, key: &str, error: io::Error) -> ObjectError {
        ObjectError::Delete { bucket: self.name.clone(), key: key.to_owned(), source: error.into() }
    }

    fn unreadable(&self, key: &str, error: impl Into<io::Error>) -> ObjectError {
        let (bucket, key, error) = (self.name.clone(), key.to_owned(), error.into());
        match error.kind() {
            io::ErrorKind::NotFound => ObjectError::NotFound { bucket, key },
            _ => ObjectError::Read { bucket, key, source: error.into() },
        }
    }
}

/// The key of a path below the root, if there can be an object of that key.
pub(crate) fn key_of(path: &Path) -> Option<String> {
    let mut key = String::new();
    for component in path.components() {
        let name = component.as_os_str().to_str().filter(|name| !is_work_in_progress(name))?;
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(name);
    }
    (!key.is_empty()).then_some(key)
}

fn is_work_in_progress(name: &str) -> bool {
    name.starts_with('.') || [".part", ".tmp", "~"].iter().any(|ending| name.ends_with(ending))
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default()
}

/// How long ago a file was last written to, or nothing if that lies in the future.
fn age(metadata: &fs::Metadata) -> Option<Duration> {
    metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok())
}

/// How long ago an object was written, or nothing if that lies in the future.
pub(crate) fn age_of(object: &Object) -> Option<Duration> {
    SystemTime::now().duration_since(SystemTime::from(object.last_modified)).ok()
}

/// Differs whenever another file, or other bytes, are found under a name: a copy that keeps its time of
/// modification is still told by the file's number or by the time of its last change of any kind.
#[cfg(unix)]
fn fingerprint(metadata: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    let (inode, changed, nanoseconds) = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
    format!("{inode:x}-{changed:x}-{nanoseconds:x}")
}

#[cfg(not(unix))]
fn fingerprint(metadata: &fs::Metadata) -> String {
    let created = metadata.created().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_default();
    format!("{:x}", created.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_with(files: &[&str]) -> (tempfile::TempDir, FolderStore) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let store = FolderStore::open_folder(folder.path()).unwrap();
        (folder, store)
    }

    fn keys(store: &FolderStore, prefix: &str) -> Vec<String> {
        store.walk(prefix).unwrap().into_iter().map(|object| object.key).collect()
    }

    #[test]
    fn work_in_progress_is_no_object() {
        let files = ["models/a.joblib", "models/a.joblib.part", "models/.b.joblib.tmp", "c~", ".git/config"];
        let (_folder, store) = store_with(&files);
        assert_eq!(keys(&store, ""), ["models/a.joblib"]);
    }

    #[tokio::test]
    async fn keys_that_lead_elsewhere_are_refused() {
        let (_folder, store) = store_with(&["models/a.joblib"]);
        let hostile =
            ["../etc/passwd", "models/../models/a.joblib", "/etc/passwd", "", "models//a.joblib", "."];
        for key in hostile {
            for error in [store.open(key).await.err(), store.delete(key).await.err()] {
                assert!(matches!(error, Some(ObjectError::InvalidKey { .. })), "{key:?}: {error:?}");
            }
        }
        assert!(matches!(store.delete("models").await, Err(ObjectError::InvalidKey { .. })));
        assert!(matches!(store.open("models").await, Err(ObjectError::InvalidKey { .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_count_if_they_stay_inside() {
        use std::os::unix::fs::symlink;
        let (folder, store) = store_with(&["models/a.joblib"]);
        let (elsewhere, _) = store_with(&["secret"]);
        symlink("a.joblib", folder.path().join("models/inside.joblib")).unwrap();
        symlink(elsewhere.path().join("secret"), folder.path().join("models/outside.joblib")).unwrap();
        symlink("nowhere", folder.path().join("models/dangling.joblib")).unwrap();
        assert_eq!(keys(&store, "models/"), ["models/a.joblib", "models/inside.joblib"]);
        assert!(store.open("models/inside.joblib").await.is_ok());
        assert!(matches!(store.open("models/outside.joblib").await, Err(ObjectError::InvalidKey { .. })));
        symlink(elsewhere.path(), folder.path().join("elsewhere")).unwrap();
        assert!(matches!(store.delete("elsewhere/secret").await, Err(ObjectError::InvalidKey { .. })));
        store.delete("models/outside.joblib").await.unwrap();
        assert!(
            elsewhere.path().join("secret").exists() && !folder.path().join("models/outside.joblib").exists()
        );
    }

    #[tokio::test]
    async fn a_file_is_not_read_while_it_is_written() {
        use std::io::{Read, Write};
        let (folder, store) = store_with(&[]);
        let mut file = fs::File::create(folder.path().join("a.csv")).unwrap();
        let writer = std::thread::spawn(move || {
            for _ in 0..8 {
                file.write_all(b"x").unwrap();
                std::thread::sleep(QUIET / 4);
            }
        });
        let mut content = String::new();
        store.open("a.csv").await.unwrap().read_to_string(&mut content).unwrap();
        writer.join().unwrap();
        assert_eq!(content, "xxxxxxxx");
    }

    #[test]
    fn a_file_replaced_by_one_of_the_same_size_and_time_is_noticed() {
        let (folder, store) = store_with(&["a", "b"]);
        let time = fs::metadata(folder.path().join("a")).unwrap().modified().unwrap();
        let before = store.walk("a").unwrap();
        let other = fs::File::options().write(true).open(folder.path().join("b")).unwrap();
        other.set_modified(time).unwrap();
        fs::rename(folder.path().join("b"), folder.path().join("a")).unwrap();
        let after = store.walk("a").unwrap();
        assert_eq!(before[0].last_modified, after[0].last_modified);
        assert_ne!(before, after);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = FolderStore::open_folder("no/such/folder").unwrap_err();
        assert_eq!(error.to_string(), r#"bucket "no/such/folder" cannot be listed"#);
    }
}
