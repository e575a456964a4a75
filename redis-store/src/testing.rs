//! Real Redis servers for tests, on free ports of the loopback interface; they end with their handle.
//!
//! Needs `redis-server` and `redis-cli` (Debian: `redis-server`), and `openssl` for TLS.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use shared::conformance::free_port;
use tempfile::TempDir;

/// Longer than a server takes until it is ready, also on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// One `redis-server` process.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Child>,
    port: u16,
    bus_port: u16,
    options: Vec<String>,
    password: Option<String>,
    folder: TempDir,
}

#[expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests, which have to stop where it fails"
)]
impl RedisServer {
    /// A server that keeps nothing on disk.
    #[must_use]
    pub fn start() -> Self {
        Self::with_options(&[])
    }

    /// A server with more options, such as `["--maxmemory", "10mb"]`.
    #[must_use]
    pub fn with_options(options: &[&str]) -> Self {
        Self::launch(TempDir::new().unwrap(), options, None)
    }

    /// A server that wants a password.
    #[must_use]
    pub fn with_password(password: &str) -> Self {
        let options = ["--requirepass", password];
        Self::launch(TempDir::new().unwrap(), &options, Some(password.to_owned()))
    }

    /// A server that speaks TLS only, with a certificate of [its own authority](Self::ca_file).
    #[must_use]
    pub fn with_tls() -> Self {
        let folder = TempDir::new().unwrap();
        certificates(folder.path());
        Self::launch(folder, &["--tls-auth-clients", "no"], None)
    }

    fn launch(folder: TempDir, options: &[&str], password: Option<String>) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let (port, bus_port) = (free_port(), free_port());
        let mut server = Self { process: None, port, bus_port, options, password, folder };
        server.restart();
        server
    }

    /// A cluster of servers, each with a part of the slots.
    #[must_use]
    pub fn cluster(nodes: usize) -> Vec<Self> {
        let nodes: Vec<Self> =
            (0..nodes).map(|_| Self::with_options(&["--cluster-enabled", "yes"])).collect();
        let mut create = Command::new("timeout");
        create.args(["--foreground", "60", "redis-cli", "--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
        create.args(["--cluster-replicas", "0", "--cluster-yes"]);
        let output = create.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for node in &nodes {
            node.wait_until(|| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        }
        nodes
    }

    /// Where it is, as `REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.ca_file().is_some() { "rediss" } else { "redis" };
        let password = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{scheme}://{password}127.0.0.1:{}", self.port)
    }

    /// The same, for a user of its own.
    #[must_use]
    pub fn url_of_user(&self, name: &str, password: &str) -> String {
        format!("redis://{name}:{password}@127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The certificate of the authority that vouches for it, as `REDIS_CA_FILE`, if it speaks TLS.
    #[must_use]
    pub fn ca_file(&self) -> Option<PathBuf> {
        let file = self.folder.path().join("ca.crt");
        file.exists().then_some(file)
    }

    /// Replaces its authority and its certificate by new ones. It takes them at its next [start](Self::restart).
    pub fn renew_certificates(&self) {
        certificates(self.folder.path());
    }

    /// Ends it at once, and what is in it with it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Ends it if it runs, and starts it at the same port. Only what `SAVE` has written is in it then.
    pub fn restart(&mut self) {
        self.kill();
        let (port, bus_port) = (self.port.to_string(), self.bus_port.to_string());
        let path = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--cluster-port",
            &bus_port,
        ]);
        command.args(["--dir", &path("")]);
        if self.ca_file().is_some() {
            let (ca, certificate, key) = (path("ca.crt"), path("server.crt"), path("server.key"));
            command.args(["--port", "0", "--tls-port", &port, "--tls-ca-cert-file", &ca]);
            command.args(["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        } else {
            command.args(["--port", &port]);
        }
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        command.args(&self.options).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is installed"));
        self.wait_until(|| {
            if self.ca_file().is_some() {
                return TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            }
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            // With a password it is refused, and that is an answer too.
            stream.write_all(b"PING\r\n").is_ok() && stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
        });
    }

    /// Stops it for a while, as a machine that hangs does: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// What `redis-cli` prints for a command.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        // A server that hangs lets redis-cli wait for ever.
        let mut command = Command::new("timeout");
        command.args(["--foreground", "60", "redis-cli", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(password) = &self.password {
            command.args(["--no-auth-warning", "-a", password]);
        }
        if let Some(ca) = self.ca_file() {
            command.arg("--tls").arg("--cacert").arg(ca);
        }
        let output = command.args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    fn wait_until(&self, ready: impl Fn() -> bool) {
        let since = Instant::now();
        while !ready() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(since.elapsed() < READY_WITHIN, "redis-server at {} is not ready: {}", self.port, log());
            // A pause between two looks; nothing depends on its length.
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
#[expect(clippy::unwrap_used, reason = "for tests")]
fn certificates(folder: &Path) {
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority"),
        format!("req {key} -keyout server.key -out server.csr -subj /CN=server"),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt"
            .to_owned(),
    ] {
        let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
