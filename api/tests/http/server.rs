//! A server on a free port, a client for it, and snapshots to serve.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use api::{Api, Reload, Settings};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shared::{
    AssetPredictions, Comparison, Contender, Generation, MemoryStore, Outcome, Prediction, PredictionFailure,
    PredictionStore, RejectedArtifact, ServedModel, Snapshot, TraceId,
};
use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::oneshot,
    task::JoinHandle,
};

use crate::{SOON, documented};

pub(crate) const TIMESTAMP: &str = "2025-07-29T21:30:00Z";

/// A server that stops when this is dropped.
pub(crate) struct Server<Store = MemoryStore> {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Store>,
    pub(crate) shutdown: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<()>,
}

impl Server {
    /// A server over an empty store.
    pub(crate) async fn empty() -> Self {
        Self::start(|_| None, Settings::default()).await
    }

    /// A server over one snapshot, the first.
    pub(crate) async fn serving(snapshot: Snapshot) -> Self {
        let server = Self::empty().await;
        server.publish(snapshot).await;
        server
    }

    /// A server over an empty store, with something that reloads into it.
    pub(crate) async fn start(
        reload: impl FnOnce(Arc<MemoryStore>) -> Option<Arc<dyn Reload>>,
        settings: Settings,
    ) -> Self {
        let store = Arc::new(MemoryStore::default());
        let reload = reload(Arc::clone(&store));
        Self::over(store, reload, settings).await
    }
}

impl<Store: PredictionStore> Server<Store> {
    /// A server over a store.
    pub(crate) async fn over(store: Arc<Store>, reload: Option<Arc<dyn Reload>>, settings: Settings) -> Self {
        let mut api = Api::new(Arc::clone(&store) as Arc<dyn PredictionStore>).with_settings(settings);
        if let Some(reload) = reload {
            api = api.with_reload(reload);
        }
        Self::begin(api, store, "127.0.0.1:0").await
    }

    /// An API over a store, at an address.
    pub(crate) async fn begin(api: Api, store: Arc<Store>, address: impl ToSocketAddrs) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stop) = oneshot::channel();
        let ended = tokio::spawn(api.serve(listener, async {
            let _ = stop.await;
        }));
        Self { address, store, shutdown, ended }
    }

    /// Publishes and waits until it is served.
    pub(crate) async fn publish(&self, snapshot: Snapshot) {
        let generation = snapshot.generation.0;
        self.store.publish(Arc::new(snapshot)).await.unwrap();
        self.serves(generation).await;
    }

    /// Waits until a generation is served.
    pub(crate) async fn serves(&self, generation: u64) {
        self.health(|health| health["geracao"] == generation).await;
    }

    /// Waits until `/health` is so, and gives its answer.
    pub(crate) async fn health(&self, so: impl Fn(&Value) -> bool) -> Answer {
        let look = async {
            loop {
                let answer = self.get("/health").await;
                if so(&answer.json()) {
                    return answer;
                }
                // A pause between two looks; nothing depends on its length.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(SOON, look).await;
        match in_time {
            Ok(answer) => answer,
            Err(_) => panic!("/health is not so: {}", self.get("/health").await.text()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        Connection::open(self.address).await.send(method, path, headers).await
    }

    pub(crate) async fn post(&self, path: &str, media_type: &str, body: &str) -> Answer {
        let headers = [("content-type", media_type)];
        Connection::open(self.address).await.send_body("POST", path, &headers, body).await
    }
}

/// One connection, kept alive from request to request.
pub(crate) struct Connection(http1::SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request, and checks that the answer is what the OpenAPI document promises.
    pub(crate) async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, headers, "").await
    }

    /// The same, with a body.
    pub(crate) async fn send_body(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.0.send_request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: head.status, headers: head.headers, body };
        documented::check(method, path, &answer);
        answer
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A snapshot whose every number follows from its generation, so that a mixture of two is noticed: the closes are
/// the generation plus a half. BTC has all and rises, ETH falls and lacks one model, and DOGE is known but has nothing.
pub(crate) fn snapshot(generation: u64) -> Snapshot {
    let version = "20250729-2130";
    let timestamp = TIMESTAMP.parse().unwrap();
    let prediction = |model: &str, outcome| Prediction {
        model: model.parse().unwrap(),
        version: version.parse().unwrap(),
        outcome,
    };
    let close = prediction("regressor_rf", Outcome::Close(generation as f64 + 0.5));
    let direction = prediction("classifier_rf", Outcome::Direction { class: 1, probability: 0.75 });
    let failure = |model: &str| PredictionFailure {
        model: model.parse().unwrap(),
        reason: "the prediction is not finite".to_owned(),
    };
    let data_date = Some(jiff::civil::date(2025, 7, 28));
    let assets = [
        ("BTC", data_date, Some(generation as f64), vec![close.clone(), direction], vec![]),
        ("DOGE", None, None, vec![], vec![failure("regressor_rf"), failure("classifier_rf")]),
        ("ETH", data_date, Some(generation as f64 + 1.0), vec![close], vec![failure("classifier_rf")]),
    ];
    let model = |name: &str| ServedModel {
        name: name.parse().unwrap(),
        version: version.parse().unwrap(),
        loaded_at: timestamp,
        comparison: None,
        lost: None,
        stale: None,
    };
    Snapshot {
        generation: Generation(generation),
        scored_at: timestamp,
        trace_id: TraceId::new(),
        bucket: None,
        models: vec![
            ServedModel { comparison: Some(Box::new(comparison())), ..model("regressor_rf") },
            ServedModel { lost: Some(Box::new(lost())), ..model("classifier_rf") },
        ],
        rejected: vec![RejectedArtifact {
            key: "models/regressor_svr_20250730-0100.joblib".to_owned(),
            reason: "sklearn.svm._classes.SVR is not supported".to_owned(),
        }],
        assets: assets
            .into_iter()
            .map(|(symbol, data_date, last_close, predictions, failures)| {
                let is_stale = false;
                let asset = AssetPredictions { data_date, last_close, predictions, failures, is_stale };
                (symbol.parse().unwrap(), asset)
            })
            .collect(),
    }
}

/// A snapshot of a bucket in which nothing could be scored.
pub(crate) fn without_predictions(generation: u64) -> Snapshot {
    Snapshot { models: Vec::new(), assets: BTreeMap::new(), ..snapshot(generation) }
}

/// What came of retraining `classifier_rf`.
fn lost() -> Comparison {
    let Comparison { mut challenger, in_force, .. } = comparison();
    challenger.version = "20250730-2130".parse().unwrap();
    Comparison { accepted: false, challenger, in_force, ..comparison() }
}

/// What came of retraining `regressor_rf`.
fn comparison() -> Comparison {
    let contender = |version: &str, rmse| Contender {
        version: version.parse().unwrap(),
        metrics: BTreeMap::from([("rmse".to_owned(), rmse)]),
        fitted_rows: Some(1400),
    };
    Comparison {
        accepted: true,
        metric: "rmse".to_owned(),
        margin: 0.02,
        challenger: contender("20250729-2130", 1.5),
        in_force: Some(contender("20250722-2130", 1.75)),
        rows: 280,
        from: jiff::civil::date(2025, 6, 18),
        to: jiff::civil::date(2025, 7, 27),
        data_until: jiff::civil::date(2025, 7, 28),
        data: "raw.csv".to_owned(),
    }
}
