//! What people can do about the errors that they meet most.

use std::error::Error;

use models::{ParametersError, ReadError};
use scorer::{
    HistoryError, InspectError, ReloadError, backfill::BackfillError, features::FileError, tip_on_folder,
};
use shared::{ObjectError, Snapshot, StoreError, terminal};

/// How many assets are named to somebody who asked for another one.
const NAMED: usize = 8;

/// What can be done about an error, if there is more to say than the error says.
pub(crate) fn tip(error: &(dyn Error + 'static)) -> Option<String> {
    terminal::causes(error)
        .find_map(|cause| {
            let folder = objects(cause).and_then(tip_on_folder);
            folder.or_else(|| of_cause(cause).map(ToOwned::to_owned))
        })
        .or_else(|| terminal::tip_on_listening(error, "--metrics-port N"))
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = objects(cause) {
        return on_objects(error);
    }
    if is_of_the_store(cause) {
        return Some(
            "--redis-url or REDIS_URL says where Redis is; `redis-cli -u URL ping` tells whether it answers",
        );
    }
    if let Some(error) = cause.downcast_ref() {
        return match error {
            InspectError::Read { source, .. } if is_damage(&**source) => {
                Some("copy the file again: its bytes are truncated or damaged")
            }
            InspectError::Read { .. } => Some("README.md lists the formats and steps that are understood"),
            InspectError::Inexpressible { .. } => Some("docs/parameters.md lists what has a form"),
            InspectError::Open { .. } | InspectError::Write { .. } => None,
        };
    }
    match cause.downcast_ref() {
        Some(FileError::Content { .. }) => Some(
            "a raw.csv has a header, then lines of \
             ativo|data|timestamp|maximo|minimo|abertura|fechamento|volumefrom|volumeto",
        ),
        _ => None,
    }
}

/// Whether another copy of an artifact may be sound.
fn is_damage(error: &(dyn Error + 'static)) -> bool {
    let artifact = error.downcast_ref::<ReadError>().is_some_and(ReadError::is_damage);
    artifact || error.downcast_ref::<ParametersError>().is_some_and(ParametersError::is_damage)
}

fn on_objects(error: &ObjectError) -> Option<&'static str> {
    match error {
        ObjectError::List { .. } => {
            Some("`aws s3 ls s3://BUCKET` tells whether the name, the region and the credentials are right")
        }
        _ => None,
    }
}

/// An error of the bucket, also where another error shows it in its own place and so leaves it out of the causes.
fn objects<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a ObjectError> {
    match (reload(cause), cause.downcast_ref()) {
        (Some(ReloadError::Objects(error)), _) | (_, Some(BackfillError::Objects(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The same of a reload.
fn reload<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a ReloadError> {
    match cause.downcast_ref() {
        Some(BackfillError::History(HistoryError::Reload(error))) => Some(error),
        _ => cause.downcast_ref(),
    }
}

/// The same of the store.
fn is_of_the_store(cause: &(dyn Error + 'static)) -> bool {
    #[cfg(feature = "worker")]
    if matches!(cause.downcast_ref(), Some(redis_store::RollbackError::Store(_))) {
        return true;
    }
    cause.is::<StoreError>()
        || matches!(reload(cause), Some(ReloadError::Predictions(_)))
        || matches!(cause.downcast_ref(), Some(BackfillError::Store(_)))
}

/// What can be done where nothing could be scored.
pub(crate) fn on_nothing_scored(snapshot: &Snapshot) -> String {
    match (snapshot.models.is_empty(), snapshot.assets.is_empty()) {
        (true, _) => "a model is models/{tipo}_{algoritmo}_{versao}.joblib or .safetensors, such as \
                      models/regressor_rf_20250729-2130.joblib; `scorer inspect FILE` looks into one"
            .to_owned(),
        (false, true) => {
            "a table is features/cripto_features_{YYYYMMDD}.parquet; `scorer features` makes one of a \
                          raw.csv, which may also be in the bucket itself"
                .to_owned()
        }
        (false, false) => {
            let named: Vec<&str> = snapshot.assets.keys().take(NAMED).map(|asset| asset.as_str()).collect();
            let more = if snapshot.assets.len() > NAMED { ", …" } else { "" };
            format!("there are {} assets: {}{more}", snapshot.assets.len(), named.join(", "))
        }
    }
}
