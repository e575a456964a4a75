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

use crate::markers::is_marker;

/// How long a file has to be left alone before it counts as completely written.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// How long [`FolderStore::open`] waits for a file to become quiet before it gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A folder with more entries than this is hardly meant to be a bucket: somebody named `/` by mistake.
const MAX_ENTRIES: usize = 1_000_000;

/// Deeper folders are not looked into; the contract's keys have two or three parts.
const MAX_DEPTH: usize = 8;

/// How often a listing is made again because links were pointed elsewhere while it was made.
const MAX_WALKS: usize = 8;

/// The number of the error of a link that leads to itself, which the standard library has no stable name for.
#[cfg(target_os = "linux")]
const LINK_LOOP: i32 = 40;
#[cfg(not(target_os = "linux"))]
const LINK_LOOP: i32 = 62;

/// A local folder in the shape of the bucket: a file's path below the folder is its key.
///
/// * Hidden files, unfinished files such as `*.part` or `*.tmp`, and marks of other programs such as `_SUCCESS` are no
///   objects.
/// * The folder may be a symbolic link, and links in it to files and folders are followed. They are resolved for every
///   call. So a link may be pointed to another folder at any time, as git-sync and Kubernetes' volumes do; a
///   listing never mixes what was there before and after.
/// * A link that leads out of the bucket, to nothing, or back to a folder that it is in, is no object. If it stands
///   where all of the listed objects should be, such as `models` of `models/`, the listing fails.
/// * A folder that is not there is empty. A folder that is there and cannot be read fails the listing.
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
    /// The same as an absolute path, links and all.
    path: PathBuf,
}

/// The result of a walk through a folder.
#[derive(Debug)]
pub(crate) struct Walked {
    /// In the order of their keys.
    pub(crate) objects: Vec<Object>,
    /// Folders and links that are there and cannot be looked into.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Links that lead to nothing in the bucket.
    pub(crate) astray: Vec<Astray>,
    /// The folder, absolute and free of links.
    pub(crate) root: PathBuf,
}

/// A folder or a link in the bucket that cannot be looked into.
#[derive(Debug)]
pub(crate) struct Unreadable {
    key: String,
    error: io::Error,
}

impl Unreadable {
    /// Whether an object of this key may be behind it.
    pub(crate) fn hides(&self, key: &str) -> bool {
        key.strip_prefix(&self.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// A link in the bucket that leads to nothing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Astray {
    pub(crate) key: String,
    pub(crate) leads: &'static str,
}

impl FolderStore {
    /// A store of the files in `folder`.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn open_folder(folder: impl AsRef<Path>) -> Result<Self, ObjectError> {
        let name = folder.as_ref().display().to_string();
        let unusable = |source: io::Error| ObjectError::List { bucket: name.clone(), source: source.into() };
        let path = std::path::absolute(folder.as_ref()).map_err(unusable)?;
        let folder = Folder { name: name.clone(), path };
        folder.root().map_err(unusable)?;
        Ok(Self { folder: Arc::new(folder) })
    }

    /// As the user wrote it, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.folder.name
    }

    /// Absolute, and with the links that are in it.
    pub(crate) fn path(&self) -> &Path {
        &self.folder.path
    }

    /// All that begins with `prefix`; blocks.
    pub(crate) fn walk(&self, prefix: &str) -> Result<Walked, ObjectError> {
        self.folder.walk(prefix)
    }

    fn list_all(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        let Walked { objects, unreadable, astray, .. } = self.walk(prefix)?;
        if let Some(Unreadable { key, error }) = unreadable.into_iter().next() {
            let error = io::Error::new(error.kind(), format!("{key:?} cannot be read: {error}"));
            return Err(self.folder.unlistable(error));
        }
        // Where all of these objects should be. Without it they would look as if they had been removed.
        let holds_all = |link: &Astray| {
            prefix.strip_prefix(&link.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(Astray { key, leads }) = astray.into_iter().find(holds_all) {
            return Err(self
                .folder
                .unlistable(io::Error::other(format!("{key:?} is a link that leads {leads}"))));
        }
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
        match self.on_a_blocking_thread(move |store| store.list_all(&prefix)).await {
            Ok(listing) => listing,
            Err(error) => Err(ObjectError::List { bucket: self.folder.name.clone(), source: error.into() }),
        }
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        self.open_quiet(key, None).await
    }

    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError> {
        self.open_quiet(&object.key, Some(object)).await
    }
}

impl FolderStore {
    /// Opens a file once it is quiet, and only as it was `listed` where that is given.
    async fn open_quiet(&self, key: &str, listed: Option<&Object>) -> Result<ObjectReader, ObjectError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (asked, listed) = (key.to_owned(), listed.cloned());
            let open = move |store: &Self| store.folder.open_if_quiet(&asked, listed.as_ref());
            let attempt = self.on_a_blocking_thread(open).await;
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
    Opened(UnchangedFile),
    WrittenAgo(Duration),
}

/// A file whose reader fails if somebody writes to the file meanwhile. One that is replaced as a whole is read to its end.
struct UnchangedFile {
    file: fs::File,
    size: u64,
    last_modified: Timestamp,
}

impl io::Read for UnchangedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let now = self.file.metadata()?;
            if (now.len(), modified(&now)) != (self.size, self.last_modified) {
                return Err(io::Error::other("the file was written to while it was read"));
            }
        }
        Ok(read)
    }
}

/// A walk in progress.
struct Walk<'a> {
    folder: &'a Folder,
    /// Absolute and free of links, so that the target of a link can be compared with it.
    root: &'a Path,
    prefix: &'a str,
    entries: usize,
    objects: Vec<Object>,
    unreadable: Vec<Unreadable>,
    astray: Vec<Astray>,
    /// The links that were followed, and where they led.
    followed: Vec<(PathBuf, PathBuf)>,
}

impl Walk<'_> {
    /// Looks into the last of `folders`, which the others lead to. All are free of links.
    fn look_into(&mut self, folders: &mut Vec<PathBuf>, key_of_folder: &str) -> Result<(), ObjectError> {
        let Some(folder) = folders.last() else { return Ok(()) };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(source) if folder == self.root => return Err(self.folder.unlistable(source)),
            Err(error) => {
                self.note_unreadable(key_of_folder, error);
                return Ok(());
            }
        };
        for entry in entries {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(ObjectError::TooMany { bucket: self.folder.name.clone(), limit: MAX_ENTRIES });
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(source) if key_of_folder.is_empty() => return Err(self.folder.unlistable(source)),
                Err(error) => {
                    self.note_unreadable(key_of_folder, error);
                    return Ok(());
                }
            };
            let file_name = entry.file_name();
            let Some(name) = file_name.to_str().filter(|name| !is_marker(name)) else { continue };
            let key =
                if key_of_folder.is_empty() { name.to_owned() } else { format!("{key_of_folder}/{name}") };
            let is_wanted = key.starts_with(self.prefix);
            if !is_wanted && !self.prefix.starts_with(&format!("{key}/")) {
                continue;
            }
            match self.resolve(&entry, &key) {
                Ok(Some((path, metadata))) if metadata.is_dir() => {
                    let leads_back = folders.contains(&path);
                    if folders.len() < MAX_DEPTH && !leads_back {
                        folders.push(path);
                        self.look_into(folders, &key)?;
                        folders.pop();
                    }
                }
                Ok(Some((_, metadata))) if metadata.is_file() => {
                    if is_wanted {
                        self.objects.push(object(key, &metadata));
                    } else {
                        self.note_unreadable(&key, io::ErrorKind::NotADirectory.into());
                    }
                }
                Ok(_) => {}
                Err(error) => self.note_unreadable(&key, error),
            }
        }
        Ok(())
    }

    /// An entry's path without links, and what is there; nothing if there is nothing inside the bucket.
    fn resolve(&mut self, entry: &fs::DirEntry, key: &str) -> io::Result<Option<(PathBuf, fs::Metadata)>> {
        let mut path = entry.path();
        if entry.file_type()?.is_symlink() {
            let target = match path.canonicalize() {
                Ok(target) => target,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.note_astray(key, "to nothing");
                    return Ok(None);
                }
                Err(error) if error.raw_os_error() == Some(LINK_LOOP) => {
                    self.note_astray(key, "to itself, or through too many links");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            self.followed.push((path, target.clone()));
            if !target.starts_with(self.root) {
                self.note_astray(key, "out of the bucket");
                return Ok(None);
            }
            path = target;
        }
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Some((path, metadata)))
    }

    fn note_astray(&mut self, key: &str, leads: &'static str) {
        self.astray.push(Astray { key: key.to_owned(), leads });
    }

    /// Only what is not there is empty: it was removed meanwhile.
    fn note_unreadable(&mut self, key: &str, error: io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.unreadable.push(Unreadable { key: key.to_owned(), error });
        }
    }

    fn links_still_lead_there(&self) -> bool {
        self.folder.root().is_ok_and(|root| root == self.root)
            && self.followed.iter().all(|(link, target)| link.canonicalize().is_ok_and(|now| now == *target))
    }
}

impl Folder {
    /// The folder, absolute and free of links.
    fn root(&self) -> io::Result<PathBuf> {
        let root = self.path.canonicalize()?;
        if root.is_dir() { Ok(root) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    fn walk(&self, prefix: &str) -> Result<Walked, ObjectError> {
        for _ in 0..MAX_WALKS {
            let root = self.root().map_err(|error| self.unlistable(error))?;
            let mut walk = Walk {
                folder: self,
                root: &root,
                prefix,
                entries: 0,
                objects: Vec::new(),
                unreadable: Vec::new(),
                astray: Vec::new(),
                followed: Vec::new(),
            };
            let looked = walk.look_into(&mut vec![root.clone()], "");
            // The folder that a link led to may have been removed during the walk, and what was found is a part of it.
            if !walk.links_still_lead_there() {
                continue;
            }
            looked?;
            let Walk { mut objects, unreadable, astray, .. } = walk;
            objects.sort_by(|one, other| one.key.cmp(&other.key));
            return Ok(Walked { objects, unreadable, astray, root });
        }
        Err(self.unlistable(io::Error::other("its links changed each time that it was listed")))
    }

    fn open_if_quiet(&self, key: &str, listed: Option<&Object>) -> Result<Attempt, ObjectError> {
        let unreadable = |error: io::Error| self.unreadable(key, error);
        let root = self.root().map_err(|error| self.unlistable(error))?;
        let path = self.path_of(&root, key)?.canonicalize().map_err(unreadable)?;
        // Only regular files are opened: to open a named pipe would wait for its writer.
        let metadata = fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() || !path.starts_with(&root) {
            return Err(self.invalid(key));
        }
        // First of all, so that a listing that follows a change shows the file as it stays.
        if let Some(age) = age(&metadata).filter(|age| *age < QUIET) {
            return Ok(Attempt::WrittenAgo(age));
        }
        let file = fs::File::open(&path).map_err(unreadable)?;
        // Of the open file, since another one may have taken its place.
        let metadata = file.metadata().map_err(unreadable)?;
        if listed.is_some_and(|listed| object(key.to_owned(), &metadata) != *listed) {
            return Err(ObjectError::Changed { bucket: self.name.clone(), key: key.to_owned() });
        }
        Ok(Attempt::Opened(UnchangedFile { file, size: metadata.len(), last_modified: modified(&metadata) }))
    }

    /// The file appears as a whole: it is written under another name beforehand.
    fn write(&self, key: &str, content: &[u8]) -> Result<(), ObjectError> {
        let root = self.root().map_err(|error| self.unwritable(key, error))?;
        let path = self.path_of(&root, key)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.invalid(key));
        };
        fs::create_dir_all(folder).map_err(|error| self.unwritable(key, error))?;
        if !leads_inside(folder, &root) {
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
        let root = self.root().map_err(|error| self.unremovable(key, error))?;
        let path = self.path_of(&root, key)?;
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
        if !path.parent().is_some_and(|folder| leads_inside(folder, &root)) {
            return Err(self.invalid(key));
        }
        match fs::remove_file(&path) {
            // Somebody else was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| self.unremovable(key, error)),
        }
    }

    /// The path of a key that [`Walk::look_into`] could have given.
    fn path_of(&self, root: &Path, key: &str) -> Result<PathBuf, ObjectError> {
        let parts: Vec<&str> = key.split('/').collect();
        let is_plain = |part: &&str| {
            let mut components = Path::new(part).components();
            let first = matches!(components.next(), Some(Component::Normal(name)) if name == *part);
            first && components.next().is_none() && !part.contains(['\\', '\0']) && !is_marker(part)
        };
        if parts.len() > MAX_DEPTH || !parts.iter().all(is_plain) {
            return Err(self.invalid(key));
        }
        Ok(parts.iter().fold(root.to_owned(), |path, part| path.join(part)))
    }

    fn unlistable(&self, error: io::Error) -> ObjectError {
        ObjectError::List { bucket: self.name.clone(), source: error.into() }
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

/// Says what to do about a folder that cannot be used as a bucket; nothing about other errors.
#[must_use]
pub fn tip_on_folder(error: &ObjectError) -> Option<String> {
    let ObjectError::List { bucket, source } = error else { return None };
    let error: &io::Error = source.downcast_ref()?;
    let path = Path::new(bucket);
    Some(match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no such folder; `mkdir -p {bucket}/models {bucket}/features` makes an empty bucket, \
             and --bucket DIR names another one"
        ),
        io::ErrorKind::NotADirectory if path.is_file() => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).display();
            format!(
                "this is a file; a bucket is a folder with models/, features/ or raw.csv in it, \
                 such as --bucket {folder}"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "the user who runs this program may not read it; the owner can allow it with `chmod -R a+rX {bucket}`"
        ),
        io::ErrorKind::NotADirectory => {
            "a bucket is a folder with models/, features/ or raw.csv in it; --bucket DIR names it".to_owned()
        }
        // A link that leads nowhere.
        io::ErrorKind::Other => {
            "a link in a bucket has to lead to something in it; point it there, or put the folder in its place".to_owned()
        }
        _ => return None,
    })
}

fn leads_inside(path: &Path, root: &Path) -> bool {
    path.canonicalize().is_ok_and(|target| target.starts_with(root))
}

/// The key of a path below the root, if there can be an object of that key.
pub(crate) fn key_of(path: &Path) -> Option<String> {
    let mut key = String::new();
    for component in path.components() {
        let name = component.as_os_str().to_str().filter(|name| !is_marker(name))?;
        if !key.is_empty() {
            key.push('/');
        }
        key.push_str(name);
    }
    (!key.is_empty()).then_some(key)
}

fn object(key: String, metadata: &fs::Metadata) -> Object {
    Object { key, size: metadata.len(), last_modified: modified(metadata), etag: fingerprint(metadata) }
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

/// Identity of a file's content. Differs whenever a name leads to another file or to other bytes. A copy may keep the time
/// of modification, but not the file's number and the time of its last change of any kind.
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
        store.list_all(prefix).unwrap().into_iter().map(|object| object.key).collect()
    }

    #[test]
    fn work_in_progress_is_no_object() {
        let files = [
            "models/a.joblib",
            "models/a.joblib.part",
            "models/a.joblib.0a1B2c3D",
            "models/.b.joblib.tmp",
            "models/_SUCCESS",
            "c~",
            ".git/config",
        ];
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
        let (folder, store) = store_with(&["models/a.joblib", "other/deep/b.joblib"]);
        let (elsewhere, _) = store_with(&["secret"]);
        let at = |key: &str| folder.path().join(key);
        symlink("a.joblib", at("models/relative.joblib")).unwrap();
        symlink(at("models/a.joblib").canonicalize().unwrap(), at("models/absolute.joblib")).unwrap();
        symlink("relative.joblib", at("models/nested.joblib")).unwrap();
        symlink("../other", at("models/folder")).unwrap();
        symlink("folder", at("models/nested_folder")).unwrap();
        symlink(elsewhere.path().join("secret"), at("models/outside.joblib")).unwrap();
        symlink(elsewhere.path(), at("models/outside")).unwrap();
        symlink("nowhere", at("models/dangling.joblib")).unwrap();
        let inside = [
            "models/a.joblib",
            "models/absolute.joblib",
            "models/folder/deep/b.joblib",
            "models/nested.joblib",
            "models/nested_folder/deep/b.joblib",
            "models/relative.joblib",
        ];
        assert_eq!(keys(&store, "models/"), inside);
        for key in inside {
            assert!(store.open(key).await.is_ok(), "{key}");
        }
        for key in ["models/outside.joblib", "models/outside/secret"] {
            assert!(matches!(store.open(key).await, Err(ObjectError::InvalidKey { .. })), "{key}");
        }
        assert!(matches!(store.open("models/dangling.joblib").await, Err(ObjectError::NotFound { .. })));
        assert!(matches!(store.delete("models/outside/secret").await, Err(ObjectError::InvalidKey { .. })));
        store.delete("models/outside.joblib").await.unwrap();
        assert!(elsewhere.path().join("secret").exists() && !at("models/outside.joblib").exists());
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_in_circles_end_and_cost_nothing_else() {
        use std::os::unix::fs::symlink;
        let (folder, store) = store_with(&["models/a.joblib", "models/b/c.joblib"]);
        let at = |key: &str| folder.path().join(key);
        symlink("self", at("models/self")).unwrap();
        symlink("pong", at("models/ping")).unwrap();
        symlink("ping", at("models/pong")).unwrap();
        for name in 0..20 {
            symlink("..", at(&format!("models/up{name}"))).unwrap();
            symlink(".", at(&format!("models/here{name}"))).unwrap();
            symlink("..", at(&format!("models/b/back{name}"))).unwrap();
        }
        assert_eq!(keys(&store, "models/"), ["models/a.joblib", "models/b/c.joblib"]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn only_a_folder_that_is_not_there_is_empty() {
        use std::os::unix::fs::symlink;
        let (elsewhere, _) = store_with(&["a.joblib"]);
        type Make<'a> = &'a dyn Fn(&Path);
        // More links than the system follows, though there is a folder at the end.
        let too_many_links: Make<'_> = &|models| {
            let last = (0..45).fold("target".to_owned(), |target, number| {
                let name = format!("link{number}");
                symlink(target, models.with_file_name(&name)).unwrap();
                name
            });
            symlink(last, models).unwrap();
        };
        let unreadable: [(&str, Make<'_>); 5] = [
            ("not a directory", &|models| fs::write(models, "").unwrap()),
            ("too many links", too_many_links),
            ("to itself", &|models| symlink("models", models).unwrap()),
            ("to nothing", &|models| symlink("nowhere", models).unwrap()),
            ("out of the bucket", &|models| symlink(elsewhere.path(), models).unwrap()),
        ];
        for (reason, make) in unreadable {
            let (folder, store) = store_with(&["target/a.joblib", "features/b.parquet"]);
            assert_eq!(store.list("models/").await.unwrap(), []);
            make(&folder.path().join("models"));
            let error = store.list("models/").await.expect_err(reason);
            let ObjectError::List { source, .. } = error else { panic!("{error:?}") };
            let said = source.to_string();
            assert!(said.contains("\"models\"") && said.contains(reason), "{said}");
            assert_eq!(keys(&store, "features/"), ["features/b.parquet"], "{reason}");
        }
        let (folder, store) = store_with(&["features/b.parquet"]);
        assert_eq!(store.list("raw.csv").await.unwrap(), []);
        symlink("nowhere", folder.path().join("raw.csv")).unwrap();
        assert!(store.list("raw.csv").await.is_err());
    }

    #[tokio::test]
    async fn a_file_is_not_read_while_it_is_written() {
        use std::io::{Read, Write};
        loop {
            let (folder, store) = store_with(&[]);
            let mut file = fs::File::create(folder.path().join("a.csv")).unwrap();
            let writer = std::thread::spawn(move || {
                let mut longest = Duration::ZERO;
                let mut written = std::time::Instant::now();
                for _ in 0..8 {
                    file.write_all(b"x").unwrap();
                    longest = longest.max(written.elapsed());
                    written = std::time::Instant::now();
                    std::thread::sleep(QUIET / 4);
                }
                longest
            });
            let mut content = String::new();
            store.open("a.csv").await.unwrap().read_to_string(&mut content).unwrap();
            // A machine that stalls the writer makes the file quiet. Then the attempt proves nothing.
            if writer.join().unwrap() < QUIET * 3 / 4 {
                assert_eq!(content, "xxxxxxxx");
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_is_written_to_while_it_is_read_is_an_error() {
        use std::io::{Read, Write};
        let (folder, store) = store_with(&["a.csv", "b.csv"]);
        for (name, is_replaced) in [("a.csv", false), ("b.csv", true)] {
            let listed = store.list_all(name).unwrap().remove(0);
            let mut reader = store.open_listed(&listed).await.unwrap();
            reader.read_exact(&mut [0; 2]).unwrap();
            let path = folder.path().join(name);
            if is_replaced {
                fs::write(folder.path().join("new.tmp"), "another").unwrap();
                fs::rename(folder.path().join("new.tmp"), &path).unwrap();
            } else {
                fs::File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            }
            let read = reader.read_to_string(&mut String::new());
            assert_eq!(read.is_ok(), is_replaced, "{name}: {read:?}");
        }
    }

    #[test]
    fn a_file_replaced_by_one_of_the_same_size_and_time_is_noticed() {
        let (folder, store) = store_with(&["a", "b"]);
        let time = fs::metadata(folder.path().join("a")).unwrap().modified().unwrap();
        let before = store.list_all("a").unwrap();
        let other = fs::File::options().write(true).open(folder.path().join("b")).unwrap();
        other.set_modified(time).unwrap();
        fs::rename(folder.path().join("b"), folder.path().join("a")).unwrap();
        let after = store.list_all("a").unwrap();
        assert_eq!(before[0].last_modified, after[0].last_modified);
        assert_ne!(before, after);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = FolderStore::open_folder("no/such/folder").unwrap_err();
        assert_eq!(error.to_string(), r#"bucket "no/such/folder" cannot be listed"#);
        assert!(tip_on_folder(&error).unwrap().contains("mkdir -p no/such/folder/models"));
    }
}
