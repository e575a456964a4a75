//! What is served, and where, for people.

use std::{fs, net::SocketAddr, path::Path};

use shared::Snapshot;

/// More files than this are not looked at for a hint.
const MAX_HINTS: usize = 1000;

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
        if let Some(file) = misplaced(bucket) {
            text.push_str(&format!(
                "\n\n{file} lies in the bucket itself, where it is passed over. Move it into models/ or features/,\n\
                 or, if this folder is one of these, name the folder around it with --bucket."
            ));
        }
    }
    let example = snapshot.assets.keys().next().map_or("BTC", |asset| asset.as_str());
    text.push_str(&format!("\n\nbucket   {}\nserving  http://{address}   ", bucket.display()));
    text.push_str(&format!("try /symbol/{example}, /painel, /models, /docs\n"));
    text
}

/// A file that would be a model or a table if it were in its folder.
fn misplaced(bucket: &Path) -> Option<String> {
    let names = fs::read_dir(bucket).ok()?.flatten().take(MAX_HINTS).map(|entry| entry.file_name());
    let names = names.filter_map(|name| name.into_string().ok());
    names.filter(|name| [".joblib", ".safetensors", ".parquet"].iter().any(|end| name.ends_with(end))).min()
}
