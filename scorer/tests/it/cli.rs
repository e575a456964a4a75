//! The program, as a user runs it.

use std::{
    fs,
    process::{Command, Output},
};

use serde_json::Value;

use crate::world::{FolderBucket, SAMPLE_VERSION, python_tables, repository, sample_bucket};

fn scorer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_scorer")).args(arguments).env_remove("BUCKET_DIR").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn answers(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_sample_bucket_scores_as_scikit_learn_does() {
    let expected = std::fs::read(repository().join("sample/expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    let output = scorer(&["score", "--bucket", sample_bucket().to_str().unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let answers = answers(&output);
    let predictions = expected["predictions"].as_object().unwrap();
    assert_eq!(answers.len(), predictions.len());
    for answer in answers {
        assert_eq!(answer["dados_ate"], expected["data"]);
        let models = answer["modelos"].as_object().unwrap();
        let wanted = predictions[answer["ativo"].as_str().unwrap()].as_object().unwrap();
        assert_eq!(models.len(), wanted.len());
        for (name, wanted) in wanted {
            let found = &models[name];
            assert_eq!(found["versao"], SAMPLE_VERSION);
            for field in ["predicao", "probabilidade"] {
                let (found, wanted) = (found[field].as_f64(), wanted[field].as_f64());
                let tolerance = if name.ends_with("_lin") || name.ends_with("_log") { 1e-9 } else { 0.0 };
                let close = match (found, wanted) {
                    (Some(found), Some(wanted)) => (found - wanted).abs() <= tolerance * wanted.abs(),
                    (found, wanted) => found == wanted,
                };
                assert!(close, "{} {name} {field}: {found:?}, {wanted:?} expected", answer["ativo"]);
            }
        }
    }
}

#[test]
fn assets_can_be_chosen_in_any_case() {
    let bucket = sample_bucket();
    let bucket = bucket.to_str().unwrap();
    let output = scorer(&["score", "--bucket", bucket, "--ativo", "eth", "--ativo", "XYZ", "--ativo", "BTC"]);
    assert!(output.status.success());
    let symbols: Vec<Value> = answers(&output).into_iter().map(|answer| answer["ativo"].clone()).collect();
    assert_eq!(symbols, ["ETH", "BTC"]);
    assert!(text(&output.stderr).contains("XYZ: there is no usable row of this asset"));
}

#[test]
fn nothing_scored_is_a_failure_with_reasons() {
    let empty = FolderBucket::empty();
    let nothing = scorer(&["score", "--bucket", empty.path().to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("neither a usable model nor a usable table"));

    let unknown = scorer(&["score", "--bucket", sample_bucket().to_str().unwrap(), "--ativo", "XYZ"]);
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(1), 0));

    let missing = scorer(&["score", "--bucket", "no/such/folder"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains(r#"bucket "no/such/folder" cannot be listed"#));

    let bad_table = FolderBucket::sample();
    bad_table.copy(
        &python_tables().join("sample/lacks_columns.parquet"),
        "features/cripto_features_20250801.parquet",
    );
    bad_table.delete(crate::world::SAMPLE_TABLE);
    let output = scorer(&["score", "--bucket", bad_table.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let reasons = text(&output.stderr);
    assert!(
        reasons.contains("models/regressor_rf_20250729-2130.joblib: model regressor_rf: ")
            && reasons.contains("fechamento")
            && reasons.contains("mes"),
        "{reasons}"
    );

    for wrong in [&["score"][..], &["score", "--bucket", ".", "--ativo", "B/C"], &["frobnicate"]] {
        assert_eq!(scorer(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn an_artifact_can_be_looked_into() {
    let artifact = sample_bucket().join(format!("models/regressor_rf_{SAMPLE_VERSION}.joblib"));
    let artifact = artifact.to_str().unwrap();
    let size = std::fs::metadata(artifact).unwrap().len();
    let output = scorer(&["inspect", artifact]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    assert!(shown.contains("RandomForestRegressor") && shown.contains(&size.to_string()), "{shown}");

    let json = scorer(&["inspect", "--json", artifact]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["bytes"], size);
    assert!(json["artifact"].is_object());

    let table = sample_bucket().join(crate::world::SAMPLE_TABLE);
    let output = scorer(&["inspect", table.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is not a usable model"), "{}", text(&output.stderr));
    assert_eq!(scorer(&["inspect", "no/such/file"]).status.code(), Some(1));
    assert_eq!(scorer(&["inspect", "."]).status.code(), Some(1));
}

#[test]
fn a_feature_table_is_computed_from_candles_and_can_be_scored() {
    let bucket = FolderBucket::sample();
    let raw = sample_bucket().join("raw.csv");
    let table = bucket.path().join(crate::world::SAMPLE_TABLE);
    std::fs::remove_file(&table).unwrap();
    let written = scorer(&["features", raw.to_str().unwrap(), "--out", table.to_str().unwrap()]);
    assert!(written.status.success() && written.stderr.is_empty(), "{}", text(&written.stderr));
    assert!(text(&written.stdout).contains("assets to 2025-07-29"), "{}", text(&written.stdout));
    let scored =
        |bucket: &std::path::Path| scorer(&["score", "--bucket", bucket.to_str().unwrap(), "--ativo", "BTC"]);
    let (ours, theirs) = (answers(&scored(bucket.path())), answers(&scored(&sample_bucket())));
    assert_eq!(ours[0]["modelos"]["regressor_rf"], theirs[0]["modelos"]["regressor_rf"]);

    let left: Vec<_> = std::fs::read_dir(table.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "an unfinished file was left behind");
}

#[test]
fn a_feature_table_that_cannot_be_made_is_a_failure_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("empty.csv"), "").unwrap();
    std::fs::write(path("commas.csv"), "ativo,data\nBTC,2025-02-20\n").unwrap();
    std::fs::write(path("good.csv"), "h\nBTC|2025-02-20\nBTC|soon\n").unwrap();
    let out = path("new/folder/out.parquet");
    for (raw, reason) in [
        (path("missing.csv"), "cannot be read: No such file"),
        (path(""), "cannot be read"),
        (path("empty.csv"), "is not a usable raw.csv: the table has no usable row"),
        (path("commas.csv"), "no day as in 2025-02-20"),
    ] {
        let output = scorer(&["features", &raw, "--out", &out]);
        assert_eq!(output.status.code(), Some(1), "{raw}");
        assert!(text(&output.stderr).contains(reason), "{raw}: {}", text(&output.stderr));
    }
    assert!(!std::path::Path::new(&out).exists());

    let output = scorer(&["features", &path("good.csv"), "--out", &out]);
    assert!(output.status.success() && text(&output.stderr).contains("1 rows cannot be used"));
    let onto_a_folder = scorer(&["features", &path("good.csv"), "--out", &path("new/folder")]);
    assert_eq!(onto_a_folder.status.code(), Some(1));
    assert!(text(&onto_a_folder.stderr).contains("cannot be written"), "{}", text(&onto_a_folder.stderr));
    assert_eq!(scorer(&["features", &path("good.csv")]).status.code(), Some(2));
}

#[test]
fn a_conversion_touches_no_other_file_and_leaves_none_behind() {
    let artifact = sample_bucket().join("models/regressor_lin_20250729-2130.joblib");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("model.partial"), "somebody's").unwrap();
    fs::create_dir(at("folder.safetensors")).unwrap();
    let convert = |to: &str| {
        let limits = scorer::Settings::default().model_limits;
        scorer::convert(&artifact, &at(to), &limits, &scorer::Progress::none())
    };
    convert("model.safetensors").unwrap();
    assert!(convert("folder.safetensors").is_err());
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["folder.safetensors", "model.partial", "model.safetensors"]);
    assert_eq!(fs::read(at("model.partial")).unwrap(), b"somebody's");
}
