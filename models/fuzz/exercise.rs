//! Describes a model that was read, and predicts with it. Every target does.

use models::{Column, Limits, Model, Table};

/// Small, so that a target tries many inputs a second and meets the limits.
pub fn limits() -> Limits {
    Limits {
        decompressed_bytes: 1 << 22,
        values: 1 << 16,
        retained_bytes: 1 << 22,
        steps: 1 << 18,
        ..Limits::default()
    }
}

/// Describes the model and predicts from a few rows.
pub fn exercise(model: &Model) {
    let _ = format!("{}", model.describe());
    let columns = model.describe().column_count.min(1_000);
    let names = |place: usize| match model.columns() {
        Some(names) => names.get(place).map(ToString::to_string).unwrap_or_default(),
        None => format!("x{place}"),
    };
    let numbers = |place| (names(place), Column::Number(vec![0.5, -1.0, f64::NAN, 1e300]));
    let texts = |place| (names(place), Column::text([Some("BTC"), None, Some("1.5"), Some("")]));
    for table in [Table::new((0..columns).map(numbers)), Table::new((0..columns).map(texts))] {
        if let Ok(table) = table {
            let _ = model.predict(&table);
        }
    }
}
