//! The program as a process, and requests to it.

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_api");

/// Runs the program to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = std::process::Command::new(PROGRAM)
        .env_clear()
        .env("HOST", "127.0.0.1")
        .envs(environment.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The program, serving on a free port of the loopback interface. It is killed when this is dropped.
pub(crate) struct Api {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    address: SocketAddr,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

impl Api {
    pub(crate) async fn start(environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new(PROGRAM)
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("LOG_FORMAT", "json")])
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let serving = async {
            loop {
                let line = log.next_line().await.unwrap().expect("it has ended");
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["message"] == "serving" {
                    return line["address"].as_str().unwrap().parse().unwrap();
                }
            }
        };
        let address = timeout(PATIENCE, serving).await.unwrap();
        Self { process, log, address }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(path, "").await
    }

    /// A request with more headers, each with its end of line.
    pub(crate) async fn send(&self, path: &str, headers: &str) -> Answer {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = timeout(PATIENCE, exchange).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_owned() }
    }

    /// Waits until `/health` is so.
    pub(crate) async fn health(&self, so: impl Fn(&Value) -> bool) -> Answer {
        let look = async {
            loop {
                let answer = self.get("/health").await;
                if so(&answer.json()) {
                    return answer;
                }
                // A pause between two looks; nothing depends on its length.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(answer) => answer,
            Err(_) => panic!("/health is not so: {}", self.get("/health").await.body),
        }
    }

    /// Ends it as Kubernetes does, and gives what it has logged since it began to serve.
    pub(crate) async fn stop(mut self) -> Vec<Value> {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let mut log = Vec::new();
        let end = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                log.push(serde_json::from_str::<Value>(&line).unwrap());
            }
            self.process.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, end).await.unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(log.last().unwrap()["message"], "stopped");
        log
    }
}
