//! Servers that go away, come back empty, hang or are full.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use proxy::Proxy;
use redis_store::{RedisStore, Servers, Settings, testing::RedisServer};
use shared::{AnswerError, Following, PredictionStore, PublishError};
use snapshots::{publish, seen, settings, snapshot, store};

mod proxy;
mod snapshots;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_starts_before_its_server_finds_it() {
    let mut server = RedisServer::start();
    server.kill();
    let store = store(&server).await;
    assert!(store.watch().borrow().unreachable_since.is_some());
    let error = store.next_generation().await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{}", server.port())), "{error}");
    assert!(error.contains("{cripto}:drawn") && error.contains("refused"), "{error}");
    server.restart();
    seen(&store, |following| following.unreachable_since.is_none()).await;
    let snapshot = publish(&store, 28, 1.5).await;
    seen(&store, |following| following.generation == Some(snapshot.generation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_hear_of_a_server_that_goes_and_of_one_that_is_back_empty() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let snapshot = publish(&store, 28, 1.5).await;
    seen(&store, |following| following.generation == Some(snapshot.generation)).await;
    server.kill();
    seen(&store, |following| following.unreachable_since.is_some()).await;
    assert_eq!(store.watch().borrow().generation, Some(snapshot.generation), "what was last heard");
    server.restart();
    seen(&store, |following| *following == Following::default()).await;
    let snapshot = publish(&store, 28, 1.5).await;
    seen(&store, |following| following.generation == Some(snapshot.generation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_hear_of_a_server_that_hangs() {
    let server = RedisServer::start();
    let poll = Duration::from_millis(200);
    let store = RedisStore::connect(Settings { poll, ..settings(&server) }).await;
    server.pause();
    seen(&store, |following| following.unreachable_since.is_some()).await;
    server.resume();
    seen(&store, |following| following.unreachable_since.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_finds_what_no_message_told() {
    let server = RedisServer::start();
    let poll = Duration::from_millis(200);
    let store = RedisStore::connect(Settings { poll, ..settings(&server) }).await;
    _ = server.cli(&["SET", "{cripto}:current", "7"]);
    seen(&store, |following| following.generation.is_some_and(|it| it.0 == 7)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_empty_during_a_publication_shows_all_of_it_or_nothing() {
    let mut server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let servers: Servers = proxy.url().parse().unwrap();
    let store = Arc::new(RedisStore::connect(Settings { servers, ..settings(&server) }).await);
    let mut lost = 0;
    for round in 0..5 {
        let offered = snapshot(store.next_generation().await.unwrap(), 20_000, 1.5);
        // The answers are some megabytes, in pieces of 64 kB.
        proxy.hold("ASSET-", 10 * round);
        let publication = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.publish(offered).await }
        });
        proxy.wait_until_held();
        server.restart();
        proxy.let_pass();
        match publication.await.unwrap() {
            Ok(()) => {}
            Err(PublishError::Store(_)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
        if let Some(summary) = store.current().await.unwrap() {
            assert_eq!(store.answers(&summary).await.unwrap().len(), 20_000);
        }
    }
    assert!(lost > 0, "no publication was hit");
    publish(&store, 28, 2.5).await;
    assert_eq!(store.current().await.unwrap().unwrap().assets, 28);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_server_that_comes_back_empty_are_told_so() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    let snapshot = publish(&store, 3000, 1.5).await;
    let summary = store.current().await.unwrap().unwrap();
    let btc = "BTC".parse().unwrap();
    let answer = store.answer(&summary, &btc).await.unwrap().unwrap();
    server.restart();
    assert!(store.current().await.unwrap().is_none());
    assert!(matches!(store.answer(&summary, &btc).await, Err(AnswerError::Gone(_))));
    assert!(matches!(store.answers(&summary).await, Err(AnswerError::Gone(_))));
    // The same snapshot may be published again: this server has seen none.
    store.publish(snapshot).await.unwrap();
    assert_eq!(store.answer(&summary, &btc).await.unwrap().unwrap(), answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_absence_goes_unnoticed_by_those_who_ask() {
    let mut server = RedisServer::start();
    let store = store(&server).await;
    for _ in 0..5 {
        store.next_generation().await.unwrap();
        server.restart();
    }
    store.next_generation().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_what_it_serves() {
    let server = RedisServer::with_options(&["--maxmemory", "12mb", "--maxmemory-policy", "noeviction"]);
    let store = store(&server).await;
    let before = publish(&store, 28, 1.5).await;
    let large = snapshot(store.next_generation().await.unwrap(), 30_000, 2.5);
    match store.publish(Arc::clone(&large)).await {
        Err(PublishError::Store(error)) => {
            let error = error.to_string();
            assert!(error.contains("OOM") && error.contains("writing cripto:"), "{error}");
            assert!(error.contains("maxmemory") && error.contains("KEPT_GENERATIONS"), "{error}");
        }
        result => panic!("{result:?}"),
    }
    let errors = String::from_utf8(shared::metrics::render()).unwrap();
    assert!(errors.contains(r#"cripto_redis_errors_total{kind="out_of_memory"}"#), "{errors}");
    assert!(!errors.contains(r#"cripto_redis_errors_total{kind="server"}"#), "{errors}");
    let summary = store.current().await.unwrap().unwrap();
    assert_eq!(summary.generation, before.generation);
    assert_eq!(store.answers(&summary).await.unwrap().len(), 28);
    let half = server.cli(&["--scan", "--pattern", &format!("cripto:{}:*", large.generation)]);
    assert!(half.lines().count() <= 4, "what was written of it is removed but for what was on its way");
    publish(&store, 28, 3.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_without_saying_it() {
    let server = RedisServer::with_password("s3cret-word");
    let wrong = server.url().replace("s3cret-word", "not-the-word");
    let store = RedisStore::connect(Settings::new(wrong.parse().unwrap())).await;
    assert!(store.watch().borrow().unreachable_since.is_some());
    let error = store.current().await.unwrap_err().to_string();
    assert!(!error.contains("not-the-word"), "{error}");
    assert!(error.contains("Password authentication failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let server = RedisServer::with_tls();
    let servers: Servers = server.url().parse().unwrap();
    let store = RedisStore::connect(Settings::new(servers)).await;
    let error = store.current().await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_asked_when_the_first_is_away() {
    let mut away = RedisServer::start();
    let server = RedisServer::start();
    away.kill();
    let servers: Servers = format!("{},{}", away.url(), server.url()).parse().unwrap();
    let store = RedisStore::connect(Settings::new(servers)).await;
    publish(&store, 28, 1.5).await;
    assert!(store.watch().borrow().unreachable_since.is_none());
}
