//! `GET /eventos`: who listens is told of every generation that is served, as server-sent events.
//!
//! The format is that of <https://html.spec.whatwg.org/multipage/server-sent-events.html>. A listener who reads slowly
//! misses generations that were replaced meanwhile, and never the newest.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use shared::Summary;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{Service, answers::Origin, error::ApiError, metrics::Listening};

/// How often a listener hears something at least, so that nothing between us takes the connection for idle.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When a listener who lost the connection should come back, in milliseconds. It is the first that is sent, so that a
/// listener knows at once that it is one.
const RETRY: &[u8] = b"retry: 3000\n\n";

/// A comment, which listeners skip.
const NOTHING_NEW: &[u8] = b":\n\n";

/// Begun and ended requests of a connection, and writes to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(Arc<AtomicU64>);

impl Activity {
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The data of the event `geracao`.
#[derive(Serialize)]
struct GenerationEvent {
    #[serde(flatten)]
    origin: Origin,
    total_symbols: usize,
    total_models: usize,
}

struct Listener {
    service: Arc<Service>,
    /// Changes with every generation that is served.
    served: watch::Receiver<()>,
    /// Its sender is dropped at shutdown.
    stopping: watch::Receiver<()>,
    heartbeat: Interval,
    activity: Activity,
    greeted: bool,
    _place: OwnedSemaphorePermit,
    _listening: Listening,
}

/// The endless answer to one who listens, or none if there are too many.
pub(crate) fn listen(service: &Arc<Service>, activity: Activity) -> Result<Response, ApiError> {
    let place = Arc::clone(&service.listeners);
    let place = Semaphore::try_acquire_owned(place).map_err(|_| ApiError::TooManyListeners)?;
    let mut served = service.predictions.served();
    // What is served already is the first news.
    served.mark_changed();
    // What is never read for a while is closed as an idle connection is; what is read is not idle.
    let period = HEARTBEAT.min(service.settings.idle / 3).max(Duration::from_millis(1));
    let mut heartbeat = interval(period);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat.reset();
    let listener = Listener {
        service: Arc::clone(service),
        served,
        stopping: service.stopping.clone(),
        heartbeat,
        activity,
        greeted: false,
        _place: place,
        _listening: Listening::begin(),
    };
    let told = stream::unfold(listener, |mut listener| async {
        let message = listener.next().await?;
        listener.activity.note();
        Some((Ok::<Bytes, Infallible>(message), listener))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    // nginx would collect it otherwise.
    Ok((headers, [("x-accel-buffering", "no")], Body::from_stream(told)).into_response())
}

impl Listener {
    /// What is told next; nothing at shutdown.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            return Some(Bytes::from_static(RETRY));
        }
        loop {
            tokio::select! {
                biased;
                _ = self.stopping.changed() => return None,
                changed = self.served.changed() => {
                    changed.ok()?;
                    let now = self.service.predictions.now();
                    if let Some(served) = now.served() {
                        return Some(event(&served.summary));
                    }
                }
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(NOTHING_NEW)),
            }
        }
    }
}

fn event(summary: &Summary) -> Bytes {
    let event = GenerationEvent {
        origin: Origin::from(summary),
        total_symbols: summary.assets,
        total_models: summary.models.len(),
    };
    let data = serde_json::to_string(&event).expect("numbers and times have a JSON form");
    format!("event: geracao\nid: {}\ndata: {data}\n\n", summary.generation).into()
}
