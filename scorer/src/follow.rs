use std::{pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use shared::{
    Batch, Change, EventError, EventSource, FaultKind, Following, Generation, ReloadReport, ReloadReports,
    RequestId, TraceId,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    Engine, Reload, ReloadError, ReloadStatus,
    engine::{Look, Place},
    events,
};

/// After a reload that failed or was not complete, the next one is tried after about this time, then after about twice of it,
/// and so on.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// While the store fails, its recovery may bring the next try forward, but not to sooner than this after the last one.
const AFTER_RECOVERY: Duration = Duration::from_secs(5);

/// More batches than this are not held for the next try. Then no more are received until it is over: they wait in the queue,
/// and the reload sees what they tell of all the same.
const MAX_HELD: usize = 64;

/// The longest time between two attempts to receive from a source that fails.
const LONGEST_SOURCE_RETRY: Duration = Duration::from_secs(10);

/// How often a fault of the source is logged while it lasts.
const SOURCE_WARNING_INTERVAL: Duration = Duration::from_secs(60);

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
/// Changes that come together cause one reload. A change is acknowledged when its own effect is published, whatever else
/// could not be read. Events only make it fast, the bucket is the truth: it is looked at now and then in any case, and
/// when the prediction store has lost what it held.
///
/// **Retries.** There is one backoff, from half a second to a minute, whatever woke the loop:
///
/// | the last reload | next try | a new change meanwhile |
/// |---|---|---|
/// | was complete | at the reconciliation | causes a reload at once |
/// | was not complete: some objects could not be read for a reason that may pass | after the backoff, of these objects too | causes a reload at once, without these objects |
/// | failed | after the backoff | is held |
///
/// A reload that fails at the store is tried again soon after the store has recovered. Objects that cannot be read until
/// somebody acts are tried again at the reconciliation, or when somebody asks for a reload.
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
    let mut schedule = Schedule::new(settings.reconcile);
    let (mut store, mut store_again) = (engine.watch(), engine.watch());
    let mut published = None;
    let mut source = SourceFailures::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let fails = schedule.failed_at.is_some();
        let look = tokio::select! {
            () = &mut shutdown => break,
            () = sleep_until(schedule.due()) => schedule.look(),
            () = lost(&mut store, published), if !fails => {
                events::StoreEmptied.emit();
                Look::Changed
            }
            () = recovered(&mut store_again, schedule.last_try), if schedule.failed_at == Some(Place::Store) => {
                schedule.look()
            }
            batch = receive(&mut events, source.due), if work.held.len() < MAX_HELD => match batch {
                Ok(batch) => {
                    source = SourceFailures::default();
                    let asked = batch.changes.iter().any(|change| !matches!(change, Change::Object(_) | Change::Removed(_)));
                    work.add(batch);
                    if fails {
                        // It would fail again, and the next try sees this change, too.
                        continue;
                    }
                    if asked { Look::Everything } else { Look::Changed }
                }
                Err(error) => {
                    source.add(&error);
                    continue;
                }
            },
        };
        // A reload may be cancelled at any time, and does not keep the process from ending.
        let result = tokio::select! {
            () = &mut shutdown => break,
            result = engine.reload_as(work.trace_id, look) => result,
        };
        settings.status.send_modify(|status| status.note(&result));
        work.report(&result, settings.reports.as_deref()).await;
        schedule.note(look, &result);
        match result {
            Ok(reload) => {
                published = Some((reload.snapshot.generation, Instant::now()));
                work.acknowledge(&mut events, &reload).await;
                if reload.incomplete {
                    let (objects, batches) = (reload.pending.len(), work.held.len());
                    events::Deferred { objects, batches, next_in: schedule.until_due() }.emit();
                }
            }
            Err(error) => events::ReloadFailed { error: &error, next_in: schedule.until_due() }.emit(),
        }
    }
    // What is held first: closing waits for answers that are under way.
    work.release(&mut events).await;
    events.close().await;
}

/// Receives from a source, not before `due`. May be cancelled.
async fn receive<E: EventSource>(events: &mut E, due: Instant) -> Result<Batch<E::Receipt>, EventError> {
    sleep_until(due).await;
    events.receive().await
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

/// Completes when the store can be reached again after it could not, some time after the last try.
async fn recovered(store: &mut watch::Receiver<Following>, last_try: Instant) {
    let is_away = |following: &Following| following.unreachable_since.is_some();
    let back = async {
        store.wait_for(is_away).await?;
        store.wait_for(|following| !is_away(following)).await.map(drop)
    };
    if back.await.is_err() {
        // It tells nothing any more.
        return std::future::pending().await;
    }
    sleep_until(last_try + AFTER_RECOVERY).await;
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

    /// Acknowledges the changes whose effect is published, and holds the others.
    async fn acknowledge(&mut self, events: &mut impl EventSource<Receipt = Receipt>, reload: &Reload) {
        let is_published = |change: &Change| match change {
            Change::Object(key) | Change::Removed(key) => !reload.pending.contains(key),
            Change::Anything => !reload.incomplete,
            // The outcome has been reported.
            Change::Requested(_) => true,
        };
        let span = events::span(self.trace_id);
        for batch in std::mem::take(&mut self.held) {
            let (done, rest) = events.split(batch, &is_published).await;
            self.held.extend(rest);
            let Some(done) = done else { continue };
            for change in &done.changes {
                if let Change::Object(key) = change
                    && reload.lacks(key)
                {
                    span.in_scope(|| events::Missing { key }.emit());
                }
            }
            let age = age(&done);
            settled(events.acknowledge(done).await);
            span.in_scope(|| events::Acknowledged { age }.emit());
        }
        if self.held.is_empty() {
            self.trace_id = TraceId::new();
        }
    }

    async fn release(&mut self, events: &mut impl EventSource<Receipt = Receipt>) {
        for batch in self.held.drain(..) {
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
        events::SourceFailed { error: &error, lasts: Duration::ZERO, is_logged: true }.emit();
    }
}

/// The failures of an event source since it last gave something.
struct SourceFailures {
    /// When the source may be asked again.
    due: Instant,
    pause: Duration,
    /// The first failure, the last one that was logged, and its kind.
    logged: Option<(Instant, Instant, FaultKind)>,
}

impl Default for SourceFailures {
    fn default() -> Self {
        Self { due: Instant::now(), pause: Duration::ZERO, logged: None }
    }
}

impl SourceFailures {
    /// Logs a failure if it is new, of another kind, or lasts.
    fn add(&mut self, error: &EventError) {
        let (now, kind) = (Instant::now(), error.kind());
        let since = self.logged.map_or(now, |(since, ..)| since);
        let is_known = |(_, at, before): (Instant, Instant, FaultKind)| {
            before == kind && now.duration_since(at) < SOURCE_WARNING_INTERVAL
        };
        let is_logged = !self.logged.is_some_and(is_known);
        if is_logged {
            self.logged = Some((since, now, kind));
        }
        events::SourceFailed { error, lasts: now.duration_since(since), is_logged }.emit();
        self.pause = self.pause.saturating_mul(2).clamp(FIRST_RETRY, LONGEST_SOURCE_RETRY);
        self.due = now + jittered(self.pause);
    }
}

/// Somewhere from three quarters to five quarters of a time, so that processes that failed together do not all come
/// back together.
fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.75 + 0.5 * fastrand::f64())
}

/// When to reload although nothing changed.
struct Schedule {
    interval: Duration,
    /// When everything is looked at again.
    reconcile: Instant,
    /// When the next try is, after a reload that failed or was not complete.
    retry: Option<Instant>,
    /// The pause before that try.
    pause: Duration,
    /// Where the last reload failed; nothing if it did not.
    failed_at: Option<Place>,
    last_try: Instant,
}

impl Schedule {
    /// The first reload is due now.
    fn new(interval: Duration) -> Self {
        let now = Instant::now();
        Self { interval, reconcile: now, retry: None, pause: Duration::ZERO, failed_at: None, last_try: now }
    }

    fn due(&self) -> Instant {
        self.retry.unwrap_or(self.reconcile)
    }

    fn until_due(&self) -> Duration {
        self.due().saturating_duration_since(Instant::now())
    }

    /// How much the reload looks at that is due.
    fn look(&self) -> Look {
        if Instant::now() >= self.reconcile { Look::Everything } else { Look::Retry }
    }

    /// Plans the next try after a reload that looked at this much.
    fn note(&mut self, look: Look, result: &Result<Reload, ReloadError>) {
        let now = Instant::now();
        self.last_try = now;
        self.failed_at = result.as_ref().err().map(ReloadError::place);
        if look == Look::Everything && result.is_ok() {
            self.reconcile = now + self.interval;
        }
        match result {
            Ok(reload) if !reload.incomplete => (self.retry, self.pause) = (None, Duration::ZERO),
            // The objects that could not be read were not tried again.
            Ok(_) if look == Look::Changed && self.retry.is_some_and(|retry| retry > now) => {}
            _ => {
                self.pause = self.pause.saturating_mul(2).clamp(FIRST_RETRY, LONGEST_RETRY);
                self.retry = Some(now + jittered(self.pause));
            }
        }
    }
}
