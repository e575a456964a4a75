//! The scorer on real buckets: folders with artifacts of real scikit-learn and tables of real pandas and pyarrow.
//!
//! Needs Python with pandas and pyarrow: `python3`, or what `CRIPTO_PYTHON` names. Features are also computed from the
//! candles of the `raw.csv` that `CRIPTO_RAW` names, if it names one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure of a test's own means is a failure")]

use std::time::Duration;

mod cli;
mod engine;
mod faults;
mod features;
mod folder;
mod follow;
mod numbers;
mod retrain;
mod tables;
mod terminal;
mod world;

/// Longer than anything takes here, also on a busy machine. A test that waits so long has failed.
const SOON: Duration = Duration::from_secs(60);

/// Waits until something holds.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            // A pause between two looks; nothing depends on its length.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "not within {SOON:?}: {what}");
}
