//! What is in force in a bucket, as far as the names of its objects tell.
//!
//! A pure function from a listing; no object is opened. What only the bytes can tell is left to the
//! [`Engine`](crate::Engine): whether a copy without a version is one of the versioned objects, and whether an
//! object can be used.

use std::collections::BTreeMap;

use jiff::civil::Date;
use shared::{Asset, ModelName, ModelVersion, Object, RejectedArtifact};

use crate::markers::is_passed_over;

/// Where model artifacts are.
pub const MODELS: &str = "models/";
/// Where feature tables are.
pub const FEATURES: &str = "features/";
/// Where the tables of single assets are.
pub const DATA: &str = "data/";
/// The candles of all assets.
pub const RAW: &str = "raw.csv";

/// What a bucket offers, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    /// Each model's artifacts.
    pub models: BTreeMap<ModelName, Artifacts>,
    /// What retraining notes beside each model's artifacts, `models/{tipo}_{algoritmo}_{versao}.comparison.json`, by
    /// version; there may be no artifact of that version.
    pub comparisons: BTreeMap<ModelName, BTreeMap<ModelVersion, Object>>,
    /// Feature tables with a date in their name, `features/cripto_features_{YYYYMMDD}.parquet`: by that date, and
    /// of the same date by the time of their upload.
    pub dated_tables: Vec<Object>,
    /// Feature tables without a date, `features/*latest.parquet`, by the time of their upload.
    pub latest_tables: Vec<Object>,
    /// The candles of all assets, [`RAW`].
    pub raw: Option<Object>,
    /// The newest table of each asset, `data/{ATIVO}/{ATIVO}_{YYYY-MM-DD}.csv`, with the date of its name.
    pub asset_tables: BTreeMap<Asset, (Date, Object)>,
    /// Objects in the folders above whose names say nothing, and why.
    pub unfit: Vec<RejectedArtifact>,
}

/// The artifacts of one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Artifacts {
    /// `models/{tipo}_{algoritmo}_{versao}.joblib` or `.safetensors`, by version.
    pub versioned: Vec<Artifact>,
    /// `models/latest/{tipo}_{algoritmo}.joblib` and `.safetensors`, each with the time of its upload as version. One of
    /// them counts as an artifact of its own only if no versioned one has the same bytes.
    pub latest: Vec<Artifact>,
}

/// The key of the artifact that retraining writes.
#[must_use]
pub fn artifact_key(model: &ModelName, version: &ModelVersion) -> String {
    format!("{MODELS}{model}_{}{}", version.as_str(), Format::PARAMETERS)
}

/// The key of a [`Comparison`](shared::Comparison).
#[must_use]
pub fn comparison_key(model: &ModelName, version: &ModelVersion) -> String {
    format!("{MODELS}{model}_{}{COMPARISON}", version.as_str())
}

/// How the keys of comparisons end.
const COMPARISON: &str = ".comparison.json";

/// An object that should be a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Which version it is.
    pub version: ModelVersion,
    /// Where it is.
    pub object: Object,
}

/// How an artifact is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A pickle, as joblib writes it.
    Joblib,
    /// A [parameter file](models::Model::read_parameters).
    Parameters,
}

impl Format {
    const JOBLIB: &str = ".joblib";
    const PARAMETERS: &str = ".safetensors";

    /// What the end of a key says.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        match key {
            key if key.ends_with(Self::JOBLIB) => Some(Self::Joblib),
            key if key.ends_with(Self::PARAMETERS) => Some(Self::Parameters),
            _ => None,
        }
    }
}

impl Artifacts {
    /// All artifacts, newest first. Of the same version, the newest upload comes first, so that no upload is passed over
    /// for an older one in the other format. Of uploads of the same time, parameter files come first, since they are read
    /// sooner; then the order is that of the keys.
    #[must_use]
    pub fn newest_first(self) -> Vec<Artifact> {
        let mut artifacts = self.versioned;
        artifacts.extend(self.latest);
        artifacts.sort_by(|one, other| {
            let is_read_later = |artifact: &Artifact| !artifact.object.key.ends_with(Format::PARAMETERS);
            other
                .version
                .cmp(&one.version)
                .then_with(|| other.object.last_modified.cmp(&one.object.last_modified))
                .then_with(|| is_read_later(one).cmp(&is_read_later(other)))
                .then_with(|| one.object.key.cmp(&other.object.key))
        });
        artifacts
    }
}

impl Catalogue {
    /// Sorts the objects of a listing. Passes over objects outside of [`MODELS`], [`FEATURES`] and [`DATA`] except
    /// [`RAW`], and marks of other programs such as `_SUCCESS`.
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut catalogue = Self::default();
        for object in objects {
            let key = object.key.clone();
            if is_passed_over(&key) {
                continue;
            }
            let placed = if let Some(name) = key.strip_prefix(MODELS) {
                catalogue.place_model(name, object)
            } else if let Some(name) = key.strip_prefix(FEATURES) {
                catalogue.place_feature_table(name, object)
            } else if let Some(name) = key.strip_prefix(DATA) {
                catalogue.place_asset_table(name, object)
            } else {
                if key == RAW {
                    catalogue.raw = Some(object);
                }
                Ok(())
            };
            if let Err(reason) = placed {
                catalogue.unfit.push(RejectedArtifact { key, reason });
            }
        }
        catalogue.sort();
        catalogue
    }

    fn place_model(&mut self, name: &str, object: Object) -> Result<(), String> {
        if is_a_folder(name) {
            return Ok(());
        }
        if let Some(stem) = name.strip_suffix(COMPARISON) {
            let (model, version) = model_and_version(stem)?;
            self.comparisons.entry(model).or_default().insert(version, object);
            return Ok(());
        }
        let stem = name
            .strip_suffix(Format::JOBLIB)
            .or_else(|| name.strip_suffix(Format::PARAMETERS))
            .ok_or("no model: its name ends neither in .joblib nor in .safetensors")?;
        if let Some(stem) = stem.strip_prefix("latest/") {
            let model: ModelName = stem.parse().map_err(|error| format!("{error}"))?;
            let version = ModelVersion::from_upload(object.last_modified);
            self.models.entry(model).or_default().latest.push(Artifact { version, object });
            return Ok(());
        }
        let (model, version) = model_and_version(stem)?;
        self.models.entry(model).or_default().versioned.push(Artifact { version, object });
        Ok(())
    }

    fn place_feature_table(&mut self, name: &str, object: Object) -> Result<(), String> {
        if is_a_folder(name) {
            return Ok(());
        }
        let stem =
            name.strip_suffix(".parquet").ok_or("no feature table: its name does not end in .parquet")?;
        if stem.contains('/') {
            return Err("a feature table is one file directly in features/".to_owned());
        }
        if stem == "latest" || stem.ends_with("_latest") {
            self.latest_tables.push(object);
        } else if date_at_end(stem).is_some() {
            self.dated_tables.push(object);
        } else {
            return Err("its name ends neither in a date (YYYYMMDD) nor in latest".to_owned());
        }
        Ok(())
    }

    fn place_asset_table(&mut self, name: &str, object: Object) -> Result<(), String> {
        if is_a_folder(name) {
            return Ok(());
        }
        const SHAPE: &str = "its name is not {ATIVO}/{ATIVO}_{YYYY-MM-DD}.csv";
        let stem = name.strip_suffix(".csv").ok_or(SHAPE)?;
        let (folder, file) = stem.split_once('/').ok_or(SHAPE)?;
        let (symbol, date) = file.rsplit_once('_').ok_or(SHAPE)?;
        if folder != symbol {
            return Err(SHAPE.to_owned());
        }
        let asset: Asset = symbol.parse().map_err(|error| format!("{error}"))?;
        let date = Date::strptime("%Y-%m-%d", date).map_err(|_| format!("{date:?} is not a date"))?;
        let newest = self.asset_tables.entry(asset).or_insert_with(|| (date, object.clone()));
        if (date, object.last_modified) > (newest.0, newest.1.last_modified) {
            *newest = (date, object);
        }
        Ok(())
    }

    fn sort(&mut self) {
        for artifacts in self.models.values_mut() {
            artifacts.versioned.sort_by(|one, other| other.version.cmp(&one.version));
        }
        self.dated_tables.sort_by_key(|object| {
            let date = object.key.strip_suffix(".parquet").and_then(date_at_end);
            std::cmp::Reverse((date, object.last_modified))
        });
        self.latest_tables.sort_by_key(|object| std::cmp::Reverse(object.last_modified));
    }
}

fn model_and_version(stem: &str) -> Result<(ModelName, ModelVersion), String> {
    let (model, version) =
        stem.rsplit_once('_').ok_or("its name is not {tipo}_{algoritmo}_{versao}.joblib")?;
    let version = version.parse().map_err(|error| format!("{error}"))?;
    Ok((model.parse().map_err(|error| format!("{error}"))?, version))
}

/// Consoles of object stores mark folders by empty objects.
fn is_a_folder(name: &str) -> bool {
    name.is_empty() || name.ends_with('/')
}

fn date_at_end(stem: &str) -> Option<Date> {
    let (_, digits) = stem.rsplit_once('_')?;
    let is_a_day = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_a_day { Date::strptime("%Y%m%d", digits).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn catalogue(keys: &[(&str, i64)]) -> Catalogue {
        Catalogue::new(keys.iter().map(|(key, second)| Object {
            key: (*key).to_owned(),
            size: 1,
            last_modified: Timestamp::from_second(*second).unwrap(),
            etag: String::new(),
        }))
    }

    fn keys<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Vec<&'a str> {
        objects.into_iter().map(|object| object.key.as_str()).collect()
    }

    #[test]
    fn the_newest_version_comes_first_whatever_the_order_and_the_time_of_upload() {
        let found = catalogue(&[
            ("models/regressor_rf_20250729-2130.joblib", 9),
            ("models/regressor_rf_20250730-000001.joblib", 1),
            ("models/regressor_rf_20250101-0000.joblib", 5),
            ("models/classifier_my_net_20250101-0000.joblib", 5),
        ]);
        let name: ModelName = "regressor_rf".parse().unwrap();
        let artifacts = found.models[&name].clone().newest_first();
        let versions: Vec<&str> = artifacts.iter().map(|artifact| artifact.version.as_str()).collect();
        assert_eq!(versions, ["20250730-000001", "20250729-2130", "20250101-0000"]);
        assert!(found.models.contains_key(&"classifier_my_net".parse().unwrap()));
        assert_eq!(found.unfit, []);
    }

    #[test]
    fn a_copy_without_a_version_has_the_time_of_its_upload() {
        let found = catalogue(&[
            ("models/latest/regressor_rf.joblib", 1_753_824_600),
            ("models/regressor_rf_20250101-0000.joblib", 5),
        ]);
        let artifacts = found.models[&"regressor_rf".parse().unwrap()].clone();
        assert_eq!(artifacts.latest[0].version.as_str(), "20250729-213000");
        assert_eq!(artifacts.newest_first()[0].object.key, "models/latest/regressor_rf.joblib");
    }

    #[test]
    fn the_newest_upload_comes_first_whatever_its_format() {
        let (joblib, parameters) =
            ("models/latest/regressor_rf.joblib", "models/latest/regressor_rf.safetensors");
        let versioned = "models/regressor_rf_20200101-0000";
        let (versioned_joblib, versioned_parameters) =
            (format!("{versioned}.joblib"), format!("{versioned}.safetensors"));
        for (times, order) in [
            ([1_753_824_600, 1_753_824_601], [parameters, joblib, &versioned_parameters, &versioned_joblib]),
            ([1_753_824_601, 1_753_824_600], [joblib, parameters, &versioned_joblib, &versioned_parameters]),
            // Parameter files are read sooner.
            ([1_753_824_600, 1_753_824_600], [parameters, joblib, &versioned_parameters, &versioned_joblib]),
        ] {
            let found = catalogue(&[
                (joblib, times[0]),
                (parameters, times[1]),
                (&versioned_joblib, times[0]),
                (&versioned_parameters, times[1]),
            ]);
            let artifacts = found.models[&"regressor_rf".parse().unwrap()].clone().newest_first();
            assert_eq!(keys(artifacts.iter().map(|artifact| &artifact.object)), order, "{times:?}");
        }
    }

    #[test]
    fn comparisons_are_no_artifacts_and_nothing_is_wrong_with_them() {
        let (model, version) = ("regressor_rf".parse().unwrap(), "20250729-213000".parse().unwrap());
        let key = comparison_key(&model, &version);
        let found = catalogue(&[(&key, 1), ("models/regressor_20250729.comparison.json", 1)]);
        assert_eq!(keys(found.comparisons[&model].values()), [key]);
        assert!(found.models.is_empty());
        let unfit: Vec<&str> = found.unfit.iter().map(|unfit| unfit.key.as_str()).collect();
        assert_eq!(unfit, ["models/regressor_20250729.comparison.json"]);
        let written = catalogue(&[(&artifact_key(&model, &version), 1)]);
        assert_eq!(written.models[&model].versioned[0].version, version);
    }

    #[test]
    fn feature_tables_order_by_the_date_in_their_name() {
        let found = catalogue(&[
            ("features/cripto_features_20250219.parquet", 9),
            ("features/cripto_features_20250220.parquet", 1),
            ("features/latest.parquet", 3),
            ("features/cripto_features_latest.parquet", 4),
        ]);
        assert_eq!(
            keys(&found.dated_tables),
            ["features/cripto_features_20250220.parquet", "features/cripto_features_20250219.parquet"]
        );
        assert_eq!(
            keys(&found.latest_tables),
            ["features/cripto_features_latest.parquet", "features/latest.parquet"]
        );
    }

    #[test]
    fn each_asset_has_the_table_of_its_newest_day() {
        let found = catalogue(&[
            ("data/BTC/BTC_2025-02-20.csv", 1),
            ("data/BTC/BTC_2025-02-19.csv", 2),
            ("data/ETH/ETH_2025-01-01.csv", 3),
        ]);
        assert_eq!(
            keys(found.asset_tables.values().map(|(_, object)| object)),
            ["data/BTC/BTC_2025-02-20.csv", "data/ETH/ETH_2025-01-01.csv"]
        );
    }

    #[test]
    fn names_that_say_nothing_are_reported_and_the_rest_of_the_bucket_is_passed_over() {
        let unfit = [
            "data/BTC/BTC_2025-13-20.csv",
            "data/BTC/ETH_2025-02-20.csv",
            "data/B C/B C_2025-02-20.csv",
            "data/BTC.csv",
            "features/cripto_features_20251320.parquet",
            "features/cripto_features_20250220.parquet/part-00000.snappy.parquet",
            "features/readme.txt",
            "models/transformer_rf_20250729-2130.joblib",
            "models/regressor_rf.joblib",
            "models/regressor_rf_20250729.joblib",
            "models/archive/regressor_rf_20250729-2130.joblib",
            "models/latest/regressor_.joblib",
            "models/regressor_rf_20250729-2130.pkl",
        ];
        let passed_over = [
            "raw.csv.bak",
            "logs/x",
            "models/",
            "models/latest/",
            "data/",
            "models/_SUCCESS",
            "models/latest/.DS_Store",
            "features/_SUCCESS",
            "features/cripto_features_20250220.parquet/_committed_41",
            "features/.cripto_features_20250220.parquet.crc",
            "data/BTC/_SUCCESS",
            "data/BTC/._BTC_2025-02-20.csv",
            "models/regressor_rf_20250729-2130.joblib.6eF1bC2a",
        ];
        let all: Vec<(&str, i64)> = unfit.iter().chain(&passed_over).map(|key| (*key, 0)).collect();
        let found = catalogue(&all);
        let reported: Vec<&str> = found.unfit.iter().map(|unfit| unfit.key.as_str()).collect();
        assert_eq!(reported, unfit);
        assert_eq!(Catalogue { unfit: Vec::new(), ..found }, Catalogue::default());
    }
}
