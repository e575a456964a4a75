use std::error::Error;

use aws_config::SdkConfig;
// Both services are clients of the same runtime and have the same types.
#[cfg(feature = "s3")]
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
#[cfg(not(feature = "s3"))]
use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use shared::{Fault, FaultKind};

/// The rights that a request needs, for the message of its fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// The right, such as `s3:GetObject`.
    pub(crate) right: &'static str,
    /// The settings that name what was asked for.
    pub(crate) settings: &'static str,
}

/// Classifies an error of the SDK, and says what to do about it.
///
/// Codes are those of "Error responses" in the Amazon S3 API Reference and of "Common errors" in the Amazon SQS API
/// Reference. The message leaves out the service's own, which may hold request ids and names of sessions.
pub(crate) fn fault<E>(error: SdkError<E, HttpResponse>, needs: Needs, own_region: &str) -> Fault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let answer = Answer::of(&error);
    let kind = kind(&error, &answer);
    let message = message(kind, &answer, needs, own_region);
    Fault { kind, message, source: Some(error.into()) }
}

/// The region of a configuration, for messages.
pub(crate) fn region(config: &SdkConfig) -> String {
    config.region().map(ToString::to_string).unwrap_or_default()
}

/// The service's answer, if there was one.
#[derive(Debug, Default)]
struct Answer {
    status: Option<u16>,
    code: String,
    /// The right is missing on a key of KMS.
    of_kms: bool,
    /// The region of the bucket.
    region: Option<String>,
}

impl Answer {
    fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        let raw = error.raw_response();
        let metadata = match error {
            SdkError::ServiceError(service) => Some(service.err().meta()),
            _ => None,
        };
        let code = metadata.and_then(|metadata| metadata.code()).unwrap_or_default();
        let text = metadata.and_then(|metadata| metadata.message()).unwrap_or_default();
        let header = raw.and_then(|raw| raw.headers().get("x-amz-bucket-region"));
        // "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
        let told = text.split_once("expecting '").and_then(|(_, rest)| rest.split('\'').next());
        let element = raw.and_then(|raw| raw.body().bytes()).and_then(region_element);
        let region = [header, told, element.as_deref()].into_iter().flatten().find(|text| is_region(text));
        Self {
            status: raw.map(|raw| raw.status().as_u16()),
            code: code.chars().take(64).collect(),
            of_kms: code.starts_with("KMS.") || code.starts_with("Kms") || text.contains("kms:"),
            region: region.map(str::to_owned),
        }
    }

    /// As it is shown: the code and the status, whichever there are.
    fn shown(&self) -> String {
        match (self.status, self.code.as_str()) {
            (Some(status), "") => format!("HTTP {status}"),
            (Some(status), code) => format!("{code}, HTTP {status}"),
            (None, "") => "no answer".to_owned(),
            (None, code) => code.to_owned(),
        }
    }
}

/// The content of `<Region>` in the body of an error.
fn region_element(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Region>")?;
    rest.split('<').next().map(str::to_owned)
}

fn is_region(text: &str) -> bool {
    let is_part_of_one = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(is_part_of_one)
}

const CREDENTIALS: [&str; 13] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

fn kind<E: Error + 'static>(error: &SdkError<E, HttpResponse>, answer: &Answer) -> FaultKind {
    match error {
        SdkError::TimeoutError(_) => return FaultKind::TimedOut,
        // The configuration of the client: credentials that cannot be had fail here or when it is sent.
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) if lacks_credentials(error) => {
            return FaultKind::Credentials;
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => return FaultKind::TimedOut,
        SdkError::DispatchFailure(_) => return FaultKind::Unreachable,
        SdkError::ConstructionFailure(_) => return FaultKind::Other,
        SdkError::ResponseError(_) => return FaultKind::Server,
        _ => {}
    }
    let code = answer.code.as_str();
    let is_throttling = ["SlowDown", "RequestLimitExceeded", "BandwidthLimitExceeded", "OverLimit"]
        .contains(&code)
        || code.contains("Throttl")
        || code.starts_with("TooManyRequests");
    match (code, answer.status.unwrap_or_default()) {
        (code, _) if CREDENTIALS.contains(&code) => FaultKind::Credentials,
        _ if is_throttling => FaultKind::Throttled,
        ("InvalidObjectState", _) => FaultKind::Archived,
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _)
        | (_, 301 | 302 | 307) => FaultKind::WrongRegion,
        ("RequestTimeout", _) | (_, 408) => FaultKind::TimedOut,
        // SQS refuses with 400 what S3 refuses with 403; a key of KMS may be disabled or gone.
        (code, _)
            if ["AccessDenied", "AllAccessDisabled", "KMS.", "Kms"]
                .iter()
                .any(|begin| code.starts_with(begin)) =>
        {
            FaultKind::Denied
        }
        (_, 403) => FaultKind::Denied,
        (_, 404) | ("QueueDoesNotExist" | "AWS.SimpleQueueService.NonExistentQueue", _) => FaultKind::Missing,
        (_, 429 | 503) => FaultKind::Throttled,
        // The object changed while it was asked for.
        (_, 409 | 412) => FaultKind::Other,
        (_, 400..=499) => FaultKind::Rejected,
        _ => FaultKind::Server,
    }
}

fn lacks_credentials(error: &dyn Error) -> bool {
    let mut cause = Some(error);
    std::iter::from_fn(|| {
        let error = cause?;
        cause = error.source();
        Some(error.to_string())
    })
    .any(|text| text.to_ascii_lowercase().contains("credential"))
}

fn message(kind: FaultKind, answer: &Answer, needs: Needs, own_region: &str) -> String {
    let shown = answer.shown();
    match kind {
        FaultKind::Denied if answer.of_kms => {
            format!("access denied ({shown}); allow kms:Decrypt on its key to the role")
        }
        FaultKind::Denied => format!("access denied ({shown}); allow {} to the role", needs.right),
        FaultKind::Archived => format!("it is archived ({shown}); restore it, or upload it again"),
        FaultKind::Missing => format!("not found ({shown}); check {}", needs.settings),
        FaultKind::Rejected => format!("the request is refused ({shown}); the log has the answer"),
        FaultKind::WrongRegion => match &answer.region {
            Some(region) if region != own_region => {
                format!("it is in region {region} and not in {own_region} ({shown}); set AWS_REGION={region}")
            }
            _ => format!("it is not in region {own_region} ({shown}); set AWS_REGION to its region"),
        },
        FaultKind::Credentials => {
            format!("the credentials are not accepted ({shown}); renew them, and check the clock")
        }
        FaultKind::Throttled => format!("the service asks for fewer requests ({shown})"),
        FaultKind::TimedOut => format!("no answer in time ({shown}); check the network and the endpoint"),
        FaultKind::Unreachable => "no connection; check the network and the endpoint".to_owned(),
        FaultKind::Server => format!("the service failed ({shown})"),
        FaultKind::Other => format!("the request failed ({shown}); the log has the reason"),
    }
}
