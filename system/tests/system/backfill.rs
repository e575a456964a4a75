//! A backfill by many processes, some of which are killed, comes to what one process comes to.

use std::{
    env, fs,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::{
    process::{Process, Run, program, wait_until},
    proxy::{Fault, Proxy},
    system::{System, TABLE, address, expected, sample},
};

const MODELS: [&str; 5] =
    ["regressor_rf", "regressor_gbr", "regressor_lin", "classifier_rf", "classifier_log"];

/// To the last day of the sample table.
const RANGE: [&str; 4] = ["--from", "2025-06-20", "--to", "2025-07-29"];

fn start(system: &System, arguments: &[&str], others: &[(&str, String)]) -> Run {
    let mut command = Command::new(program("scorer"));
    command.arg("backfill").args(arguments).envs(system.variables());
    command.envs(others.iter().map(|(name, value)| (name, value)));
    command.env("LOG_FORMAT", "json").env("RUST_LOG", "info").env("RAYON_NUM_THREADS", "1");
    Run::start(&mut command)
}

/// One shard of ten, told of its number as Kubernetes does.
fn shard(system: &System, shard: usize, others: &[(&str, String)]) -> Run {
    let index = [("JOB_COMPLETION_INDEX", shard.to_string())];
    let arguments = [&RANGE[..], &["--shards", "10"]].concat();
    start(system, &arguments, &[&index, others].concat())
}

/// The log line of a message; the process has succeeded.
fn line(output: &Output, message: &str) -> Option<Value> {
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["message"] == message)
}

/// What the API says of days that are over, without what tells one backfill from another.
fn told(api: &Process) -> Value {
    let assets = api.json("/symbols")["symbols"].clone();
    let mut told = json!({});
    for model in MODELS {
        let mut answer = api.json(&format!("/models/{model}"));
        let record = answer["avaliacao"].as_object_mut().unwrap_or_else(|| panic!("{model} has no record"));
        record.retain(|field, _| !matches!(field.as_str(), "execucao" | "avaliado_em"));
        told["models"][model] = answer;
    }
    for asset in assets.as_array().unwrap() {
        let asset = asset.as_str().unwrap();
        let mut answer = api.json(&format!("/symbol/{asset}/historico?dias=20"));
        for history in answer["modelos"].as_object_mut().unwrap().values_mut() {
            history.as_object_mut().unwrap().remove("execucao");
        }
        told["symbols"][asset] = answer;
    }
    told
}

#[test]
fn ten_processes_of_which_three_are_killed_come_to_what_one_comes_to() {
    let one = System::sample();
    let now = start(&one, &[], &[]).end();
    assert!(line(&now, "everything was scored and published").is_some(), "{now:?}");
    let whole = start(&one, &RANGE, &[]).end();
    assert!(line(&whole, "history and metrics published").is_some(), "{whole:?}");

    let ten = System::sample();
    assert!(start(&ten, &[], &[]).end().status.success());
    let api = ten.api();
    wait_until("the predictions", || api.get("/health").0 == 200);
    let s3 = address(&ten.variables().iter().find(|(name, _)| *name == "AWS_ENDPOINT_URL").unwrap().1);
    // Two stop while their parts are being written, and one when only the sign that it is done is missing.
    let doomed = [(2, "_backfill"), (5, "regressor_lin"), (9, "classifier_log")];
    let mut proxies = Vec::new();
    let mut killed = Vec::new();
    for (number, put) in doomed {
        let proxy = Proxy::to(s3);
        proxy.arm(&format!("PUT /{}/predictions/{put}", ten.bucket.name), Fault::Hold);
        let endpoint = [("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))];
        killed.push(shard(&ten, number, &endpoint));
        proxies.push(proxy);
    }
    let others = (0..10).filter(|number| doomed.iter().all(|(doomed, _)| doomed != number));
    let others: Vec<Run> = others.map(|number| shard(&ten, number, &[])).collect();
    for (proxy, child) in proxies.iter().zip(&mut killed) {
        proxy.wait_until_struck();
        child.kill();
    }
    for child in others {
        let output = child.end();
        assert!(line(&output, "shard done").is_some_and(|line| line["skipped"] == false), "{output:?}");
        assert!(line(&output, "history and metrics published").is_none(), "published without three shards");
    }
    assert_eq!(ten.keys("predictions/_backfill/").len(), 7);
    assert!(api.json("/models/regressor_rf")["avaliacao"].is_null());

    // Those that were killed are repeated at once, and one that was done as well.
    let again = [2, 5, 9, 0].map(|number| shard(&ten, number, &[]));
    let again = again.map(|child| child.end());
    for (place, output) in again.iter().enumerate() {
        assert_eq!(line(output, "shard done").unwrap()["skipped"], place == 3, "{output:?}");
    }
    let publications = again.iter().filter(|output| line(output, "history and metrics published").is_some());
    assert!(publications.count() >= 1, "the last one publishes");

    let of_one = one.api();
    wait_until("the predictions", || of_one.get("/health").0 == 200);
    let (told_by_one, told_by_ten) = (told(&of_one), told(&api));
    assert_eq!(told_by_one, told_by_ten);
    let last = &told_by_ten["symbols"]["BTC"]["modelos"]["regressor_rf"]["previsoes"][19];
    assert_eq!(last["predicao"], api.json("/symbol/BTC")["modelos"]["regressor_rf"]["predicao"]);
    assert_eq!((&last["data"], last["fechamento_next"].is_null()), (&expected()["data"], true));

    let folder = tempfile::tempdir().unwrap();
    one.download("predictions/", &folder.path().join("one"));
    ten.download("predictions/", &folder.path().join("ten"));
    fs::write(folder.path().join("told.json"), told_by_ten.to_string()).unwrap();
    let python = env::var_os("CRIPTO_PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_backfill.py");
    let checked = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// The file names of a model's parts of a day.
fn parts(system: &System, model: &str, day: &str) -> Vec<String> {
    let keys = system.keys(&format!("predictions/{model}/"));
    let of_day = keys.iter().filter_map(|key| key.split_once(&format!("/dt={day}/")));
    of_day.map(|(_, file)| file.to_owned()).collect()
}

#[test]
fn a_day_has_the_parts_of_one_split_however_it_was_split_before_and_whoever_is_killed() {
    const DAYS: [&str; 2] = ["2025-07-28", "2025-07-29"];
    let system = System::sample();
    assert!(start(&system, &[], &[]).end().status.success());
    let shards = |shards: usize, others: &[(&str, String)]| -> Vec<Output> {
        let start = |shard: usize| {
            let (shards, shard) = (shards.to_string(), shard.to_string());
            let arguments = ["--from", DAYS[0], "--to", DAYS[1], "--shards", &shards, "--shard", &shard];
            start(&system, &arguments, others).end()
        };
        (0..shards).map(start).collect()
    };
    let named = |of: usize| -> Vec<String> {
        (0..of).map(|part| format!("part-{part:05}-of-{of:05}.parquet")).collect()
    };
    let assert_split_in = |of: usize, when: &str| {
        for (model, day) in MODELS.iter().flat_map(|model| DAYS.map(|day| (model, day))) {
            assert_eq!(parts(&system, model, day), named(of), "{model} on {day}, {when}");
        }
    };
    let folder = tempfile::tempdir().unwrap();

    // Four shards of two days: the assets of each are split in two.
    let of_four = shards(4, &[]);
    assert!(line(&of_four[3], "history and metrics published").is_some(), "{of_four:?}");
    assert_split_in(2, "by four shards");
    system.download("predictions/", &folder.path().join("ten"));

    // S3 tells times by the second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    // One process is killed when some of the parts of the four are removed already, and repeated.
    let endpoint = system.variables().into_iter().find(|(name, _)| *name == "AWS_ENDPOINT_URL").unwrap().1;
    let proxy = Proxy::to(address(&endpoint));
    proxy.arm(&format!("DELETE /{}/predictions/regressor_rf", system.bucket.name), Fault::Hold);
    let one = ["--from", DAYS[0], "--to", DAYS[1]];
    let mut killed = start(&system, &one, &[("AWS_ENDPOINT_URL", format!("http://{}", proxy.address))]);
    proxy.wait_until_struck();
    killed.kill();
    assert!(parts(&system, "regressor_rf", DAYS[0]).len() > 1, "killed too late");
    let again = start(&system, &one, &[]).end();
    assert_eq!(line(&again, "shard done").unwrap()["skipped"], true, "{again:?}");
    assert!(line(&again, "history and metrics published").is_some(), "{again:?}");
    assert_split_in(1, "by one process");
    system.download("predictions/", &folder.path().join("one"));

    // A shard of the four that is repeated has its sign still, and must not take away what is there now.
    let again = shards(4, &[]);
    let warning = line(
        &again[0],
        "days whose parts another backfill has replaced keep those; remove this run's signs to do it again",
    );
    assert_eq!(warning.unwrap()["replaced"], 10, "{again:?}");
    assert_split_in(1, "when the four are repeated");

    // Both ways to split have the same rows.
    let python = env::var_os("CRIPTO_PYTHON").unwrap_or_else(|| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/check_backfill.py");
    let api = system.api();
    wait_until("the predictions", || api.get("/health").0 == 200);
    fs::write(folder.path().join("told.json"), told(&api).to_string()).unwrap();
    let checked = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

/// Numbers by where they are, and the rest as it is.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, &format!("{path}/{name}"), found));
        }
        Value::Array(values) => {
            values
                .iter()
                .enumerate()
                .for_each(|(place, value)| leaves(value, &format!("{path}/{place}"), found));
        }
        value => found.push((path.to_owned(), value.clone())),
    }
}

#[test]
fn candles_are_scored_as_the_table_that_they_come_to() {
    let system = System::sample();
    assert!(start(&system, &[], &[]).end().status.success());
    let api = system.api();
    wait_until("the predictions", || api.get("/health").0 == 200);
    let backfilled = || {
        let output = start(&system, &RANGE, &[]).end();
        assert_eq!(line(&output, "shard done").unwrap()["skipped"], false, "{output:?}");
        let mut found = Vec::new();
        leaves(&told(&api), "", &mut found);
        found
    };
    let of_table = backfilled();
    system.remove(TABLE);
    system.put("raw.csv", &sample("raw.csv"));
    let of_candles = backfilled();
    assert_eq!(of_table.len(), of_candles.len());
    for ((path, one), (other_path, other)) in of_table.iter().zip(&of_candles) {
        assert_eq!(path, other_path);
        match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => {
                assert!((one - other).abs() <= 1e-9 * one.abs(), "{path}: {one} {other}");
            }
            _ => assert_eq!(one, other, "{path}"),
        }
    }
}

#[test]
fn a_backfill_that_cannot_be_done_says_why_and_fails() {
    let system = System::empty();
    let failed = |arguments: &[&str], code: i32, reason: &str| {
        let output = start(&system, arguments, &[]).end();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {log}");
        assert!(log.contains(reason), "{arguments:?}: {log}");
    };
    failed(&RANGE, 1, "the bucket has no usable feature table, and no usable raw.csv");
    failed(&[&RANGE[..], &["--shards", "10"]].concat(), 2, "needs --shard");
    failed(&[&RANGE[..], &["--shards", "2", "--shard", "2"]].concat(), 2, "0 to 1 expected");
    failed(&["--from", "2025-02-20", "--to", "2025-02-19"], 2, "is before the first");
    failed(&["--from", "2025-02-20"], 2, "--to");
    failed(&["--from", "2025-2-20", "--to", "2025-02-20"], 2, "YYYY-MM-DD");
    failed(&[&RANGE[..], &["--model", "regressor_rf"]].concat(), 2, "NAME@VERSION");
    let system = System::sample();
    let mistyped = start(&system, &["--from", "2030-07-01", "--to", "2030-07-05"], &[]);
    let output = mistyped.end();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && log.contains("has no row from 2030-07-01"), "{log}");
    assert!(system.keys("predictions/").is_empty(), "{log}");
    let unknown = [&RANGE[..], &["--model", "regressor_rf@20200101-0000"]].concat();
    let output = start(&system, &unknown, &[]).end();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("no model regressor_rf of version 20200101-0000"), "{log}");
}
