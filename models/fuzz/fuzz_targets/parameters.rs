//! Reads arbitrary bytes as a parameter file and, if they are one, predicts from a few rows and writes it again.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;
use models::{Limits, Model};

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::read_parameters(bytes, &exercise::limits()) else { return };
    exercise::exercise(&model);
    // What was read can be written, and is the same once it is read again.
    let written = model.write_parameters("fuzz").expect("a model that was read can be written");
    let again = Model::read_parameters(&written, &Limits::default()).expect("what was written can be read");
    assert_eq!(again.write_parameters("fuzz").ok(), Some(written));
});
