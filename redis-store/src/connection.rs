use std::{collections::HashMap, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSubSink, PubSubStream},
    cluster_async::ClusterConnection,
    cmd, from_redis_value,
};
use shared::StoreError;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{
    Servers,
    events::Failed,
    fault::{Fault, Patience},
    settings::client,
};

/// A server that has not taken a connection within this time is passed over.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// An answer that has not come within this time is not waited for. A shard has a megabyte at most, and a few of them
/// are on their way at once.
pub(crate) const RESPOND_WITHIN: Duration = Duration::from_secs(5);

/// A request to a cluster, with all its redirections, takes no longer than this.
pub(crate) const REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// How often the cluster client tries again by itself.
pub(crate) const CLUSTER_RETRIES: u32 = 3;

/// How often a request is made before it is given up, if the connection breaks.
const TRIES: u32 = 3;

/// For how long a request is made again while servers change their roles, load their data, or move a slot.
const CHANGE_WITHIN: Duration = Duration::from_secs(5);

/// The pause before a second try; each later one is three times as long.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(450);

/// Whoever asks so soon after a failure to connect shares it, so that many who ask do not queue up to fail.
const SAME_FAILURE: Duration = Duration::from_millis(50);

/// The connection to the servers, made when it is needed and made again when it breaks.
pub(crate) struct Connections {
    servers: Servers,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connected: Option<Connected>,
    /// Counts connections, so that of many who see the same one break only the first drops it.
    epoch: u64,
    failure: Option<(Instant, RedisError)>,
}

/// A connection, and where it leads.
#[derive(Clone)]
struct Connected {
    connection: Connection,
    /// The place of the server in the list of servers.
    place: usize,
    /// The role of the server when the connection was made.
    role: Role,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Primary,
    Replica,
}

/// The mode and the role of a server, as it says.
struct Greeting {
    is_cluster: bool,
    role: Role,
}

/// A channel that is listened to, and the means to ask whether its connection lives.
pub(crate) struct Subscription {
    pub(crate) messages: PubSubStream,
    sink: PubSubSink,
}

impl Subscription {
    /// Asks the server for a sign of life. A refusal is one too.
    pub(crate) async fn is_alive(&mut self, within: Duration) -> bool {
        match timeout(within, self.sink.ping::<Value>()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => Fault::of(&error) == Fault::Permission,
            Err(_) => false,
        }
    }
}

impl Connections {
    pub(crate) fn new(servers: Servers) -> Self {
        Self { servers, held: Mutex::default() }
    }

    /// Asks, several times if need be. `what` says what for, with the key.
    ///
    /// No request is a transaction (`MULTI`): a cluster that moves a slot redirects commands and scripts, and aborts
    /// transactions.
    pub(crate) async fn ask<T: FromRedisValue>(&self, what: &str, command: Cmd) -> Result<T, StoreError> {
        let begun = Instant::now();
        let mut pause = PAUSE;
        let mut tries: u32 = 1;
        loop {
            let error = match self.ask_once(&command).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = match Fault::of(&error).patience() {
                Patience::None => false,
                Patience::Tries => tries < TRIES,
                Patience::Seconds => begun.elapsed() < CHANGE_WITHIN,
            };
            if !again {
                return Err(self.failed(what, &error));
            }
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            tries = tries.saturating_add(1);
            pause = pause.saturating_mul(3).min(LONGEST_PAUSE);
        }
    }

    /// Asks once, and waits for `limit` at most.
    pub(crate) async fn ask_within<T: FromRedisValue>(
        &self,
        limit: Duration,
        what: &str,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let answer = match timeout(limit, self.ask_once(command)).await {
            Ok(answer) => answer,
            Err(_) => {
                // Nothing says that it is broken. It is not trusted with the next request.
                self.held.lock().await.connected = None;
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into())
            }
        };
        answer.map_err(|error| self.failed(what, &error))
    }

    async fn ask_once<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let answer = self.try_once(command).await;
        if let Err(error) = &answer {
            Failed(error).tell();
        }
        answer
    }

    async fn try_once<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let (epoch, Connected { mut connection, .. }) = self.connected().await?;
        let answer = command.query_async(&mut connection).await;
        if let Err(error) = &answer
            && connection.is_useless_after(error)
        {
            self.drop_connection(epoch).await;
        }
        answer
    }

    async fn drop_connection(&self, epoch: u64) {
        let mut held = self.held.lock().await;
        if held.epoch == epoch {
            held.connected = None;
        }
    }

    async fn connected(&self) -> RedisResult<(u64, Connected)> {
        let mut held = self.held.lock().await;
        if let Some(connected) = &held.connected {
            return Ok((held.epoch, connected.clone()));
        }
        if let Some((at, error)) = &held.failure
            && at.elapsed() < SAME_FAILURE
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connected) => {
                held.epoch = held.epoch.wrapping_add(1);
                held.connected = Some(connected.clone());
                held.failure = None;
                Ok((held.epoch, connected))
            }
            Err(error) => {
                held.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Connects to the first server that is a primary, or else to the first that answers.
    async fn connect(&self) -> RedisResult<Connected> {
        let ca = self.servers.certificates().await?;
        let mut replica = None;
        let mut refused = None;
        for place in 0..self.servers.infos.len() {
            match self.connect_to(place, ca.as_deref()).await {
                Ok((_, Greeting { is_cluster: true, .. })) => {
                    let cluster = self.servers.cluster(ca.as_deref())?;
                    let cluster = timeout(REQUEST_WITHIN, cluster.get_async_connection()).await;
                    let connection = Connection::Cluster(cluster.map_err(late)??);
                    return Ok(Connected { connection, place, role: Role::Primary });
                }
                Ok((server, Greeting { role, .. })) => {
                    let connected = Connected { connection: Connection::Server(server), place, role };
                    match role {
                        Role::Primary => return Ok(connected),
                        Role::Replica => replica = replica.or(Some(connected)),
                    }
                }
                Err(error) => refused = Some(error),
            }
        }
        let no_server = || RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server"));
        replica.ok_or_else(|| refused.unwrap_or_else(no_server))
    }

    async fn connect_to(
        &self,
        place: usize,
        ca: Option<&[u8]>,
    ) -> RedisResult<(MultiplexedConnection, Greeting)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(RESPOND_WITHIN));
        let client = client(&self.servers.infos[place], ca)?;
        let mut server = client.get_multiplexed_async_connection_with_config(&config).await?;
        let greeting = greeting(&mut server).await?;
        Ok((server, greeting))
    }

    /// A connection of its own to a server, to ask it in a way that others must not be disturbed by.
    pub(crate) async fn aside(&self) -> RedisResult<MultiplexedConnection> {
        let (_, Connected { place, .. }) = self.connected().await?;
        let ca = self.servers.certificates().await?;
        Ok(self.connect_to(place, ca.as_deref()).await?.0)
    }

    /// Connects if need be, and tells the connections apart that requests go to. Nothing if no server can be reached soon.
    pub(crate) async fn reach(&self, within: Duration) -> Option<u64> {
        let connected = timeout(within, self.connected()).await.ok()?;
        connected.ok().map(|(epoch, _)| epoch)
    }

    /// Whether requests go to this connection still.
    pub(crate) async fn holds(&self, epoch: u64) -> bool {
        let held = self.held.lock().await;
        held.epoch == epoch && held.connected.is_some()
    }

    /// Drops the connection to a server whose role has changed, and to a replica if there are other servers. The next
    /// request looks for the primary: a replica answers reads however old its data are.
    pub(crate) async fn check_role(&self, within: Duration) {
        let held = {
            let held = self.held.lock().await;
            held.connected.clone().map(|connected| (held.epoch, connected))
        };
        let Some((epoch, Connected { connection: Connection::Server(mut server), role, .. })) = held else {
            return;
        };
        let now = match timeout(within, greeting(&mut server)).await {
            Ok(Ok(greeting)) => greeting.role,
            // The request that comes next tells what is wrong.
            Ok(Err(_)) | Err(_) => return,
        };
        if now != role || (now == Role::Replica && self.servers.infos.len() > 1) {
            self.drop_connection(epoch).await;
        }
    }

    /// Subscribes to a channel at the server that requests go to, or else at the first that answers. Each node of a cluster
    /// passes on what is published at any other.
    pub(crate) async fn subscribe(&self, channel: &str) -> RedisResult<Subscription> {
        let preferred = self.held.lock().await.connected.as_ref().map_or(0, |connected| connected.place);
        let ca = self.servers.certificates().await?;
        let others = (0..self.servers.infos.len()).filter(|place| *place != preferred);
        let mut refused = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no server"));
        for place in std::iter::once(preferred).chain(others) {
            let client = client(&self.servers.infos[place], ca.as_deref())?;
            let subscribed = async {
                let mut subscription = client.get_async_pubsub().await?;
                subscription.subscribe(channel).await?;
                let (sink, messages) = subscription.split();
                RedisResult::Ok(Subscription { messages, sink })
            };
            match timeout(CONNECT_WITHIN, subscribed).await.map_err(late).flatten() {
                Ok(subscription) => return Ok(subscription),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    pub(crate) fn failed(&self, what: &str, error: &RedisError) -> StoreError {
        self.error(what, &format_args!("{error}{}", Fault::of(error).advice()))
    }

    pub(crate) fn error(&self, what: &str, error: &impl std::fmt::Display) -> StoreError {
        StoreError { message: format!("Redis at {}: {what}: {error}", self.servers), source: None }
    }
}

/// Asks a server what it is. `HELLO` needs no right and is answered while data are loaded. Servers before Redis 6.2 do not
/// know it in this form; they are asked for the state of their cluster.
async fn greeting(server: &mut MultiplexedConnection) -> RedisResult<Greeting> {
    let said: RedisResult<HashMap<String, Value>> = cmd("HELLO").query_async(server).await;
    let said = match said {
        Ok(said) => said,
        Err(error) if Fault::of(&error) == Fault::Server => {
            let mut state = cmd("CLUSTER");
            let state: RedisResult<String> = state.arg("INFO").query_async(server).await;
            return match state {
                Ok(_) => Ok(Greeting { is_cluster: true, role: Role::Primary }),
                Err(error) if error.is_io_error() => Err(error),
                Err(_) => Ok(Greeting { is_cluster: false, role: Role::Primary }),
            };
        }
        Err(error) => return Err(error),
    };
    let says = |field: &str, expected: &str| {
        let value = said.get(field).cloned().map(from_redis_value::<String>);
        value.and_then(Result::ok).is_some_and(|value| value == expected)
    };
    let role = if says("role", "replica") || says("role", "slave") { Role::Replica } else { Role::Primary };
    Ok(Greeting { is_cluster: says("mode", "cluster"), role })
}

fn late(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time").into()
}

impl Connection {
    /// Whether another connection may do better.
    fn is_useless_after(&self, error: &RedisError) -> bool {
        match self {
            // It follows slots and changes of roles by itself.
            Self::Cluster(_) if Fault::of(error) == Fault::Cluster => error.code() == Some("CLUSTERDOWN"),
            Self::Server(_) | Self::Cluster(_) => {
                error.is_unrecoverable_error() || Fault::of(error).is_of_the_connection()
            }
        }
    }
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
