//! Asking models about rows.
//!
//! Pure computation on whatever thread it is called from; [`Engine`](crate::Engine) keeps it off the threads that
//! serve. A model is asked about all assets at once. What it refuses, and what it says that is not finite, becomes
//! a failure of that model for that asset; only a table or a model that cannot be used at all is an error.

use std::collections::BTreeMap;

use models::{Label, Model, PredictError, Predictions, Table};
use shared::{
    Asset, AssetPredictions, ModelKind, ModelName, Outcome, Prediction, PredictionFailure, ServedModel,
};
use thiserror::Error;

use crate::tables::NewestRows;

/// The class whose probability is asked for: the close rises.
const RISE: i64 = 1;

/// The classes that say which of them is a rise, as whole numbers in ascending order. `false` is 0 and `true` is 1.
const DIRECTIONS: [&[i64]; 3] = [&[0, 1], &[-1, 1], &[-1, 0, 1]];

/// More classes than this are counted in a message and not named.
const MAX_NAMED_CLASSES: usize = 8;

/// What one model says of each row of a table, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelScores {
    rows: Vec<Result<Outcome, String>>,
}

/// A model cannot be asked about this table.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ScoreError {
    /// It is named a regressor and predicts classes.
    #[error("model {model}: a regressor by its name, and the artifact holds a classifier")]
    NotARegressor {
        /// The model.
        model: ModelName,
    },
    /// It is named a classifier and predicts values.
    #[error("model {model}: a classifier by its name, and the artifact holds a regressor")]
    NotAClassifier {
        /// The model.
        model: ModelName,
    },
    /// Its classes are not those of a direction.
    #[error(
        "model {model}: nothing says which of its classes ({found}) is a rise; train it on 0 and 1, False and True, \
         -1 and 1, or -1, 0 and 1, where 1 is a rise"
    )]
    Classes {
        /// The model.
        model: ModelName,
        /// The classes that it was trained on, of many the first ones.
        found: String,
    },
    /// The table is not what it was trained on.
    #[error("model {model}: {source}")]
    Table {
        /// The model.
        model: ModelName,
        /// What is wrong with it.
        source: PredictError,
    },
    /// It gave another number of answers than there are rows.
    #[error("model {model}: {answers} answers for {rows} rows")]
    Answers {
        /// The model.
        model: ModelName,
        /// How many rows it was asked about.
        rows: usize,
        /// How many answers it gave.
        answers: usize,
    },
}

impl ModelScores {
    /// The model's answers, row by row, or why there is none.
    #[must_use]
    pub fn new(rows: Vec<Result<Outcome, String>>) -> Self {
        Self { rows }
    }

    /// The model's answers, row by row.
    pub fn outcomes(&self) -> impl Iterator<Item = Option<&Outcome>> {
        self.rows.iter().map(|row| row.as_ref().ok())
    }

    /// The model's answers, row by row, or why there is none.
    #[must_use]
    pub fn into_rows(self) -> Vec<Result<Outcome, String>> {
        self.rows
    }

    /// Why the first row without a prediction has none.
    #[must_use]
    pub fn first_failure(&self) -> Option<&str> {
        self.rows.iter().find_map(|row| row.as_ref().err()).map(String::as_str)
    }

    /// Whether the model has a prediction for any row.
    #[must_use]
    pub fn has_predictions(&self) -> bool {
        self.rows.iter().any(Result::is_ok)
    }
}

/// Asks a model about all rows of a table.
///
/// # Errors
/// The model is not what its name says, or the table is not what it was trained on.
pub fn score(name: &ModelName, model: &Model, table: &Table) -> Result<ModelScores, ScoreError> {
    let classes = usable_classes(name, model.classes())?;
    let Predictions { outcome, refused } =
        model.predict(table).map_err(|source| ScoreError::Table { model: name.clone(), source })?;
    let mut answers: Vec<Result<Outcome, String>> = match (outcome, classes) {
        (models::Outcome::Values(values), None) => values.into_iter().map(close).collect(),
        (models::Outcome::Classes { predicted, probabilities }, Some(classes)) => predicted
            .into_iter()
            .zip(probabilities.chunks(classes.labels.len().max(1)))
            .map(|(place, probabilities)| classes.direction(place, probabilities))
            .collect(),
        (models::Outcome::Classes { .. }, None) => {
            return Err(ScoreError::NotARegressor { model: name.clone() });
        }
        (models::Outcome::Values(_), Some(_)) => {
            return Err(ScoreError::NotAClassifier { model: name.clone() });
        }
    };
    if answers.len() != table.rows() {
        let (rows, answers) = (table.rows(), answers.len());
        return Err(ScoreError::Answers { model: name.clone(), rows, answers });
    }
    for refusal in refused {
        if let Some(answer) = answers.get_mut(refusal.row) {
            *answer = Err(refusal.reason.to_string());
        }
    }
    Ok(ModelScores { rows: answers })
}

/// Every asset's predictions, from what each model says of the rows. Models in the order of their names.
#[must_use]
pub fn by_asset(
    rows: &NewestRows,
    scored: &[(&ServedModel, &ModelScores)],
) -> BTreeMap<Asset, AssetPredictions> {
    let mut assets = BTreeMap::new();
    for (row, (asset, data_date)) in rows.assets.iter().enumerate() {
        let mut predictions = AssetPredictions {
            data_date: *data_date,
            last_close: rows.close(row),
            ..AssetPredictions::default()
        };
        for (served, scores) in scored {
            match scores.rows.get(row) {
                Some(Ok(outcome)) => predictions.predictions.push(Prediction {
                    model: served.name.clone(),
                    version: served.version.clone(),
                    outcome: *outcome,
                }),
                Some(Err(reason)) => predictions
                    .failures
                    .push(PredictionFailure { model: served.name.clone(), reason: reason.clone() }),
                None => {}
            }
        }
        assets.insert(asset.clone(), predictions);
    }
    assets
}

/// The classes of a classifier of directions.
struct Classes {
    labels: Vec<i64>,
    place_of_rise: usize,
}

fn usable_classes(name: &ModelName, classes: Option<&[Label]>) -> Result<Option<Classes>, ScoreError> {
    match (name.kind(), classes) {
        (ModelKind::Regressor, None) => Ok(None),
        (ModelKind::Regressor, Some(_)) => Err(ScoreError::NotARegressor { model: name.clone() }),
        (ModelKind::Classifier, None) => Err(ScoreError::NotAClassifier { model: name.clone() }),
        (ModelKind::Classifier, Some(found)) => match Classes::new(found) {
            Some(classes) => Ok(Some(classes)),
            None => Err(ScoreError::Classes { model: name.clone(), found: named(found) }),
        },
    }
}

/// Classes for a message.
fn named(classes: &[Label]) -> String {
    let one = |class: &Label| match class {
        Label::Text(text) => format!("{:?}", text.chars().take(32).collect::<String>()),
        class => class.to_string(),
    };
    let mut named: Vec<String> = classes.iter().take(MAX_NAMED_CLASSES).map(one).collect();
    if let more @ 1.. = classes.len().saturating_sub(MAX_NAMED_CLASSES) {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

/// Whether a model of two classes is one of directions, whose second class is a rise.
pub(crate) fn is_rise_or_not(classes: &[Label]) -> bool {
    Classes::new(classes).is_some_and(|classes| classes.labels.len() == 2 && classes.place_of_rise == 1)
}

impl Classes {
    fn new(labels: &[Label]) -> Option<Self> {
        let whole = |label: &Label| match label {
            Label::Integer(value) => Some(*value),
            Label::Bool(value) => Some(i64::from(*value)),
            Label::Real(value) => [-1, 0, 1].into_iter().find(|whole| f64::from(*whole as i8) == *value),
            Label::Text(_) => None,
        };
        let labels: Vec<i64> = labels.iter().map(whole).collect::<Option<_>>()?;
        let mut ascending = labels.clone();
        ascending.sort_unstable();
        if !DIRECTIONS.contains(&&*ascending) {
            return None;
        }
        let place_of_rise = labels.iter().position(|label| *label == RISE)?;
        Some(Self { labels, place_of_rise })
    }

    fn direction(&self, place: u32, probabilities: &[f64]) -> Result<Outcome, String> {
        let class = usize::try_from(place).ok().and_then(|place| self.labels.get(place));
        let class = *class.ok_or("the predicted class is not one of the model's")?;
        let probability = probabilities.get(self.place_of_rise).copied().unwrap_or(f64::NAN);
        if !probability.is_finite() {
            return Err("the probability is not finite".to_owned());
        }
        Ok(Outcome::Direction { class, probability })
    }
}

fn close(value: f64) -> Result<Outcome, String> {
    if value.is_finite() { Ok(Outcome::Close(value)) } else { Err("the prediction is not finite".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ModelName {
        text.parse().unwrap()
    }

    #[test]
    fn a_classifier_needs_classes_that_say_which_one_is_a_rise() {
        let classifier = name("classifier_rf");
        let classes = [Label::Integer(0), Label::Integer(1)];
        let integers =
            |values: &[i64]| -> Vec<Label> { values.iter().copied().map(Label::Integer).collect() };
        let reals = |values: &[f64]| -> Vec<Label> { values.iter().copied().map(Label::Real).collect() };
        let texts = |values: &[&str]| -> Vec<Label> {
            values.iter().map(|text| Label::Text((*text).into())).collect()
        };
        for (usable, rise, whole) in [
            (classes.to_vec(), 1, vec![0, 1]),
            (vec![Label::Bool(false), Label::Bool(true)], 1, vec![0, 1]),
            (integers(&[-1, 1]), 1, vec![-1, 1]),
            (integers(&[-1, 0, 1]), 2, vec![-1, 0, 1]),
            (reals(&[0.0, 1.0]), 1, vec![0, 1]),
            (reals(&[-0.0, 1.0]), 1, vec![0, 1]),
            (reals(&[-1.0, 1.0]), 1, vec![-1, 1]),
            (reals(&[-1.0, 0.0, 1.0]), 2, vec![-1, 0, 1]),
        ] {
            let classes = usable_classes(&classifier, Some(&usable)).unwrap().unwrap();
            assert_eq!((classes.place_of_rise, classes.labels), (rise, whole), "{usable:?}");
        }
        for (unusable, named) in [
            (integers(&[0, 1, 2]), "(0, 1, 2)"),
            (integers(&[1, 2]), "(1, 2)"),
            (integers(&[0]), "(0)"),
            (integers(&[1]), "(1)"),
            (integers(&[1, 1]), "(1, 1)"),
            (integers(&(0..20).collect::<Vec<_>>()), "(0, 1, 2, 3, 4, 5, 6, 7, 12 more)"),
            (reals(&[0.0, 1.5]), "(0.0, 1.5)"),
            (reals(&[1e-6, 1.0]), "(1e-06, 1.0)"),
            (reals(&[f64::NAN, 1.0]), "(nan, 1.0)"),
            (texts(&["down", "up"]), r#"("down", "up")"#),
            (texts(&["0", "1"]), r#"("0", "1")"#),
            (vec![Label::Bool(true)], "(true)"),
            (vec![], "()"),
        ] {
            let error = usable_classes(&classifier, Some(&unusable)).err().unwrap().to_string();
            assert!(error.contains(named) && error.contains("1 is a rise"), "{error}");
        }
        assert!(matches!(usable_classes(&classifier, None), Err(ScoreError::NotAClassifier { .. })));
        let regressor = name("regressor_rf");
        assert!(matches!(usable_classes(&regressor, Some(&classes)), Err(ScoreError::NotARegressor { .. })));
    }

    #[test]
    fn what_is_not_finite_is_a_failure_with_a_reason() {
        assert_eq!(close(f64::NAN), Err("the prediction is not finite".to_owned()));
        assert_eq!(close(1.5), Ok(Outcome::Close(1.5)));
        let classes = Classes::new(&[Label::Integer(0), Label::Integer(1)]).unwrap();
        assert_eq!(
            classes.direction(1, &[0.25, 0.75]),
            Ok(Outcome::Direction { class: 1, probability: 0.75 })
        );
        assert!(classes.direction(1, &[f64::NAN, f64::NAN]).is_err());
        assert!(classes.direction(2, &[0.25, 0.75]).is_err());
    }

    #[test]
    fn each_asset_gets_its_own_row() {
        let served = ServedModel {
            name: name("regressor_rf"),
            version: "20250729-2130".parse().unwrap(),
            loaded_at: jiff::Timestamp::UNIX_EPOCH,
            comparison: None,
            lost: None,
            stale: None,
        };
        let closes = models::Column::Number(vec![0.5, f64::NAN]);
        let rows = NewestRows {
            table: models::Table::new([("fechamento", closes)]).unwrap(),
            assets: vec![("BTC".parse().unwrap(), None), ("ETH".parse().unwrap(), None)],
            ..NewestRows::default()
        };
        let scores = ModelScores { rows: vec![Ok(Outcome::Close(1.0)), Err("no".to_owned())] };
        let assets = by_asset(&rows, &[(&served, &scores)]);
        let [btc, eth] = ["BTC", "ETH"].map(|symbol| &assets[&symbol.parse().unwrap()]);
        assert_eq!((btc.last_close, eth.last_close), (Some(0.5), None));
        assert_eq!((btc.predictions.len(), btc.failures.len()), (1, 0));
        assert_eq!((eth.predictions.len(), eth.failures.len()), (0, 1));
        assert_eq!(btc.predictions[0].outcome, Outcome::Close(1.0));
    }
}
