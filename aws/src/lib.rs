//! The bucket in S3 and its events in SQS.
//!
//! * **For:** the implementations of two seams that the deployed programs use, [`S3Bucket`] (an
//!   [`ObjectStore`](shared::ObjectStore) and [`ObjectWriter`](shared::ObjectWriter)) and [`SqsQueue`] (an [`EventSource`](shared::EventSource)), and
//!   [`ReloadQueue`], through which the API asks for a reload.
//! * **Comes in, goes out:** listings and objects of S3 as the shared types and readers; messages of SQS as
//!   [`Change`](shared::Change)s, deleted when they are acknowledged. What a message's text means is decided by one
//!   pure function, [`meaning`].
//! * **Must never know:** what an artifact or a table is, what a key says, who serves predictions.
//!
//! Features: `s3` and `sqs` have the halves, `testing` a local S3 and SQS for tests.
//!
//! ```no_run
//! use aws::{S3Bucket, Settings};
//! use shared::ObjectStore;
//!
//! # async fn list() -> Result<(), Box<dyn std::error::Error>> {
//! let config = aws::config(&Settings::new(Settings::DEFAULT_REGION, None)).await;
//! let bucket = S3Bucket::new(&config, "criptos-data");
//! for object in bucket.list("models/").await? {
//!     println!("{} ({} bytes)", object.key, object.size);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Permissions
//!
//! The scorer needs `s3:ListBucket` on the bucket and `s3:GetObject` on its objects; without the first, S3 answers 403
//! and not 404 to a missing object. On the queue it needs `sqs:ReceiveMessage`, `sqs:DeleteMessage`,
//! `sqs:ChangeMessageVisibility` and `sqs:GetQueueAttributes`; the API needs `sqs:SendMessage`. A backfill writes and removes
//! under `predictions/`: `s3:PutObject`, `s3:DeleteObject`. Retraining puts into `models/`, and features that are written back into
//! `features/`.

mod config;
#[cfg(feature = "sqs")]
mod events;
#[cfg(any(feature = "s3", feature = "sqs"))]
mod fault;
#[cfg(any(feature = "s3", feature = "sqs"))]
mod form;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "sqs")]
mod sqs;
#[cfg(feature = "testing")]
pub mod testing;

pub use aws_config::SdkConfig;
pub use config::{HttpUrl, InvalidHttpUrl, Settings, config};
#[cfg(feature = "s3")]
pub use s3::S3Bucket;
#[cfg(feature = "sqs")]
pub use sqs::{
    InvalidVisibility, QueueDepth, QueueMonitor, ReloadQueue, SqsQueue, SqsReceipt, SqsSettings, Visibility,
    meaning,
};
