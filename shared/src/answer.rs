//! The documented answers, as they go over the wire. Field names are the contract's, in Portuguese.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::{Asset, AssetPredictions, Generation, ModelName, Outcome, Prediction, Snapshot};

/// `GET /symbol/{ativo}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SymbolAnswer<'a> {
    /// The asset's symbol.
    pub ativo: &'a Asset,
    /// When the predictions were made.
    #[serde(serialize_with = "whole_seconds")]
    pub timestamp: Timestamp,
    /// Each model's prediction, by its name.
    pub modelos: BTreeMap<&'a ModelName, ModelAnswer<'a>>,
    /// How many models answered.
    pub total_modelos: usize,
    /// The day of the newest data, on which the predictions rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dados_ate: Option<Date>,
    /// The close of that day, to which a predicted close is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ultimo_fechamento: Option<f64>,
    /// Whether that day lies [too far behind](crate::mark_stale) those of other assets; left out if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub desatualizado: bool,
    /// The number of the snapshot.
    pub geracao: Generation,
    /// Models without a prediction for this asset, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub falhas: BTreeMap<&'a ModelName, &'a str>,
}

/// One model's prediction in a [`SymbolAnswer`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelAnswer<'a> {
    /// The predicted close, or the predicted class.
    pub predicao: Number,
    /// The probability of class 1; classifiers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilidade: Option<f64>,
    /// The model's name.
    pub modelo: &'a ModelName,
    /// `regressor` or `classifier`.
    pub tipo: &'static str,
    /// The model's version.
    pub versao: &'a str,
    /// The prediction is that of an earlier generation, since the model cannot be read; left out if it is new.
    #[serde(skip_serializing_if = "is_false")]
    pub desatualizado: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// A [`SymbolAnswer`] that is read back from a store, as far as predictions can be taken over from it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PublishedAnswer {
    /// The day of the newest data.
    pub dados_ate: Option<Date>,
    /// The close of that day.
    pub ultimo_fechamento: Option<f64>,
    /// Models without a prediction for this asset, and why.
    #[serde(default)]
    pub falhas: BTreeMap<ModelName, String>,
    modelos: BTreeMap<ModelName, PublishedPrediction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct PublishedPrediction {
    predicao: Number,
    probabilidade: Option<f64>,
}

/// An answer that is not as documented.
#[derive(Debug, Error)]
#[error("the answer is not as documented: {0}")]
pub struct InvalidAnswer(#[from] serde_json::Error);

impl PublishedAnswer {
    /// Reads an answer's bytes.
    ///
    /// # Errors
    /// They are not those of a [`SymbolAnswer`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidAnswer> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// What a model says of the asset.
    #[must_use]
    pub fn outcome(&self, model: &ModelName) -> Option<Outcome> {
        let PublishedPrediction { predicao, probabilidade } = *self.modelos.get(model)?;
        match (predicao, probabilidade) {
            (Number::Class(class), Some(probability)) => Some(Outcome::Direction { class, probability }),
            (Number::Close(close), None) => Some(Outcome::Close(close)),
            _ => None,
        }
    }
}

/// A close is a real number and a class a whole one, and JSON readers can tell `1.0` from `1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// A predicted class.
    Class(i64),
    /// A predicted close.
    Close(f64),
}

impl<'a> SymbolAnswer<'a> {
    /// The answer for one asset of a snapshot.
    #[must_use]
    pub fn new(snapshot: &Snapshot, asset: &'a Asset, predictions: &'a AssetPredictions) -> Self {
        let is_stale = |name: &ModelName| {
            snapshot.models.iter().any(|model| model.stale.is_some() && model.name == *name)
        };
        let modelos: BTreeMap<_, _> = predictions
            .predictions
            .iter()
            .map(|prediction| {
                let desatualizado = is_stale(&prediction.model);
                (&prediction.model, ModelAnswer { desatualizado, ..ModelAnswer::from(prediction) })
            })
            .collect();
        Self {
            ativo: asset,
            timestamp: snapshot.scored_at,
            total_modelos: modelos.len(),
            modelos,
            dados_ate: predictions.data_date,
            ultimo_fechamento: predictions.last_close,
            desatualizado: predictions.is_stale,
            geracao: snapshot.generation,
            falhas: predictions
                .failures
                .iter()
                .map(|failure| (&failure.model, failure.reason.as_str()))
                .collect(),
        }
    }
}

/// The bytes of one asset's answer.
#[must_use]
pub fn render(snapshot: &Snapshot, asset: &Asset, predictions: &AssetPredictions) -> Vec<u8> {
    serde_json::to_vec(&SymbolAnswer::new(snapshot, asset, predictions))
        .expect("maps of texts to texts and numbers have a JSON form")
}

impl<'a> From<&'a Prediction> for ModelAnswer<'a> {
    fn from(prediction: &'a Prediction) -> Self {
        let (predicao, probabilidade) = match prediction.outcome {
            Outcome::Close(close) => (Number::Close(close), None),
            Outcome::Direction { class, probability } => (Number::Class(class), Some(probability)),
        };
        Self {
            predicao,
            probabilidade,
            modelo: &prediction.model,
            tipo: prediction.model.kind().as_str(),
            versao: prediction.version.as_str(),
            desatualizado: false,
        }
    }
}

/// RFC 3339 in whole seconds, as the documentation shows timestamps.
///
/// # Errors
/// As the serializer.
pub fn whole_seconds<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&timestamp.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PredictionFailure, TraceId};

    #[test]
    fn a_symbol_is_answered_as_documented() {
        let prediction = |model: &str, outcome| Prediction {
            model: model.parse().unwrap(),
            version: "20250729-2130".parse().unwrap(),
            outcome,
        };
        let predictions = AssetPredictions {
            data_date: Some(jiff::civil::date(2025, 7, 28)),
            last_close: Some(44500.0),
            predictions: vec![
                prediction("regressor_rf", Outcome::Close(45000.0)),
                prediction("classifier_rf", Outcome::Direction { class: 1, probability: 0.75 }),
            ],
            failures: vec![PredictionFailure {
                model: "regressor_lin".parse().unwrap(),
                reason: "the prediction is not finite".into(),
            }],
            is_stale: false,
        };
        let asset: Asset = "BTC".parse().unwrap();
        let snapshot = Snapshot {
            generation: Generation(7),
            scored_at: "2025-07-29T21:30:00.123Z".parse().unwrap(),
            trace_id: TraceId::new(),
            bucket: None,
            models: Vec::new(),
            rejected: Vec::new(),
            assets: BTreeMap::new(),
        };
        let answer = String::from_utf8(render(&snapshot, &asset, &predictions)).unwrap();
        assert_eq!(
            answer,
            r#"{"ativo":"BTC","timestamp":"2025-07-29T21:30:00Z","modelos":{"regressor_rf":{"predicao":45000.0,"modelo":"regressor_rf","tipo":"regressor","versao":"20250729-2130"},"classifier_rf":{"predicao":1,"probabilidade":0.75,"modelo":"classifier_rf","tipo":"classifier","versao":"20250729-2130"}},"total_modelos":2,"dados_ate":"2025-07-28","ultimo_fechamento":44500.0,"geracao":7,"falhas":{"regressor_lin":"the prediction is not finite"}}"#
        );
        let stale = AssetPredictions { is_stale: true, ..predictions };
        let answer = String::from_utf8(render(&snapshot, &asset, &stale)).unwrap();
        assert!(
            answer.contains(r#""ultimo_fechamento":44500.0,"desatualizado":true,"geracao":7"#),
            "{answer}"
        );
    }
}
