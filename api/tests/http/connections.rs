use std::{net::SocketAddr, sync::Arc, time::Duration};

use api::{Reload, ReloadError, Settings};
use async_trait::async_trait;
use hyper::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    SOON,
    reload::Gate,
    server::{Connection, Server, snapshot},
    until,
};

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
}

#[tokio::test]
async fn a_connection_on_which_requests_are_made_stays() {
    // So long that no busy machine lets as much time pass between two requests.
    let idle = Duration::from_secs(4);
    let settings = Settings { idle, reload_wait: idle, ..Settings::default() };
    let server = Server::start(|_| None, settings).await;
    let begun = Instant::now();
    let mut connection = Connection::open(server.address).await;
    while begun.elapsed() < 2 * idle {
        assert_eq!(connection.send("GET", "/health/live", &[]).await.status, StatusCode::OK);
        tokio::time::sleep(idle / 20).await;
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
    // A slow machine may overlook an answer, and never invents one.
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

#[tokio::test]
async fn shutdown_answers_what_was_asked_and_then_ends() {
    let gate = Arc::new(Gate::closed());
    let server = Server::start(|_| Some(Arc::clone(&gate) as _), Settings::default()).await;
    let address = server.address;
    let mut idle = Connection::open(address).await;
    idle.send("GET", "/health/live", &[]).await;
    let in_progress =
        tokio::spawn(async move { Connection::open(address).await.send("GET", "/reload", &[]).await });
    gate.reached().await;
    server.shutdown.send(()).unwrap();
    gate.open();
    timeout(SOON, server.ended).await.unwrap().unwrap();
    assert_eq!(in_progress.await.unwrap().status, StatusCode::OK);
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_it_was_told() {
    let settings = Settings { drain: Duration::from_millis(50), ..Settings::default() };
    // It stays closed, so that the answer never comes.
    let gate = Arc::new(Gate::closed());
    let server = Server::start(|_| Some(Arc::clone(&gate) as _), settings).await;
    let address = server.address;
    tokio::spawn(async move { Connection::open(address).await.send("GET", "/reload", &[]).await });
    gate.reached().await;
    server.shutdown.send(()).unwrap();
    timeout(SOON, server.ended).await.unwrap().unwrap();
}

/// The status line of what is answered to bytes, and all of it.
async fn answered(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    timeout(SOON, stream.read_to_end(&mut received)).await.unwrap().unwrap();
    String::from_utf8(received).unwrap()
}

#[tokio::test]
async fn a_request_has_one_host_and_in_http_1_0_may_have_none() {
    let server = Server::serving(snapshot(1)).await;
    let close = "Connection: close\r\n\r\n";
    // By the router, and on the shortest way.
    for path in ["/health/live", "/symbol/BTC"] {
        for (head, status) in [
            (format!("GET {path} HTTP/1.1\r\nHost: x:8000\r\n"), 200),
            (format!("GET {path} HTTP/1.1\r\nHost: [::1]:8000\r\n"), 200),
            (format!("GET {path} HTTP/1.1\r\nHost:\r\n"), 200),
            (format!("GET {path} HTTP/1.0\r\n"), 200),
            (format!("GET {path} HTTP/1.0\r\nHost: x\r\n"), 200),
            (format!("GET {path} HTTP/1.1\r\n"), 400),
            (format!("GET {path} HTTP/1.1\r\nHost: x\r\nHost: x\r\n"), 400),
            (format!("GET {path} HTTP/1.0\r\nHost: x\r\nhost: y\r\n"), 400),
            (format!("GET {path} HTTP/1.1\r\nHost: x, y\r\n"), 400),
            (format!("GET {path} HTTP/1.1\r\nHost: user@x\r\n"), 400),
            (format!("GET {path} HTTP/1.1\r\nHost: x/y\r\n"), 400),
        ] {
            let answer = answered(&server, &format!("{head}{close}")).await;
            let line = answer.lines().next().unwrap_or_default();
            assert!(line.contains(&format!(" {status} ")), "{head:?}: {line}");
            assert_eq!(answer.contains("um só cabeçalho Host"), status == 400, "{head:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn only_get_reloads() {
    let server = Server::start(|_| Some(Arc::new(Unwanted)), Settings::default()).await;
    for method in ["HEAD", "POST", "PUT", "DELETE"] {
        let request = format!("{method} /reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = answered(&server, &request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("\r\nallow: get"), "{method}: {answer}");
    }
}

struct Unwanted;

#[async_trait]
impl Reload for Unwanted {
    async fn reload(&self) -> Result<(), ReloadError> {
        panic!("nobody asked for a reload");
    }
}

/// A server with an answer of several megabytes, which no buffer between it and its client holds.
async fn with_a_long_answer(idle: Duration) -> Server {
    let settings = Settings { idle, reload_wait: idle, ..Settings::default() };
    let server = Server::start(|_| None, settings).await;
    let mut long = snapshot(1);
    let asset = long.assets.values().next().unwrap().clone();
    let names = (0..40_000).map(|number| format!("ASSET-{number}").parse().unwrap());
    long.assets.extend(names.map(|name| (name, asset.clone())));
    server.publish(long).await;
    server
}

/// Asks for the long answer with a small buffer for what was not read yet.
async fn ask_for_the_long_answer(server: &Server) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request =
        "GET /painel/dados HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_that_is_read_slowly_but_steadily_is_not_cut_off() {
    let idle = Duration::from_secs(2);
    let server = with_a_long_answer(idle).await;
    let mut stream = ask_for_the_long_answer(&server).await;
    let begun = Instant::now();
    let mut received = Vec::new();
    let mut piece = vec![0; 8 << 10];
    // Slowly for several times of what an idle connection is given, and then the rest.
    while let read @ 1.. = timeout(SOON, stream.read(&mut piece)).await.unwrap().unwrap() {
        received.extend_from_slice(&piece[..read]);
        if begun.elapsed() < 6 * idle {
            tokio::time::sleep(idle / 40).await;
        }
    }
    assert!(begun.elapsed() > 5 * idle, "it was read within {:?}", begun.elapsed());
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(body.len(), length.parse::<usize>().unwrap(), "cut off");
}

/// Whether one end of a connection has not closed it, as the kernel says.
fn is_established(this: SocketAddr, other: SocketAddr) -> bool {
    let end = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let connections = std::fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1..4) == Some(&[end(this).as_str(), end(other).as_str(), "01"])
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_that_is_no_longer_read_is_cut_off() {
    let idle = Duration::from_secs(3);
    let server = with_a_long_answer(idle).await;
    let mut stream = ask_for_the_long_answer(&server).await;
    let mut piece = vec![0; 16 << 10];
    let mut received = stream.read(&mut piece).await.unwrap();
    assert!(received > 0);
    // Nothing is read until the server has closed the connection.
    let client = stream.local_addr().unwrap();
    until("the server closes it", async || !is_established(server.address, client)).await;
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        received += read;
    }
    let whole = server.get("/painel/dados").await.body.len();
    assert!(received < whole, "{received} of {whole} bytes came");
}
