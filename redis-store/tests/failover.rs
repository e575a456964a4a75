//! Servers that change their roles, come back with less than they had, and lose parts; connections that die silently.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use proxy::Proxy;
use redis_store::{Access, RedisStore, Servers, Settings, testing::RedisServer};
use shared::{AnswerError, Damage, Digest, Generation, PredictionStore};
use snapshots::{SOON, publish, seen, settings, snapshot, store, until};
use tokio::time::Instant;

mod proxy;
mod snapshots;

fn metric(name: &str) -> f64 {
    let text = String::from_utf8(shared::metrics::render()).unwrap();
    let samples = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn replica_of(primary: &RedisServer) -> RedisServer {
    let port = primary.port().to_string();
    let replica = RedisServer::with_options(&["--replicaof", &format!("127.0.0.1 {port}")]);
    until("the replica is linked", async || {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    replica
}

fn promote(replica: &RedisServer, old: &RedisServer) {
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(old.cli(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]), "OK");
}

fn settings_of(urls: &str) -> Settings {
    Settings { poll: Duration::from_millis(500), ..Settings::new(urls.parse::<Servers>().unwrap()) }
}

/// How long it takes until a store publishes, trying as the scorer does.
async fn published_after(store: &RedisStore, close: f64) -> (Generation, Duration) {
    let begun = Instant::now();
    loop {
        let Ok(generation) = store.next_generation().await else { continue };
        if store.publish(snapshot(generation, 28, close)).await.is_ok() {
            return (generation, begun.elapsed());
        }
        assert!(begun.elapsed() < SOON, "nothing was published");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_new_primary_is_found_among_the_servers_within_five_seconds() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary).await;
    // The first of them is the one that becomes a replica, and goes on answering.
    let urls = format!("{},{}", primary.url(), replica.url());
    let (writer, reader) =
        (RedisStore::connect(settings_of(&urls)).await, RedisStore::connect(settings_of(&urls)).await);
    publish(&writer, 28, 1.5).await;
    promote(&replica, &primary);
    let (generation, took) = published_after(&writer, 2.5).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(replica.cli(&["GET", "{cripto}:current"]), generation.to_string());
    seen(&reader, |following| following.generation == Some(generation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_an_address_that_leads_to_the_new_primary_is_asked_again() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary).await;
    let proxy = Proxy::to(primary.port());
    let writer = RedisStore::connect(settings_of(&proxy.url())).await;
    publish(&writer, 28, 1.5).await;
    proxy.lead_to(replica.port());
    promote(&replica, &primary);
    let (generation, took) = published_after(&writer, 2.5).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(replica.cli(&["GET", "{cripto}:current"]), generation.to_string());
    seen(&writer, |following| following.generation == Some(generation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_hears_when_its_server_takes_no_writes_and_when_it_does_again() {
    let server = RedisServer::start();
    let (writer, reader) = (
        RedisStore::connect(settings_of(&server.url())).await,
        RedisStore::connect(Settings { access: Access::Read, ..settings_of(&server.url()) }).await,
    );
    publish(&writer, 28, 1.5).await;
    assert_eq!(server.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    seen(&writer, |following| following.unreachable_since.is_some()).await;
    let error = writer.next_generation().await.unwrap_err().to_string();
    assert!(error.contains("primary"), "{error}");
    assert_eq!(server.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    let begun = Instant::now();
    seen(&writer, |following| following.unreachable_since.is_none()).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let newer = publish(&writer, 28, 2.5).await;
    seen(&reader, |following| following.generation == Some(newer.generation)).await;

    // A primary takes no writes while it lacks replicas; readers have no trouble with it.
    assert_eq!(server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]), "OK");
    seen(&writer, |following| following.unreachable_since.is_some()).await;
    assert!(reader.watch().borrow().unreachable_since.is_none());
    assert_eq!(server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]), "OK");
    seen(&writer, |following| following.unreachable_since.is_none()).await;
    publish(&writer, 28, 3.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_leaves_an_old_primary_that_follows_nobody() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary).await;
    let urls = format!("{},{}", primary.url(), replica.url());
    let reader = RedisStore::connect(settings_of(&urls)).await;
    publish(&store(&primary).await, 28, 1.5).await;
    until("replication", async || !replica.cli(&["GET", "{cripto}:current"]).is_empty()).await;
    // It answers reads for ever, with what it had.
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(primary.cli(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    let newer = publish(&store(&replica).await, 28, 2.5).await;
    seen(&reader, |following| following.generation == Some(newer.generation)).await;
    assert_eq!(reader.current().await.unwrap().unwrap().generation, newer.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_do_not_go_back_to_an_older_copy_and_publishers_notice() {
    let mut server = RedisServer::start();
    let poll = Duration::from_millis(200);
    let polling = Settings { poll, ..settings(&server) };
    let connect = async || RedisStore::connect(polling.clone()).await;
    let (writer, reader) = (connect().await, connect().await);
    let older = publish(&writer, 28, 1.5).await;
    assert_eq!(server.cli(&["SAVE"]), "OK");
    let newer = publish(&writer, 28, 2.5).await;
    seen(&reader, |following| following.generation == Some(newer.generation)).await;
    assert_eq!(reader.current().await.unwrap().unwrap().generation, newer.generation);

    server.restart();
    assert_eq!(server.cli(&["GET", "{cripto}:current"]), older.generation.to_string());
    for store in [&writer, &reader] {
        seen(store, |following| following.damage == Some(Damage::Behind)).await;
        assert!(store.watch().borrow().has_lost_what_was_published());
    }
    let error = reader.current().await.unwrap_err().to_string();
    assert!(error.contains("restored from an older copy"), "{error}");
    for snapshot in [&older, &newer] {
        assert_eq!(writer.confirm(Digest::of(snapshot)).await.unwrap(), None, "it has to be published");
    }
    // A process that has seen nothing newer has nothing better.
    assert_eq!(connect().await.current().await.unwrap().unwrap().generation, older.generation);

    // The same content as in the older copy will do, under a number that is larger than all that were seen.
    let again = publish(&writer, 28, 1.5).await;
    assert!(again.generation > newer.generation);
    seen(&reader, |following| following.generation == Some(again.generation)).await;
    assert_eq!(reader.watch().borrow().damage, None);
    assert_eq!(reader.current().await.unwrap().unwrap().generation, again.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_from_before_a_rollback_is_an_older_copy_and_the_rollback_is_repeated() {
    let mut server = RedisServer::start();
    let poll = Duration::from_millis(200);
    let reader = RedisStore::connect(Settings { poll, ..settings(&server) }).await;
    let writer = RedisStore::connect(Settings { poll, ..settings(&server) }).await;
    let [first, second] = [publish(&writer, 28, 1.5).await, publish(&writer, 28, 2.5).await];
    assert_eq!(server.cli(&["SAVE"]), "OK");
    assert_eq!(writer.rollback().await.unwrap(), first.generation);
    seen(&reader, |following| following.generation == Some(first.generation)).await;
    assert_eq!(reader.watch().borrow().damage, None, "a rollback is no damage");
    assert_eq!(reader.current().await.unwrap().unwrap().generation, first.generation);
    server.restart();
    seen(&reader, |following| following.damage == Some(Damage::Behind)).await;
    assert!(reader.current().await.is_err());

    // The bucket still says what was taken back: the rollback holds.
    seen(&writer, |following| following.damage == Some(Damage::Behind)).await;
    assert_eq!(writer.confirm(Digest::of(&second)).await.unwrap(), Some(first.generation));
    seen(&reader, |following| following.damage.is_none()).await;
    assert_eq!(reader.current().await.unwrap().unwrap().generation, first.generation);
    assert_eq!(writer.confirm(Digest::of(&second)).await.unwrap(), Some(first.generation));

    // Something else in the bucket ends it, also after the next restart from that copy.
    server.restart();
    seen(&writer, |following| following.damage == Some(Damage::Behind)).await;
    let other = snapshot(writer.next_generation().await.unwrap(), 28, 3.5);
    assert_eq!(writer.confirm(Digest::of(&other)).await.unwrap(), None);
    writer.publish(Arc::clone(&other)).await.unwrap();
    seen(&reader, |following| following.generation == Some(other.generation)).await;
    assert_eq!(reader.watch().borrow().damage, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_drawn_before_a_rollback_is_superseded_by_it() {
    let server = RedisServer::start();
    let writer = store(&server).await;
    let first = publish(&writer, 28, 1.5).await;
    publish(&writer, 28, 2.5).await;
    let slow = snapshot(writer.next_generation().await.unwrap(), 28, 2.5);
    assert_eq!(writer.rollback().await.unwrap(), first.generation);
    assert!(writer.publish(slow).await.is_err());
    assert_eq!(writer.current().await.unwrap().unwrap().generation, first.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_misses_a_part_tells_publishers() {
    let server = RedisServer::start();
    for lost in ["0", "3", "summary"] {
        let connect = async || RedisStore::connect(settings(&server)).await;
        let (writer, reader) = (connect().await, connect().await);
        let snapshot = publish(&writer, 3000, 1.5).await;
        let summary = reader.current().await.unwrap().unwrap();
        seen(&writer, |following| following.generation == Some(snapshot.generation)).await;
        assert_eq!(writer.watch().borrow().damage, None);
        _ = server.cli(&["DEL", &format!("cripto:{}:{lost}", snapshot.generation)]);
        if lost == "summary" {
            let error = connect().await.current().await.unwrap_err().to_string();
            assert!(error.contains("the scorer publishes again"), "{error}");
        } else {
            assert!(matches!(reader.answers(&summary).await, Err(AnswerError::Gone(_))));
        }
        // By an announcement: nobody polls here for a minute.
        seen(&writer, |following| following.damage == Some(Damage::Incomplete)).await;
        assert_eq!(writer.confirm(Digest::of(&snapshot)).await.unwrap(), None);
        let again = publish(&writer, 3000, 1.5).await;
        seen(&writer, |following| following.generation == Some(again.generation)).await;
        assert_eq!(writer.watch().borrow().damage, None);
        assert_eq!(reader.answers(&reader.current().await.unwrap().unwrap()).await.unwrap().len(), 3000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_lost_answers_is_not_taken_for_whole() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let snapshot = publish(&store, 28, 1.5).await;
    let summary = store.current().await.unwrap().unwrap();
    _ = server.cli(&["HDEL", &format!("cripto:{}:0", snapshot.generation), "ASSET-1"]);
    assert!(matches!(store.answers(&summary).await, Err(AnswerError::Gone(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_was_replaced_is_no_reason_to_complain() {
    let server = RedisServer::start();
    let store = RedisStore::connect(Settings { kept: 0, ..settings(&server) }).await;
    publish(&store, 28, 1.5).await;
    let summary = store.current().await.unwrap().unwrap();
    publish(&store, 28, 2.5).await;
    assert!(matches!(store.answers(&summary).await, Err(AnswerError::Gone(_))));
    assert_eq!(server.cli(&["EXISTS", "{cripto}:incomplete"]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_whose_connection_died_silently_is_made_again() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    // Polls are so rare that only messages are heard.
    let poll = Duration::from_secs(3600);
    let reader = RedisStore::connect(Settings { poll, ..Settings::new(proxy.url().parse().unwrap()) }).await;
    let writer = store(&server).await;
    let first = publish(&writer, 28, 1.5).await;
    seen(&reader, |following| following.generation == Some(first.generation)).await;
    let lost = metric("cripto_redis_subscriptions_lost_total");
    assert!(proxy.swallow("SUBSCRIBE") > 0);
    until("the subscription is made again", async || {
        metric("cripto_redis_subscriptions_lost_total") > lost
            && server.cli(&["PUBSUB", "NUMSUB", "cripto:generations"]).ends_with('3')
    })
    .await;
    let second = publish(&writer, 28, 2.5).await;
    seen(&reader, |following| following.generation == Some(second.generation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_is_replaced_is_read_again() {
    let mut server = RedisServer::with_tls();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.crt");
    std::fs::copy(server.ca_file().unwrap(), &file).unwrap();
    let servers = Servers::with_ca_file(&server.url(), &file).unwrap();
    let poll = Duration::from_millis(200);
    let store = RedisStore::connect(Settings { poll, ..Settings::new(servers) }).await;
    publish(&store, 28, 1.5).await;
    server.renew_certificates();
    server.restart();
    seen(&store, |following| following.unreachable_since.is_some()).await;
    assert!(store.next_generation().await.unwrap_err().to_string().contains("certificate"));
    std::fs::copy(server.ca_file().unwrap(), &file).unwrap();
    seen(&store, |following| following.unreachable_since.is_none()).await;
    publish(&store, 28, 2.5).await;
    // An error names the file that cannot be read.
    std::fs::remove_file(&file).unwrap();
    server.restart();
    seen(&store, |following| following.unreachable_since.is_some()).await;
    let error = store.next_generation().await.unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains("ca.crt"), "{error}");
}

/// A slot of a cluster on its way from one node to another.
struct Moving<'a> {
    nodes: &'a [RedisServer],
    slot: String,
    from: &'a RedisServer,
    to: &'a RedisServer,
}

impl<'a> Moving<'a> {
    /// Begins to move the slot of a key.
    fn begin(nodes: &'a [RedisServer], key: &str) -> Self {
        let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        let owns = |node: &&RedisServer| node.cli(&["GET", key]).find("MOVED").is_none();
        let from = nodes.iter().find(owns).unwrap();
        let to = nodes.iter().find(|node| !owns(node)).unwrap();
        assert_eq!(
            to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.cli(&["CLUSTER", "MYID"])]),
            "OK"
        );
        assert_eq!(
            from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.cli(&["CLUSTER", "MYID"])]),
            "OK"
        );
        Self { nodes, slot, from, to }
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.from.cli(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"]);
        keys.lines().map(str::to_owned).collect()
    }

    fn move_key(&self, key: &str) {
        let port = self.to.port().to_string();
        assert_eq!(self.from.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]), "OK");
    }

    fn end(self) {
        let id = self.to.cli(&["CLUSTER", "MYID"]);
        for node in [self.to, self.from].into_iter().chain(self.nodes) {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &id]), "OK");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generations_are_published_and_read_while_the_slot_of_the_pointer_moves() {
    let nodes = RedisServer::cluster(3);
    let poll = Duration::from_millis(200);
    let store = Arc::new(RedisStore::connect(Settings { poll, ..settings(&nodes[0]) }).await);
    publish(&store, 28, 1.5).await;
    let moving = Moving::begin(&nodes, "{cripto}:current");
    publish(&store, 28, 2.5).await;
    let keys = moving.keys();
    assert!(keys.len() >= 6, "{keys:?}");
    let (some, rest) = keys.split_at(3);
    some.iter().for_each(|key| moving.move_key(key));
    // Between the nodes nothing can be published. A publisher goes on trying, and hears when it can publish again.
    seen(&store, |following| following.unreachable_since.is_some()).await;
    let publication = tokio::spawn({
        let store = Arc::clone(&store);
        async move { published_after(&store, 3.5).await }
    });
    rest.iter().for_each(|key| moving.move_key(key));
    publication.await.unwrap();
    seen(&store, |following| following.unreachable_since.is_none()).await;
    // All keys are at the new node, and the slot is the old one's still.
    let snapshot = publish(&store, 28, 4.5).await;
    store.rollback().await.unwrap();
    let again = publish(&store, 28, 5.5).await;
    assert!(again.generation > snapshot.generation);
    moving.end();
    let last = publish(&store, 28, 6.5).await;
    let summary = store.current().await.unwrap().unwrap();
    assert_eq!(summary.generation, last.generation);
    assert_eq!(store.answers(&summary).await.unwrap().len(), 28);
    assert_eq!(store.confirm(Digest::of(&last)).await.unwrap(), Some(last.generation));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_written_while_the_slots_of_its_shards_move() {
    let nodes = RedisServer::cluster(3);
    let store = store(&nodes[0]).await;
    let before = publish(&store, 28, 1.5).await;
    let generation = Generation(before.generation.0 + 1_000_000);
    let shard = Moving::begin(&nodes, &format!("cripto:{generation}:0"));
    let summary = Moving::begin(&nodes, &format!("cripto:{generation}:summary"));
    store.publish(snapshot(generation, 28, 2.5)).await.unwrap();
    let current = store.current().await.unwrap().unwrap();
    assert_eq!(current.generation, generation);
    assert_eq!(store.answers(&current).await.unwrap().len(), 28);
    shard.end();
    summary.end();
    assert_eq!(store.answers(&current).await.unwrap().len(), 28);
}
