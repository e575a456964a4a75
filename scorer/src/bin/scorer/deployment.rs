//! What every command that works in the deployed system is told of it.

use aws::{HttpUrl, SdkConfig};
use clap::Args;
use redis_store::RedisStore;
use scorer::{Admission, Settings};
use shared::config::Seconds;

use crate::rollback::Redis;

#[derive(Args)]
pub(crate) struct Deployment {
    /// The bucket with models/, features/ and data/ in it.
    #[arg(long, help_heading = "Bucket", value_name = "NAME", env, default_value = "criptos-data")]
    pub(crate) bucket_name: String,
    /// The region of bucket and queue. AWS_REGION, which EKS sets, comes first.
    #[arg(long, help_heading = "Bucket", value_name = "REGION", env, default_value = aws::Settings::DEFAULT_REGION)]
    aws_default_region: String,
    /// Where AWS' services are, if not at AWS; the bucket is then part of the path.
    #[arg(long, help_heading = "Bucket", value_name = "URL", env)]
    aws_endpoint_url: Option<HttpUrl>,
    #[command(flatten)]
    redis: Redis,
    /// How many generations before the current one are kept for a rollback.
    #[arg(long, help_heading = "Redis", value_name = "N", env, default_value_t = 2)]
    kept_generations: u32,
    /// Seconds after which Redis forgets what no worker has confirmed.
    #[arg(long, help_heading = "Redis", value_name = "SECONDS", env, default_value = "604800")]
    generation_expiry: Seconds,
    /// Seconds that reading one model or table may take. Then it is given up, listed as rejected, and tried again when the whole
    /// bucket is looked at.
    #[arg(long, help_heading = "Bucket", value_name = "SECONDS", env, default_value = "120")]
    model_read_timeout: Seconds,
    /// The share of assets that a new model may have no prediction for although the one in force has (0 to 1), or off.
    #[arg(long, help_heading = "Admission of new models", value_name = "SHARE", env, default_value = "0.2")]
    admission_max_failures: Share,
    /// The factor by which a new regressor's predictions may differ from those in force, in the median, or off.
    #[arg(long, help_heading = "Admission of new models", value_name = "FACTOR", env, default_value = "10")]
    admission_max_shift: Factor,
    /// Days that an asset's newest row may lie behind the newest row of all before its answers are marked as stale.
    #[arg(long, help_heading = "Data", value_name = "DAYS", env, default_value_t = shared::STALE_AFTER_DAYS)]
    stale_after_days: u16,
}

impl Deployment {
    pub(crate) async fn aws(&self) -> SdkConfig {
        let settings = aws::Settings::new(&self.aws_default_region, self.aws_endpoint_url.clone());
        aws::config(&settings).await
    }

    pub(crate) async fn store(&self) -> anyhow::Result<RedisStore> {
        let settings = redis_store::Settings {
            kept: self.kept_generations,
            expiry: self.generation_expiry.0,
            ..self.redis.settings()?
        };
        Ok(RedisStore::connect(settings).await)
    }

    pub(crate) fn engine(&self) -> Settings {
        let admission =
            Admission { new_failures: self.admission_max_failures.0, shift: self.admission_max_shift.0 };
        Settings {
            admission,
            read_timeout: self.model_read_timeout.0,
            stale_after_days: self.stale_after_days,
            ..Settings::default()
        }
    }
}

/// A number from 0 to 1, or nothing for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share(Option<f64>);

/// A number above 1, or nothing for `off`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factor(Option<f64>);

impl std::str::FromStr for Share {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number_or_off(text, |number| (0.0..=1.0).contains(&number))
            .map(Self)
            .ok_or("a number from 0 to 1, or off")
    }
}

impl std::str::FromStr for Factor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number_or_off(text, |number| number > 1.0).map(Self).ok_or("a number above 1, or off")
    }
}

fn number_or_off(text: &str, allowed: impl Fn(f64) -> bool) -> Option<Option<f64>> {
    match text {
        "off" => Some(None),
        number => number.parse().ok().filter(|number: &f64| number.is_finite() && allowed(*number)).map(Some),
    }
}
