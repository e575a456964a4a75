use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::json;
use shared::{Generation, MemoryStore, PredictionStore, PublishError, Snapshot, StoreError};
use tokio::{net::TcpListener, sync::watch};

use crate::server::{Connection, Server, snapshot};

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
    const LAST: u64 = 200;
    let server = Server::serving(snapshot(1)).await;
    let done = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = ["/symbol/BTC", "/symbol/ETH", "/models", "/symbols", "/health"]
        .into_iter()
        .map(|path| {
            let (address, done, requests) = (server.address, Arc::clone(&done), Arc::clone(&requests));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let answer = connection.send("GET", path, &[]).await;
                    assert_eq!(answer.status, StatusCode::OK, "{path}");
                    let body = answer.json();
                    let generation = body["geracao"].as_u64().unwrap();
                    assert!(generation >= newest, "{path} stepped back from {newest} to {generation}");
                    if let Some(model) = body["modelos"].get("regressor_rf") {
                        assert_eq!(model["predicao"], json!(generation as f64 + 0.5), "{path} is a mixture");
                    }
                    newest = generation;
                    requests.fetch_add(1, Ordering::Relaxed);
                }
                newest
            })
        })
        .collect();
    for generation in 2..=LAST {
        server.store.publish(Arc::new(snapshot(generation))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while server.get("/health").await.json()["geracao"] != LAST {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), LAST);
    }
    assert!(requests.load(Ordering::Relaxed) > 100);
}

/// A store that is away while it is told to be.
struct Unsteady {
    memory: MemoryStore,
    away: AtomicBool,
}

#[async_trait]
impl PredictionStore for Unsteady {
    async fn next_generation(&self) -> Result<Generation, StoreError> {
        self.memory.next_generation().await
    }

    async fn publish(&self, snapshot: Arc<Snapshot>) -> Result<(), PublishError> {
        self.memory.publish(snapshot).await
    }

    async fn current(&self) -> Result<Option<Arc<Snapshot>>, StoreError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(StoreError { message: "connection refused".to_owned(), source: None });
        }
        self.memory.current().await
    }

    fn watch(&self) -> watch::Receiver<Option<Generation>> {
        self.memory.watch()
    }
}

#[tokio::test]
async fn a_store_that_is_away_takes_nothing_away_and_is_asked_again() {
    let store = Arc::new(Unsteady { memory: MemoryStore::default(), away: AtomicBool::new(true) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(
        api::Api::new(Arc::clone(&store) as Arc<dyn PredictionStore>).serve(listener, std::future::pending()),
    );
    let mut connection = Connection::open(address).await;
    let health = connection.send("GET", "/health", &[]).await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.json()["status"], "store_unavailable");

    let mut wait_for = async |generation: u64| {
        while connection.send("GET", "/health", &[]).await.json()["geracao"] != generation {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    store.publish(Arc::new(snapshot(1))).await.unwrap();
    store.away.store(false, Ordering::Relaxed);
    wait_for(1).await;

    store.away.store(true, Ordering::Relaxed);
    store.publish(Arc::new(snapshot(2))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    wait_for(1).await;
    store.away.store(false, Ordering::Relaxed);
    wait_for(2).await;
}
