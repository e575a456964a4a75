//! Reads arbitrary bytes as an artifact and, if they are one, predicts from a few rows.
#![no_main]

#[path = "../exercise.rs"]
mod exercise;

use libfuzzer_sys::fuzz_target;
use models::Model;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = Model::read(bytes, &exercise::limits()) {
        exercise::exercise(&model);
    }
});
