use std::time::{Duration, Instant};

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult,
    RetryMethod, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSubStream},
    cluster_async::ClusterConnection,
};
use shared::StoreError;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{Servers, events::Failed};

/// A server that has not taken a connection within this time is passed over.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// An answer that has not come within this time is not waited for. A shard has a megabyte at most, and a few of them
/// are on their way at once.
pub(crate) const RESPOND_WITHIN: Duration = Duration::from_secs(5);

/// A request to a cluster, with all its redirections, takes no longer than this.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// How often the cluster client tries again by itself.
pub(crate) const CLUSTER_RETRIES: u32 = 3;

/// How often a request is made before it is given up.
const TRIES: u32 = 3;

/// The pause before a second try; before the third it is three times as long.
const PAUSE: Duration = Duration::from_millis(50);

/// Whoever asks so soon after a failure to connect shares it, so that many who ask do not queue up to fail.
const SAME_FAILURE: Duration = Duration::from_millis(50);

/// The connection to the servers, made when it is needed and made again when it breaks.
pub(crate) struct Connections {
    servers: Servers,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connection: Option<Connection>,
    /// Counts connections, so that of many who see the same one break only the first drops it.
    epoch: u64,
    failure: Option<(Instant, RedisError)>,
}

/// What can be asked at once: something that may be asked twice.
pub(crate) enum Request {
    Command(Cmd),
    /// All or nothing, in one slot.
    Transaction(Pipeline),
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connections {
    pub(crate) fn new(servers: Servers) -> Self {
        Self { servers, held: Mutex::default() }
    }

    /// Asks, several times if need be. `what` says what for, with the key.
    pub(crate) async fn ask<T: FromRedisValue>(&self, what: &str, request: Request) -> Result<T, StoreError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.ask_once(&request).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !may_pass(&error) => return Err(self.error(what, &error)),
                Err(_) => sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await,
            }
            pause = pause.saturating_mul(3);
        }
        self.ask_once(&request).await.map_err(|error| self.error(what, &error))
    }

    /// Asks once, and waits for `limit` at most.
    pub(crate) async fn ask_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        what: &str,
        command: Cmd,
    ) -> Result<T, StoreError> {
        let request = Request::Command(command);
        let answer = timeout(limit, self.ask_once(&request)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                // Nothing says that it is broken. It is not trusted with the next request.
                self.held.lock().await.connection = None;
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into())
            }
        };
        answer.map_err(|error| self.error(what, &error))
    }

    async fn ask_once<T: FromRedisValue>(&self, request: &Request) -> RedisResult<T> {
        let answer = self.try_once(request).await;
        if let Err(error) = &answer {
            Failed(error).tell();
        }
        answer
    }

    async fn try_once<T: FromRedisValue>(&self, request: &Request) -> RedisResult<T> {
        let (epoch, mut connection) = self.connection().await?;
        let answer = match request {
            Request::Command(command) => command.query_async(&mut connection).await,
            Request::Transaction(pipeline) => pipeline.query_async(&mut connection).await,
        };
        if let Err(error) = &answer
            && (error.is_io_error() || error.is_unrecoverable_error() || error.is_cluster_error())
        {
            let mut held = self.held.lock().await;
            if held.epoch == epoch {
                held.connection = None;
            }
        }
        answer
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut held = self.held.lock().await;
        if let Some(connection) = &held.connection {
            return Ok((held.epoch, connection.clone()));
        }
        if let Some((at, error)) = &held.failure
            && at.elapsed() < SAME_FAILURE
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                held.epoch = held.epoch.wrapping_add(1);
                held.connection = Some(connection.clone());
                held.failure = None;
                Ok((held.epoch, connection))
            }
            Err(error) => {
                held.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(RESPOND_WITHIN));
        let mut server = self
            .first(|client| {
                let config = config.clone();
                async move { client.get_multiplexed_async_connection_with_config(&config).await }
            })
            .await?;
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("cluster").query_async(&mut server).await?;
        if !info.contains("cluster_enabled:1") {
            return Ok(Connection::Server(server));
        }
        let cluster = self.servers.cluster.get_async_connection();
        Ok(Connection::Cluster(timeout(REQUEST_WITHIN, cluster).await.map_err(late)??))
    }

    /// What is published on a channel from now on, heard from the first server that answers: in a cluster each hears
    /// of what is published at any.
    pub(crate) async fn subscribe(&self, channel: &str) -> RedisResult<PubSubStream> {
        self.first(|client| async move {
            let subscribed = async {
                let mut subscription = client.get_async_pubsub().await?;
                subscription.subscribe(channel).await?;
                Ok(subscription.into_on_message())
            };
            timeout(CONNECT_WITHIN, subscribed).await.map_err(late)?
        })
        .await
    }

    /// From the first server that gives it, or what the last said.
    async fn first<'a, T, F: Future<Output = RedisResult<T>>>(
        &'a self,
        ask: impl Fn(&'a Client) -> F,
    ) -> RedisResult<T> {
        let mut refused = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server"));
        for client in &self.servers.clients {
            match ask(client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    pub(crate) fn error(&self, what: &str, error: &impl std::fmt::Display) -> StoreError {
        StoreError { message: format!("Redis at {}: {what}: {error}", self.servers), source: None }
    }
}

fn late(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time").into()
}

/// Whether asking again makes sense.
fn may_pass(error: &RedisError) -> bool {
    error.kind() != redis::ErrorKind::AuthenticationFailed
        && (error.is_io_error() || !matches!(error.retry_method(), RetryMethod::NoRetry))
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(server) => server.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(server) => server.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
