//! Fits what scikit-learn has fitted, and compares the predictions.
//!
//! Needs Python with scikit-learn 1.9 and pandas: `python3`, or what `CRIPTO_PYTHON` names.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    sync::OnceLock,
};

use linfa::{DatasetBase, ParamGuard, traits::Fit};
use models::{
    Column, Limits, Model, Outcome, Table,
    evaluation::{Metrics, TimeSeriesSplit},
    fit::{
        Algorithm, Amount, ClassWeight, FitError, GradientBoostingRegressor, LinearRegression, MaxFeatures,
        RandomForestClassifier, RandomForestRegressor, Specification, SpecificationError, Target,
    },
};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Case {
    columns: Vec<CaseColumn>,
    test: Vec<CaseColumn>,
    target: Vec<serde_json::Value>,
    weights: Option<Vec<f32>>,
    specification: Option<Specification>,
    artifact: Option<String>,
    fitted: Vec<f64>,
    tested: Vec<f64>,
    relative: f64,
    compare_tested: bool,
    coefficients: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct CaseColumn {
    name: String,
    kind: String,
    values: Vec<serde_json::Value>,
}

/// The cases, made once by scikit-learn.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let python = std::env::var_os("CRIPTO_PYTHON").unwrap_or_else(|| "python3".into());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/make_fits.py");
        let folder = tempfile::tempdir().unwrap();
        let run = Command::new(&python).arg(script).arg(folder.path()).output();
        let wanted = "these tests need Python with scikit-learn 1.9 and pandas; name it in CRIPTO_PYTHON";
        let run = run.unwrap_or_else(|error| panic!("{}: {error}; {wanted}", python.display()));
        assert!(run.status.success(), "{}\n{wanted}", String::from_utf8_lossy(&run.stderr));
        folder
    });
    folder.path()
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let cases = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut names: Vec<String> = cases.map(|path| path.file_stem().unwrap().display().to_string()).collect();
    names.sort();
    names
}

fn table(columns: &[CaseColumn]) -> Table {
    let column = |column: &CaseColumn| {
        let values = column.values.iter();
        let content = if column.kind == "text" {
            Column::text(values.map(serde_json::Value::as_str))
        } else {
            Column::Number(values.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect())
        };
        (column.name.clone(), content)
    };
    Table::new(columns.iter().map(column)).unwrap()
}

/// Predicted values, or all probabilities.
fn answers(model: &Model, table: &Table) -> Vec<f64> {
    let predictions = model.predict(table).unwrap();
    assert_eq!(predictions.refused, []);
    match predictions.outcome {
        Outcome::Values(values) => values,
        Outcome::Classes { probabilities, .. } => probabilities,
    }
}

fn read(path: &Path) -> Model {
    Model::read(File::open(path).unwrap(), &Limits::default()).unwrap()
}

fn differences(what: &str, ours: &[f64], theirs: &[f64], relative: f64) -> Result<(), String> {
    if ours.len() != theirs.len() {
        return Err(format!("{} {what}, scikit-learn has {}", ours.len(), theirs.len()));
    }
    for (place, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let near = (ours - theirs).abs() <= relative * theirs.abs().max(1.0);
        if !near {
            return Err(format!("{what} {place}: {ours:?}, scikit-learn {theirs:?}"));
        }
    }
    Ok(())
}

fn fit_and_compare(name: &str) -> Result<(), String> {
    let case: Case =
        serde_json::from_slice(&fs::read(folder().join(format!("{name}.json"))).unwrap()).unwrap();
    let specification = match (&case.specification, &case.artifact) {
        (Some(specification), _) => specification.clone(),
        (None, Some(artifact)) => {
            Specification::of(&read(&folder().join(artifact))).map_err(|error| error.to_string())?
        }
        (None, None) => panic!("{name} has no specification"),
    };
    let target = if specification.estimator().classifies() {
        Target::classes(case.target.iter().map(|label| label.as_i64().unwrap()))
    } else {
        Target::Values(case.target.iter().map(|value| value.as_f64().unwrap()).collect())
    };
    let (rows, test) = (table(&case.columns), table(&case.test));
    let mut dataset = DatasetBase::new(rows.clone(), target);
    if let Some(weights) = &case.weights {
        dataset = dataset.with_weights(weights.clone().into());
    }
    let model: Model = specification.fit(&dataset).map_err(|error: FitError| error.to_string())?;
    differences("fitted row", &answers(&model, &rows), &case.fitted, case.relative)?;
    if case.compare_tested {
        differences("new row", &answers(&model, &test), &case.tested, case.relative)?;
    }
    if let (Some(theirs), Some(ours)) = (&case.coefficients, model.coefficients()) {
        differences("coefficient", &ours.concat(), theirs, case.relative.max(1e-6))?;
    }
    // A model that was fitted here can be fitted again.
    let again = Specification::of(&model).map_err(|error| error.to_string())?;
    let again: Model = again.fit(&dataset).map_err(|error: FitError| error.to_string())?;
    if again == model { Ok(()) } else { Err("the model's own specification gives another model".to_owned()) }
}

#[test]
fn what_scikit_learn_fits_predicts_the_same_when_it_is_fitted_here() {
    let names = names(folder());
    let failures: Vec<String> = names
        .iter()
        .filter_map(|name| fit_and_compare(name).err().map(|error| format!("{name}: {error}")))
        .collect();
    println!("{} cases", names.len());
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), names.len(), failures.join("\n"));
}

#[test]
fn a_model_that_cannot_be_fitted_again_is_refused_by_name() {
    #[derive(Deserialize)]
    struct Refused {
        mentions: Vec<String>,
    }
    let folder = folder().join("refused");
    for name in names(&folder) {
        let content = fs::read(folder.join(format!("{name}.json"))).unwrap();
        let refused: Refused = serde_json::from_slice(&content).unwrap();
        let error = Specification::of(&read(&folder.join(format!("{name}.joblib")))).unwrap_err().to_string();
        for mention in refused.mentions {
            assert!(error.contains(&mention), "{name}: {error}");
        }
    }
}

/// A table with values of several kinds, and a target that depends on them.
fn made(rows: usize) -> (Table, Vec<f64>) {
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let columns: Vec<Vec<f64>> = (0..12)
        .map(|place| {
            let column = (0..rows).map(|_| draw());
            if place == 11 { column.map(|value| (value * 5.0).floor()).collect() } else { column.collect() }
        })
        .collect();
    let assets: Vec<&str> = (0..rows).map(|row| ["BTC", "ETH", "SOL"][row % 3]).collect();
    let target = (0..rows)
        .map(|row| 4.0 * columns[0][row] + (9.0 * columns[1][row]).sin() + columns[11][row] + draw())
        .collect();
    let numbers = columns.into_iter().enumerate();
    let numbers = numbers.map(|(place, column)| (format!("c{place}"), Column::Number(column)));
    let text = ("ativo".to_owned(), Column::text(assets.into_iter().map(Some)));
    (Table::new(numbers.chain([text])).unwrap(), target)
}

fn fit(estimator: Algorithm, table: &Table, target: Target) -> Model {
    let dataset = DatasetBase::new(table.clone(), target);
    let specification = Specification::new(estimator).categorical(["ativo"]);
    specification.fit(&dataset).map_err(|error: FitError| error).unwrap()
}

fn rise(target: &[f64]) -> Target {
    Target::classes(target.iter().map(|value| i64::from(*value > 4.5)))
}

#[test]
fn the_number_of_threads_changes_nothing() {
    // So many rows that boosting shares the features of a node out.
    let (table, target) = made(3_000);
    let boosting = Algorithm::GradientBoostingRegressor(GradientBoostingRegressor {
        n_estimators: 8,
        subsample: 0.9,
        ..GradientBoostingRegressor::default()
    });
    let forest = Algorithm::RandomForestClassifier(RandomForestClassifier {
        n_estimators: 7,
        class_weight: Some(ClassWeight::Balanced),
        max_depth: Some(8),
        ..RandomForestClassifier::default()
    });
    let with_threads = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let boosted = fit(boosting.clone(), &table, Target::Values(target.clone()));
            (boosted, fit(forest.clone(), &table, rise(&target)))
        })
    };
    let alone = with_threads(1);
    for threads in [2, 5] {
        assert!(with_threads(threads) == alone, "{threads} threads");
    }
}

#[test]
fn another_seed_is_another_forest() {
    let (table, target) = made(200);
    let forest = Algorithm::RandomForestRegressor(RandomForestRegressor {
        n_estimators: 2,
        ..RandomForestRegressor::default()
    });
    let of_seed = |seed| fit(forest.clone().with_random_state(seed), &table, Target::Values(target.clone()));
    assert!(of_seed(1) == of_seed(1));
    assert!(of_seed(1) != of_seed(2));
}

fn error_of(estimator: Algorithm, table: &Table, target: &[f64]) -> f64 {
    let (past, future) = TimeSeriesSplit::new(2).split(table.rows()).last().unwrap();
    let model = fit(estimator, &table.slice(past.clone()), Target::Values(target[past].to_vec()));
    let predictions = model.predict(&table.slice(future.clone())).unwrap();
    let metrics = Metrics::of(&predictions, &Target::Values(target[future].to_vec()));
    let Some(Metrics::Regression(metrics)) = metrics else { panic!("a regressor") };
    metrics.rmse
}

#[test]
fn histograms_cost_little_accuracy_and_none_where_bins_hold_single_values() {
    let (table, target) = made(900);
    let boosting = |max_bins| {
        let parameters =
            GradientBoostingRegressor { n_estimators: 40, max_bins, ..GradientBoostingRegressor::default() };
        Algorithm::GradientBoostingRegressor(parameters)
    };
    let exact = error_of(boosting(None), &table, &target);
    assert!((error_of(boosting(Some(1_000)), &table, &target) - exact).abs() < 1e-9 * exact);
    let binned = error_of(boosting(Some(32)), &table, &target);
    assert!(binned < 1.05 * exact, "{binned} with 32 bins, {exact} exactly");
    let mean = target.iter().sum::<f64>() / target.len() as f64;
    let spread = target.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / target.len() as f64;
    assert!(exact < 0.5 * spread.sqrt(), "the trees have learnt something: {exact} of {}", spread.sqrt());
}

#[test]
fn a_specification_is_read_from_a_file_and_checked() {
    let read = |text: &str| serde_json::from_str::<Specification>(text).map_err(|error| error.to_string());
    let good = r#"{"categorical": ["ativo"], "scale": true, "estimator": {"class": "LogisticRegression", "C": 0.5}}"#;
    assert!(read(good).unwrap().check().is_ok());
    for (text, mention) in [
        (r#"{"estimator": {"class": "LogisticRegression", "c": 0.5}}"#, "unknown field `c`"),
        (r#"{"estimator": {"class": "SVC"}}"#, "unknown variant `SVC`"),
        (r#"{"estimator": {"class": "LinearRegression"}, "scaled": true}"#, "unknown field `scaled`"),
        (r#"{"estimator": {"class": "RandomForestRegressor", "class_weight": "balanced"}}"#, "class_weight"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(mention), "{error}");
    }
    let out_of_range = |estimator| Specification::new(estimator).check().unwrap_err();
    let forest = RandomForestRegressor::default();
    for (parameters, parameter) in [
        (RandomForestRegressor { n_estimators: 0, ..forest.clone() }, "n_estimators"),
        (RandomForestRegressor { max_depth: Some(0), ..forest.clone() }, "max_depth"),
        (
            RandomForestRegressor { min_samples_leaf: Amount::Fraction(f64::NAN), ..forest.clone() },
            "min_samples_leaf",
        ),
        (
            RandomForestRegressor {
                max_features: Some(MaxFeatures::Amount(Amount::Count(0))),
                ..forest.clone()
            },
            "max_features",
        ),
        (
            RandomForestRegressor { bootstrap: false, max_samples: Some(Amount::Count(5)), ..forest },
            "max_samples",
        ),
    ] {
        let error = out_of_range(Algorithm::RandomForestRegressor(parameters));
        let is_it =
            matches!(error, SpecificationError::OutOfRange { parameter: found, .. } if found == parameter);
        assert!(is_it, "{error}");
    }
    let boosting = GradientBoostingRegressor { subsample: 1.5, ..GradientBoostingRegressor::default() };
    assert!(out_of_range(Algorithm::GradientBoostingRegressor(boosting)).to_string().contains("subsample"));
}

#[test]
fn what_cannot_be_fitted_is_an_error_that_says_why() {
    let (table, target) = made(20);
    let linear = || Specification::new(Algorithm::LinearRegression(LinearRegression::default()));
    let error = |specification: Specification, target| {
        let result: Result<Model, FitError> = specification.fit(&DatasetBase::new(table.clone(), target));
        result.map(drop).unwrap_err().to_string()
    };
    let values = || Target::Values(target.clone());
    let forest = |forest| Specification::new(Algorithm::RandomForestRegressor(forest));
    let many = RandomForestRegressor {
        max_samples: Some(Amount::Count(100_000_000_000)),
        n_estimators: 1,
        ..RandomForestRegressor::default()
    };
    let expected = "max_samples = 100000000000, and of 20 rows at most 200 are drawn";
    assert_eq!(error(forest(many), values()), expected);
    assert_eq!(error(linear(), Target::Values(vec![1.0])), "1 targets for 20 rows");
    assert_eq!(error(linear(), rise(&target)), "LinearRegression is fitted to values");
    let mut missing = target.clone();
    missing[7] = f64::NAN;
    assert_eq!(error(linear(), Target::Values(missing)), "the target of row 7 is NaN");
    assert!(error(linear().categorical(["setor"]), values()).contains("setor"));
    let numbers = error(linear().categorical(["c3"]), values());
    assert_eq!(numbers, "column \"c3\" holds numbers where text was expected");
    // Text is no number, and nothing but text is left.
    assert_eq!(error(linear().numeric(["ativo"]), values()), "no column has values");
    let forest = RandomForestClassifier::default();
    let one_class =
        error(Specification::new(Algorithm::RandomForestClassifier(forest)), Target::classes(vec![1; 20]));
    assert_eq!(one_class, "RandomForestClassifier was given 1 classes and is for 2 to 64");
}

#[test]
fn a_fitted_model_says_what_fitted_it() {
    let (table, target) = made(30);
    let model = fit(Algorithm::LinearRegression(LinearRegression::default()), &table, Target::Values(target));
    let description = model.describe();
    assert_eq!(description.fitted_by.as_deref(), Some("cripto-models 0.1.0"));
    assert_eq!(description.column_count, 13);
    assert!(
        description
            .to_string()
            .starts_with("regressor fitted by cripto-models 0.1.0 as scikit-learn 1.9 would")
    );
}
