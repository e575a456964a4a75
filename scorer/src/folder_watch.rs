use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use notify::{
    Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, RemoveKind},
};
use shared::{Batch, Change, EventError, EventSource, Object};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    FolderStore,
    folder::{Astray, QUIET, Walked, age_of, key_of},
};

/// After the first notification, how long to wait for others of the same action, such as a model and its copy.
const TOGETHER: Duration = Duration::from_millis(20);

/// How often the folder is looked at although nothing was notified, in case notifications get lost.
const SELDOM: Duration = Duration::from_secs(5);

/// How often the folder is looked at when its notifications cannot be relied on.
const OFTEN: Duration = Duration::from_millis(500);

/// After a look comes a pause of so many times as long, so that a very large folder does not cost all of the time.
const PAUSE_PER_LOOK: u32 = 4;

/// More links than this on the way to the folder are not watched; Linux follows 40.
const MAX_LINKS: usize = 40;

/// More keys than this are not remembered between two looks.
const MAX_TOUCHED: usize = 10_000;

/// The changes of a [`FolderStore`], each given once the file has been left alone for 200 ms.
///
/// The operating system's notifications (inotify on Linux) only say *when* to look; *what* changed is found by
/// comparing the folder's listing with the one before. So no kind of notification can be misunderstood, and a lost
/// one costs time and nothing else: the folder is looked at every five seconds in any case. Network drives and some
/// container volumes give no notifications. As soon as a change is found that way, and when there can be no
/// notifications at all, the folder is looked at twice a second.
///
/// The folder may be a link that is pointed elsewhere, or be replaced by another one. Then the new one is watched, and
/// all objects that differ are given. A part of the folder that cannot be read counts as unchanged; the next listing
/// by [`list`](shared::ObjectStore::list) says what is wrong with it.
///
/// One change leaves no trace in a listing: a file that came and went between two looks. Somebody else may have seen
/// it in between, so it is given as a change if there was a notification of it.
pub struct FolderWatch {
    folder: FolderStore,
    notified: Arc<Notify>,
    /// The keys of which there were notifications since the folder was last looked at.
    touched: Touched,
    /// The place that is watched; nothing before it was found.
    place: Option<Place>,
    /// Keeps the notifications coming; nothing if the system gives none.
    watcher: Option<RecommendedWatcher>,
    notifications_get_lost: bool,
    /// The pause between two looks without a notification: [`SELDOM`], but for tests.
    seldom: Duration,
    /// A notification has come since the folder was last looked at.
    look_now: bool,
    /// Files that were found being written become quiet then.
    quiet_at: Option<Instant>,
    looked_at: Instant,
    look_took: Duration,
    /// The objects as last reported.
    known: HashMap<String, Object>,
    /// Links that lead to nothing in the folder, as last reported.
    astray: Vec<Astray>,
    /// Found and not yet given.
    found: BTreeSet<Change>,
}

impl FolderWatch {
    /// Begins to watch: every change from now on is given.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub async fn start(folder: FolderStore) -> Result<Self, EventError> {
        let mut this = Self {
            folder,
            notified: Arc::new(Notify::new()),
            touched: Touched::default(),
            place: None,
            watcher: None,
            notifications_get_lost: false,
            seldom: SELDOM,
            look_now: false,
            quiet_at: None,
            looked_at: Instant::now(),
            look_took: Duration::ZERO,
            known: HashMap::new(),
            astray: Vec::new(),
            found: BTreeSet::new(),
        };
        this.watch_place().await;
        let walked = this.walk().await?;
        this.known = walked.objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        this.tell_astray(walked.astray);
        Ok(this)
    }

    /// Watches where the folder is now, unless it is watched already. Tells whether that is another place.
    async fn watch_place(&mut self) -> bool {
        let (folder, before) = (self.folder.clone(), self.place.clone());
        let (notified, touched) = (Arc::clone(&self.notified), self.touched.clone());
        let watch = move || {
            let place = Place::of(folder.path()).filter(|place| before.as_ref() != Some(place))?;
            let watcher = watch(&place, notified, touched);
            Some((place, watcher))
        };
        let Ok(Some((place, watcher))) = tokio::task::spawn_blocking(watch).await else { return false };
        if let Err(error) = &watcher {
            tracing::warn!(folder = self.folder.name(), %error, "no notifications of changes; looking twice a second");
        }
        self.place = Some(place);
        self.watcher = watcher.ok();
        self.notifications_get_lost = false;
        true
    }

    fn tell_astray(&mut self, astray: Vec<Astray>) {
        if let (Some(first), true) = (astray.first(), astray != self.astray) {
            let (folder, links) = (self.folder.name(), astray.len());
            tracing::warn!(folder, links, key = first.key, leads = first.leads, "links are passed over");
        }
        self.astray = astray;
    }

    /// Waits until there is a reason to look, and tells whether it was nothing but the time.
    async fn reason_to_look(&mut self) -> bool {
        let pause = if self.watcher.is_none() || self.notifications_get_lost { OFTEN } else { self.seldom };
        let earliest = self.looked_at + self.look_took * PAUSE_PER_LOOK;
        let routine = self.looked_at + pause;
        let wake_at = self.quiet_at.map_or(routine, |quiet_at| quiet_at.min(routine)).max(earliest);
        if !self.look_now {
            tokio::select! {
                () = self.notified.notified() => self.look_now = true,
                () = sleep_until(wake_at) => return self.quiet_at.is_none(),
            }
        }
        sleep(TOGETHER).await;
        sleep_until(earliest).await;
        false
    }

    /// Compares the folder with what is known of it.
    async fn look(&mut self) -> Result<(), EventError> {
        let Walked { objects, unreadable, astray, root } = self.walk().await?;
        if self.watch_place().await {
            // Changes there may have been missed until now.
            self.look_now = true;
        }
        self.tell_astray(astray);
        self.quiet_at = None;
        let mut gone: BTreeSet<String> = self.known.keys().cloned().collect();
        gone.append(&mut self.touched.lock());
        for object in objects {
            gone.remove(&object.key);
            if self.known.get(&object.key) == Some(&object) {
                continue;
            }
            match age_of(&object) {
                Some(age) if age < QUIET => {
                    let quiet_at = Instant::now() + (QUIET - age);
                    self.quiet_at = Some(self.quiet_at.map_or(quiet_at, |earlier| earlier.min(quiet_at)));
                }
                _ => {
                    self.found.insert(Change::Object(object.key.clone()));
                    self.known.insert(object.key.clone(), object);
                }
            }
        }
        for key in gone {
            if unreadable.iter().any(|unreadable| unreadable.hides(&key)) {
                continue;
            }
            // There are notifications of folders as well.
            if self.known.remove(&key).is_some() || !root.join(&key).is_dir() {
                self.found.insert(Change::Removed(key));
            }
        }
        Ok(())
    }

    async fn walk(&mut self) -> Result<Walked, EventError> {
        let folder = self.folder.clone();
        let look = move || {
            // Measured here: to wait for a thread is no work.
            let begun = Instant::now();
            (folder.walk(""), begun.elapsed())
        };
        let looked = tokio::task::spawn_blocking(look).await;
        // Set after a failure too, so that a folder that cannot be listed is not tried again at once.
        self.looked_at = Instant::now();
        self.look_now = false;
        match looked {
            Ok((walked, took)) => {
                self.look_took = took;
                walked.map_err(|error| self.error(error))
            }
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EventError {
        EventError {
            source_name: self.folder.name().to_owned(),
            message: "the folder cannot be listed".to_owned(),
            source: Some(source.into()),
        }
    }
}

#[async_trait]
impl EventSource for FolderWatch {
    type Receipt = ();

    async fn receive(&mut self) -> Result<Batch<()>, EventError> {
        while self.found.is_empty() {
            let only_the_time = self.reason_to_look().await;
            self.look().await?;
            let surprised = only_the_time && (!self.found.is_empty() || self.quiet_at.is_some());
            if surprised && !self.notifications_get_lost && self.watcher.is_some() {
                // The notification may be on its way.
                self.look_now = timeout(TOGETHER, self.notified.notified()).await.is_ok();
                self.notifications_get_lost = !self.look_now;
                if self.notifications_get_lost {
                    tracing::info!(
                        folder = self.folder.name(),
                        "changes are not notified; looking twice a second"
                    );
                }
            }
        }
        let changes = std::mem::take(&mut self.found).into_iter().collect();
        Ok(Batch { changes, oldest: None, receipt: () })
    }

    async fn acknowledge(&mut self, _: Batch<()>) -> Result<(), EventError> {
        Ok(())
    }

    async fn release(&mut self, batch: Batch<()>) -> Result<(), EventError> {
        self.found.extend(batch.changes);
        Ok(())
    }
}

/// Keys, shared with the thread on which notifications come.
#[derive(Clone, Default)]
struct Touched(Arc<Mutex<BTreeSet<String>>>);

impl Touched {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // The set is consistent after every single step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a folder is. Differs as soon as another folder is found at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Absolute and free of links.
    root: PathBuf,
    identity: (u64, u64),
    /// The links on the way to it.
    links: Vec<PathBuf>,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let root = path.canonicalize().ok()?;
        let identity = identity(&fs::metadata(&root).ok()?);
        Some(Self { root, identity, links: links_to(path) })
    }
}

#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

/// The links on the way to a path, each as a path that has no other link in it.
fn links_to(path: &Path) -> Vec<PathBuf> {
    let parts_from_the_end = |path: &Path| -> Vec<OsString> {
        path.components().rev().map(|component| component.as_os_str().to_owned()).collect()
    };
    let mut links = Vec::new();
    let mut way = PathBuf::new();
    let mut parts = parts_from_the_end(path);
    while let Some(part) = parts.pop() {
        if part == ".." {
            way.pop();
            continue;
        }
        way.push(part);
        if let Ok(target) = fs::read_link(&way) {
            if links.len() == MAX_LINKS {
                break;
            }
            links.push(way.clone());
            way.pop();
            parts.extend(parts_from_the_end(&target));
        }
    }
    links
}

/// Has the system call `notified` whenever something inside the folder was changed, or the folder was replaced.
fn watch(place: &Place, notified: Arc<Notify>, touched: Touched) -> notify::Result<RecommendedWatcher> {
    let root = place.root.clone();
    let mut replaced = place.links.clone();
    replaced.push(root.clone());
    let parents: BTreeSet<PathBuf> =
        replaced.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
    let on_event = move |event: notify::Result<notify::Event>| {
        if let Ok(event) = &event {
            if matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
            {
                return;
            }
            let is_ours = |path: &PathBuf| path.starts_with(&root) || replaced.contains(path);
            if !event.paths.is_empty() && !event.paths.iter().any(is_ours) {
                return;
            }
            if !matches!(
                event.kind,
                EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder)
            ) {
                let key = |path: &PathBuf| path.strip_prefix(&root).ok().and_then(key_of);
                let mut touched = touched.lock();
                touched.extend(event.paths.iter().filter_map(key));
                while touched.len() > MAX_TOUCHED {
                    touched.pop_first();
                }
            }
        }
        // An error is a reason to look as well: notifications may have got lost.
        notified.notify_one();
    };
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(on_event, config)?;
    for parent in parents {
        // A folder around the bucket may be closed to us. Then a replacement is found when it is time to look.
        if let Err(error) = watcher.watch(&parent, RecursiveMode::NonRecursive) {
            tracing::debug!(folder = %parent.display(), %error, "replacements of the bucket are not notified");
        }
    }
    watcher.watch(&place.root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far from half a second, and from the five seconds after which a folder is looked at in any case.
    const SOON: Duration = Duration::from_secs(4);

    async fn noticed_after(watch: &mut FolderWatch, name: &str) -> Duration {
        let begun = Instant::now();
        std::fs::write(watch.folder.path().join(name), name).unwrap();
        let batch = watch.receive().await.unwrap();
        assert_eq!(batch.changes, [Change::Object(name.to_owned())]);
        begun.elapsed()
    }

    async fn new_watch() -> (tempfile::TempDir, FolderWatch) {
        let folder = tempfile::tempdir().unwrap();
        let watch = FolderWatch::start(FolderStore::open_folder(folder.path()).unwrap()).await.unwrap();
        (folder, watch)
    }

    #[tokio::test]
    async fn what_came_and_went_between_two_looks_is_a_change() {
        let (folder, mut watch) = new_watch().await;
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::fs::remove_file(folder.path().join("a")).unwrap();
        let batch = watch.receive().await.unwrap();
        assert_eq!(batch.changes, [Change::Removed("a".to_owned())]);
    }

    /// As git-sync does it.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_that_is_pointed_elsewhere_is_notified_again_and_again() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let publish = |name: &str| {
            fs::create_dir_all(root.join(".worktrees").join(name)).unwrap();
            fs::write(root.join(".worktrees").join(name).join(name), name).unwrap();
            let before = fs::read_link(root.join("current")).ok();
            symlink(Path::new(".worktrees").join(name), root.join("tmp-link")).unwrap();
            fs::rename(root.join("tmp-link"), root.join("current")).unwrap();
            if let Some(before) = before {
                fs::remove_dir_all(root.join(before)).unwrap();
            }
        };
        publish("one");
        let bucket = FolderStore::open_folder(root.join("current")).unwrap();
        let mut watch = FolderWatch::start(bucket).await.unwrap();
        // Nothing is found but by a notification.
        watch.seldom = Duration::from_secs(3600);
        for name in ["two", "three", "four"] {
            publish(name);
            let given = async {
                while !watch.receive().await.unwrap().changes.contains(&Change::Object(name.to_owned())) {}
            };
            timeout(Duration::from_secs(60), given).await.unwrap();
        }
    }

    #[tokio::test]
    async fn without_notifications_a_change_is_noticed_soon() {
        let (_folder, mut watch) = new_watch().await;
        watch.watcher = None;
        for name in ["a", "b"] {
            let after = noticed_after(&mut watch, name).await;
            assert!(after < SOON, "{after:?}");
        }
    }

    #[tokio::test]
    async fn when_notifications_get_lost_only_the_first_change_is_noticed_late() {
        let (folder, mut watch) = new_watch().await;
        watch.watcher.as_mut().unwrap().unwatch(&folder.path().canonicalize().unwrap()).unwrap();
        noticed_after(&mut watch, "a").await;
        let second = noticed_after(&mut watch, "b").await;
        assert!(second < SOON && watch.notifications_get_lost, "{second:?}");
    }
}
