//! `GET /reload` in a system of many processes: a message to the scorer, whose answer comes by way of Redis.

use std::{error::Error, sync::Arc, time::Duration};

use api::{Reload, ReloadError};
use async_trait::async_trait;
use aws::ReloadQueue;
use shared::{ReloadReport, ReloadReports, RequestId};
use tokio::time::{Instant, sleep};

/// How often the outcome is looked for. What a reload takes is a multiple of it.
const POLL: Duration = Duration::from_millis(50);

/// Asks the scorer for a reload.
pub(crate) struct QueueReload {
    pub(crate) queue: ReloadQueue,
    pub(crate) reports: Arc<dyn ReloadReports>,
    /// How long the outcome is waited for. Those who ask meanwhile wait for that, so it is not much longer than they
    /// are willing to.
    pub(crate) patience: Duration,
}

#[async_trait]
impl Reload for QueueReload {
    async fn reload(&self) -> Result<(), ReloadError> {
        let request = new_request();
        let sent = self.queue.send(&request).await;
        sent.map_err(|error| failed("a fila do scorer não pôde ser alcançada", Some(Arc::new(error))))?;
        tracing::debug!(%request, "reload asked for by message");
        let deadline = Instant::now() + self.patience;
        loop {
            // A store that is away for a moment may be back before the outcome is there.
            let report = self.reports.report_of(&request).await;
            match report {
                Ok(Some(ReloadReport::Done(_))) => return Ok(()),
                Ok(Some(ReloadReport::Failed(reason))) => return Err(failed(&reason, None)),
                Ok(None) if Instant::now() < deadline => {}
                Err(_) if Instant::now() < deadline => {}
                Ok(None) => {
                    let seconds = self.patience.as_secs();
                    let message = format!("o scorer não respondeu em {seconds} s; o pedido continua na fila");
                    return Err(failed(&message, None));
                }
                Err(error) => return Err(failed("o resultado não pôde ser lido", Some(Arc::new(error)))),
            }
            sleep(POLL).await;
        }
    }
}

fn failed(message: &str, source: Option<Arc<dyn Error + Send + Sync>>) -> ReloadError {
    ReloadError { message: message.to_owned(), source }
}

fn new_request() -> RequestId {
    format!("{:032x}", fastrand::u128(..)).parse().expect("32 hexadecimal digits name a request")
}
