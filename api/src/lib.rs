//! Serves predictions over HTTP.
//!
//! * **For:** answering the documented endpoints from a [`PredictionStore`], as fast as HTTP allows: answers come
//!   from the store as the bytes that are sent, and a request is a look-up.
//! * **Comes in:** a store of predictions, a listening socket, and optionally something that can [`Reload`].
//!   **Goes out:** HTTP. `GET /openapi.json` describes every answer and `GET /docs` shows it; `GET /metrics` is for
//!   Prometheus.
//! * **Must never know:** what a model or a feature table is made of, or which store it reads. It depends on neither
//!   polars nor linfa nor the models crate, and it computes no prediction. (The program `api`, behind the feature
//!   `server`, is where this library meets Redis and SQS.)
//!
//! ```
//! use std::sync::Arc;
//! use shared::MemoryStore;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let store = Arc::new(MemoryStore::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let shutdown = async { /* a signal, usually */ };
//! api::Api::new(store).serve(listener, shutdown).await;
//! # Ok::<(), std::io::Error>(())
//! # })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A request meets these modules in turn: `server` (connections and their limits), `entrance` (what all requests
//! have in common), `router` (paths), `predictions` (the generation that is served now), `answers` (its bodies) or,
//! where a generation is too large for memory, `single` (a cache of its bodies), `rendered` (headers, `ETag`,
//! compression), `pieces` and `progress` (the body on its way out). What happens is told by `events`, what is so by `metrics`.
//! For many assets at once there are `many` and, over `columns` that are read when somebody compares for the first
//! time, `ranking` and the dashboard, `painel`; `listeners` are told of every generation.
//!
//! What is served is what is current in the store, also after an operator took a generation back. A store that is
//! away or empty takes nothing away; `/health` says so.

mod answers;
mod columns;
mod docs;
mod entrance;
mod error;
mod events;
mod history;
mod listeners;
mod many;
mod metrics;
mod painel;
mod pieces;
mod predictions;
mod progress;
mod query;
mod ranking;
mod reload;
mod rendered;
mod router;
mod server;
mod single;

use std::{future, sync::Arc, time::Duration};

use shared::{HistoryStore, PredictionStore};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
};

use crate::{entrance::Entrance, predictions::Predictions, reload::Reloads};

pub use reload::{EmptyToken, Reload, ReloadError, ReloadToken};
pub use router::OPENAPI;

/// How long the first connection waits for the store at most. A process that starts next to a full store should
/// not answer 503 once; one whose store is away should say so soon.
const FIRST_LOAD: Duration = Duration::from_secs(2);

/// The times and bounds that a deployment may want to change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many bytes of memory the answers of one generation may take. While they fit, all are kept and requests
    /// never touch the store; above, single answers are read when they are asked for and those of late are kept, in
    /// as many bytes. While one generation takes the place of another both are in memory. Comparing all assets
    /// (`GET /ranking`, `/painel`) is possible while they fit, and takes about a fifth more. Default 256 MB.
    pub memory_budget: u64,
    /// How long a request waits for the store before it answers 503. Default 5 s.
    pub store_wait: Duration,
    /// What `GET /reload` demands; nothing by default.
    pub reload_token: Option<ReloadToken>,
    /// How long `GET /reload` waits for the reload before it answers 202. Default 30 s.
    pub reload_wait: Duration,
    /// How many listen to `GET /eventos` at once; further ones are answered 503. Each holds a connection. Default
    /// 1024.
    pub listeners: usize,
    /// How many connections are open at once; further ones wait in the listener's queue. Default 4096; each
    /// buffers some 50 kB at worst.
    pub connections: usize,
    /// A connection is closed if for this long, or up to twice of it, no request begins or ends and no byte of an answer is
    /// taken. So a peer may read a long answer slowly. It may not be idle, send its request slowly, or stop reading.
    /// Default 75 s: longer than load balancers keep idle connections (60 s), so that they close first and no request is
    /// lost.
    pub idle: Duration,
    /// How long requests in progress may take to end after shutdown began. Default 20 s, inside Kubernetes'
    /// grace period of 30 s.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_budget: 256_000_000,
            store_wait: Duration::from_secs(5),
            reload_token: None,
            reload_wait: Duration::from_secs(30),
            listeners: 1024,
            connections: 4096,
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(20),
        }
    }
}

/// The API over one store.
pub struct Api {
    store: Arc<dyn PredictionStore>,
    reload: Option<Arc<dyn Reload>>,
    histories: Option<Arc<dyn HistoryStore>>,
    settings: Settings,
}

/// What requests are answered from.
struct Service {
    predictions: Predictions,
    reloads: Option<Arc<Reloads>>,
    histories: Option<Arc<dyn HistoryStore>>,
    /// Places for those who listen.
    listeners: Arc<Semaphore>,
    /// Its sender is dropped at shutdown.
    stopping: watch::Receiver<()>,
    settings: Settings,
}

impl Api {
    /// The API over `store`. `GET /reload` answers 501 until there is something that can
    /// [reload](Self::with_reload).
    #[must_use]
    pub fn new(store: Arc<dyn PredictionStore>) -> Self {
        Self { store, reload: None, histories: None, settings: Settings::default() }
    }

    /// Lets `GET /reload` ask `reload`.
    #[must_use]
    pub fn with_reload(mut self, reload: Arc<dyn Reload>) -> Self {
        self.reload = Some(reload);
        self
    }

    /// Lets `GET /models/{nome}` and `GET /symbol/{ativo}/historico` tell of days that are over. Without it they know of
    /// none.
    #[must_use]
    pub fn with_histories(mut self, histories: Arc<dyn HistoryStore>) -> Self {
        self.histories = Some(histories);
        self
    }

    /// Replaces the default settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Serves HTTP/1.1 on `listener` and follows the store, until `shutdown` completes and the requests in
    /// progress have been answered (or [`Settings::drain`] is over).
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        events::count();
        let (stop, stopping) = watch::channel(());
        let service = Arc::new(Service {
            predictions: Predictions::new(self.store, &self.settings),
            reloads: self.reload.map(|reload| Arc::new(Reloads::new(reload))),
            histories: self.histories,
            listeners: Arc::new(Semaphore::new(self.settings.listeners.min(Semaphore::MAX_PERMITS))),
            stopping,
            settings: self.settings,
        });
        let (looked, first_look) = oneshot::channel();
        let follow = async {
            service.predictions.follow(looked).await;
            // What is served stays right even if the store tells nothing any more.
            future::pending::<()>().await;
        };
        let serve = async {
            // What went wrong is logged by the follower, which tries again.
            let _ = tokio::time::timeout(FIRST_LOAD, first_look).await;
            let entrance = Entrance::new(Arc::clone(&service));
            server::run(listener, entrance, &service.settings, stop, shutdown).await;
        };
        tokio::select! {
            () = serve => {}
            () = follow => {}
        }
    }
}
