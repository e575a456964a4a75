use std::collections::BTreeSet;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use jiff::civil::Date;
use shared::{Asset, AssetPredictions, Outcome, ServedModel, Snapshot};

/// Predictions as a table for people, an asset a row and a model a column, as wide as the terminal.
///
/// A predicted close carries ▲ or ▼ against the last close, a predicted class its probability of a rise. The text is
/// coloured; who prints it takes the colour away where it is not wanted, as `anstream::println!` does.
#[must_use]
pub fn overview<'a>(
    snapshot: &Snapshot,
    assets: impl IntoIterator<Item = (&'a Asset, &'a AssetPredictions)>,
) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.enforce_styling();
    let assets: Vec<_> = assets.into_iter().collect();
    let days: BTreeSet<Option<Date>> = assets.iter().map(|(_, predictions)| predictions.data_date).collect();
    let day = |day: Option<Date>| day.map_or_else(String::new, |day| day.to_string());
    // A day that all assets share is said below, where it takes no column.
    let a_column_of_days = days.len() > 1;
    let headings = ["ativo", "dados até"].into_iter().take(1 + usize::from(a_column_of_days));
    table.set_header(headings.map(ToOwned::to_owned).chain(snapshot.models.iter().map(heading)));
    for (asset, predictions) in assets {
        let answers = snapshot.models.iter().map(|model| answer(predictions, model));
        let date = a_column_of_days.then(|| Cell::new(day(predictions.data_date)));
        table.add_row([Cell::new(asset)].into_iter().chain(date).chain(answers));
    }
    let mut text =
        format!("{table}\n▲ ▼ predicted close, above or below the last; 1 (60 %) class, chance of a rise");
    if let (false, Some(Some(day))) = (a_column_of_days, days.first()) {
        text.push_str(&format!("\ndados até {day}"));
    }
    text
}

/// Name and version, broken where they leave room for the others.
fn heading(model: &ServedModel) -> String {
    format!("{}\n{}", model.name, model.version).replacen('_', "_\n", 1).replace('-', "-\n")
}

fn answer(predictions: &AssetPredictions, model: &ServedModel) -> Cell {
    let failed = predictions.failures.iter().any(|failure| failure.model == model.name);
    let prediction = predictions.predictions.iter().find(|prediction| prediction.model == model.name);
    let (text, rises) = match prediction.map(|prediction| prediction.outcome) {
        Some(Outcome::Close(close)) => {
            let rises = predictions.last_close.map(|last| close > last);
            let sign = rises.map_or("", |rises| if rises { " ▲" } else { " ▼" });
            (format!("{}{sign}", price(close)), rises)
        }
        Some(Outcome::Direction { class, probability }) => {
            (format!("{class} ({:.0} %)", probability * 100.0), Some(probability > 0.5))
        }
        None if failed => ("—".to_owned(), None),
        None => (String::new(), None),
    };
    let cell = Cell::new(text).set_alignment(CellAlignment::Right);
    match rises {
        Some(true) => cell.fg(Color::Green),
        Some(false) => cell.fg(Color::Red),
        None => cell,
    }
}

/// A price with cents, or with what matters of a small one.
fn price(close: f64) -> String {
    if close.abs() >= 10.0 { format!("{close:.2}") } else { format!("{close:.6}") }
}
