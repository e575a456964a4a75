use std::{cmp::Ordering, fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// The next close of an asset.
    Regressor,
    /// Whether the next close is above this one (class 1) or not (class 0).
    Classifier,
}

impl ModelKind {
    /// The word in object keys and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Regressor => "regressor",
            Self::Classifier => "classifier",
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// `{tipo}_{algoritmo}`, such as `regressor_rf`.
///
/// Names order as the documentation lists them: regressors before classifiers, then `rf`, `gbr`, `lin`, `log`,
/// then every other algorithm by its letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName {
    kind: ModelKind,
    text: Box<str>,
}

/// A text that cannot be the name of a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a model name: regressor_{{algoritmo}} or classifier_{{algoritmo}} expected")]
pub struct InvalidModelName(String);

impl ModelName {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the model predicts, by the first word of its name.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// The part after the kind, such as `rf`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.text.get(self.kind.as_str().len() + 1..).unwrap_or_default()
    }

    fn rank(&self) -> usize {
        const DOCUMENTED: [&str; 4] = ["rf", "gbr", "lin", "log"];
        DOCUMENTED.iter().position(|known| *known == self.algorithm()).unwrap_or(DOCUMENTED.len())
    }
}

impl FromStr for ModelName {
    type Err = InvalidModelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidModelName(text.chars().take(128).collect());
        let (kind, algorithm) = text.split_once('_').ok_or_else(invalid)?;
        let kind = match kind {
            "regressor" => ModelKind::Regressor,
            "classifier" => ModelKind::Classifier,
            _ => return Err(invalid()),
        };
        let well_formed = (1..=64).contains(&algorithm.len())
            && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !well_formed {
            return Err(invalid());
        }
        Ok(Self { kind, text: text.into() })
    }
}

impl Ord for ModelName {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.kind, self.rank(), &self.text).cmp(&(other.kind, other.rank(), &other.text))
    }
}

impl PartialOrd for ModelName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<String> for ModelName {
    type Error = InvalidModelName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.text.into()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

/// When a model was trained: `YYYYMMDD-HHMM` or `YYYYMMDD-HHMMSS`, in UTC.
///
/// Versions order by the instant they name; the text is kept as it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelVersion {
    trained_at: Timestamp,
    text: Box<str>,
}

/// A text that cannot be the version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a model version: YYYYMMDD-HHMM or YYYYMMDD-HHMMSS (UTC) expected")]
pub struct InvalidModelVersion(String);

impl ModelVersion {
    /// The version of a model that carries none in its key: the time of its upload.
    #[must_use]
    pub fn from_upload(uploaded_at: Timestamp) -> Self {
        let text = uploaded_at.strftime("%Y%m%d-%H%M%S").to_string();
        Self { trained_at: uploaded_at, text: text.into() }
    }

    /// The version as it is written in the object's key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant that the version names.
    #[must_use]
    pub fn trained_at(&self) -> Timestamp {
        self.trained_at
    }
}

impl FromStr for ModelVersion {
    type Err = InvalidModelVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidModelVersion(text.chars().take(64).collect());
        let all_digits = text
            .bytes()
            .enumerate()
            .all(|(at, byte)| (at == 8) == (byte == b'-') && (at == 8 || byte.is_ascii_digit()));
        let format = match text.len() {
            13 if all_digits => "%Y%m%d-%H%M",
            15 if all_digits => "%Y%m%d-%H%M%S",
            _ => return Err(invalid()),
        };
        let civil = DateTime::strptime(format, text).map_err(|_| invalid())?;
        let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| invalid())?;
        Ok(Self { trained_at: zoned.timestamp(), text: text.into() })
    }
}

impl PartialEq for ModelVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ModelVersion {}

impl Ord for ModelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.trained_at, &self.text).cmp(&(other.trained_at, &other.text))
    }
}

impl PartialOrd for ModelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<String> for ModelVersion {
    type Error = InvalidModelVersion;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelVersion> for String {
    fn from(version: ModelVersion) -> Self {
        version.text.into()
    }
}

impl fmt::Display for ModelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_order_as_the_documentation_lists_them() {
        let mut names: Vec<ModelName> = [
            "classifier_log",
            "regressor_svr",
            "regressor_lin",
            "classifier_rf",
            "regressor_gbr",
            "regressor_rf",
        ]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
        names.sort();
        let names: Vec<&str> = names.iter().map(ModelName::as_str).collect();
        assert_eq!(
            names,
            [
                "regressor_rf",
                "regressor_gbr",
                "regressor_lin",
                "regressor_svr",
                "classifier_rf",
                "classifier_log"
            ]
        );
    }

    #[test]
    fn a_name_needs_a_kind_and_an_algorithm() {
        for text in ["", "regressor", "regressor_", "transformer_rf", "regressor_r/f", "Regressor_rf"] {
            assert!(text.parse::<ModelName>().is_err(), "{text:?} was accepted");
        }
        let name: ModelName = "classifier_my_net-2".parse().unwrap();
        assert_eq!((name.kind(), name.algorithm()), (ModelKind::Classifier, "my_net-2"));
    }

    #[test]
    fn versions_with_and_without_seconds_order_by_their_instant() {
        let minute: ModelVersion = "20250729-2130".parse().unwrap();
        let second: ModelVersion = "20250729-213001".parse().unwrap();
        let before: ModelVersion = "20250729-212959".parse().unwrap();
        assert!(before < minute && minute < second);
        assert_eq!(minute.trained_at().to_string(), "2025-07-29T21:30:00Z");
        assert_eq!(ModelVersion::from_upload(second.trained_at()), second);
    }

    #[test]
    fn what_is_no_instant_is_no_version() {
        for text in [
            "",
            "20250729",
            "20250729-21",
            "20251329-2130",
            "20250729_2130",
            "20250729-2561",
            "2025-07-29T21",
        ] {
            assert!(text.parse::<ModelVersion>().is_err(), "{text:?} was accepted");
        }
    }
}
