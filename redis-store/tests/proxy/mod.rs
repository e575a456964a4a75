//! A TCP proxy before a server: it can lead elsewhere, as an address does after a failover, and swallow what is sent, as a
//! network does that has dropped a connection without a word.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
};

pub(crate) struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// A connection that was made, with the bytes that the program has sent on it.
#[derive(Clone, Default)]
struct Connection {
    swallows: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, connections) = (Arc::new(AtomicU16::new(server)), Arc::new(Mutex::new(Vec::new())));
        let proxy = Self { port, server: Arc::clone(&server), connections: Arc::clone(&connections) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server.load(Ordering::SeqCst)));
                let Ok(server) = server else { continue };
                let connection = Connection::default();
                connections.lock().unwrap().push(connection.clone());
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let of_answers = Connection { sent: Arc::default(), ..connection.clone() };
                thread::spawn(move || pass(client, server, &connection));
                thread::spawn(move || pass(from_server, to_client, &of_answers));
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// New connections lead to another server.
    pub(crate) fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    /// Connections on which a text was sent stay open, and nothing passes any more. How many there are.
    pub(crate) fn swallow(&self, text: &str) -> usize {
        let is_sent = |connection: &&Connection| {
            connection.sent.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
        };
        let connections = self.connections.lock().unwrap();
        let found = connections.iter().filter(is_sent);
        found.map(|connection| connection.swallows.store(true, Ordering::SeqCst)).count()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, connection: &Connection) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if connection.swallows.load(Ordering::SeqCst) {
            continue;
        }
        let mut sent = connection.sent.lock().unwrap();
        sent.extend_from_slice(&buffer[..length]);
        // The beginning is enough to tell what a connection is for.
        sent.truncate(4096);
        drop(sent);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if !connection.swallows.load(Ordering::SeqCst) {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
