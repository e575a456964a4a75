use std::{sync::Arc, time::Duration};

use api::{Reload, ReloadError, Settings};
use async_trait::async_trait;
use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::server::{Connection, Server};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_connection_on_which_nothing_happens_is_closed() {
    let idle = Duration::from_millis(200);
    let settings = Settings { idle, reload_wait: idle, ..Settings::default() };
    let server = Server::start(|_| None, settings).await;
    // One that says nothing, one that never ends its request, and one that said all it had to say.
    for sent in ["", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", "GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        timeout(SOON, stream.read_to_end(&mut received)).await.unwrap().unwrap();
        assert!(begun.elapsed() >= idle / 2, "closed at once after {sent:?}");
        assert_eq!(received.starts_with(b"HTTP/1.1 200 OK"), sent.ends_with("\r\n\r\n"), "{sent:?}");
    }
    // One that goes on asking stays.
    let mut connection = Connection::open(server.address).await;
    for _ in 0..12 {
        tokio::time::sleep(idle / 4).await;
        assert_eq!(connection.send("GET", "/health/live", &[]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let server = Server::start(|_| None, Settings { connections: 2, ..Settings::default() }).await;
    let mut open = [Connection::open(server.address).await, Connection::open(server.address).await];
    for connection in &mut open {
        connection.send("GET", "/health/live", &[]).await;
    }
    let third = server.get("/health/live");
    tokio::pin!(third);
    assert!(timeout(Duration::from_millis(200), &mut third).await.is_err(), "three of two connections");
    drop(open);
    assert_eq!(timeout(SOON, third).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::empty().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let flood = async {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await?;
        for _ in 0..100_000 {
            stream.write_all(b"x-filler: 0123456789012345678901234567890123456789\r\n").await?;
        }
        std::io::Result::Ok(())
    };
    assert!(timeout(SOON, flood).await.unwrap().is_err(), "five megabytes of headers were read");
}

struct Slow;

#[async_trait]
impl Reload for Slow {
    async fn reload(&self) -> Result<(), ReloadError> {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }
}

#[tokio::test]
async fn shutdown_answers_what_was_asked_and_then_ends() {
    let server = Server::start(|_| Some(Arc::new(Slow)), Settings::default()).await;
    let address = server.address;
    let mut idle = Connection::open(address).await;
    idle.send("GET", "/health/live", &[]).await;
    let in_progress =
        tokio::spawn(async move { Connection::open(address).await.send("GET", "/reload", &[]).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.shutdown.send(()).unwrap();
    timeout(SOON, server.ended).await.unwrap().unwrap();
    assert_eq!(in_progress.await.unwrap().status, StatusCode::OK);
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_it_was_told() {
    let settings = Settings { drain: Duration::from_millis(50), ..Settings::default() };
    let server = Server::start(|_| Some(Arc::new(Slow)), settings).await;
    let address = server.address;
    tokio::spawn(async move { Connection::open(address).await.send("GET", "/reload", &[]).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    server.shutdown.send(()).unwrap();
    timeout(SOON, server.ended).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(190), "waited {:?}", begun.elapsed());
}
