//! What the program is told: by flags, or by variables of the same names.

use std::{
    env,
    fmt::Display,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use api::ReloadToken;
use aws::HttpUrl;
use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};
use clap_complete::Shell;
use redis_store::{Prefix, Servers};
use shared::{
    config::LogFormat,
    telemetry::LogFilter,
    terminal::{EXIT_CODES, Exit},
};

/// Serves predictions over HTTP from Redis, where the scorer publishes them.
///
/// GET /docs shows every endpoint. It starts whether or not Redis can be reached: until there are predictions it answers
/// 503 with the reason, and when Redis goes away it keeps serving what it has.
#[derive(Parser)]
#[command(name = "api", version, max_term_width = 100)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{MORE}\n\n{EXIT_CODES}"))]
pub(crate) struct Arguments {
    /// The address to serve on. 0.0.0.0 is every network of this machine.
    #[arg(long, env = "HOST", value_name = "HOST", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    #[arg(value_parser = address)]
    pub(crate) host: IpAddr,
    /// The port to serve on. 0 is any free one.
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8000)]
    #[arg(value_parser = whole::<u16>(0..=u16::MAX))]
    pub(crate) port: u16,
    /// Where Redis is: redis://[user:password@]host:port, or rediss:// for TLS; several nodes separated by commas.
    #[arg(long, env = "REDIS_URL", help_heading = "Redis", value_name = "REDIS_URL", hide_env_values = true)]
    #[arg(default_value = "redis://127.0.0.1:6379")]
    redis_url: String,
    /// PEM certificates to trust with rediss:// instead of the system's. The file is read again for each connection.
    #[arg(long, env = "REDIS_CA_FILE", help_heading = "Redis", value_name = "REDIS_CA_FILE")]
    redis_ca_file: Option<PathBuf>,
    /// What all keys in Redis begin with, as the scorer has it.
    #[arg(
        long,
        env = "REDIS_PREFIX",
        help_heading = "Redis",
        value_name = "REDIS_PREFIX",
        default_value = "cripto"
    )]
    redis_prefix: Prefix,
    /// How often Redis is asked what is current although nothing was heard of it.
    #[arg(
        long,
        env = "REDIS_POLL_MILLISECONDS",
        help_heading = "Redis",
        value_name = "REDIS_POLL_MILLISECONDS",
        default_value_t = 2000
    )]
    #[arg(value_parser = whole::<u64>(50..=60_000))]
    redis_poll_milliseconds: u64,
    /// Memory for answers, in MB (10^6 bytes). While all of a generation fit, requests never touch Redis; above, single
    /// answers are read from it and those of late are kept. During a change two generations are in memory.
    #[arg(long, env = "MEMORY_BUDGET_MB", value_name = "MEMORY_BUDGET_MB", default_value_t = 256)]
    #[arg(value_parser = whole::<u64>(1..=1_000_000))]
    memory_budget_mb: u64,
    /// The scorer's queue in SQS, by which GET /reload asks for a reload. Without it, that answers 501.
    #[arg(long, env = "QUEUE_URL", help_heading = "GET /reload, by way of SQS", value_name = "QUEUE_URL")]
    pub(crate) queue_url: Option<HttpUrl>,
    /// The token that GET /reload demands as `Authorization: Bearer`. Without it, anybody may ask.
    #[arg(
        long,
        env = "RELOAD_TOKEN",
        help_heading = "GET /reload, by way of SQS",
        value_name = "RELOAD_TOKEN",
        hide_env_values = true
    )]
    reload_token: Option<ReloadToken>,
    /// For how many seconds GET /reload waits for the outcome before it answers 202.
    #[arg(
        long,
        env = "RELOAD_WAIT",
        help_heading = "GET /reload, by way of SQS",
        value_name = "RELOAD_WAIT",
        default_value_t = 30
    )]
    #[arg(value_parser = whole::<u64>(1..=3600))]
    reload_wait: u64,
    /// How log lines look: text or json.
    #[arg(
        long,
        env = "LOG_FORMAT",
        help_heading = "Log lines",
        value_name = "LOG_FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
    /// Which log lines are written, such as info or info,api=debug.
    #[arg(
        long,
        env = "RUST_LOG",
        help_heading = "Log lines",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    pub(crate) rust_log: LogFilter,
    /// The region of the queue. AWS_REGION, which EKS sets, comes first.
    #[arg(
        long,
        env = "AWS_DEFAULT_REGION",
        help_heading = "GET /reload, by way of SQS",
        value_name = "AWS_DEFAULT_REGION"
    )]
    #[arg(default_value = aws::Settings::DEFAULT_REGION)]
    aws_default_region: String,
    /// Where requests to AWS go instead, such as an emulator.
    #[arg(
        long,
        env = "AWS_ENDPOINT_URL",
        help_heading = "GET /reload, by way of SQS",
        value_name = "AWS_ENDPOINT_URL"
    )]
    aws_endpoint_url: Option<HttpUrl>,
    /// Print completions for a shell, and end.
    #[arg(long, value_name = "SHELL")]
    completions: Option<Shell>,
}

const MORE: &str = "\
A variable that is empty counts as one that is not set, but for RELOAD_TOKEN, which is refused. Credentials for SQS are \
found as the AWS SDK finds them.

Log lines go to standard error, without colour where NO_COLOR is set or there is no terminal. SIGTERM or Ctrl-C ends it \
after the requests in progress, 20 seconds later at most.

Completions, for bash:
  api --completions bash >~/.local/share/bash-completion/completions/api";

impl Arguments {
    /// What flags and variables say. Ends the program where they say something wrong, or ask for help or completions.
    pub(crate) fn read() -> Self {
        let command = Self::command().mut_args(|argument| {
            let value = argument.get_env().and_then(env::var_os);
            let is_unset = value.is_some_and(|value| value.is_empty()) && argument.get_id() != "reload_token";
            if is_unset { argument.env(None) } else { argument }
        });
        let mut matches = command.get_matches();
        let arguments = Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit());
        if let Some(shell) = arguments.completions {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Self::command(), "api", &mut script);
            // Whoever reads it has seen enough.
            let _ = io::stdout().write_all(&script);
            std::process::exit(Exit::Done as i32);
        }
        arguments
    }

    /// How the API serves.
    pub(crate) fn api(&self) -> api::Settings {
        api::Settings {
            memory_budget: self.memory_budget_mb.saturating_mul(1_000_000),
            reload_wait: Duration::from_secs(self.reload_wait),
            reload_token: self.reload_token.clone(),
            ..api::Settings::default()
        }
    }

    /// Where Redis is. Ends the program if that cannot be used.
    pub(crate) fn redis(&self) -> redis_store::Settings {
        let servers = Servers::configured(&self.redis_url, self.redis_ca_file.as_deref());
        let servers = servers.unwrap_or_else(|wrong| wrong_setting(&wrong));
        redis_store::Settings {
            prefix: self.redis_prefix.clone(),
            poll: Duration::from_millis(self.redis_poll_milliseconds),
            access: redis_store::Access::Read,
            ..redis_store::Settings::new(servers)
        }
    }

    /// Where AWS is.
    pub(crate) fn aws(&self) -> aws::Settings {
        aws::Settings::new(&self.aws_default_region, self.aws_endpoint_url.clone())
    }
}

fn address(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "an IP address such as 127.0.0.1 or ::1 expected")
}

/// Whole numbers of a range.
fn whole<T: FromStr + PartialOrd + Display + Send + Sync>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone
where
    RangeInclusive<T>: Clone,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("a whole number from {} to {} expected", range.start(), range.end()))
    }
}

/// Ends the program as a wrong flag does.
pub(crate) fn wrong_setting(what: &dyn std::error::Error) -> ! {
    Arguments::command().error(ErrorKind::ValueValidation, what).exit()
}
