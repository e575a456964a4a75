//! The scorer on real buckets: folders with artifacts of real scikit-learn and tables of real pandas and pyarrow.
//!
//! Needs Python with pandas and pyarrow: `python3`, or what `CRIPTO_PYTHON` names. Features are also computed from the
//! candles of the `raw.csv` that `CRIPTO_RAW` names, if it names one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure of a test's own means is a failure")]

mod cli;
mod engine;
mod features;
mod folder;
mod follow;
mod retrain;
mod tables;
mod terminal;
mod world;
