use std::{
    error::Error,
    io::{self, Read},
};

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf, Bytes};
use thiserror::Error;
use tokio::sync::mpsc;

/// How many chunks the download may be ahead of the reader. One has at most some hundred kilobytes.
const CHUNKS_AHEAD: usize = 8;

/// An object as it arrives, read from a thread that may block.
///
/// Dropping it stops the download.
pub(super) struct Download {
    parts: mpsc::Receiver<Part>,
    chunk: Bytes,
    /// How much has been received.
    received: u64,
    state: State,
}

enum Part {
    Bytes(Bytes),
    /// All of the object has come, and its length and checksum are right.
    End,
    Failed(Box<dyn Error + Send + Sync>),
}

enum State {
    Underway,
    Ended,
    Failed,
}

/// A download did not come to its end.
#[derive(Debug, Error)]
#[error("the download broke off after {received} bytes")]
struct Interrupted {
    received: u64,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Download {
    /// Starts to receive `body` in a task of its own.
    pub(super) fn start(body: ByteStream) -> Self {
        let (sender, parts) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(receive(body, sender));
        Self { parts, chunk: Bytes::new(), received: 0, state: State::Underway }
    }
}

async fn receive(mut body: ByteStream, reader: mpsc::Sender<Part>) {
    // It is an error if the reader is gone.
    while let Ok(place) = reader.reserve().await {
        let part = tokio::select! {
            () = reader.closed() => return,
            part = body.next() => part,
        };
        match part {
            Some(Ok(chunk)) => place.send(Part::Bytes(chunk)),
            Some(Err(error)) => return place.send(Part::Failed(error.into())),
            None => return place.send(Part::End),
        }
    }
}

impl Read for Download {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !to.is_empty() {
            let source = match self.state {
                State::Ended => return Ok(0),
                // However often it is asked, the part that is missing is no end.
                State::Failed => None,
                State::Underway => match self.parts.blocking_recv() {
                    Some(Part::Bytes(chunk)) => {
                        self.received = self.received.saturating_add(chunk.len() as u64);
                        self.chunk = chunk;
                        continue;
                    }
                    Some(Part::End) => {
                        self.state = State::Ended;
                        continue;
                    }
                    Some(Part::Failed(error)) => Some(error),
                    // The runtime ended, for instance.
                    None => None,
                },
            };
            self.state = State::Failed;
            return Err(io::Error::other(Interrupted { received: self.received, source }));
        }
        let length = to.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut to[..length]);
        Ok(length)
    }
}
