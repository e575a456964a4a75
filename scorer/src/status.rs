use jiff::Timestamp;
use shared::Causes;

use crate::{Reload, ReloadError};

/// Whether reloads do their work, as the last one shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadStatus {
    /// A reload has succeeded since the start: the bucket could be listed, and the store be written.
    pub succeeded: bool,
    /// What stands in the way at the moment.
    pub trouble: Option<ReloadTrouble>,
}

/// A fault of reloads that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadTrouble {
    /// The time of the first failure since the last reload without one.
    pub since: Timestamp,
    /// The last failure.
    pub reason: String,
}

impl ReloadStatus {
    /// Notes the outcome of a reload.
    pub(crate) fn note(&mut self, outcome: &Result<Reload, ReloadError>) {
        let reason = match outcome {
            Ok(reload) if reload.incomplete => {
                Some("some objects of the bucket cannot be read at the moment; the log names them".to_owned())
            }
            Ok(reload) => match reload.snapshot.models.iter().filter(|model| model.stale.is_some()).count() {
                0 => None,
                stale => Some(format!(
                    "{stale} of the served models cannot be read; their last predictions stay, and /models of the API says why"
                )),
            },
            Err(ReloadError::Objects(error)) => Some(error.reason()),
            Err(error) => Some(Causes(error).to_string()),
        };
        self.succeeded |= outcome.is_ok();
        let since = self.trouble.as_ref().map_or_else(Timestamp::now, |trouble| trouble.since);
        self.trouble = reason.map(|reason| ReloadTrouble { since, reason });
    }
}
