//! From an upload to an answer, and everything that may go wrong in between.
//!
//! Needs `redis-server`, ministack by `CRIPTO_MINISTACK`, and Python with pandas and scikit-learn by `CRIPTO_PYTHON`; and both programs, built in the profile of the tests.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure of a test's own means is a failure")]

mod backfill;
mod bucket_faults;
mod faults;
mod health;
mod killed;
mod path;
mod process;
mod proxy;
mod reload;
mod retrain;
mod system;
