//! The API as its users meet it: over HTTP, on a real port, from a real store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

mod browser;
mod connections;
mod documented;
mod endpoints;
mod generations;
mod metrics;
mod reload;
mod server;
mod store;
