use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws::HttpUrl;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

/// What happens to a request.
pub(crate) enum Answer {
    /// Nothing at all.
    Silence,
    /// These bytes, after which the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing more.
    BytesThenSilence(Vec<u8>),
    /// These parts, with a pause before each.
    Slowly(Vec<Vec<u8>>, Duration),
    /// This head, and then a body until the client hangs up.
    Endlessly(Vec<u8>),
}

/// A server on 127.0.0.1 that answers as a test wants.
pub(crate) struct FaultyServer {
    pub(crate) url: HttpUrl,
    requests: Arc<AtomicUsize>,
    /// Hears when a client has hung up on an endless body.
    pub(crate) hung_up: mpsc::UnboundedReceiver<()>,
    _connections: JoinSet<()>,
}

impl FaultyServer {
    /// Answers the request of the given number, counted from 0, whose head is given.
    pub(crate) async fn start(answer: impl Fn(usize, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (sender, hung_up) = mpsc::unbounded_channel();
        let counter = Arc::clone(&requests);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let answer = Arc::new(answer);
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (answer, counter, sender) = (Arc::clone(&answer), Arc::clone(&counter), sender.clone());
                connections.spawn(async move {
                    let mut connection = connection;
                    let Some(head) = head(&mut connection).await else { return };
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    give(&mut connection, answer(number, &head), sender).await;
                });
            }
        });
        Self { url, requests, hung_up, _connections: accepting }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The head of a request, after its body was read, too.
async fn head(connection: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    while read.len() < end + length {
        if connection.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

async fn give(connection: &mut TcpStream, answer: Answer, hung_up: mpsc::UnboundedSender<()>) {
    match answer {
        Answer::Silence => std::future::pending().await,
        Answer::Bytes(bytes) => _ = connection.write_all(&bytes).await,
        Answer::BytesThenSilence(bytes) => {
            _ = connection.write_all(&bytes).await;
            std::future::pending().await
        }
        Answer::Slowly(parts, pause) => {
            for part in parts {
                // The answer itself: it takes its time.
                sleep(pause).await;
                _ = connection.write_all(&part).await;
            }
        }
        Answer::Endlessly(head) => {
            _ = connection.write_all(&head).await;
            while connection.write_all(&[0; 65_536]).await.is_ok() {}
            _ = hung_up.send(());
        }
    }
}

/// An answer with a body that is as long as it says.
pub(crate) fn http(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
         x-amzn-requestid: REQUEST-1\r\nx-amz-request-id: REQUEST-1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
