//! The API as its users meet it: over HTTP, on a real port, from a real store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

mod browser;
mod clients;
mod connections;
mod devtools;
mod documented;
mod endpoints;
mod generations;
mod history;
mod listeners;
mod many;
mod metrics;
mod painel;
mod reload;
mod server;
mod stale;
mod store;
