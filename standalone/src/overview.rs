//! What is served, and where, for people.

use std::{net::SocketAddr, path::Path};

use shared::Snapshot;

/// More assets than this are counted and not shown.
const MAX_SHOWN: usize = 40;

/// The predictions of a snapshot, and where they are served.
pub(crate) fn overview(snapshot: &Snapshot, bucket: &Path, address: SocketAddr) -> String {
    let mut text = String::new();
    if snapshot.has_predictions() {
        text.push_str(&scorer::overview(snapshot, snapshot.assets.iter().take(MAX_SHOWN)));
        let hidden = snapshot.assets.len().saturating_sub(MAX_SHOWN);
        if hidden > 0 {
            text.push_str(&format!("\nand {hidden} more assets"));
        }
    } else {
        text.push_str(
            "There are no predictions yet. Put a model (models/regressor_rf_20250729-2130.joblib) and\n\
             a table (features/cripto_features_20250729.parquet, or raw.csv) into the bucket; they are\n\
             served a second later. What is there and cannot be used is named above.",
        );
    }
    let example = snapshot.assets.keys().next().map_or("BTC", |asset| asset.as_str());
    text.push_str(&format!("\n\nbucket   {}\nserving  http://{address}   ", bucket.display()));
    text.push_str(&format!("try /symbol/{example}, /painel, /models, /docs\n"));
    text
}
