//! The bucket and the queue against an emulator of S3 and SQS, and against servers that fail as the real ones may.
#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

use std::time::Duration;

use tokio::time::{sleep, timeout};

mod faulty_server;
mod s3;
mod sqs;

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // A pause between two looks; nothing depends on its length.
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "not within {PATIENCE:?}: {what}");
}
