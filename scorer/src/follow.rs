use std::{pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use shared::{
    Batch, Change, EventError, EventSource, Following, Generation, ReloadReport, ReloadReports, RequestId,
    TraceId,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use crate::{Engine, Reload, ReloadError, ReloadStatus, events};

/// After a reload that was not complete, the next one is tried after about this time, then after about twice of it,
/// and so on.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// More batches than this are not held back for the next try. They are released and come again.
const MAX_HELD: usize = 64;

/// After something was published, how long it may take until the store's own news of it arrive.
const NEWS: Duration = Duration::from_secs(2);

/// How a bucket is followed.
#[derive(Clone)]
pub struct Follow {
    /// How often the bucket is looked at although nothing was heard of it, so that missed events do no lasting harm.
    /// Default 5 minutes.
    pub reconcile: Duration,
    /// Where those who ask for a reload look for its outcome; nothing if nobody can ask by way of an event.
    pub reports: Option<Arc<dyn ReloadReports>>,
    /// Where the outcome of the last reload is shown.
    pub status: watch::Sender<ReloadStatus>,
}

impl Default for Follow {
    fn default() -> Self {
        Self { reconcile: Duration::from_secs(300), reports: None, status: watch::Sender::default() }
    }
}

/// Reloads at first and whenever something changes, until `shutdown` completes.
///
/// Changes that come together cause one reload. They are acknowledged when it is done and published. After a reload
/// that failed, or could not read something for a reason that may pass, they are held back and the reload is tried
/// again with growing pauses; a new change is not kept waiting by them. Events only make it fast, the bucket is the
/// truth: it is looked at now and then in any case, and when the prediction store has lost what it held.
///
/// At shutdown, what is being read is given up and what is held is released: whoever receives it next can begin at
/// once.
pub async fn follow<E: EventSource>(
    engine: &Engine,
    mut events: E,
    settings: &Follow,
    shutdown: impl Future<Output = ()>,
) {
    let mut work = Work::new();
    let mut next = Next::now();
    let mut store = engine.watch();
    let mut published = None;
    let mut source_fails = false;
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            () = sleep_until(next.due) => {}
            () = lost(&mut store, published) => events::StoreEmptied.emit(),
            batch = events.receive() => match batch {
                Ok(batch) => {
                    source_fails = false;
                    work.add(batch);
                }
                Err(error) => {
                    events::SourceFailed { error: &error, again: source_fails }.emit();
                    source_fails = true;
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(jittered(FIRST_RETRY)) => continue,
                    }
                }
            },
        }
        // A reload may be cancelled at any time, and does not keep the process from ending.
        let result = tokio::select! {
            () = &mut shutdown => break,
            result = engine.reload_as(work.trace_id) => result,
        };
        settings.status.send_modify(|status| status.note(&result));
        work.report(&result, settings.reports.as_deref()).await;
        match result {
            Ok(reload) if !reload.incomplete => {
                published = Some((reload.snapshot.generation, Instant::now()));
                next = Next::after_success(settings.reconcile);
                work.acknowledge(&mut events, &reload).await;
            }
            result => {
                next = next.after_failure();
                let next_in = next.pause;
                match &result {
                    Err(error) => events::ReloadFailed { error, next_in }.emit(),
                    Ok(_) => events::Deferred { batches: work.held.len(), next_in }.emit(),
                }
                work.release_surplus(&mut events).await;
            }
        }
    }
    // What is held first: closing waits for answers that are under way.
    work.release(&mut events, 0).await;
    events.close().await;
}

/// Completes when the store can be reached and has lost what was published. It is empty, holds an older state, or a reader
/// missed a part.
async fn lost(store: &mut watch::Receiver<Following>, published: Option<(Generation, Instant)>) {
    let Some((_, since)) = published else { return std::future::pending().await };
    sleep_until(since + NEWS).await;
    if store.wait_for(Following::has_lost_what_was_published).await.is_err() {
        // It tells nothing any more.
        std::future::pending::<()>().await;
    }
}

/// The changes whose effect is not published yet.
struct Work<Receipt> {
    held: Vec<Batch<Receipt>>,
    /// Of the reload that they cause.
    trace_id: TraceId,
}

impl<Receipt: Send> Work<Receipt> {
    fn new() -> Self {
        Self { held: Vec::new(), trace_id: TraceId::new() }
    }

    fn add(&mut self, batch: Batch<Receipt>) {
        let _span = events::span(self.trace_id).entered();
        events::Received { changes: batch.changes.len(), age: age(&batch) }.emit();
        self.held.push(batch);
    }

    /// Tells those who asked for this reload what came of it.
    async fn report(&self, result: &Result<Reload, ReloadError>, reports: Option<&dyn ReloadReports>) {
        let Some(reports) = reports else { return };
        let report = match result {
            Ok(reload) => ReloadReport::Done(reload.snapshot.generation),
            Err(error) => ReloadReport::Failed(error.to_string()),
        };
        let requests = self.held.iter().flat_map(|batch| &batch.changes).filter_map(|change| match change {
            Change::Requested(request) => Some(request),
            Change::Object(_) | Change::Removed(_) | Change::Anything => None,
        });
        let requests: Vec<&RequestId> = requests.collect();
        for request in requests {
            if let Err(error) = reports.report(request, &report).await {
                events::ReportFailed { error: &error }.emit();
            }
        }
    }

    async fn acknowledge(&mut self, events: &mut impl EventSource<Receipt = Receipt>, reload: &Reload) {
        for batch in std::mem::take(&mut self.held) {
            let span = events::span(self.trace_id);
            for change in &batch.changes {
                if let Change::Object(key) = change
                    && reload.lacks(key)
                {
                    span.in_scope(|| events::Missing { key }.emit());
                }
            }
            let age = age(&batch);
            settled(events.acknowledge(batch).await);
            span.in_scope(|| events::Acknowledged { age }.emit());
        }
        self.trace_id = TraceId::new();
    }

    /// Releases the oldest batches beyond those that may be held.
    async fn release_surplus(&mut self, events: &mut impl EventSource<Receipt = Receipt>) {
        self.release(events, MAX_HELD).await;
    }

    async fn release(&mut self, events: &mut impl EventSource<Receipt = Receipt>, keep: usize) {
        let surplus = self.held.len().saturating_sub(keep);
        for batch in self.held.drain(..surplus) {
            settled(events.release(batch).await);
            events::span(self.trace_id).in_scope(|| events::Released.emit());
        }
    }
}

/// The time from a batch's oldest event until now; nothing if the clocks disagree.
fn age<Receipt>(batch: &Batch<Receipt>) -> Option<Duration> {
    Timestamp::now().duration_since(batch.oldest?).try_into().ok()
}

fn settled(result: Result<(), EventError>) {
    if let Err(error) = result {
        events::SourceFailed { error: &error, again: false }.emit();
    }
}

/// Somewhere from three quarters to five quarters of a time, so that processes that failed together do not all come
/// back together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.75 + 0.5 * fastrand::f64())
}

/// When to reload although nothing changed.
struct Next {
    due: Instant,
    /// How long the pause is after a failure; nothing if the last reload succeeded.
    pause: Duration,
}

impl Next {
    fn now() -> Self {
        Self { due: Instant::now(), pause: Duration::ZERO }
    }

    fn after_success(reconcile: Duration) -> Self {
        Self { due: Instant::now() + reconcile, pause: Duration::ZERO }
    }

    fn after_failure(&self) -> Self {
        let pause = self.pause.saturating_mul(2).clamp(FIRST_RETRY, LONGEST_RETRY);
        Self { due: Instant::now() + jittered(pause), pause }
    }
}
