//! The bucket and the queue against an emulator of S3 and SQS, and against servers that fail as the real ones may.
#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

mod faulty_server;
mod s3;
mod sqs;
