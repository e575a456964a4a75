use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::{Cmd, cmd};
use shared::{Asset, AssetPredictions, Generation, PublishError, Snapshot, StoreError, Summary, answer};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    events::{NotAnnounced, NotTidied, Published},
    keys::{COUNT, shard_of, shards},
    ledger::{Committed, Entry, Generations, LARGEST, script},
    store::Inner,
};

/// For how long what is half-written outlives its writer. No publication takes so long.
const PENDING_EXPIRY: Duration = Duration::from_secs(60 * 60);

/// An announcement that takes longer is given up.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(1);

/// So many shards are on their way to the server at once.
const IN_FLIGHT: usize = 4;

/// So many rendered shards wait to be sent.
const RENDERED: usize = 2;

/// So many small commands are on their way at once.
const SMALL_IN_FLIGHT: usize = 128;

/// So many keys are unlinked by one command.
const UNLINKED_AT_ONCE: usize = 256;

/// KEYS: a shard. ARGV: expiry, the field of the number of answers, that number.
const CREATE: &str = r"
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
";

impl Inner {
    pub(crate) async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        let began = Instant::now();
        let offered = snapshot.generation;
        if offered > LARGEST {
            let what = format!("publishing generation {offered}");
            return Err(self.connections.error(&what, &"the number is too large").into());
        }
        let mut entry = Entry::new(shards(snapshot.assets.len()));
        if let Some(current) = self.ledger().begin(offered, &entry, PENDING_EXPIRY).await? {
            return Err(PublishError::Superseded { offered, current });
        }
        let summary = match self.write(snapshot, entry.shards).await {
            Ok(summary) => summary,
            Err(error) => {
                // A server that is full needs the room now.
                self.remove(offered, entry.shards).await;
                return Err(error.into());
            }
        };
        entry.digest = Some(summary.digest);
        let committed = if self.renew(offered, entry.shards).await? {
            self.ledger().commit(offered, &entry, self.kept, self.expiry).await?
        } else {
            // A later publication has removed it, or the server has.
            let superseded = self.ledger().superseded(offered).await?;
            superseded.map_or(Committed::Lost, Committed::Superseded)
        };
        match committed {
            Committed::Published(dropped) => {
                Published { summary: &summary, shards: entry.shards, took: began.elapsed() }.tell();
                self.standing.published(offered);
                self.announce(offered).await;
                if let Err(error) = self.tidy(offered, dropped).await {
                    NotTidied { generation: offered, error: &error }.tell();
                }
                Ok(())
            }
            Committed::Superseded(current) => {
                self.remove(offered, entry.shards).await;
                Err(PublishError::Superseded { offered, current })
            }
            Committed::Lost => Err(self.lost(offered).into()),
        }
    }

    /// Tells subscribers of a generation. A failure is only logged: every reader asks for the pointer regularly.
    pub(crate) async fn announce(&self, generation: Generation) {
        let channel = self.keys.channel();
        let mut publish = cmd("PUBLISH");
        publish.arg(&channel).arg(generation.0);
        let what = format!("announcing generation {generation} on {channel}");
        if let Err(error) = self.connections.ask_within::<()>(ANNOUNCE_WITHIN, &what, &publish).await {
            NotAnnounced { generation, error: &error }.tell();
        }
    }

    /// Removes what will never be published; if that fails it expires.
    async fn remove(&self, generation: Generation, shards: u32) {
        if let Err(error) = self.unlink(generation, shards).await {
            NotTidied { generation, error: &error }.tell();
        }
    }

    fn lost(&self, generation: Generation) -> StoreError {
        let what = format!("publishing generation {generation}");
        self.connections
            .error(&what, &"the server has lost what was written: it was restarted, or its memory is full")
    }

    /// Writes all of a generation, with the expiry of what is half-written.
    async fn write(&self, snapshot: Arc<Snapshot>, shards: u32) -> Result<Summary, StoreError> {
        let generation = snapshot.generation;
        let (sender, mut rendered) = mpsc::channel(RENDERED);
        // Both take their time for many assets.
        let summary = spawn_blocking({
            let snapshot = Arc::clone(&snapshot);
            move || snapshot.summary(0)
        });
        let renderer = Renderer { expiry: PENDING_EXPIRY, keys: Arc::clone(&self.keys), snapshot, shards };
        let bytes = spawn_blocking(move || renderer.render(&sender));
        stream::poll_fn(|context| rendered.poll_recv(context))
            .map(|Shard { key, create, fill }| async move {
                let what = format!("writing {key}");
                self.connections.ask::<()>(&what, create).await?;
                match fill {
                    Some(fill) => self.connections.ask(&what, fill).await,
                    None => Ok(()),
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|()| std::future::ready(Ok(())))
            .await?;
        let panicked = |error| StoreError {
            message: format!("generation {generation} could not be rendered"),
            source: Some(Box::new(error)),
        };
        let answer_bytes = bytes.await.map_err(panicked)?;
        let summary = Summary { answer_bytes, ..summary.await.map_err(panicked)? };

        let key = self.keys.summary(generation);
        let what = format!("writing {key}");
        let json = serde_json::to_vec(&summary).map_err(|error| self.connections.error(&what, &error))?;
        let mut set = cmd("SET");
        set.arg(key).arg(json).arg("EX").arg(PENDING_EXPIRY.as_secs());
        self.connections.ask::<()>(&what, set).await?;
        Ok(summary)
    }

    /// Keeps a generation for as long again as what is published. Whether all of it is there.
    pub(crate) async fn renew(&self, generation: Generation, shards: u32) -> Result<bool, StoreError> {
        let expire = |key: String| {
            let mut expire = cmd("EXPIRE");
            expire.arg(&key).arg(self.expiry.as_secs());
            (format!("renewing {key}"), expire)
        };
        self.all_of(self.keys.of(generation, shards).map(expire)).await
    }

    pub(crate) async fn unlink(&self, generation: Generation, shards: u32) -> Result<(), StoreError> {
        let mut keys = self.keys.of(generation, shards);
        let commands = std::iter::from_fn(|| {
            let batch: Vec<String> = keys.by_ref().take(UNLINKED_AT_ONCE).collect();
            let what = format!("unlinking {}", batch.first()?);
            let mut unlink = cmd("UNLINK");
            unlink.arg(batch);
            Some((what, unlink))
        });
        self.all_of(commands).await.map(drop)
    }

    /// Whether all of the commands' answers are other than 0.
    async fn all_of(&self, commands: impl Iterator<Item = (String, Cmd)> + Send) -> Result<bool, StoreError> {
        // Collected, so that no iterator is held across a wait.
        let commands: Vec<(String, Cmd)> = commands.collect();
        stream::iter(commands)
            .map(|(what, command)| async move { self.connections.ask::<u64>(&what, command).await })
            .buffer_unordered(SMALL_IN_FLIGHT)
            .try_fold(true, |all, answer| std::future::ready(Ok(all && answer > 0)))
            .await
    }

    /// Keeps what is kept beside the current generation, and removes what is not.
    async fn tidy(&self, current: Generation, dropped: Generations) -> Result<(), StoreError> {
        for (generation, entry) in dropped {
            self.unlink(generation, entry.shards).await?;
        }
        for (generation, entry) in self.ledger().state().await?.kept {
            if generation != current {
                self.renew(generation, entry.shards).await?;
            }
        }
        Ok(())
    }
}

/// Makes the shards of a snapshot, one after the other.
struct Renderer {
    expiry: Duration,
    keys: Arc<crate::keys::Keys>,
    snapshot: Arc<Snapshot>,
    shards: u32,
}

/// A shard as it is written. Its number of answers and its expiry come first, so that nothing stays for ever if the writer
/// dies. Its answers come second.
struct Shard {
    key: String,
    create: Cmd,
    fill: Option<Cmd>,
}

impl Renderer {
    /// How many bytes the answers have together.
    fn render(&self, rendered: &mpsc::Sender<Shard>) -> u64 {
        let mut bytes: u64 = 0;
        let mut shards: Vec<Vec<(&Asset, &AssetPredictions)>> = vec![Vec::new(); self.shards as usize];
        for (asset, predictions) in &self.snapshot.assets {
            if let Some(shard) = shards.get_mut(shard_of(asset, self.shards) as usize) {
                shard.push((asset, predictions));
            }
        }
        for (number, assets) in (0..).zip(shards) {
            let key = self.keys.shard(self.snapshot.generation, number);
            let arguments = [self.expiry.as_secs().to_string(), COUNT.to_owned(), assets.len().to_string()];
            let create =
                script(CREATE, std::slice::from_ref(&key), &arguments.each_ref().map(String::as_str));
            let mut fill = cmd("HSET");
            fill.arg(&key);
            let is_empty = assets.is_empty();
            for (asset, predictions) in assets {
                let answer = answer::render(&self.snapshot, asset, predictions);
                bytes = bytes.saturating_add(answer.len() as u64);
                fill.arg(asset.as_str()).arg(answer);
            }
            let shard = Shard { key, create, fill: (!is_empty).then_some(fill) };
            if rendered.blocking_send(shard).is_err() {
                // Whoever writes them has given up, and says why.
                break;
            }
        }
        bytes
    }
}
