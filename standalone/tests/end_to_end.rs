//! The real program on a copy of the sample bucket: what it answers, and what it does when the bucket changes.

#![expect(clippy::unwrap_used, reason = "a failure of a test's own means is a failure")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const VERSION: &str = "20250729-2130";
const LIN: &str = "models/regressor_lin_20250729-2130.joblib";
const GBR: &str = "models/regressor_gbr_20250729-2130.joblib";
const TABLE: &str = "features/cripto_features_20250729.parquet";

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        // A pause between two looks; nothing depends on its length.
        sleep(Duration::from_millis(5));
    }
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample")
}

/// The program, running on a bucket of its own. It is stopped when this is dropped.
struct Cripto {
    process: Child,
    address: String,
    bucket: TempDir,
    overview: String,
}

impl Cripto {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let bucket = tempfile::tempdir().unwrap();
        copy(&sample().join("bucket"), bucket.path());
        let path = bucket.path().to_owned();
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_cripto")), bucket, &path, arguments)
    }

    /// Started by a command, on a bucket that is somewhere in a folder; ready to answer.
    fn start_by(command: Command, bucket: TempDir, path: &Path, arguments: &[&str]) -> Self {
        let cripto = Self::started(command, bucket, path, arguments);
        cripto.soon("the first predictions", |cripto| cripto.get("/health").0 == 200);
        cripto
    }

    /// The same, ready or not.
    fn started(mut command: Command, bucket: TempDir, path: &Path, arguments: &[&str]) -> Self {
        let mut process = command
            .args(["--port", "0", "--bucket"])
            .arg(path)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut overview = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        while !overview.contains("serving  http://") {
            assert!(output.read_line(&mut overview).unwrap() > 0, "it ended: {overview}");
        }
        let address = overview.split_once("http://").unwrap().1.split_whitespace().next().unwrap().to_owned();
        Self { process, address, bucket, overview }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn ok(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn version(&self, model: &str) -> Value {
        self.ok("/models")["versions"][model].clone()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.bucket.path().join(key)
    }

    fn put(&self, key: &str, content: &[u8]) {
        fs::write(self.path(key), content).unwrap();
    }

    /// Waits until something holds.
    fn soon(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        until(what, || holds(self));
    }

    /// The reason why `/models` lists a key as rejected.
    fn reason(&self, key: &str) -> Option<String> {
        let models = self.ok("/models");
        let rejected = find(&models, key)?;
        Some(rejected.to_string())
    }
}

/// The innermost object that mentions a text.
fn find<'a>(value: &'a Value, text: &str) -> Option<&'a Value> {
    let inside = match value {
        Value::Array(items) => items.iter().find_map(|item| find(item, text)),
        Value::Object(fields) => fields.values().find_map(|field| find(field, text)),
        _ => None,
    };
    let mentions = |fields: &serde_json::Map<String, Value>| {
        fields.contains_key(text) || fields.values().any(|field| field.as_str() == Some(text))
    };
    inside.or_else(|| value.as_object().is_some_and(mentions).then_some(value))
}

impl Drop for Cripto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[test]
fn every_answer_is_scikit_learns() {
    let cripto = Cripto::start();
    let expected: Value = serde_json::from_slice(&fs::read(sample().join("expected.json")).unwrap()).unwrap();
    let predictions = expected["predictions"].as_object().unwrap();
    assert_eq!(cripto.ok("/health")["total_models"], 5);
    for (symbol, wanted) in predictions {
        let answer = cripto.ok(&format!("/symbol/{}", symbol.to_lowercase()));
        assert_eq!(
            (&answer["ativo"], &answer["total_modelos"]),
            (&Value::from(symbol.as_str()), &Value::from(5))
        );
        assert_eq!(answer["dados_ate"], expected["data"]);
        for (model, wanted) in wanted.as_object().unwrap() {
            let found = &answer["modelos"][model];
            assert_eq!(found["versao"], expected["versao"]);
            for field in ["predicao", "probabilidade"] {
                let (found, wanted) = (found[field].as_f64(), wanted[field].as_f64());
                assert_eq!(found.is_some(), wanted.is_some(), "{symbol} {model} {field}");
                let (found, wanted) = (found.unwrap_or_default(), wanted.unwrap_or_default());
                // Trees to the bit; BLAS adds in another order.
                let tolerance = if model.ends_with("_lin") || model.ends_with("_log") { 1e-9 } else { 0.0 };
                assert!(
                    (found - wanted).abs() <= tolerance * wanted.abs(),
                    "{symbol} {model} {field}: {found}, {wanted} expected"
                );
            }
        }
        assert!(cripto.overview.contains(symbol.as_str()), "{}", cripto.overview);
    }
}

#[test]
fn a_new_model_is_served_and_its_removal_rolls_back() {
    let cripto = Cripto::start();
    let before = cripto.ok("/symbol/BTC");
    let gbr = fs::read(cripto.path(GBR)).unwrap();
    let newer = "models/regressor_lin_20991231-2359.joblib";

    // In pieces, as a slow writer would; it must not be noticed before the last of them.
    let mut file = fs::File::create(cripto.path(newer)).unwrap();
    let mut is_steady = true;
    for piece in gbr.chunks(gbr.len() / 6) {
        let written = Instant::now();
        file.write_all(piece).unwrap();
        let (version, reason) = (cripto.version("regressor_lin"), cripto.reason(newer));
        // After 200 ms without a write a file is taken for complete. From then on half of it may be read.
        is_steady &= written.elapsed() < Duration::from_millis(150);
        if is_steady {
            assert_eq!(version, VERSION);
            assert_eq!(reason, None, "half a file was read");
        }
        sleep(Duration::from_millis(80));
        is_steady &= written.elapsed() < Duration::from_millis(190);
    }
    cripto.soon("the new version", |cripto| cripto.version("regressor_lin") == "20991231-2359");
    let after = cripto.ok("/symbol/BTC");
    assert_eq!(after["modelos"]["regressor_lin"]["predicao"], before["modelos"]["regressor_gbr"]["predicao"]);
    assert_eq!(after["modelos"]["regressor_rf"], before["modelos"]["regressor_rf"]);

    fs::remove_file(cripto.path(newer)).unwrap();
    cripto.soon("the version before", |cripto| cripto.version("regressor_lin") == VERSION);
    assert_eq!(cripto.ok("/symbol/BTC")["modelos"], before["modelos"]);
}

#[test]
fn what_is_renamed_into_place_is_served_at_once() {
    let cripto = Cripto::start();
    let part = cripto.path("models/regressor_lin_20991231-2359.joblib.part");
    fs::write(&part, fs::read(cripto.path(LIN)).unwrap()).unwrap();
    // Time for what must not happen. A slow machine may overlook it, and never invents it.
    sleep(Duration::from_millis(500));
    assert_eq!(cripto.version("regressor_lin"), VERSION);
    fs::rename(&part, part.with_extension("")).unwrap();
    cripto.soon("the new version", |cripto| cripto.version("regressor_lin") == "20991231-2359");
}

#[test]
fn what_is_broken_changes_nothing_and_says_why() {
    let cripto = Cripto::start();
    let before = cripto.ok("/symbol/BTC");
    let lin = fs::read(cripto.path(LIN)).unwrap();
    let table = fs::read(cripto.path(TABLE)).unwrap();
    let broken: [(&str, &[u8]); 5] = [
        ("models/regressor_lin_20991231-2359.joblib", b"garbage"),
        ("models/regressor_rf_20991231-2359.joblib", &lin[..lin.len() / 2]),
        ("models/classifier_rf_20991231-2359.joblib", &lin),
        ("features/cripto_features_20991231.parquet", &table[..table.len() / 2]),
        // What is in force is overwritten itself.
        (LIN, b""),
    ];
    for (key, content) in broken {
        cripto.put(key, content);
        cripto.soon(key, |cripto| cripto.reason(key).is_some());
        let models = |answer: &Value| answer["modelos"].clone();
        assert_eq!(models(&cripto.ok("/symbol/BTC")), models(&before), "{key}");
    }
    assert_eq!(cripto.ok("/health")["status"], "healthy");
    let reloaded = cripto.ok("/reload");
    assert_eq!(reloaded["total_models"], 5);
    assert_eq!(cripto.ok("/symbol/BTC")["modelos"], before["modelos"]);

    // And when it is repaired, it is served, and the complaint is gone.
    cripto.put("models/regressor_lin_20991231-2359.joblib", &lin);
    cripto.soon("repaired", |cripto| cripto.version("regressor_lin") == "20991231-2359");
    assert_eq!(cripto.reason("models/regressor_lin_20991231-2359.joblib"), None);
}

#[test]
fn a_newcomer_is_told_what_an_empty_bucket_lacks_and_which_folder_is_meant() {
    let start = |folder: &Path| {
        let command = Command::new(env!("CARGO_BIN_EXE_cripto"));
        Cripto::started(command, tempfile::tempdir().unwrap(), folder, &[])
    };
    let empty = tempfile::tempdir().unwrap();
    let cripto = start(empty.path());
    assert!(cripto.overview.contains("Put a model (models/regressor_rf_"), "{}", cripto.overview);
    assert!(!cripto.overview.contains("lies in the bucket itself"), "{}", cripto.overview);
    assert_eq!(cripto.get("/health").0, 503);
    let cripto = start(&sample().join("bucket/models"));
    assert!(
        cripto.overview.contains("classifier_log_20250729-2130.joblib lies in the bucket itself")
            && cripto.overview.contains("--bucket"),
        "{}",
        cripto.overview
    );
}

/// As git-sync does it.
#[cfg(unix)]
#[test]
fn a_bucket_that_is_a_link_is_followed_wherever_it_leads() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let publish = |minute: &str| {
        let tree = Path::new(".worktrees").join(minute);
        copy(&sample().join("bucket"), &root.join(&tree));
        let model = format!("models/regressor_lin_20991231-{minute}.joblib");
        fs::copy(sample().join("bucket").join(GBR), root.join(&tree).join(model)).unwrap();
        let before = fs::read_link(root.join("current")).ok();
        symlink(tree, root.join("tmp-link")).unwrap();
        fs::rename(root.join("tmp-link"), root.join("current")).unwrap();
        if let Some(before) = before {
            fs::remove_dir_all(root.join(before)).unwrap();
        }
    };
    publish("0001");
    let command = Command::new(env!("CARGO_BIN_EXE_cripto"));
    let cripto = Cripto::start_by(command, folder, &root.join("current"), &[]);
    assert_eq!(cripto.version("regressor_lin"), "20991231-0001");
    for minute in ["0002", "0003"] {
        publish(minute);
        let version = format!("20991231-{minute}");
        cripto.soon("the new work tree", |cripto| cripto.version("regressor_lin") == version.as_str());
        assert_eq!(cripto.ok("/reload")["total_models"], 5);
    }
}

/// Permissions do not apply to root, so that the program runs as another user where the test is run by root.
#[cfg(unix)]
#[test]
fn models_that_may_not_be_read_stay_as_they_are_served() {
    use std::os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    };
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(folder.path(), 0o755);
    let bucket = folder.path().join("bucket");
    copy(&sample().join("bucket"), &bucket);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cripto"));
    if fs::metadata(folder.path()).unwrap().uid() == 0 {
        // The other user may not be able to reach the original.
        let program = folder.path().join("cripto");
        fs::copy(env!("CARGO_BIN_EXE_cripto"), &program).unwrap();
        allow(&program, 0o755);
        command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY);
    }
    let cripto = Cripto::start_by(command, folder, &bucket, &[]);
    let before = cripto.ok("/symbol/BTC");
    for mode in [0o000, 0o444] {
        allow(&bucket.join("models"), mode);
        let (status, said) = cripto.get("/reload");
        assert!(status >= 500 && said.to_string().contains("Permission denied"), "{mode:o}: {said}");
        assert_eq!(cripto.ok("/symbol/BTC")["modelos"], before["modelos"]);
        assert_eq!(cripto.ok("/models")["total_models"], 5);
    }
    allow(&bucket.join("models"), 0o755);
    assert_eq!(cripto.ok("/reload")["total_models"], 5);
}

#[test]
fn an_empty_bucket_is_not_ready_until_it_is_filled() {
    let cripto = Cripto::start();
    for folder in ["models", "features"] {
        fs::remove_dir_all(cripto.path(folder)).unwrap();
    }
    cripto.soon("emptied", |cripto| cripto.get("/health").0 == 503);
    copy(&sample().join("bucket"), cripto.bucket.path());
    cripto.soon("filled", |cripto| cripto.get("/health").0 == 200);
    // Files may be found in two steps; in the end all are.
    cripto.soon("complete", |cripto| cripto.ok("/symbol/BTC")["total_modelos"] == 5);
}

#[cfg(unix)]
#[test]
fn it_stops_when_it_is_asked_to() {
    let mut cripto = Cripto::start();
    let killed = Command::new("kill").arg(cripto.process.id().to_string()).status().unwrap();
    assert!(killed.success());
    let mut status = None;
    until("it stops", || {
        status = cripto.process.try_wait().unwrap();
        status.is_some()
    });
    let status = status.unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_wrong_start_says_what_is_wrong() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_cripto")).args(arguments).env_remove("BUCKET_DIR").output().unwrap()
    };
    let file = sample().join("bucket/raw.csv");
    let folder = sample().join("bucket");
    let (file, folder) = (file.to_str().unwrap(), folder.to_str().unwrap());
    let wrong_inside = tempfile::tempdir().unwrap();
    fs::write(wrong_inside.path().join("models"), "a file").unwrap();
    let wrong_link = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", wrong_link.path().join("models")).unwrap();
    for (bucket, wanted) in [
        (
            "no/such/folder",
            "tip: there is no such folder; `mkdir -p no/such/folder/models no/such/folder/features`",
        ),
        (
            file,
            &*format!(
                "tip: this is a file; a bucket is a folder with models/, features/ or raw.csv in it, such as --bucket {folder}"
            ),
        ),
        (wrong_inside.path().to_str().unwrap(), r#""models" cannot be read: not a directory"#),
        #[cfg(unix)]
        (wrong_link.path().to_str().unwrap(), "tip: a link in a bucket has to lead to something in it"),
    ] {
        let wrong = run(&["--bucket", bucket, "--port", "0"]);
        assert_eq!(wrong.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&wrong.stderr);
        assert!(errors.contains(bucket) && errors.contains(wanted), "{errors}");
    }

    let cripto = Cripto::start();
    let port = cripto.address.rsplit_once(':').unwrap().1;
    let taken = run(&["--port", port, "--bucket", cripto.bucket.path().to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&taken.stderr);
    assert!(
        errors.contains(&format!("cannot serve on port {port}")) && errors.contains("--port N, or 0"),
        "{errors}"
    );

    for wrong in [&["--port", "x"][..], &["--log-format", "xml"], &["--rust-log", "a=b=c"], &["--buket", "."]]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn help_and_completions_are_for_people_and_shells() {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_cripto")).args(arguments).env("PORT", "").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for help in [run(&["-h"]), run(&["--help"])] {
        assert!(
            help.contains("Exit codes:") && help.contains("NO_COLOR") == help.contains("Completions"),
            "{help}"
        );
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(run(&["--completions", "bash"]).as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
    assert!(run(&["--completions", "zsh"]).starts_with("#compdef cripto"));
}

/// On a terminal of its own, which `script` makes.
#[cfg(unix)]
#[test]
fn what_is_served_is_shown_in_colour_on_a_terminal_unless_no_color_says_otherwise() {
    let bucket = sample().join("bucket");
    for (no_color, coloured) in [("", true), ("1", false)] {
        // `exec`, or a shell that Ctrl-C reaches as well says how it ended itself.
        let call = format!(
            "stty rows 40 cols 80; exec {} --port 0 --bucket {}",
            env!("CARGO_BIN_EXE_cripto"),
            bucket.display()
        );
        let mut terminal = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &call, "/dev/null"])
            .envs([("NO_COLOR", no_color), ("TERM", "xterm-256color")])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut shown = String::new();
        let mut output = BufReader::new(terminal.stdout.take().unwrap());
        while !shown.contains("serving  http://") {
            assert!(output.read_line(&mut shown).unwrap() > 0, "it ended: {shown}");
        }
        // Ctrl-C, as the keyboard sends it.
        terminal.stdin.take().unwrap().write_all(b"\x03").unwrap();
        output.read_to_string(&mut shown).unwrap();
        assert_eq!(terminal.wait().unwrap().code(), Some(0), "{shown}");
        assert_eq!(shown.contains('\x1b'), coloured, "{shown}");
        assert!(shown.contains("109136.41 ▲") && shown.contains("stopped"), "{shown}");
        for line in shown.lines().filter(|line| line.contains('│')) {
            let columns = line.split('\x1b').map(|part| part.split_once('m').map_or(part, |(_, text)| text));
            assert!(columns.collect::<String>().trim_end().chars().count() <= 80, "{line:?}");
        }
    }
}

#[test]
fn candles_become_features_models_and_answers_without_python() {
    const NAMES: [&str; 5] =
        ["regressor_rf", "regressor_gbr", "regressor_lin", "classifier_rf", "classifier_log"];
    let configuration = tempfile::NamedTempFile::new().unwrap();
    let on_features = NAMES.map(|name| format!("[{name}]\npolicy = \"on-features\"\n"));
    fs::write(configuration.path(), on_features.concat()).unwrap();
    let path = configuration.path().to_str().unwrap();
    let cripto = Cripto::start_with(&["--retrain-config", path, "--write-features=true"]);

    let candles = fs::read_to_string(sample().join("bucket/raw.csv")).unwrap();
    let newest = candles.lines().filter(|line| line.contains("|2025-07-29|"));
    let next: String = newest.map(|line| line.replace("2025-07-29", "2025-07-30") + "\n").collect();
    cripto.put("raw.csv", (candles.clone() + &next).as_bytes());
    let compared = |cripto: &Cripto, name: &str| {
        let comparison = cripto.ok("/models")["detalhes"][name]["comparacao"].clone();
        comparison["ate"].as_str().is_some_and(|day| day >= "2025-07-29").then_some(comparison)
    };
    let all_are_there = |cripto: &Cripto| NAMES.iter().all(|name| compared(cripto, name).is_some());
    cripto.soon("models trained on the new day", all_are_there);

    let answer = cripto.ok("/symbol/BTC");
    assert_eq!((&answer["dados_ate"], &answer["total_modelos"]), (&"2025-07-30".into(), &5.into()));
    for name in NAMES {
        let comparison = compared(&cripto, name).unwrap();
        let said = &answer["modelos"][name];
        assert!(
            said["versao"].as_str() > Some(VERSION) && said["versao"] == cripto.version(name),
            "{answer}"
        );
        // Neither side was fitted on the rows that they are compared on.
        assert!(comparison["linhas_treino"].as_u64() > comparison["linhas"].as_u64(), "{comparison}");
        let artifact = format!("models/{name}_{}.safetensors", said["versao"].as_str().unwrap());
        assert!(cripto.path(&artifact).exists(), "{artifact}");
    }
    assert_eq!(cripto.ok("/models")["rejected"], Value::Array(Vec::new()));
    assert!(cripto.path("features/cripto_features_20250730.parquet").exists());
}
