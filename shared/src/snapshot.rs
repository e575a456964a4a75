use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::{Asset, Comparison, ModelName, ModelVersion, Outcome, Prediction, PredictionFailure, TraceId};

/// The number of a snapshot. It is drawn from the store before scoring begins, so that of two runs the one that
/// began later, and therefore saw the newer bucket, has the larger number, whichever finishes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Everything that is served, as one immutable whole, as the scorer makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The number that orders snapshots.
    pub generation: Generation,
    /// When the scoring that it holds began.
    pub scored_at: Timestamp,
    /// The work that it came from.
    pub trace_id: TraceId,
    /// Fingerprint of the bucket's listing that it was made from, if it is known.
    pub bucket: Option<u64>,
    /// The models in force, in the order of their names.
    pub models: Vec<ServedModel>,
    /// Artifacts that are not in force although they are the newest of their name, and why.
    pub rejected: Vec<RejectedArtifact>,
    /// Each asset's predictions.
    pub assets: BTreeMap<Asset, AssetPredictions>,
}

/// A model in force.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedModel {
    /// Its name.
    pub name: ModelName,
    /// The version in force.
    pub version: ModelVersion,
    /// When it was read from the bucket.
    pub loaded_at: Timestamp,
    /// How it did beside the version before it, if it was retrained here.
    pub comparison: Option<Box<Comparison>>,
    /// The newest comparison that a challenger has lost since.
    pub lost: Option<Box<Comparison>>,
    /// Why its predictions are those of an earlier generation; nothing if they are new.
    pub stale: Option<Box<Stale>>,
}

/// Why a model's predictions are those of an earlier generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stale {
    /// What stands in the way, for a person to read.
    pub reason: String,
    /// The day of the newest row that the predictions rest on.
    pub data_until: Option<Date>,
}

/// An artifact that could not become, or stay, a model in force.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RejectedArtifact {
    /// The object's key in the bucket.
    pub key: String,
    /// Why, for a person to read.
    pub reason: String,
}

/// One asset's predictions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetPredictions {
    /// The day of the row that was scored, where the table has one.
    pub data_date: Option<Date>,
    /// The close of that row, which regressors predict the next of; where the table has one. Always finite.
    pub last_close: Option<f64>,
    /// What each model said, in the order of the models' names.
    pub predictions: Vec<Prediction>,
    /// Which models said nothing, and why.
    pub failures: Vec<PredictionFailure>,
    /// Whether the row is [too old](crate::mark_stale) to be compared with those of other assets.
    pub is_stale: bool,
}

/// What there is to know of a published snapshot without looking at single assets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The number of the snapshot.
    pub generation: Generation,
    /// When the scoring began.
    pub scored_at: Timestamp,
    /// The work that it came from.
    pub trace_id: TraceId,
    /// What it says, in a number.
    pub digest: Digest,
    /// The models in force, in the order of their names.
    pub models: Vec<ModelSummary>,
    /// Artifacts that are not in force, and why.
    pub rejected: Vec<RejectedArtifact>,
    /// How many assets there are.
    pub assets: usize,
    /// How many bytes all assets' answers have together.
    pub answer_bytes: u64,
    /// The assets whose rows are [too old](crate::mark_stale) to be compared with those of the others, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Asset>,
}

/// A model in force, and what came of asking it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Its name.
    pub name: ModelName,
    /// The version in force.
    pub version: ModelVersion,
    /// When it was read from the bucket.
    pub loaded_at: Timestamp,
    /// How many assets it has a prediction for.
    pub predicted: usize,
    /// How many assets it has none for although it was asked.
    pub failed: usize,
    /// The day of the newest row that it has a prediction for.
    pub data_until: Option<Date>,
    /// The day of the oldest row that it has a prediction for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_data: Option<Date>,
    /// How it did beside the version before it, if it was retrained here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Box<Comparison>>,
    /// The newest comparison that a challenger has lost since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Box<Comparison>>,
    /// Why its predictions are those of an earlier generation; nothing if they are new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Box<Stale>>,
}

/// Content hash of a snapshot. Ignores generation and timestamps.
///
/// Two digests are equal if their snapshots say the same, whatever the bucket was like. The fingerprint of the bucket is
/// kept beside the hash: a generation that was taken back stays away as long as the bucket does not change.
#[derive(Debug, Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    content: u64,
    bucket: Option<u64>,
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.content.hash(state);
    }
}

impl Digest {
    /// Returns the hash of a snapshot's models, rejections and predictions, with the fingerprint of its bucket.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        // Two builds may hash differently. That costs one publication that says nothing new.
        let mut hasher = DefaultHasher::new();
        for model in &snapshot.models {
            (model.name.as_str(), model.version.as_str()).hash(&mut hasher);
            for comparison in [&model.comparison, &model.lost] {
                let comparison = comparison.as_ref().map(serde_json::to_string);
                comparison.and_then(Result::ok).hash(&mut hasher);
            }
            // Only what is stale, so that the digests of other snapshots stay as they were.
            if let Some(stale) = &model.stale {
                stale.hash(&mut hasher);
            }
        }
        snapshot.rejected.hash(&mut hasher);
        for (asset, predictions) in &snapshot.assets {
            (asset, predictions.data_date, predictions.last_close.map(f64::to_bits)).hash(&mut hasher);
            for prediction in &predictions.predictions {
                (prediction.model.as_str(), prediction.version.as_str()).hash(&mut hasher);
                match prediction.outcome {
                    Outcome::Close(close) => close.to_bits().hash(&mut hasher),
                    Outcome::Direction { class, probability } => {
                        (class, probability.to_bits()).hash(&mut hasher);
                    }
                }
            }
            for failure in &predictions.failures {
                (failure.model.as_str(), &failure.reason).hash(&mut hasher);
            }
            // Snapshots without stale assets keep the digest that they had before assets were marked.
            if predictions.is_stale {
                "stale".hash(&mut hasher);
            }
        }
        Self { content: hasher.finish(), bucket: snapshot.bucket }
    }

    /// Whether both snapshots were made from the same listing of the bucket, as far as that is known.
    #[must_use]
    pub fn is_of_the_same_bucket(&self, other: &Self) -> bool {
        self.bucket.is_some() && self.bucket == other.bucket
    }
}

impl From<Digest> for String {
    /// In hexadecimal: readers of JSON take large numbers for floating-point ones.
    fn from(Digest { content, bucket }: Digest) -> Self {
        match bucket {
            Some(bucket) => format!("{content:016x}-{bucket:016x}"),
            None => format!("{content:016x}"),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (content, bucket) = match text.split_once('-') {
            Some((content, bucket)) => (content, Some(u64::from_str_radix(bucket, 16)?)),
            None => (text.as_str(), None),
        };
        Ok(Self { content: u64::from_str_radix(content, 16)?, bucket })
    }
}

impl Snapshot {
    /// Whether any asset has a prediction.
    #[must_use]
    pub fn has_predictions(&self) -> bool {
        self.assets.values().any(|asset| !asset.predictions.is_empty())
    }

    /// The summary of the snapshot, whose answers have so many bytes.
    #[must_use]
    pub fn summary(&self, answer_bytes: u64) -> Summary {
        let mut models: BTreeMap<&ModelName, ModelSummary> = BTreeMap::new();
        for ServedModel { name, version, loaded_at, comparison, lost, stale } in &self.models {
            let summary = ModelSummary {
                name: name.clone(),
                version: version.clone(),
                loaded_at: *loaded_at,
                predicted: 0,
                failed: 0,
                data_until: None,
                oldest_data: None,
                comparison: comparison.clone(),
                lost: lost.clone(),
                stale: stale.clone(),
            };
            models.insert(name, summary);
        }
        for asset in self.assets.values() {
            for prediction in &asset.predictions {
                if let Some(model) = models.get_mut(&prediction.model) {
                    model.predicted = model.predicted.saturating_add(1);
                    model.data_until = model.data_until.max(asset.data_date);
                    let days = model.oldest_data.into_iter().chain(asset.data_date);
                    model.oldest_data = days.min();
                }
            }
            for failure in &asset.failures {
                if let Some(model) = models.get_mut(&failure.model) {
                    model.failed = model.failed.saturating_add(1);
                }
            }
        }
        for model in models.values_mut() {
            if let Some(stale) = &model.stale {
                model.data_until = stale.data_until;
            }
        }
        Summary {
            generation: self.generation,
            scored_at: self.scored_at,
            trace_id: self.trace_id,
            digest: Digest::of(self),
            models: models.into_values().collect(),
            rejected: self.rejected.clone(),
            assets: self.assets.len(),
            answer_bytes,
            stale: self
                .assets
                .iter()
                .filter(|(_, asset)| asset.is_stale)
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}

impl Summary {
    /// Whether any asset has a prediction.
    #[must_use]
    pub fn has_predictions(&self) -> bool {
        self.models.iter().any(|model| model.predicted > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_what_is_said_and_not_of_when_it_was_said() {
        let said = |close: f64| AssetPredictions {
            data_date: Some(jiff::civil::date(2025, 2, 20)),
            last_close: Some(0.5),
            predictions: vec![Prediction {
                model: "regressor_rf".parse().unwrap(),
                version: "20250729-2130".parse().unwrap(),
                outcome: Outcome::Close(close),
            }],
            failures: Vec::new(),
            is_stale: false,
        };
        let model = ServedModel {
            name: "regressor_rf".parse().unwrap(),
            version: "20250729-2130".parse().unwrap(),
            loaded_at: Timestamp::UNIX_EPOCH,
            comparison: None,
            lost: None,
            stale: None,
        };
        let one = Snapshot {
            generation: Generation(1),
            scored_at: Timestamp::UNIX_EPOCH,
            trace_id: TraceId::new(),
            bucket: None,
            models: vec![model],
            rejected: Vec::new(),
            assets: BTreeMap::from([("BTC".parse().unwrap(), said(1.0))]),
        };
        let mut later = Snapshot { generation: Generation(2), scored_at: Timestamp::now(), ..one.clone() };
        later.models[0].loaded_at = Timestamp::now();
        assert_eq!(Digest::of(&one), Digest::of(&later));
        let summary = one.summary(700);
        assert_eq!((summary.assets, summary.models[0].predicted, summary.models[0].failed), (1, 1, 0));
        assert!(summary.has_predictions());
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);

        later.assets.insert("BTC".parse().unwrap(), said(1.5));
        assert_ne!(Digest::of(&one), Digest::of(&later));
        later.assets.insert("BTC".parse().unwrap(), AssetPredictions { last_close: None, ..said(1.0) });
        assert_ne!(Digest::of(&one), Digest::of(&later));
        later.assets.insert("BTC".parse().unwrap(), AssetPredictions { is_stale: true, ..said(1.0) });
        assert_ne!(Digest::of(&one), Digest::of(&later));
        assert_eq!(later.summary(700).stale, ["BTC".parse().unwrap()]);
        let rejected = RejectedArtifact { key: "models/x".to_owned(), reason: "no".to_owned() };
        assert_ne!(Digest::of(&one), Digest::of(&Snapshot { rejected: vec![rejected], ..one.clone() }));
        let mut compared = one.clone();
        compared.models[0].comparison = Some(Box::new(comparison()));
        assert_ne!(Digest::of(&one), Digest::of(&compared));
        let mut lost = one.clone();
        lost.models[0].lost = Some(Box::new(comparison()));
        assert_ne!(Digest::of(&one), Digest::of(&lost));
        assert_ne!(Digest::of(&compared), Digest::of(&lost));
        let stale = Stale { reason: "denied".to_owned(), data_until: None };
        let mut denied = one.clone();
        denied.models[0].stale = Some(Box::new(stale));
        assert_ne!(Digest::of(&one), Digest::of(&denied));
    }

    #[test]
    fn a_digest_knows_the_bucket_and_is_equal_whatever_it_was() {
        let digest = |text: &str| Digest::try_from(text.to_owned()).unwrap();
        let (one, other) = (digest("00000000000000aa-0000000000000001"), digest("00000000000000aa"));
        assert_eq!(String::from(one), "00000000000000aa-0000000000000001");
        assert_eq!(one, other);
        assert!(!one.is_of_the_same_bucket(&other) && !other.is_of_the_same_bucket(&other));
        let changed = digest("00000000000000bb-0000000000000001");
        assert!(one != changed && one.is_of_the_same_bucket(&changed));
    }

    fn comparison() -> Comparison {
        let contender = |version: &str, rmse| crate::Contender {
            version: version.parse().unwrap(),
            metrics: BTreeMap::from([("rmse".to_owned(), rmse)]),
            fitted_rows: Some(40),
        };
        Comparison {
            accepted: true,
            metric: "rmse".to_owned(),
            margin: 0.02,
            challenger: contender("20250729-2130", 1.0),
            in_force: Some(contender("20250728-2130", 1.0)),
            rows: 8,
            from: jiff::civil::date(2025, 2, 1),
            to: jiff::civil::date(2025, 2, 8),
            data_until: jiff::civil::date(2025, 2, 9),
            data: "raw.csv".to_owned(),
        }
    }

    #[test]
    fn summaries_of_before_there_were_comparisons_can_be_read() {
        let one = r#"{"name":"regressor_rf","version":"20250729-2130","loaded_at":"2025-07-29T21:30:00Z","predicted":1,"failed":0,"data_until":null}"#;
        let mut summary: ModelSummary = serde_json::from_str(one).unwrap();
        assert_eq!(serde_json::to_string(&summary).unwrap(), one);
        summary.comparison = Some(Box::new(comparison()));
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<ModelSummary>(&json).unwrap(), summary);
    }
}
