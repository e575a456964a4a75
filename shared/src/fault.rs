//! What kind of fault an outside service reports: it decides whether another try may help, and it labels logs and metrics.

use std::{error::Error, fmt, io};

use thiserror::Error;

use crate::{EventError, ObjectError};

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The caller lacks a right.
    Denied,
    /// The object is in an archive and has to be restored first.
    Archived,
    /// There is no such bucket, object or queue.
    Missing,
    /// The service refuses the request for another reason, and will refuse it again.
    Rejected,
    /// The bucket or the queue is in another region.
    WrongRegion,
    /// The credentials are missing, expired or unknown, or the clock is wrong.
    Credentials,
    /// The service asks for fewer requests.
    Throttled,
    /// There was no answer in time.
    TimedOut,
    /// There is no connection.
    Unreachable,
    /// The service failed, or its answer cannot be understood.
    Server,
    /// None of these.
    Other,
}

impl FaultKind {
    /// The label of metrics and log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Archived => "archived",
            Self::Missing => "missing",
            Self::Rejected => "rejected",
            Self::WrongRegion => "wrong_region",
            Self::Credentials => "credentials",
            Self::Throttled => "throttled",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Server => "server",
            Self::Other => "other",
        }
    }

    /// Whether an object stays unreadable until somebody acts. Such an object is not tried again with every reload.
    #[must_use]
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Denied | Self::Archived | Self::Missing | Self::Rejected)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A fault that an outside service reported.
///
/// Its message is the same for every try of the same request: it holds no request id, time or address. Those are in
/// `source`, for the log.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind of the fault.
    pub kind: FaultKind,
    /// What happened and what to do about it.
    pub message: String,
    /// The service's own error.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// The first fault in a chain of errors.
    fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|cause| cause.downcast_ref())
    }
}

impl ObjectError {
    /// The kind of the fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::NotFound { .. } => FaultKind::Missing,
            Self::InvalidKey { .. } | Self::TooMany { .. } => FaultKind::Rejected,
            error => kind_of(error),
        }
    }

    /// The error and its causes in one line, without what differs from one try to the next.
    #[must_use]
    pub fn reason(&self) -> String {
        match Fault::find(self) {
            Some(fault) => format!("{self}: {fault}"),
            None => Causes(self).to_string(),
        }
    }
}

impl EventError {
    /// The kind of the fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        kind_of(self)
    }

    /// The error and its causes in one line, without what differs from one try to the next.
    #[must_use]
    pub fn reason(&self) -> String {
        match Fault::find(self) {
            Some(fault) => format!("{}: {fault}", self.message),
            None => Causes(self).to_string(),
        }
    }
}

fn kind_of(error: &(dyn Error + 'static)) -> FaultKind {
    if let Some(fault) = Fault::find(error) {
        return fault.kind;
    }
    let of_files = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match of_files.map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => FaultKind::Denied,
        Some(io::ErrorKind::NotFound) => FaultKind::Missing,
        Some(io::ErrorKind::TimedOut) => FaultKind::TimedOut,
        _ => FaultKind::Other,
    }
}

/// Shows an error with its causes in one line. The JSON form of log lines shows only the error itself otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        for cause in causes(self.0).skip(1) {
            let cause = cause.to_string();
            // Some errors repeat their cause in their own message.
            if !shown.contains(&cause) {
                shown = format!("{shown}: {cause}");
            }
        }
        formatter.write_str(&shown)
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // Dereferenced, since a reference to an error is an error too, and borrows for a shorter time.
    std::iter::successors(Some(error), |error| (**error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(source: impl Into<Box<dyn Error + Send + Sync>>) -> ObjectError {
        ObjectError::Read { bucket: "b".to_owned(), key: "k".to_owned(), source: source.into() }
    }

    #[test]
    fn a_reason_leaves_out_what_differs_from_one_try_to_the_next() {
        let fault = Fault {
            kind: FaultKind::Denied,
            message: "access denied".to_owned(),
            source: Some("request 8f3a".into()),
        };
        let error = unreadable(fault);
        assert_eq!(error.kind(), FaultKind::Denied);
        assert_eq!(error.reason(), r#""k" in bucket "b" cannot be read: access denied"#);
    }

    #[test]
    fn errors_of_files_have_a_kind_too() {
        let of = |kind: io::ErrorKind| unreadable(io::Error::from(kind)).kind();
        assert_eq!(of(io::ErrorKind::PermissionDenied), FaultKind::Denied);
        assert_eq!(of(io::ErrorKind::ConnectionReset), FaultKind::Other);
        assert!(FaultKind::Denied.is_permanent() && !FaultKind::Other.is_permanent());
    }
}
