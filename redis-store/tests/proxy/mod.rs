//! A TCP proxy before a server. It can lead elsewhere, as an address does after a failover. It can hold a request back until
//! it is told to go on. And it can swallow what is sent, as a network does that has dropped a connection without a word.

#![allow(dead_code, reason = "not every test binary needs all of it")]

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
};

use crate::snapshots::SOON;

pub(crate) struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    connections: Arc<Mutex<Vec<Connection>>>,
    gate: Arc<Gate>,
}

/// Where requests are held back.
#[derive(Default)]
struct Gate {
    hold: Mutex<Option<Hold>>,
    changed: Condvar,
}

/// What is held back: requests in which a text occurs, from the one after so many others on.
struct Hold {
    text: Vec<u8>,
    passing: usize,
    is_held: bool,
}

impl Gate {
    /// Lets a piece of what was sent pass, or holds it back until the gate is opened.
    fn pass(&self, piece: &[u8]) {
        let mut hold = self.hold.lock().unwrap();
        let Some(armed) = hold.as_mut() else { return };
        if !piece.windows(armed.text.len()).any(|window| window == armed.text) {
            return;
        }
        if armed.passing > 0 {
            armed.passing -= 1;
            return;
        }
        armed.is_held = true;
        self.changed.notify_all();
        // It ends with the test's process at the latest.
        drop(self.changed.wait_while(hold, |hold| hold.is_some()).unwrap());
    }
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
        let gate = Arc::new(Gate::default());
        let proxy = Self {
            port,
            server: Arc::clone(&server),
            connections: Arc::clone(&connections),
            gate: Arc::clone(&gate),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server.load(Ordering::SeqCst)));
                let Ok(server) = server else { continue };
                let connection = Connection::default();
                connections.lock().unwrap().push(connection.clone());
                let (from_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let of_answers = Connection { sent: Arc::default(), ..connection.clone() };
                let gate = Arc::clone(&gate);
                thread::spawn(move || pass(client, server, &connection, Some(&gate)));
                thread::spawn(move || pass(from_server, to_client, &of_answers, None));
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

    /// Holds requests back in which a text occurs, after so many others of them.
    pub(crate) fn hold(&self, text: &str, passing: usize) {
        *self.gate.hold.lock().unwrap() = Some(Hold { text: text.into(), passing, is_held: false });
    }

    /// Waits until a request is held back.
    pub(crate) fn wait_until_held(&self) {
        let hold = self.gate.hold.lock().unwrap();
        let is_awaited = |hold: &mut Option<Hold>| hold.as_ref().is_some_and(|hold| !hold.is_held);
        let (_hold, waited) = self.gate.changed.wait_timeout_while(hold, SOON, is_awaited).unwrap();
        assert!(!waited.timed_out(), "no such request was made");
    }

    /// Lets everything pass again.
    pub(crate) fn let_pass(&self) {
        *self.gate.hold.lock().unwrap() = None;
        self.gate.changed.notify_all();
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

fn pass(mut from: TcpStream, mut to: TcpStream, connection: &Connection, gate: Option<&Gate>) {
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
        if let Some(gate) = gate {
            gate.pass(&buffer[..length]);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if !connection.swallows.load(Ordering::SeqCst) {
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}
