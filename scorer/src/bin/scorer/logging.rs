//! Log lines of the commands that run in a deployment. The others are for people, who are told what matters in words.

use std::io;

use clap::Args;
use shared::{config::LogFormat, telemetry::LogFilter};

#[derive(Args)]
pub(crate) struct Logging {
    /// How log lines look: text or json.
    #[arg(long, help_heading = "Log lines", value_name = "FORMAT", env, default_value = "text")]
    log_format: LogFormat,
    /// Which log lines are written, such as warn or info,scorer=debug.
    #[arg(long, help_heading = "Log lines", value_name = "FILTER", env, default_value = "info")]
    rust_log: LogFilter,
}

impl Logging {
    /// From here on lines go to `stderr`.
    pub(crate) fn begin<W: io::Write>(
        &self,
        stderr: impl Fn() -> W + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        Ok(shared::telemetry::init_with(self.log_format, &self.rust_log, stderr)?)
    }
}
