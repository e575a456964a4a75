//! What is served, as a table for people.

use std::{net::SocketAddr, path::Path};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use shared::{AssetPredictions, Outcome, ServedModel, Snapshot};

/// More assets than this are counted and not shown.
const MAX_SHOWN: usize = 40;

/// The predictions of a snapshot, asset by asset and model by model, and where they are served.
pub(crate) fn overview(snapshot: &Snapshot, bucket: &Path, address: SocketAddr) -> String {
    let mut text = String::new();
    if snapshot.has_predictions() {
        text.push_str(&format!("{}\n", table(snapshot)));
        let hidden = snapshot.assets.len().saturating_sub(MAX_SHOWN);
        if hidden > 0 {
            text.push_str(&format!("and {hidden} more assets\n"));
        }
    } else {
        text.push_str(
            "There are no predictions yet: a model in models/ and a table in features/ are needed.\n",
        );
    }
    let example = snapshot.assets.keys().next().map_or("BTC", |asset| asset.as_str());
    text.push_str(&format!("\nbucket   {}\nserving  http://{address}   ", bucket.display()));
    text.push_str(&format!("try /symbol/{example}, /models, /docs\n"));
    text
}

fn table(snapshot: &Snapshot) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    let heading = |model: &ServedModel| format!("{}\n{}", model.name, model.version);
    let headings = ["ativo".to_owned(), "dados até".to_owned()];
    table.set_header(headings.into_iter().chain(snapshot.models.iter().map(heading)));
    for (asset, predictions) in snapshot.assets.iter().take(MAX_SHOWN) {
        let date = predictions.data_date.map_or_else(String::new, |date| date.to_string());
        let answers = snapshot.models.iter().map(|model| {
            Cell::new(answer(predictions, model).unwrap_or_default()).set_alignment(CellAlignment::Right)
        });
        table.add_row([Cell::new(asset), Cell::new(date)].into_iter().chain(answers));
    }
    table
}

fn answer(predictions: &AssetPredictions, model: &ServedModel) -> Option<String> {
    let failed = predictions.failures.iter().any(|failure| failure.model == model.name);
    let prediction = predictions.predictions.iter().find(|prediction| prediction.model == model.name);
    match prediction.map(|prediction| prediction.outcome) {
        Some(Outcome::Close(close)) => Some(price(close)),
        Some(Outcome::Direction { class, probability }) => {
            Some(format!("{class} ({:.0} %)", probability * 100.0))
        }
        None => failed.then(|| "—".to_owned()),
    }
}

/// A price with cents, or with what matters of a small one.
fn price(close: f64) -> String {
    if close.abs() >= 10.0 { format!("{close:.2}") } else { format!("{close:.6}") }
}
