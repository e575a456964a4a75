use std::{env, fmt, str::FromStr, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use thiserror::Error;

/// Where AWS is and how long it may take to answer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region of the bucket and the queue.
    pub region: String,
    /// Where requests go instead of to AWS itself. Buckets are then part of the path, not of the host's name.
    pub endpoint: Option<HttpUrl>,
    /// How long one attempt may take until its answer begins. What a long poll waits comes on top.
    pub attempt_timeout: Duration,
}

impl Settings {
    /// The region if none is set.
    pub const DEFAULT_REGION: &str = "us-east-1";

    /// Listing a thousand objects takes S3 some hundred milliseconds, everything else less.
    pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

    /// The region that `AWS_REGION` says, which EKS sets, or else this one, and the default times.
    #[must_use]
    pub fn new(region: &str, endpoint: Option<HttpUrl>) -> Self {
        let of_cluster = env::var("AWS_REGION").ok().filter(|region| !region.is_empty());
        Self {
            region: of_cluster.unwrap_or_else(|| region.to_owned()),
            endpoint,
            attempt_timeout: Self::DEFAULT_ATTEMPT_TIMEOUT,
        }
    }
}

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a request is tried, with growing random pauses in between.
const ATTEMPTS: u32 = 3;

/// What all clients are made from.
///
/// Credentials come from the SDK's default chain: variables, the shared files, the web identity that EKS gives a
/// service account, containers, and only then the instance's metadata, so that nothing waits for the latter where
/// keys are set.
pub async fn config(settings: &Settings) -> SdkConfig {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(settings.attempt_timeout)
        .operation_attempt_timeout(settings.attempt_timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(settings.region.clone()))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint.as_str());
    }
    loader.load().await
}

/// Where a service is reached: `http://` or `https://`, a host, and perhaps a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("http:// or https:// and a host")]
pub struct InvalidHttpUrl;

impl HttpUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = InvalidHttpUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let is_valid = |rest: &str| {
            !rest.starts_with(['/', ':', '?', '#'])
                && rest.bytes().all(|byte| byte.is_ascii_graphic())
                && !rest.is_empty()
        };
        rest.filter(|rest| is_valid(rest)).map(|_| Self(text.to_owned())).ok_or(InvalidHttpUrl)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for text in ["http://127.0.0.1:4566", "https://sqs.us-east-1.amazonaws.com/123456789012/fila"] {
            assert_eq!(text.parse::<HttpUrl>().map(|url| url.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "localhost:4566", "http://", "https:///fila", "http://a b", "ftp://host"] {
            assert_eq!(text.parse::<HttpUrl>(), Err(InvalidHttpUrl), "{text}");
        }
    }
}
