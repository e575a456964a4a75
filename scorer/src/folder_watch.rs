use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
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
    folder::{QUIET, age_of, key_of},
};

/// After the first notification, how long to wait for others of the same action, such as a model and its copy.
const TOGETHER: Duration = Duration::from_millis(20);

/// How often the folder is looked at although nothing was notified, in case notifications get lost.
const SELDOM: Duration = Duration::from_secs(5);

/// How often the folder is looked at when its notifications cannot be relied on.
const OFTEN: Duration = Duration::from_millis(500);

/// After a look comes a pause of so many times as long, so that a very large folder does not cost all of the time.
const PAUSE_PER_LOOK: u32 = 4;

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
/// One change leaves no trace in a listing: a file that came and went between two looks. Somebody else may have seen
/// it in between, so it is given as a change if there was a notification of it.
pub struct FolderWatch {
    folder: FolderStore,
    notified: Arc<Notify>,
    /// The keys of which there were notifications since the folder was last looked at.
    touched: Touched,
    /// Keeps the notifications coming; nothing if the system gives none.
    watcher: Option<RecommendedWatcher>,
    notifications_get_lost: bool,
    /// A notification has come since the folder was last looked at.
    look_now: bool,
    /// Files that were found being written become quiet then.
    quiet_at: Option<Instant>,
    looked_at: Instant,
    look_took: Duration,
    /// The objects as last reported.
    known: HashMap<String, Object>,
    /// Found and not yet given.
    found: BTreeSet<Change>,
}

impl FolderWatch {
    /// Begins to watch: every change from now on is given.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub async fn start(folder: FolderStore) -> Result<Self, EventError> {
        let notified = Arc::new(Notify::new());
        let touched = Touched::default();
        let watcher = watch(&folder, Arc::clone(&notified), touched.clone());
        if let Err(error) = &watcher {
            tracing::warn!(folder = %folder.root().display(), %error, "no notifications of changes; looking twice a second");
        }
        let mut this = Self {
            folder,
            notified,
            touched,
            watcher: watcher.ok(),
            notifications_get_lost: false,
            look_now: false,
            quiet_at: None,
            looked_at: Instant::now(),
            look_took: Duration::ZERO,
            known: HashMap::new(),
            found: BTreeSet::new(),
        };
        this.known = this.list().await?.into_iter().map(|object| (object.key.clone(), object)).collect();
        Ok(this)
    }

    /// Waits until there is a reason to look, and tells whether it was nothing but the time.
    async fn reason_to_look(&mut self) -> bool {
        let pause = if self.watcher.is_none() || self.notifications_get_lost { OFTEN } else { SELDOM };
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
        let objects = self.list().await?;
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
            // There are notifications of folders as well.
            if self.known.remove(&key).is_some() || !self.folder.root().join(&key).is_dir() {
                self.found.insert(Change::Removed(key));
            }
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<Vec<Object>, EventError> {
        let folder = self.folder.clone();
        let look = move || {
            // Measured here: to wait for a thread is no work.
            let begun = Instant::now();
            (folder.walk(""), begun.elapsed())
        };
        let looked = tokio::task::spawn_blocking(look).await;
        // Whatever comes of it: a folder that cannot be listed is not tried again at once.
        self.looked_at = Instant::now();
        self.look_now = false;
        match looked {
            Ok((listing, took)) => {
                self.look_took = took;
                listing.map_err(|error| self.error(error))
            }
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EventError {
        EventError {
            source_name: self.folder.root().display().to_string(),
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
                    tracing::info!(folder = %self.folder.root().display(), "changes are not notified; looking twice a second");
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

/// Has the system call `notified` whenever something inside the folder was changed.
fn watch(
    folder: &FolderStore,
    notified: Arc<Notify>,
    touched: Touched,
) -> notify::Result<RecommendedWatcher> {
    let root = folder.root().to_owned();
    let on_event = move |event: notify::Result<notify::Event>| {
        if let Ok(event) = &event {
            if matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
            {
                return;
            }
            if !matches!(
                event.kind,
                EventKind::Create(CreateKind::Folder) | EventKind::Remove(RemoveKind::Folder)
            ) {
                let key = |path: &std::path::PathBuf| {
                    path.strip_prefix(&root).ok().and_then(|path: &Path| key_of(path))
                };
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
    watcher.watch(folder.root(), RecursiveMode::Recursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn seconds_until_noticed(watch: &mut FolderWatch, name: &str) -> f64 {
        let begun = Instant::now();
        std::fs::write(watch.folder.root().join(name), name).unwrap();
        let batch = watch.receive().await.unwrap();
        assert_eq!(batch.changes, [Change::Object(name.to_owned())]);
        begun.elapsed().as_secs_f64()
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

    #[tokio::test]
    async fn without_notifications_a_change_is_noticed_within_a_second() {
        let (_folder, mut watch) = new_watch().await;
        watch.watcher = None;
        for name in ["a", "b"] {
            let seconds = seconds_until_noticed(&mut watch, name).await;
            assert!(seconds < 1.0, "{seconds}");
        }
    }

    #[tokio::test]
    async fn when_notifications_get_lost_only_the_first_change_is_noticed_late() {
        let (folder, mut watch) = new_watch().await;
        watch.watcher.as_mut().unwrap().unwatch(&folder.path().canonicalize().unwrap()).unwrap();
        let first = seconds_until_noticed(&mut watch, "a").await;
        assert!(first < 6.0, "{first}");
        let second = seconds_until_noticed(&mut watch, "b").await;
        assert!(second < 1.0 && watch.notifications_get_lost, "{second}");
    }
}
