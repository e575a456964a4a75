//! The behaviour that every implementation of a seam must show, to be run against each.

mod bucket;
mod history_store;
mod port;
mod prediction_store;

pub use bucket::{World, event_source, object_store, object_writer};
pub use history_store::history_store;
pub use port::free_port;
pub use prediction_store::prediction_store;
