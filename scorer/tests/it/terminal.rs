//! What somebody at a terminal sees of the program, and how it ends.

use std::process::{Command, Output, Stdio};

use crate::world::{FolderBucket, sample_bucket};

/// Runs the program with nothing of this process' settings.
fn scorer(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scorer"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// The same on a terminal of its own: what it showed there, and its exit code.
fn on_a_terminal(arguments: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let call = [&[env!("CARGO_BIN_EXE_scorer")], arguments].concat().join("' '");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &format!("stty rows 40 cols 80; '{call}'"), "/dev/null"])
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("SHELL", "/bin/sh"), ("TERM", "xterm-256color")])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (text(&output.stdout).to_owned(), output.status.code())
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_exit_code_tells_done_from_failed_from_wrong_and_the_reason_what_to_do() {
    let (sample, empty) = (sample_bucket(), FolderBucket::empty());
    let (sample, empty) = (sample.to_str().unwrap(), empty.path().to_str().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let nowhere = ["--redis-url", "redis://127.0.0.1:1"];
    let days = ["--from", "2025-01-02", "--to", "2025-01-03"];
    let worker = ["worker", "--queue-url", "http://127.0.0.1:1/1/q", "--metrics-host", "127.0.0.1"];
    let model = format!("{sample}/models/regressor_lin_20250729-2130.joblib");
    let cut = FolderBucket::empty();
    cut.write("cut.joblib", std::fs::read(&model).unwrap().get(..1000).unwrap());
    let cut = cut.path().join("cut.joblib");
    let pointer = FolderBucket::empty();
    pointer
        .write("a.joblib", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 48000000\n");
    let pointer = pointer.path().join("a.joblib");
    // An empty dict.
    let dict = FolderBucket::empty();
    dict.write("a.joblib", b"\x80\x04}.");
    let dict = dict.path().join("a.joblib");
    let cases: &[(&[&[&str]], i32, &str)] = &[
        (&[&["score", "--bucket", sample]], 0, ""),
        (&[&["inspect", &model]], 0, ""),
        (&[&["--version"]], 0, ""),
        (&[&["score", "--bucket", "no/such"]], 1, "tip: there is no such folder"),
        (&[&["score", "--bucket", empty]], 1, "tip: a model is models/"),
        (&[&["score", "--bucket", sample, "--ativo", "XYZ"]], 1, "tip: there are 8 assets: ADA, BTC"),
        (&[&["inspect", "no/such"]], 1, r#""no/such" cannot be opened: No such file"#),
        (&[&["inspect", cut.to_str().unwrap()]], 1, "tip: copy the file again"),
        (&[&["inspect", pointer.to_str().unwrap()]], 1, "run `git lfs pull`"),
        (&[&["inspect", pointer.to_str().unwrap()]], 1, "tip: README.md lists the formats"),
        (&[&["inspect", dict.to_str().unwrap()]], 1, "it holds a dict with no keys; the fitted Pipeline"),
        (&[&["inspect", dict.to_str().unwrap()]], 1, "tip: README.md lists the formats"),
        (&[&["features", &model, "--out", "x.parquet"]], 1, "tip: a raw.csv has a header"),
        (&[&["rollback"], &nowhere], 1, "tip: --redis-url or REDIS_URL says where Redis is"),
        (&[&["backfill", "--bucket", sample], &nowhere], 1, "tip: --redis-url or REDIS_URL"),
        (&[&["backfill", "--bucket", sample], &days, &nowhere], 1, "tip: --redis-url or REDIS_URL"),
        (&[&worker, &["--metrics-port", &taken]], 1, "tip: another program serves there"),
        (&[&["retrain", "--bucket", empty]], 1, "neither a feature table nor a raw.csv"),
        (&[], 2, "Usage: scorer"),
        (&[&["wrker"]], 2, "'worker'"),
        (&[&["score"]], 2, "--bucket <DIR>"),
        (&[&["worker"]], 2, "--queue-url <URL>"),
        (&[&["rollback", "--redis-url", "http://h"]], 2, r#"REDIS_URL="http://h": redis://"#),
        (&[&["rollback", "--rust-log", "a=b=c"]], 2, "directives such as info"),
        (&[&["retrain"]], 2, "--bucket DIR or, with S3, --bucket-name NAME"),
        (&[&["retrain", "--bucket", sample, "--specification", "x"]], 2, "needs one --model"),
        (&[&["backfill"], &days, &["--shards", "2"]], 2, "--shards 2 needs --shard"),
        (&[&["backfill"], &days, &["--shard", "7"]], 2, "shard 7 of 1 shards"),
        (&[&["backfill", "--from", "2025-01-02", "--to", "2024-01-02"]], 2, "is before the first"),
    ];
    for (arguments, code, reason) in cases {
        let arguments = arguments.concat();
        let output = scorer(&arguments, &[]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {errors}");
        assert!(errors.contains(reason), "{arguments:?}: {errors}");
        assert!(!errors.contains('\x1b'), "{arguments:?}: coloured although there is no terminal");
    }
}

#[test]
fn a_cause_is_not_told_twice() {
    let output = scorer(&["inspect", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], &[]);
    let errors = text(&output.stderr);
    assert_eq!(errors.matches("neither a joblib file nor a pickle").count(), 1, "{errors}");
}

#[test]
fn predictions_are_a_table_on_a_terminal_and_json_elsewhere() {
    let sample = sample_bucket();
    let arguments = ["score", "--bucket", sample.to_str().unwrap(), "--ativo", "btc"];
    let (shown, code) = on_a_terminal(&arguments, &[]);
    assert!(
        code == Some(0) && shown.contains("BTC") && shown.contains('│') && shown.contains('▲'),
        "{shown}"
    );
    let piped = scorer(&arguments, &[]);
    assert!(text(&piped.stdout).starts_with(r#"{"ativo":"BTC","#), "{}", text(&piped.stdout));

    let (shown, _) = on_a_terminal(&[&arguments[..], &["--format", "json"]].concat(), &[]);
    assert!(shown.starts_with(r#"{"ativo":"BTC","#), "{shown}");
    let piped = scorer(&[&arguments[..], &["--format", "table"]].concat(), &[]);
    let piped = text(&piped.stdout);
    assert!(piped.contains('│') && !piped.contains('\x1b'), "{piped}");
}

#[test]
fn a_terminal_gets_colour_unless_no_color_says_otherwise() {
    let sample = sample_bucket();
    let score = ["score", "--bucket", sample.to_str().unwrap()];
    for (arguments, exit) in
        [(&score[..], 0), (&["inspect", "no/such"], 1), (&["wrker"], 2), (&["--help"], 0)]
    {
        let (shown, code) = on_a_terminal(arguments, &[]);
        assert!(code == Some(exit) && shown.contains('\x1b'), "{arguments:?}: {code:?} {shown}");
        let (shown, code) = on_a_terminal(arguments, &[("NO_COLOR", "1")]);
        assert!(code == Some(exit) && !shown.contains("\x1b["), "{arguments:?}: {code:?} {shown}");
    }
}

#[test]
fn every_help_fits_80_columns_and_lists_the_exit_codes() {
    let commands = [
        "worker",
        "backfill",
        "rollback",
        "score",
        "inspect",
        "convert",
        "features",
        "retrain",
        "completions",
    ];
    let calls = commands.iter().map(|command| vec![*command]).chain([vec![]]);
    for (call, flag) in calls.flat_map(|call| [(call.clone(), "-h"), (call, "--help")]) {
        let call = [&call[..], &[flag]].concat();
        let (shown, code) = on_a_terminal(&call, &[("NO_COLOR", "1")]);
        assert_eq!(code, Some(0), "{call:?}");
        for line in shown.lines() {
            // What cannot be broken stands on a line of its own.
            let line = line.trim_end();
            assert!(line.chars().count() <= 80 || !line.trim().contains(' '), "{call:?}: {line:?}");
        }
        for exit in ["  0  done", "  1  failed", "  2  a flag or a variable is wrong"] {
            assert!(shown.contains(exit), "{call:?}: no {exit:?} in {shown}");
        }
    }
}

#[test]
fn shells_understand_the_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let completions = scorer(&["completions", shell], &[]);
        assert!(completions.status.success(), "{shell}");
        let script = folder.path().join(shell);
        std::fs::write(&script, &completions.stdout).unwrap();
        match Command::new(shell).arg("-n").arg(&script).output() {
            Ok(parsed) => assert!(parsed.status.success(), "{shell}: {}", text(&parsed.stderr)),
            // On Debian bash is always there.
            Err(error) => assert!(shell != "bash", "{shell}: {error}"),
        }
    }
    let head = format!("'{}' completions bash | head -n 1", env!("CARGO_BIN_EXE_scorer"));
    let head = Command::new("bash").args(["-c", &head]).output().unwrap();
    assert!(head.stderr.is_empty(), "{}", text(&head.stderr));

    let asked = "source \"$1\"; COMP_WORDS=(scorer backf); COMP_CWORD=1; _scorer scorer backf scorer; echo \"$COMPREPLY\"";
    let offered = Command::new("bash").args(["-c", asked, "bash"]).arg(folder.path().join("bash")).output();
    assert_eq!(text(&offered.unwrap().stdout), "backfill\n");

    let asked = "source $argv[1]; complete -C 'scorer backf'";
    let offered =
        Command::new("fish").args(["--no-config", "-c", asked]).arg(folder.path().join("fish")).output();
    if let Ok(offered) = offered {
        assert!(text(&offered.stdout).starts_with("backfill\t"), "{}", text(&offered.stderr));
    }
}

#[test]
fn that_nobody_reads_standard_error_changes_no_exit_code() {
    let bucket = sample_bucket();
    let bucket = bucket.to_str().unwrap();
    for (arguments, code) in
        [(&["score", "--bucket", bucket, "--ativo", "NONE"][..], 1), (&["inspect", "/nowhere.joblib"][..], 1)]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut process = Command::new(env!("CARGO_BIN_EXE_scorer"));
        let status = process.args(arguments).stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}
