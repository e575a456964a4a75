//! The two programs, running.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
        // A pause between two looks; nothing depends on its length.
        sleep(Duration::from_millis(10));
    }
}

/// A program that comes to an end by itself, killed when this is dropped before.
pub(crate) struct Run {
    child: Child,
    output: TempDir,
}

impl Run {
    /// Starts it. What it prints goes to files, so that no full pipe can stop it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let output = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(output.path().join(name)).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, output }
    }

    /// Waits until it has ended.
    pub(crate) fn end(mut self) -> Output {
        let mut status = None;
        wait_until("the end of a program", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let [stdout, stderr] =
            ["stdout", "stderr"].map(|name| fs::read(self.output.path().join(name)).unwrap());
        Output { status: status.unwrap(), stdout, stderr }
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Tells threads to stop when this is dropped, also by a failure of the test.
pub(crate) struct AtTheEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A program that serves HTTP at a port of 127.0.0.1, stopped when this is dropped.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Whether the program is the child of that child.
    is_wrapped: bool,
    port: u16,
    log: TempDir,
}

impl Process {
    /// Starts a program with arguments and variables; the log is kept for messages.
    pub(crate) fn start(name: &'static str, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        Self::start_by(None, name, arguments, variables)
    }

    /// Starts a program by way of another one, such as `faketime`.
    pub(crate) fn start_by(
        by: Option<&[&str]>,
        name: &'static str,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> Self {
        let program = program(name);
        let mut command = match by {
            Some([by, its_arguments @ ..]) => {
                let mut command = Command::new(by);
                command.args(its_arguments).arg(program);
                command
            }
            _ => Command::new(program),
        };
        let log = tempfile::tempdir().unwrap();
        let file = fs::File::create(log.path().join("log")).unwrap();
        let child = command
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("LOG_FORMAT", "json")
            .env("RUST_LOG", env::var("SYSTEM_LOG").unwrap_or_else(|_| "info".to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut process = Self { name, child, is_wrapped: by.is_some(), port: 0, log };
        let begun = Instant::now();
        while process.port == 0 {
            assert!(begun.elapsed() < SOON && process.child.try_wait().unwrap().is_none(), "{process:?}");
            process.port = process.announced_port().unwrap_or(0);
            // A pause between two looks; nothing depends on its length.
            sleep(Duration::from_millis(5));
        }
        process
    }

    /// The port at the end of the first log line with an `address`.
    fn announced_port(&self) -> Option<u16> {
        let line = self.lines().into_iter().find(|line| line["address"].is_string())?;
        line["address"].as_str()?.rsplit(':').next()?.parse().ok()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.log.path().join("log")).unwrap();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.request(path, "").unwrap_or_else(|error| panic!("{path}: {error}: {self:?}"))
    }

    /// A request with more header lines.
    pub(crate) fn request(&self, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
    }

    /// The JSON of a successful answer.
    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The version in force of a model.
    pub(crate) fn version(&self, model: &str) -> Option<String> {
        let (status, body) = self.get("/models");
        let models: Value = (status == 200).then(|| serde_json::from_str(&body).ok()).flatten()?;
        Some(models["versions"][model].as_str()?.to_owned())
    }

    /// Why a key is listed as rejected.
    pub(crate) fn rejected(&self, key: &str) -> Option<String> {
        let models = self.json("/models");
        let rejected = models["rejected"].as_array()?.iter().find(|rejected| rejected["key"] == key)?;
        Some(rejected["reason"].as_str()?.to_owned())
    }

    /// The sum of a metric's samples whose labels hold a text.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Ends it at once, as the kernel does to one that takes too much memory.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        let mut status = None;
        wait_until("the end of a program", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Stops it for a while, as a machine that hangs does.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The most memory it has taken, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_wrapped {
            // The end of a wrapper is not that of the program.
            let wrapper = self.child.id().to_string();
            let _ = Command::new("pkill").args(["-KILL", "--parent", &wrapper]).status();
        }
        // The wrapper, too: it would be waited for in vain if it has not started the program yet.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = fs::read_to_string(self.log.path().join("log")).unwrap_or_default();
        write!(formatter, "{}:\n{log}", self.name)
    }
}

/// A program of the workspace, beside the tests in the target folder.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(|deps| deps.parent()).unwrap().join(name);
    assert!(program.exists(), "{}: build it with cargo build -p cripto-{name}", program.display());
    program
}
