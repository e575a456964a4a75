//! Loading, and the part of it that nothing can be faster than: decompression alone.

use std::{
    fs::File,
    hint::black_box,
    io::{self, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use liblzma::bufread::XzDecoder;
use models::{Limits, Model};
use serde::Serialize;

/// How much is read at a time when nothing is done with it. More was not faster.
const READ_BYTES: usize = 256 << 10;

#[derive(Serialize)]
struct Measured {
    ms: f64,
    peak_mb: f64,
}

/// Reads a model: an artifact, or a parameter file through a memory map.
pub(crate) fn load(path: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let limits = Limits::default();
    let model = if path.extension().is_some_and(|extension| extension == "safetensors") {
        Model::map_parameters(path, &limits).with_context(|| path.display().to_string())?
    } else {
        Model::read(open(path)?, &limits).with_context(|| path.display().to_string())?
    };
    let elapsed = started.elapsed();
    report(elapsed)?;
    black_box(model);
    Ok(())
}

/// Decompresses a file to nowhere.
pub(crate) fn decompress(path: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut content = XzDecoder::new(BufReader::with_capacity(READ_BYTES, open(path)?));
    io::copy(&mut content, &mut io::sink()).with_context(|| path.display().to_string())?;
    report(started.elapsed())
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| path.display().to_string())
}

fn report(elapsed: Duration) -> anyhow::Result<()> {
    let measured = Measured { ms: elapsed.as_secs_f64() * 1e3, peak_mb: peak_mb()? };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// This process's peak resident memory, as Linux knows it.
fn peak_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    let kilobytes: f64 = kilobytes.context("/proc/self/status has no VmHWM")?.trim().parse()?;
    Ok(kilobytes / 1024.0)
}
