use std::{net::SocketAddr, time::Duration};

use api::Settings;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    time::timeout,
};

use crate::{
    SOON,
    server::{Connection, Server, snapshot},
    until,
};

struct Listener {
    lines: Lines<BufReader<OwnedReadHalf>>,
    _sending: OwnedWriteHalf,
}

impl Listener {
    /// One who has been accepted.
    async fn start(address: SocketAddr) -> Self {
        let (receiving, mut sending) = TcpStream::connect(address).await.unwrap().into_split();
        sending.write_all(b"GET /eventos HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut listener = Self { lines: BufReader::new(receiving).lines(), _sending: sending };
        listener.line("content-type: text/event-stream").await;
        listener.line("retry: ").await;
        listener
    }

    /// The next line that begins so; nothing at the end.
    async fn next(&mut self, beginning: &str) -> Option<String> {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.starts_with(beginning) {
                    return Some(line);
                }
            }
            None
        };
        timeout(SOON, reading).await.unwrap_or_else(|_| panic!("no line begins with {beginning:?}"))
    }

    async fn line(&mut self, beginning: &str) -> String {
        self.next(beginning).await.unwrap()
    }

    async fn event(&mut self) -> Value {
        self.line("event: geracao").await;
        let id = self.line("id: ").await;
        let data: Value = serde_json::from_str(&self.line("data: ").await["data: ".len()..]).unwrap();
        assert_eq!(id, format!("id: {}", data["geracao"]));
        data
    }
}

#[tokio::test]
async fn a_listener_is_told_of_what_is_served_and_of_every_generation_that_follows() {
    let server = Server::empty().await;
    let mut early = Listener::start(server.address).await;
    for generation in 1..=3 {
        server.publish(snapshot(generation)).await;
        let event = early.event().await;
        assert_eq!(
            event,
            json!({"timestamp": "2025-07-29T21:30:00Z", "geracao": generation, "total_symbols": 3, "total_models": 2})
        );
        // What is told is served already.
        assert_eq!(server.get("/symbol/BTC").await.json()["geracao"], generation);
    }
    assert_eq!(Listener::start(server.address).await.event().await["geracao"], 3);
}

#[tokio::test]
async fn listeners_beyond_the_bound_are_sent_away_until_one_leaves() {
    let server = Server::start(|_| None, Settings { listeners: 1, ..Settings::default() }).await;
    let only = Listener::start(server.address).await;
    let refused = server.get("/eventos").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("5")));
    drop(only);
    until("one is accepted", async || server.send("HEAD", "/eventos", &[]).await.status == StatusCode::OK)
        .await;
}

#[tokio::test]
async fn a_listener_who_reads_is_not_idle_though_nothing_happens() {
    let idle = Duration::from_millis(200);
    let server = Server::start(|_| None, Settings { idle, reload_wait: idle, ..Settings::default() }).await;
    let mut listener = Listener::start(server.address).await;
    for _ in 0..12 {
        listener.line(":").await;
    }
    server.publish(snapshot(1)).await;
    assert_eq!(listener.event().await["geracao"], 1);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_listeners() {
    let server = Server::serving(snapshot(1)).await;
    let mut listener = Listener::start(server.address).await;
    listener.event().await;
    server.shutdown.send(()).unwrap();
    assert_eq!(listener.next("event:").await, None);
    timeout(SOON, server.ended).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn listening_is_counted() {
    let server = Server::serving(snapshot(1)).await;
    let _listener = Listener::start(server.address).await;
    let metrics = Connection::open(server.address).await.send("GET", "/metrics", &[]).await;
    let listeners = metrics.text().lines().find_map(|line| line.strip_prefix("cripto_listeners ")).unwrap();
    assert!(listeners.parse::<u64>().unwrap() >= 1);
}
