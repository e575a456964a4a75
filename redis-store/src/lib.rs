//! Predictions in Redis: the [`PredictionStore`](shared::PredictionStore) of a system that is more than one process.
//!
//! * **For:** publishing a snapshot as a whole, so that readers on other machines see one generation or the next and
//!   never a mixture; finding it again; hearing of it; taking it back; and keeping what a backfill found out ([`HistoryStore`](shared::HistoryStore)).
//! * **Comes in, goes out:** a [`Snapshot`](shared::Snapshot) to publish; the [`Summary`](shared::Summary) and the
//!   bytes of the documented answers to read. The same client speaks to one server and to a cluster, with TLS and
//!   passwords: [`Settings`].
//! * **Must never know:** how predictions are made, or what HTTP is.
//!
//! ```no_run
//! use redis_store::{RedisStore, Servers, Settings};
//! use shared::PredictionStore;
//!
//! # async fn read() -> Result<(), Box<dyn std::error::Error>> {
//! let servers: Servers = "redis://127.0.0.1:6379".parse()?;
//! let store = RedisStore::connect(Settings::new(servers)).await;
//! if let Some(current) = store.current().await? {
//!     let answer = store.answer(&current, &"BTC".parse()?).await?;
//!     println!("generation {}: {answer:?}", current.generation);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is in Redis
//!
//! With the prefix `cripto`, and 1795512345678 as the number of a generation:
//!
//! | key | type | content |
//! |---|---|---|
//! | `{cripto}:current` | string | the number of the current generation |
//! | `cripto:1795512345678:0` … | hash | a shard: by asset, the answer of `/symbol/{ativo}`; in `_`, how many there are |
//! | `cripto:1795512345678:summary` | string | [`Summary`](shared::Summary) as JSON |
//! | `{cripto}:kept` | hash | by generation that is kept, the current one among them: shards, token, digest |
//! | `{cripto}:pending` | hash | by generation that is being written: shards, token |
//! | `{cripto}:drawn` | string | the largest number that was drawn |
//! | `{cripto}:published` | string | the number of the last publication or [rollback](RedisStore::rollback) |
//! | `{cripto}:withdrawn` | set | the digests of what was taken back since the last publication |
//! | `{cripto}:incomplete` | string | the generation of which a reader missed a part, for ten minutes |
//! | `cripto:reload:{id}` | string | the outcome of a reload, for ten minutes |
//! | `cripto:history:{ativo}` | hash | by model, its [`ModelHistory`](shared::ModelHistory) as JSON, for 90 days |
//! | `cripto:track:{modelo}` | string | its [`TrackRecord`](shared::TrackRecord) as JSON, for 90 days |
//!
//! The last two belong to no generation: a backfill leaves them, with its run and the versions that it asked, and a later
//! one replaces them key by key (of a history, model by model), each in one step.
//!
//! `-` in the hash of what is pending and in the set of what is withdrawn stands for nothing. It keeps the keys there: a
//! cluster runs a script while its slot moves only if all keys of the script exist.
//!
//! The number goes out on the channel `cripto:generations` after it became current. An announcement that fails does no
//! harm: the pointer is asked for regularly.
//!
//! A table of up to 1 024 assets is one shard, so one answer is one command:
//!
//! ```sh
//! redis-cli HGET cripto:$(redis-cli GET '{cripto}:current'):0 BTC
//! ```
//!
//! A larger one has a power of two of shards, of 512 to 1 024 assets on average, and `cksum`, which every POSIX system
//! has, tells the shard of an asset:
//!
//! ```sh
//! generation=$(redis-cli GET '{cripto}:current')
//! shards=$(redis-cli HGET '{cripto}:kept' $generation | cut -d' ' -f1)
//! shard=$(($(printf %s BTC | cksum | cut -d' ' -f1) % shards))
//! redis-cli HGET cripto:$generation:$shard BTC
//! ```
//!
//! Hashes and not a string for each answer: an answer of 700 bytes then costs no key, no expiry and no command of
//! its own. The names of shards have no hash tag, so that a cluster spreads them; the keys in braces are in one
//! slot, so that one script can change them together.
//!
//! # How a generation becomes current
//!
//! Its number is drawn before scoring: the larger of the last one plus one and the server's clock in milliseconds, so
//! that numbers also grow over a server that has lost everything, and no other clock matters. Then
//!
//! 1. The generation is noted as pending.
//! 2. Its shards and its summary are written, each with an expiry of an hour from the beginning.
//! 3. The expiry is renewed to that of a published generation, which also tells that all parts are there.
//! 4. One script moves the pointer and trims the kept generations. It does nothing if the generation is no longer pending,
//!    or if one as late was published.
//! 5. Subscribers are told. Kept generations are renewed; others, and those that were never published, are unlinked.
//!
//! Whatever dies before 4 leaves the old generation as it was. A server that comes back empty between 1 and 4 has
//! forgotten what is pending, so that no pointer leads into nothing. Every step may be repeated, and is, when the
//! connection breaks. No step is a transaction (`MULTI`), which a cluster aborts while a slot moves.
//!
//! # Which state is newer
//!
//! A rollback draws a number too, and leaves it in `{cripto}:published`. That number grows with every publication and
//! every rollback. A state with a smaller number is an older state: the server was restored from an older copy, or a
//! replica that lagged was promoted. A process that has seen the newer state refuses the older one
//! ([`Damage::Behind`](shared::Damage)), and publishers publish again.
//!
//! A rollback that was lost so is repeated, as long as there is nothing else to publish.
//!
//! A reader that misses a part of the current generation leaves word in `{cripto}:incomplete`
//! ([`Damage::Incomplete`](shared::Damage)), and publishers publish again.

mod connection;
mod events;
mod fault;
mod follow;
mod history;
mod keys;
mod ledger;
mod publish;
mod read;
mod reports;
mod rights;
mod settings;
mod standing;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use settings::{Access, InvalidPrefix, InvalidServers, Prefix, Servers, Settings};
pub use store::{RedisStore, RollbackError};
