use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::Settings;
use hyper::StatusCode;
use serde_json::json;
use shared::{MemoryStore, PredictionStore};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    SOON,
    server::{Connection, Server, snapshot},
    store::Distant,
    until,
};

/// Less than the answers of [`snapshot`] take together, and more than two of them.
const FOR_SINGLE_ANSWERS: u64 = 2000;

/// All answers in memory, and single ones from the store.
const BOTH_WAYS: [u64; 2] = [256_000_000, FOR_SINGLE_ANSWERS];

async fn distant(memory_budget: u64) -> Server<Distant> {
    distant_for(memory_budget, SOON).await
}

/// The store is waited for no longer than `store_wait`.
async fn distant_for(memory_budget: u64, store_wait: Duration) -> Server<Distant> {
    let settings = Settings { memory_budget, store_wait, ..Settings::default() };
    Server::over(Arc::new(Distant::default()), None, settings).await
}

#[tokio::test]
async fn before_the_first_publication_the_api_says_that_it_has_nothing() {
    let server = Server::empty().await;
    let health = server.get("/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        health.json(),
        json!({
            "status": "no_predictions", "models_loaded": false, "total_models": 0, "models": [], "versions": {},
            "detail": "ainda não há previsões publicadas",
        })
    );
    assert_eq!(server.get("/health/live").await.status, StatusCode::OK);
    assert_eq!(server.get("/").await.status, StatusCode::OK);
    for path in ["/models", "/symbols", "/symbol/BTC"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.header("retry-after"), Some("5"));
    }
    // A request that can never be right is told so at once.
    assert_eq!(server.get("/symbol/B$C").await.status, StatusCode::BAD_REQUEST);
    server.publish(snapshot(1)).await;
    assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_was_published_before_the_start_is_served_from_the_first_request_on() {
    for _ in 0..20 {
        let store = Arc::new(MemoryStore::default());
        store.publish(Arc::new(snapshot(1))).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(api::Api::new(store).serve(listener, std::future::pending()));
        let answer = Connection::open(address).await.send("GET", "/symbol/BTC", &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_readers_see_whole_generations_without_a_gap_or_a_step_back() {
    readers_see_no_gap(Server::empty().await, 100).await;
    for memory_budget in BOTH_WAYS {
        readers_see_no_gap(distant(memory_budget).await, 50).await;
    }
}

async fn readers_see_no_gap<Store: PredictionStore>(server: Server<Store>, last: u64) {
    server.publish(snapshot(1)).await;
    let done = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = [
        "/symbol/BTC",
        "/symbol/ETH",
        "/symbol/%42TC",
        "/symbols?ativos=BTC,ETH",
        "/models",
        "/symbols",
        "/health",
    ]
    .into_iter()
    .map(|path| {
        let (address, done, requests) = (server.address, Arc::clone(&done), Arc::clone(&requests));
        tokio::spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut newest = 0;
            loop {
                // Before the request, so that the last one is made when everything has been published.
                let is_last = done.load(Ordering::SeqCst);
                let answer = connection.send("GET", path, &[]).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                let body = answer.json();
                let generation = body["geracao"].as_u64().unwrap();
                assert!(generation >= newest, "{path} stepped back from {newest} to {generation}");
                for answer in [&body, &body["ativos"]["BTC"], &body["ativos"]["ETH"]] {
                    if let Some(model) = answer["modelos"].get("regressor_rf") {
                        assert_eq!(model["predicao"], json!(generation as f64 + 0.5), "{path} is a mixture");
                    }
                }
                newest = generation;
                requests.fetch_add(1, Ordering::SeqCst);
                if is_last {
                    return newest;
                }
            }
        })
    })
    .collect();
    for generation in 2..=last {
        let before = requests.load(Ordering::SeqCst);
        server.store.publish(Arc::new(snapshot(generation))).await.unwrap();
        until("readers go on", async || requests.load(Ordering::SeqCst) > before).await;
    }
    server.serves(last).await;
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), last);
    }
}

#[tokio::test]
async fn a_store_that_is_away_takes_nothing_away_and_is_asked_again() {
    for memory_budget in BOTH_WAYS {
        let server = distant(memory_budget).await;
        server.store.set_away(true);
        let health = server.health(|health| health["status"] == "store_unavailable").await;
        assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
        server.store.publish(Arc::new(snapshot(1))).await.unwrap();
        server.store.set_away(false);
        server.serves(1).await;
        assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::OK);

        server.store.set_away(true);
        server.store.publish(Arc::new(snapshot(2))).await.unwrap();
        let health = server.health(|health| health["sem_contato_segundos"].as_u64() >= Some(1)).await;
        assert_eq!(health.status, StatusCode::OK);
        let health = health.json();
        assert_eq!((&health["status"], &health["geracao"]), (&json!("degraded"), &json!(1)));
        let seconds = &health["sem_contato_segundos"];
        assert_eq!(
            health["detail"],
            format!(
                "sem contato com o armazenamento das previsões há {seconds} s; as últimas previsões lidas continuam servidas"
            )
        );
        assert!(health["idade_segundos"].as_u64() > Some(3600), "{health}");
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], 1, "it was read before");
        assert_eq!(server.get("/models").await.json()["geracao"], 1);

        server.store.set_away(false);
        server.serves(2).await;
        let health = server.get("/health").await.json();
        assert_eq!((&health["status"], health.get("sem_contato_segundos")), (&json!("healthy"), None));
    }
}

#[tokio::test]
async fn an_operator_takes_a_generation_back() {
    for memory_budget in BOTH_WAYS {
        let server = distant(memory_budget).await;
        server.publish(snapshot(1)).await;
        server.publish(snapshot(2)).await;
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], 2);
        server.store.take_back();
        server.serves(1).await;
        for path in ["/symbol/BTC", "/symbols", "/models"] {
            assert_eq!(server.get(path).await.json()["geracao"], 1, "{path}");
        }
    }
}

#[tokio::test]
async fn a_store_that_was_emptied_takes_nothing_away_and_is_followed_from_the_start_again() {
    for memory_budget in BOTH_WAYS {
        let server = distant(memory_budget).await;
        server.publish(snapshot(7)).await;
        let before = server.get("/symbol/BTC").await;
        server.store.forget_all();
        let health = server.health(|health| health["status"] == "degraded").await;
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(health.json().get("sem_contato_segundos"), None);
        assert!(health.json()["detail"].as_str().unwrap().contains("vazio"), "{}", health.text());
        assert_eq!(server.get("/symbol/BTC").await.body, before.body);
        server.publish(snapshot(2)).await;
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], 2);
        assert_eq!(server.get("/health").await.json()["status"], "healthy");
    }
}

#[tokio::test]
async fn a_store_that_is_behind_takes_nothing_away_and_health_says_so() {
    for memory_budget in BOTH_WAYS {
        let server = distant(memory_budget).await;
        server.publish(snapshot(7)).await;
        let before = server.get("/symbol/BTC").await;
        server.store.set_behind(true);
        let health = server.health(|health| health["status"] == "degraded").await;
        assert_eq!(health.status, StatusCode::OK);
        assert!(
            health.json()["detail"].as_str().unwrap().contains("estado mais antigo"),
            "{}",
            health.text()
        );
        assert_eq!(server.get("/symbol/BTC").await.body, before.body);
        server.store.set_behind(false);
        server.publish(snapshot(8)).await;
        server.health(|health| health["status"] == "healthy").await;
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], 8);
    }
}

#[tokio::test]
async fn a_single_answer_is_read_once_however_many_ask_for_it() {
    let server = distant(FOR_SINGLE_ANSWERS).await;
    server.publish(snapshot(1)).await;
    // Those who ask meanwhile wait for the same read. Those who ask later find what it has read.
    server.store.set_delay(Duration::from_millis(50));
    let reads = || server.store.reads.load(Ordering::Relaxed);
    for (path, status) in [
        ("/symbol/BTC", StatusCode::OK),
        ("/symbol/UNKNOWN", StatusCode::NOT_FOUND),
        ("/symbols", StatusCode::OK),
    ] {
        let before = reads();
        let askers: Vec<_> = (0..10)
            .map(|_| {
                let address = server.address;
                tokio::spawn(async move { Connection::open(address).await.send("GET", path, &[]).await })
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.await.unwrap().status, status, "{path}");
        }
        assert_eq!(server.get(path).await.status, status);
        assert_eq!(reads() - before, 1, "{path}");
    }
    let whole = distant(256_000_000).await;
    whole.publish(snapshot(1)).await;
    for path in ["/symbol/BTC", "/symbol/DOGE", "/symbols", "/models"] {
        let [single, whole] = [server.get(path).await, whole.get(path).await];
        assert_eq!((&single.body, single.header("etag")), (&whole.body, whole.header("etag")), "{path}");
    }
    assert_eq!(whole.store.reads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn more_answers_than_have_room_are_read_again() {
    let server = distant(FOR_SINGLE_ANSWERS).await;
    server.publish(snapshot(1)).await;
    for _ in 0..3 {
        for (symbol, status) in
            [("BTC", 200), ("ETH", 200), ("DOGE", 200), ("A", 404), ("B", 404), ("C", 404)]
        {
            assert_eq!(server.get(&format!("/symbol/{symbol}")).await.status.as_u16(), status);
        }
    }
    assert!(server.store.reads.load(Ordering::Relaxed) > 6);
}

#[tokio::test]
async fn a_generation_that_the_store_gave_up_is_followed_by_the_current_one() {
    for path in ["/symbol/BTC", "/symbols"] {
        let server = distant(FOR_SINGLE_ANSWERS).await;
        server.publish(snapshot(1)).await;
        server.store.replace_in_silence(snapshot(2)).await;
        let answer = server.get(path).await;
        assert_eq!((answer.status, &answer.json()["geracao"]), (StatusCode::OK, &json!(2)), "{path}");
    }
    let server = distant(FOR_SINGLE_ANSWERS).await;
    server.publish(snapshot(1)).await;
    server.store.forget_all();
    not_readable(&server, "/symbol/BTC").await;
}

#[tokio::test]
async fn a_request_waits_for_the_store_no_longer_than_it_was_told() {
    let server = distant_for(FOR_SINGLE_ANSWERS, Duration::from_millis(300)).await;
    server.publish(snapshot(1)).await;
    assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::OK);
    for slow in [true, false] {
        if slow {
            server.store.set_delay(10 * SOON);
        } else {
            server.store.set_delay(Duration::ZERO);
            server.store.set_away(true);
        }
        for path in ["/symbol/ETH", "/symbol/%45TH", "/symbols"] {
            timeout(SOON, not_readable(&server, path)).await.unwrap_or_else(|_| panic!("{path} waits"));
        }
        assert_eq!(server.get("/symbol/BTC").await.status, StatusCode::OK, "it was read before");
    }
    server.store.set_away(false);
    assert_eq!(server.get("/symbol/ETH").await.status, StatusCode::OK);
}

async fn not_readable(server: &Server<Distant>, path: &str) {
    let answer = server.get(path).await;
    let expected = json!({"detail": "as previsões não podem ser lidas agora; veja /health", "status": 503});
    assert_eq!((answer.status.as_u16(), answer.json()), (503, expected), "{path}");
    assert_eq!(answer.header("retry-after"), Some("5"), "{path}");
}
