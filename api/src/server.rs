//! Connections: how many, and for how long.

use std::{pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    Settings,
    entrance::Entrance,
    events::{ConnectionFailed, ConnectionRefused, RequestsCutOff},
    listeners::Activity,
    metrics::OpenConnection,
    progress::Progress,
};

/// The most that is buffered of a request's head, and of an answer. The documented requests need a twentieth.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long to wait when the system gives no connection, for instance because no file descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(250);

/// Serves until `shutdown` completes, and then until the requests in progress have been answered or
/// [`Settings::drain`] is over. Dropping `stop`, which happens in between, is the message to those who have to know.
pub(crate) async fn run(
    listener: TcpListener,
    entrance: Entrance,
    settings: &Settings,
    stop: watch::Sender<()>,
    shutdown: impl Future<Output = ()>,
) {
    let entrance = Arc::new(entrance);
    let bound = settings.connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let permits = Arc::new(Semaphore::new(bound));
    // A reload may well be the only request on its connection; and a clock cannot tick at every instant.
    let idle = settings.idle.max(settings.reload_wait).max(Duration::from_millis(1));
    let stopping = stop.subscribe();
    let accept = async {
        loop {
            // The permit comes first: who has none waits in the listener's queue, where it costs us nothing.
            let permit = Arc::clone(&permits).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (entrance, stopping) = (Arc::clone(&entrance), stopping.clone());
                    tokio::spawn(async move {
                        serve_connection(stream, entrance, stopping, idle).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    ConnectionRefused { error }.emit();
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    drop(stop);
    // All permits are back when all connections have ended.
    let all = u32::try_from(bound).unwrap_or(u32::MAX);
    if timeout(settings.drain, permits.acquire_many(all)).await.is_err() {
        RequestsCutOff { waited: settings.drain }.emit();
    }
}

async fn serve_connection(
    stream: TcpStream,
    entrance: Arc<Entrance>,
    mut stopping: watch::Receiver<()>,
    idle: Duration,
) {
    let _open = OpenConnection::begin();
    // Every answer is one write; there is nothing to wait for that could be sent along with it.
    let _ = stream.set_nodelay(true);
    // Begun and ended requests, and writes. Looking at a counter now and then is all that a request pays for the time
    // limit.
    let activity = Activity::default();
    let service = service_fn(|request| {
        activity.note();
        let answer = entrance.answer(request, &activity);
        async {
            let response = answer.await;
            activity.note();
            response
        }
    });
    let stream = Progress::of(stream, activity.clone());
    // Head and body in one buffer: for answers of this size, copying them costs less than a vectored write.
    let mut connection = pin!(
        http1::Builder::new()
            .writev(false)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut inspection = interval(idle);
    inspection.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    let mut stopped = false;
    loop {
        tokio::select! {
            // The connection nearly always is what woke this task.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    ConnectionFailed { error }.emit();
                }
                return;
            }
            _ = inspection.tick() => {
                let now = Some(activity.count());
                if seen == now {
                    return;
                }
                seen = now;
            }
            _ = stopping.changed(), if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
