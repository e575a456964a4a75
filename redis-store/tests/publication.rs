//! What is in Redis before, while and after something is published.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{process::Command, sync::Arc, time::Duration};

use proxy::Proxy;
use redis_store::{RedisStore, RollbackError, Servers, Settings, testing::RedisServer};
use shared::{
    Digest, Generation, PredictionStore, PublishError, ReloadReport, ReloadReports, RequestId, answer,
};
use snapshots::{SOON, publish, settings, snapshot, store, until};
use tokio::time::timeout;

mod proxy;
mod snapshots;

/// How many keys there are for each generation, in their order.
fn keys_of_generations(server: &RedisServer) -> Vec<(u64, usize)> {
    let mut generations = std::collections::BTreeMap::new();
    for key in server.cli(&["--scan", "--pattern", "cripto:*"]).lines() {
        let generation = key.split(':').nth(1).unwrap().parse().unwrap();
        *generations.entry(generation).or_default() += 1;
    }
    generations.into_iter().collect()
}

fn ttl(server: &RedisServer, key: &str) -> i64 {
    server.cli(&["TTL", key]).parse().unwrap()
}

/// The commands that the crate's documentation gives, as they are written there.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_commands_print_an_answer() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let documentation: String = include_str!("../src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let blocks: Vec<&str> = documentation.split("```sh\n").skip(1).collect();
    assert_eq!(blocks.len(), 2, "one for small tables and one for all");
    for (assets, right) in [(28, [0, 1].as_slice()), (1024, &[0, 1]), (5000, &[1])] {
        let snapshot = publish(&store, assets, 45_000.5).await;
        let (asset, predictions) = snapshot.assets.get_key_value(&"BTC".parse().unwrap()).unwrap();
        let expected = String::from_utf8(answer::render(&snapshot, asset, predictions)).unwrap();
        for block in right {
            let commands = blocks[*block].split("```").next().unwrap();
            let here = commands.replace("redis-cli", &format!("redis-cli -p {}", server.port()));
            let shell = Command::new("sh").args(["-c", &here]).output().unwrap();
            let printed = String::from_utf8(shell.stdout).unwrap();
            assert_eq!(printed.trim_end(), expected, "{assets} assets: {commands}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_concurrent_publishers_the_latest_wins_and_the_others_leave_nothing() {
    let server = RedisServer::start();
    let stores = [store(&server).await, store(&server).await].map(Arc::new);
    let mut snapshots = Vec::new();
    for _ in 0..24 {
        snapshots.push(snapshot(stores[0].next_generation().await.unwrap(), 3000, 1.5));
    }
    let latest = snapshots.last().unwrap().generation;
    fastrand::shuffle(&mut snapshots);
    let publications = snapshots.iter().enumerate().map(|(number, snapshot)| {
        let (store, snapshot) = (Arc::clone(&stores[number % 2]), Arc::clone(snapshot));
        tokio::spawn(async move { store.publish(snapshot).await })
    });
    let mut published = 0;
    for publication in publications.collect::<Vec<_>>() {
        match publication.await.unwrap() {
            Ok(()) => published += 1,
            Err(PublishError::Superseded { offered, current }) => assert!(offered < current),
            Err(PublishError::Store(error)) => panic!("{error}"),
        }
    }
    for store in &stores {
        let summary = store.current().await.unwrap().unwrap();
        assert_eq!(summary.generation, latest);
        assert_eq!(store.answers(&summary).await.unwrap().len(), 3000);
    }
    let kept = keys_of_generations(&server);
    assert!(kept.len() <= published.min(3), "{published} published, {kept:?} there");
    assert!(kept.iter().all(|(_, keys)| *keys == 4 + 1), "{kept:?}");
    assert_eq!(server.cli(&["HKEYS", "{cripto}:pending"]), "-", "what stands for nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_generations_are_kept_as_was_asked_for() {
    let server = RedisServer::start();
    for kept in [2, 0] {
        let store = RedisStore::connect(Settings { kept, ..settings(&server) }).await;
        let mut last = Generation(0);
        for _ in 0..5 {
            last = publish(&store, 28, 1.5).await.generation;
        }
        let there = keys_of_generations(&server);
        assert_eq!(there.len(), 1 + kept as usize, "{there:?}");
        assert_eq!(there.last(), Some(&(last.0, 2)));
        assert_eq!(server.cli(&["HLEN", "{cripto}:kept"]), (1 + kept).to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_dies_is_not_seen_and_leaves_nothing_for_long() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let servers: Servers = proxy.url().parse().unwrap();
    let store = Arc::new(RedisStore::connect(Settings { servers, ..settings(&server) }).await);
    let before = publish(&store, 28, 1.5).await;
    let large = snapshot(store.next_generation().await.unwrap(), 60_000, 2.5);
    // The answers are some megabytes, in pieces of 64 kB.
    proxy.hold("ASSET-", 50);
    let dying = tokio::spawn({
        let (store, large) = (Arc::clone(&store), Arc::clone(&large));
        async move { store.publish(large).await }
    });
    let first_shard = format!("cripto:{}:0", large.generation);
    proxy.wait_until_held();
    until("the first shard", async || server.cli(&["EXISTS", &first_shard]) == "1").await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled(), "it was published in spite of the held request");
    proxy.let_pass();
    assert_eq!(store.current().await.unwrap().unwrap().generation, before.generation);
    assert!((1..=3600).contains(&ttl(&server, &first_shard)));
    publish(&store, 28, 3.5).await;
    // What was on its way when it died may have arrived after it was unlinked, and expires.
    for key in server.cli(&["--scan", "--pattern", &format!("cripto:{}:*", large.generation)]).lines() {
        assert!((1..=3600).contains(&ttl(&server, key)), "{key}");
    }
    assert_eq!(server.cli(&["EXISTS", &first_shard]), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_expires_and_a_confirmation_renews_it() {
    let server = RedisServer::start();
    let store =
        RedisStore::connect(Settings { expiry: Duration::from_secs(5000), ..settings(&server) }).await;
    publish(&store, 28, 1.5).await;
    let snapshot = publish(&store, 3000, 2.5).await;
    let keys = server.cli(&["--scan"]);
    assert_eq!(keys.lines().count(), 2 + 5 + 6, "{keys}");
    for key in keys.lines() {
        assert!((4000..=5000).contains(&ttl(&server, key)), "{key}");
        _ = server.cli(&["EXPIRE", key, "100"]);
    }
    assert_eq!(store.confirm(Digest::of(&snapshot)).await.unwrap(), Some(snapshot.generation));
    for key in keys.lines() {
        assert!((4000..=5000).contains(&ttl(&server, key)), "{key} was not renewed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_lost_a_key_is_not_confirmed() {
    let server = RedisServer::start();
    let store = store(&server).await;
    for lost in ["0", "3", "summary"] {
        let snapshot = publish(&store, 3000, 1.5).await;
        let digest = Digest::of(&snapshot);
        assert_eq!(store.confirm(digest).await.unwrap(), Some(snapshot.generation));
        _ = server.cli(&["DEL", &format!("cripto:{}:{lost}", snapshot.generation)]);
        assert_eq!(store.confirm(digest).await.unwrap(), None, "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_seen_at_once_and_holds_until_something_else_is_published() {
    let server = RedisServer::start();
    let (store, other) = (store(&server).await, store(&server).await);
    assert!(matches!(store.rollback().await, Err(RollbackError::NothingKept)));
    let first = publish(&store, 28, 1.5).await;
    assert!(matches!(store.rollback().await, Err(RollbackError::NothingKept)));
    let slow = snapshot(store.next_generation().await.unwrap(), 28, 9.5);
    let second = publish(&store, 28, 2.5).await;
    let third = publish(&store, 28, 3.5).await;
    let mut watcher = other.watch();

    assert_eq!(store.rollback().await.unwrap(), second.generation);
    let seen = watcher.wait_for(|following| following.generation == Some(second.generation));
    timeout(SOON, seen).await.unwrap().unwrap();
    assert_eq!(other.current().await.unwrap().unwrap().generation, second.generation);
    assert_eq!(keys_of_generations(&server).len(), 2, "what was taken back is removed");
    for confirmed in [&second, &third] {
        let confirmed = other.confirm(Digest::of(confirmed)).await.unwrap();
        assert_eq!(confirmed, Some(second.generation));
    }
    assert_eq!(other.confirm(Digest::of(&first)).await.unwrap(), None);
    match other.publish(slow).await {
        Err(PublishError::Superseded { current, .. }) => assert_eq!(current, second.generation),
        result => panic!("{result:?}"),
    }

    assert_eq!(store.rollback().await.unwrap(), first.generation);
    for confirmed in [&first, &second, &third] {
        let confirmed = other.confirm(Digest::of(confirmed)).await.unwrap();
        assert_eq!(confirmed, Some(first.generation));
    }
    assert!(matches!(store.rollback().await, Err(RollbackError::NothingKept)));

    let fourth = publish(&other, 28, 4.5).await;
    assert_eq!(store.confirm(Digest::of(&third)).await.unwrap(), None);
    assert_eq!(store.confirm(Digest::of(&fourth)).await.unwrap(), Some(fourth.generation));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_passes_over_what_is_no_longer_whole() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let [first, second, _third] =
        [publish(&store, 28, 1.5).await, publish(&store, 28, 2.5).await, publish(&store, 28, 3.5).await];
    _ = server.cli(&["DEL", &format!("cripto:{}:0", second.generation)]);
    assert_eq!(store.rollback().await.unwrap(), first.generation);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_passes_over_what_predicts_nothing() {
    let server = RedisServer::start();
    let store = store(&server).await;
    _ = publish(&store, 0, 1.5).await;
    _ = publish(&store, 28, 2.5).await;
    assert!(matches!(store.rollback().await, Err(RollbackError::NothingKept)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_can_be_published_again_once_the_rollback_is_ended() {
    let server = RedisServer::start();
    let store = store(&server).await;
    assert!(!store.end_rollback().await.unwrap());
    let [first, second] = [publish(&store, 28, 1.5).await, publish(&store, 28, 2.5).await];
    assert_eq!(store.rollback().await.unwrap(), first.generation);
    assert_eq!(store.confirm(Digest::of(&second)).await.unwrap(), Some(first.generation));
    assert!(store.end_rollback().await.unwrap());
    assert_eq!(store.confirm(Digest::of(&second)).await.unwrap(), None, "it has to be published");
    assert_eq!(store.confirm(Digest::of(&first)).await.unwrap(), Some(first.generation));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_grow_over_a_server_that_has_lost_everything() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let before = store.next_generation().await.unwrap();
    server.restart();
    let after = store.next_generation().await.unwrap();
    assert!(before < after, "{before} {after}");
    // Numbers beyond the clock are followed by larger ones.
    let ahead = Generation(after.0 + 1_000_000_000);
    store.publish(snapshot(ahead, 28, 1.5)).await.unwrap();
    assert_eq!(store.next_generation().await.unwrap(), Generation(ahead.0 + 1));
    assert!(store.publish(snapshot(Generation(u64::MAX), 28, 1.5)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_of_a_reload_is_found_for_some_minutes() {
    let server = RedisServer::start();
    let store = store(&server).await;
    let request: RequestId = "7f3a-1".parse().unwrap();
    assert_eq!(store.report_of(&request).await.unwrap(), None);
    for report in [ReloadReport::Done(Generation(7)), ReloadReport::Failed("não".to_owned())] {
        store.report(&request, &report).await.unwrap();
        assert_eq!(store.report_of(&request).await.unwrap(), Some(report));
    }
    assert!((1..=600).contains(&ttl(&server, "cripto:reload:7f3a-1")));
}
