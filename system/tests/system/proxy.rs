//! A network that misbehaves when it is told to: a TCP proxy between a program and the server that it talks to.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to requests in which a text occurs.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// They, and everything after them on the same connection, never arrive.
    Hold,
    /// They arrive, and so many bytes of the answer; the rest never does.
    CutAnswer(usize),
    /// So many of them are answered with `500 Internal Server Error` by the proxy itself.
    Refuse(usize),
    /// Each piece of up to 64 kB of the answer comes so much later.
    Slow(Duration),
    /// The proxy itself answers all of them, with [`answer`].
    Answer(Vec<u8>),
}

/// An answer with an error of S3, as XML.
pub(crate) fn answer(status: &str, code: &str, header: &str) -> Fault {
    let body = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n", body.len());
    Fault::Answer(format!("{head}{header}Connection: close\r\n\r\n{body}").into_bytes())
}

#[derive(Default)]
struct Rules {
    fault: Option<(Vec<u8>, Fault)>,
    /// How often the fault struck.
    struck: usize,
}

/// A listener on 127.0.0.1 that passes connections on.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    rules: Arc<(Mutex<Rules>, Condvar)>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rules = Arc::new((Mutex::default(), Condvar::new()));
        let shared = Arc::clone(&rules);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let rules = Arc::clone(&shared);
                thread::spawn(move || connection(client, server, &rules));
            }
        });
        Self { address, rules }
    }

    /// From now on, requests with this text in them suffer the fault.
    pub(crate) fn arm(&self, text: &str, fault: Fault) {
        *self.rules() = Rules { fault: Some((text.as_bytes().to_vec(), fault)), struck: 0 };
    }

    pub(crate) fn disarm(&self) {
        self.rules().fault = None;
    }

    /// Waits until the fault has struck.
    pub(crate) fn wait_until_struck(&self) {
        let (_, told) = &*self.rules;
        let waited = told.wait_timeout_while(self.rules(), crate::process::SOON, |rules| rules.struck == 0);
        assert!(!waited.unwrap().1.timed_out(), "the fault did not strike");
    }

    /// How often the fault has struck since it was armed.
    pub(crate) fn struck(&self) -> usize {
        self.rules().struck
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.0.lock().unwrap()
    }
}

fn connection(mut client: TcpStream, mut server: TcpStream, rules: &(Mutex<Rules>, Condvar)) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // What the answers on this connection suffer.
    let answers = Arc::new(Mutex::new(None));
    let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let of_answers = Arc::clone(&answers);
    thread::spawn(move || pass_answers(back_from, back_to, &of_answers));
    let mut buffer = vec![0; 64 << 10];
    // The end of the piece before, in case the text is on the border.
    let mut seen: Vec<u8> = Vec::new();
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..length]);
        let fault = {
            let (lock, told) = rules;
            let mut rules = lock.lock().unwrap();
            let matching = rules
                .fault
                .as_ref()
                .filter(|(text, _)| seen.windows(text.len()).any(|window| window == text));
            let fault = matching.map(|(_, fault)| fault.clone());
            if let Some(fault) = &fault {
                rules.struck += 1;
                if matches!(fault, Fault::Refuse(times) if rules.struck >= *times) {
                    rules.fault = None;
                }
                told.notify_all();
            }
            fault
        };
        match fault {
            Some(Fault::Hold) => {
                // Until the program is killed or gives up.
                while let Ok(1..) = client.read(&mut buffer) {}
                let _ = server.shutdown(Shutdown::Both);
                return;
            }
            Some(fault @ (Fault::Refuse(_) | Fault::Answer(_))) => {
                let answer = match fault {
                    Fault::Answer(answer) => with_request_id(answer),
                    _ => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                };
                let _ = client.write_all(&answer);
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
                return;
            }
            Some(fault) => *answers.lock().unwrap() = Some(fault),
            None => {}
        }
        let keep = seen.len().saturating_sub(if fault_struck(&answers) { 0 } else { 128 });
        seen.drain(..keep);
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}

/// The answer with an id of its own in a header, as S3 and SQS give.
fn with_request_id(answer: Vec<u8>) -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = format!("\r\nx-amz-request-id: ID{number}\r\nx-amzn-requestid: ID{number}\r\n");
    String::from_utf8(answer).unwrap().replacen("\r\n", &id, 1).into_bytes()
}

fn fault_struck(answers: &Mutex<Option<Fault>>) -> bool {
    answers.lock().unwrap().is_some()
}

fn pass_answers(mut server: TcpStream, mut client: TcpStream, fault: &Mutex<Option<Fault>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let mut rest = None;
        let length = match &mut *fault.lock().unwrap() {
            Some(Fault::CutAnswer(left)) => {
                let passed = length.min(*left);
                *left -= passed;
                passed
            }
            Some(Fault::Slow(pause)) => {
                rest = Some(*pause);
                length
            }
            _ => length,
        };
        if let Some(pause) = rest {
            // The fault itself: the answer comes late.
            thread::sleep(pause);
        }
        if client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Write);
}
