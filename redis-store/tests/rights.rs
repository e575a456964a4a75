//! Users with few rights.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use redis_store::{Access, RedisStore, Servers, Settings, testing::RedisServer};
use shared::{AnswerError, Damage, PredictionStore};
use snapshots::{SOON, publish, settings};
use tokio::time::timeout;

mod snapshots;

/// The documented commands that make the users, for another prefix.
fn documented(prefix: &str) -> Vec<String> {
    let commands =
        include_str!("../../docs/deploy.md").lines().filter(|line| line.starts_with("ACL SETUSER "));
    commands
        .map(|line| {
            let words = line.split(' ').map(|word| match word {
                "cripto-scorer" | "cripto-api" => word.to_owned(),
                _ => word.replace("cripto", prefix),
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn with_documented_users(server: &RedisServer, prefix: &str) {
    let commands = documented(prefix);
    assert_eq!(commands.len(), 2, "one for the scorer and one for api");
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(server.cli(&words), "OK", "{command}");
    }
}

async fn connect(server: &RedisServer, user: &str, access: Access) -> RedisStore {
    let servers: Servers = server.url_of_user(user, "PASSWORD").parse().unwrap();
    RedisStore::connect(Settings { access, ..Settings { servers, ..settings(server) } }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_of_the_scorer_are_enough_for_all_that_a_store_does() {
    let server = RedisServer::start();
    with_documented_users(&server, "test-*");
    let servers: Servers = server.url_of_user("cripto-scorer", "PASSWORD").parse().unwrap();
    let make = async || {
        let prefix = format!("test-{}", fastrand::u64(..)).parse().unwrap();
        let store = RedisStore::connect(Settings { prefix, ..Settings::new(servers.clone()) }).await;
        assert_eq!(store.missing_rights().await.unwrap(), [""; 0]);
        store
    };
    shared::conformance::prediction_store(make).await;
    shared::conformance::history_store(make).await;
    assert_eq!(server.cli(&["ACL", "LOG"]), "", "something was denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_of_readers_are_enough_to_read_to_follow_and_to_complain() {
    let server = RedisServer::start();
    with_documented_users(&server, "cripto");
    let writer = connect(&server, "cripto-scorer", Access::Publish).await;
    let reader = connect(&server, "cripto-api", Access::Read).await;
    assert_eq!(reader.missing_rights().await.unwrap(), [""; 0]);
    let first = publish(&writer, 28, 1.5).await;
    let mut followed = reader.watch();
    let seen = followed.wait_for(|following| following.generation == Some(first.generation));
    timeout(SOON, seen).await.unwrap().unwrap();
    let summary = reader.current().await.unwrap().unwrap();
    assert_eq!(reader.answers(&summary).await.unwrap().len(), 28);
    assert_eq!(reader.assets(&summary).await.unwrap().len(), 28);
    assert!(reader.answer(&summary, &"BTC".parse().unwrap()).await.unwrap().is_some());
    _ = server.cli(&["DEL", &format!("cripto:{}:0", first.generation)]);
    assert!(matches!(reader.answers(&summary).await, Err(AnswerError::Gone(_))));
    let mut followed = writer.watch();
    let seen = followed.wait_for(|following| following.damage == Some(Damage::Incomplete));
    timeout(SOON, seen).await.unwrap().unwrap();
    let second = publish(&writer, 28, 1.5).await;
    publish(&writer, 28, 2.5).await;
    assert_eq!(writer.rollback().await.unwrap(), second.generation);
    assert!(writer.end_rollback().await.unwrap());
    assert_eq!(server.cli(&["ACL", "LOG"]), "", "something was denied");
    // It may not publish, and each right that it lacks for that is named.
    let error = reader.next_generation().await.unwrap_err().to_string();
    assert!(error.contains("docs/deploy.md"), "{error}");
    let as_writer = connect(&server, "cripto-api", Access::Publish).await;
    let missing = as_writer.missing_rights().await.unwrap();
    assert!(
        missing.contains(&"EVAL".to_owned()) && missing.contains(&"SET {cripto}:current".to_owned()),
        "{missing:?}"
    );
}

/// `ACL SETUSER` gives no channels since Redis 7 if none are named.
#[tokio::test(flavor = "multi_thread")]
async fn without_rights_to_channels_generations_are_published_found_and_removed() {
    let server = RedisServer::start();
    assert_eq!(
        server.cli(&["ACL", "SETUSER", "app", "on", ">PASSWORD", "~*", "resetchannels", "+@all"]),
        "OK"
    );
    let servers: Servers = server.url_of_user("app", "PASSWORD").parse().unwrap();
    let poll = Duration::from_millis(200);
    let store = RedisStore::connect(Settings { kept: 0, poll, ..Settings::new(servers) }).await;
    let missing = store.missing_rights().await.unwrap();
    assert_eq!(missing, ["SUBSCRIBE cripto:generations", "PUBLISH cripto:generations"]);
    for close in [1.5, 2.5, 3.5] {
        let snapshot = publish(&store, 28, close).await;
        let mut followed = store.watch();
        let seen = followed.wait_for(|following| following.generation == Some(snapshot.generation));
        timeout(SOON, seen).await.unwrap().unwrap();
        let keys = server.cli(&["--scan", "--pattern", "cripto:*"]);
        assert_eq!(keys.lines().count(), 2, "old generations stay: {keys}");
    }
}
