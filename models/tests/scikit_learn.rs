//! Holds every prediction against scikit-learn's own, on artifacts that several versions of it wrote, and parameter
//! files against the artifacts that they were made of.
//!
//! `models/tests/python/make_cases.py` trains the models; `./test.sh` runs it for each version. The folder is
//! `$CRIPTO_CASES`, or `~/.cache/cripto-prediction/cases`: one folder a version, a `.json` beside each artifact.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use models::{Column, Label, Limits, Model, Outcome, Predictions, Table};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    artifact: String,
    columns: Vec<CaseColumn>,
    predict: Vec<serde_json::Value>,
    predict_proba: Option<Vec<Vec<f64>>>,
    transformed: Option<Vec<Vec<Option<f64>>>>,
    /// Whether predictions have to be equal to the bit.
    exact: bool,
    /// For linear models, the sum of the absolute values that each row's prediction is the sum of.
    largest_sums: Option<Vec<f64>>,
    /// Whether scikit-learn was asked row by row, and a prediction that is null is a row that it raises for.
    #[serde(default)]
    row_by_row: bool,
    /// The names of the features before the final estimator.
    #[serde(default)]
    feature_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CaseColumn {
    name: String,
    kind: String,
    values: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RefusedCase {
    artifact: String,
    /// What the error has to mention.
    mentions: Vec<String>,
}

fn versions() -> Vec<PathBuf> {
    let folder = std::env::var_os("CRIPTO_CASES").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        home.join(".cache/cripto-prediction/cases")
    });
    let versions: Vec<PathBuf> = fs::read_dir(&folder)
        .map(|entries| entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect())
        .unwrap_or_default();
    assert!(!versions.is_empty(), "no cases in {}: ./test.sh makes them", folder.display());
    versions
}

fn cases<T: for<'a> Deserialize<'a>>(folder: &Path) -> Vec<(String, T)> {
    let mut cases: Vec<(String, T)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name =
                format!("{}/{}", folder.file_name().unwrap().display(), path.file_stem().unwrap().display());
            let case = serde_json::from_slice(&fs::read(&path).unwrap());
            (name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect();
    cases.sort_by(|(left, _), (right, _)| left.cmp(right));
    cases
}

fn table(case: &Case) -> Table {
    let columns = case.columns.iter().map(|column| {
        let values = &column.values;
        let content = if column.kind == "text" {
            Column::text(values.iter().map(serde_json::Value::as_str))
        } else {
            Column::Number(values.iter().map(|value| value.as_f64().unwrap_or(f64::NAN)).collect())
        };
        (column.name.as_str(), content)
    });
    Table::new(columns).unwrap()
}

/// Whether two numbers are equal to the bit, or near enough where additions come in another order.
fn agree(ours: f64, theirs: f64, exact: bool, relative: f64, absolute: f64) -> bool {
    if exact || !theirs.is_finite() {
        return ours.to_bits() == theirs.to_bits() || ours == theirs || (ours.is_nan() && theirs.is_nan());
    }
    (ours - theirs).abs() <= absolute + relative * theirs.abs()
}

fn compare(model: &Model, case: &Case) -> Result<(), String> {
    let table = table(case);
    if let Some(expected) = &case.transformed {
        let ours = model.transform(&table).map_err(|error| error.to_string())?;
        for (row, (ours, theirs)) in ours.rows().into_iter().zip(expected).enumerate() {
            if ours.len() != theirs.len() {
                return Err(format!("{} features, scikit-learn has {}", ours.len(), theirs.len()));
            }
            for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let theirs = theirs.unwrap_or(f64::NAN);
                // To the bit: zeros have signs.
                if ours.to_bits() != theirs.to_bits() && !(ours.is_nan() && theirs.is_nan()) {
                    return Err(format!("row {row}, feature {place}: {ours:?}, scikit-learn {theirs:?}"));
                }
            }
        }
    }
    if case.feature_names.as_ref().is_some_and(|names| names != model.feature_names()) {
        return Err(format!("features {:?}, scikit-learn {:?}", model.feature_names(), case.feature_names));
    }
    let Predictions { outcome, refused } = model.predict(&table).map_err(|error| error.to_string())?;
    let is_refused = |row: usize| refused.iter().any(|refused| refused.row == row);
    for (row, theirs) in case.predict.iter().enumerate() {
        if is_refused(row) != (case.row_by_row && theirs.is_null()) {
            let ours =
                refused.iter().find(|refused| refused.row == row).map(|refused| refused.reason.to_string());
            return Err(format!("row {row} was refused: {ours:?}; scikit-learn {theirs}"));
        }
    }
    match outcome {
        Outcome::Values(values) => {
            if values.len() != case.predict.len() {
                return Err(format!("{} predictions for {} rows", values.len(), case.predict.len()));
            }
            let answers = values.iter().zip(&case.predict).enumerate();
            for (row, (ours, theirs)) in answers.filter(|(row, _)| !is_refused(*row)) {
                let theirs = theirs.as_f64().ok_or("scikit-learn predicted no number")?;
                // Rounding of the terms, where they cancel.
                let rounding = match &case.largest_sums {
                    Some(sums) => sums[row] * 64.0 * f64::EPSILON,
                    None => 1e-12,
                };
                if !agree(*ours, theirs, case.exact, 1e-9, rounding) {
                    return Err(format!("row {row}: {ours:?}, scikit-learn {theirs:?}"));
                }
            }
        }
        Outcome::Classes { predicted, probabilities } => {
            let classes = model.classes().ok_or("a classifier without classes")?;
            let expected = case.predict_proba.as_ref().ok_or("scikit-learn gave no probabilities")?;
            for (row, (theirs, ours)) in
                expected.iter().zip(probabilities.chunks_exact(classes.len())).enumerate()
            {
                for (ours, theirs) in ours.iter().zip(theirs) {
                    if !agree(*ours, *theirs, case.exact, 0.0, 1e-12) {
                        return Err(format!("row {row}: probability {ours:?}, scikit-learn {theirs:?}"));
                    }
                }
            }
            for (row, (ours, theirs)) in predicted.iter().zip(&case.predict).enumerate() {
                let ours = &classes[*ours as usize];
                let same = match ours {
                    Label::Bool(ours) => theirs.as_bool() == Some(*ours),
                    Label::Integer(ours) => theirs.as_i64() == Some(*ours),
                    Label::Real(ours) => theirs.as_f64() == Some(*ours),
                    Label::Text(ours) => theirs.as_str() == Some(ours),
                };
                if !same {
                    return Err(format!("row {row}: class {ours}, scikit-learn {theirs}"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_prediction_is_scikit_learns() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for version in versions() {
        for (name, case) in cases::<Case>(&version) {
            let file = File::open(version.join(&case.artifact)).unwrap();
            let result = Model::read(file, &Limits::default()).map_err(|error| error.to_string());
            if let Err(error) = result.and_then(|model| compare(&model, &case)) {
                failures.push(format!("{name}: {error}"));
            }
            checked += 1;
        }
    }
    println!("{checked} cases");
    assert!(failures.is_empty(), "{} of {checked} cases differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let mut failures = Vec::new();
    for version in versions() {
        for (name, case) in cases::<RefusedCase>(&version.join("refused")) {
            let file = File::open(version.join("refused").join(&case.artifact)).unwrap();
            match Model::read(file, &Limits::default()) {
                Ok(_) => failures.push(format!("{name} was accepted")),
                Err(error) if !case.mentions.iter().all(|mention| error.to_string().contains(mention)) => {
                    failures.push(format!("{name}: {error}"));
                }
                Err(_) => {}
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What was predicted, in bits.
fn bits(predictions: &Predictions) -> (Vec<u32>, Vec<u64>) {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect();
    match &predictions.outcome {
        Outcome::Values(values) => (Vec::new(), bits(values)),
        Outcome::Classes { predicted, probabilities } => (predicted.clone(), bits(probabilities)),
    }
}

fn same_as_a_parameter_file(model: &Model, case: &Case) -> Result<(), String> {
    let bytes = model.write_parameters("a test").map_err(|error| error.to_string())?;
    let again = Model::read_parameters(&bytes, &Limits::default()).map_err(|error| error.to_string())?;
    let table = table(case);
    let predict = |model: &Model| model.predict(&table).map_err(|error| error.to_string());
    let (expected, found) = (predict(model)?, predict(&again)?);
    if bits(&expected) != bits(&found) || expected.refused != found.refused {
        return Err("predicts something else".to_owned());
    }
    if model.describe() != again.describe() || model.feature_names() != again.feature_names() {
        return Err(format!("{}\nbecame\n{}", model.describe(), again.describe()));
    }
    let written_again = again.write_parameters("a test").map_err(|error| error.to_string())?;
    if bytes == written_again { Ok(()) } else { Err("is written otherwise once it was read".to_owned()) }
}

#[test]
fn a_parameter_file_predicts_to_the_bit_what_the_artifact_predicts() {
    let mut failures = Vec::new();
    for version in versions() {
        for (name, case) in cases::<Case>(&version) {
            let file = File::open(version.join(&case.artifact)).unwrap();
            let model = Model::read(file, &Limits::default()).unwrap();
            if let Err(error) = same_as_a_parameter_file(&model, &case) {
                failures.push(format!("{name}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
}

/// The JSON of a parameter file, which begins the safetensors header.
fn description(bytes: &[u8]) -> String {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    String::from_utf8_lossy(&bytes[8..][..length]).into_owned()
}

#[test]
fn what_the_training_job_exports_is_what_the_artifact_is_converted_to() {
    let mut failures = Vec::new();
    for version in versions() {
        for (name, case) in cases::<Case>(&version) {
            let stem = name.rsplit('/').next().unwrap();
            let exported = fs::read(version.join(stem).with_added_extension("safetensors")).unwrap();
            let file = File::open(version.join(&case.artifact)).unwrap();
            let model = Model::read(file, &Limits::default()).unwrap();
            // Who wrote it is all that may differ.
            let converted = model.write_parameters("export_parameters.py 1").unwrap();
            if converted != exported {
                let (converted, exported) = (description(&converted), description(&exported));
                failures.push(if converted == exported {
                    format!("{name}: the tensors differ")
                } else {
                    format!("{name}:\n{converted}\n{exported}")
                });
            }
        }
    }
    assert!(failures.is_empty(), "{} cases:\n{}", failures.len(), failures.join("\n"));
}
