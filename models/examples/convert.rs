//! Converts an artifact of scikit-learn to a parameter file, and says how long reading each of them takes.
//!
//!     cargo run --release -p cripto-models --example convert -- FILE.joblib OUT.safetensors

use std::{
    fs::{self, File},
    process::ExitCode,
    time::Instant,
};

use models::{Limits, Model};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: convert FILE.joblib OUT.safetensors");
        return Ok(ExitCode::from(2));
    };
    let limits = Limits::default();
    let started = Instant::now();
    let model = Model::read(File::open(from)?, &limits)?;
    println!("{from}: {} bytes, read in {:.1?}", fs::metadata(from)?.len(), started.elapsed());
    let bytes = model.write_parameters(&format!("convert {}", env!("CARGO_PKG_VERSION")))?;
    fs::write(to, &bytes)?;
    println!("{to}: {} bytes", bytes.len());
    for _ in 0..5 {
        let started = Instant::now();
        let mapped = Model::map_parameters(to, &limits)?;
        println!("mapped in {:.1?}", started.elapsed());
        drop(mapped);
        let started = Instant::now();
        let read = Model::read_parameters(&bytes, &limits)?;
        println!("read from memory in {:.1?}", started.elapsed());
        drop(read);
    }
    Ok(ExitCode::SUCCESS)
}
