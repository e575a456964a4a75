//! The deployed system as a whole, for tests: `scorer worker` and `api` as processes of their own, S3 and SQS by an
//! emulator of their protocols, and real Redis servers.
//!
//! There is nothing in the library. The tests are in `tests/system`; they need both programs, which
//! `cargo build -p cripto-scorer -p cripto-api` in the same profile puts where they look.
