//! Reads arbitrary bytes as a parameter file and, if they are one, predicts from a few rows and writes it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use models::{Column, Limits, Model, Table};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits {
        decompressed_bytes: 1 << 22,
        values: 1 << 16,
        retained_bytes: 1 << 22,
        ..Limits::default()
    };
    let Ok(model) = Model::read_parameters(bytes, &limits) else { return };
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
    // What was read can be written, and is the same once it is read again.
    let written = model.write_parameters("fuzz").expect("a model that was read can be written");
    let again = Model::read_parameters(&written, &Limits::default()).expect("what was written can be read");
    assert_eq!(again.write_parameters("fuzz").ok(), Some(written));
});
