use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use jiff::Timestamp;
use redis::{aio::PubSubStream, cmd};
use shared::{Following, Generation, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    events::{Heard, Reachable, Unreachable},
    store::Inner,
};

/// A server that says nothing for so long cannot be reached.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The pause before the server is asked again after it could not be reached; then twice of it, and so on.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// The longest such pause. A server that is back is noticed within it.
const LONGEST_RETRY: Duration = Duration::from_millis(500);

/// Follows what is current for as long as it is polled.
///
/// A message says that it is time to ask, and no more: it may be older than what was read already. Without messages
/// the server is asked from time to time.
pub(crate) struct Follower {
    inner: Arc<Inner>,
    poll: Duration,
    following: watch::Sender<Following>,
    messages: Option<PubSubStream>,
    /// Since when, and the last pause.
    unreachable: Option<(Instant, Duration)>,
}

impl Follower {
    pub(crate) fn new(inner: Arc<Inner>, poll: Duration, following: watch::Sender<Following>) -> Self {
        Self { inner, poll, following, messages: None, unreachable: None }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let pause = self.unreachable.map_or(self.poll, |(_, pause)| jittered(pause));
            let message = async {
                match &mut self.messages {
                    Some(messages) => messages.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = message => {
                    // The end of them: most likely the server is gone.
                    if message.is_none() {
                        self.messages = None;
                    }
                }
                () = sleep(pause) => {}
            }
            self.look().await;
        }
    }

    /// Asks what is current.
    pub(crate) async fn look(&mut self) {
        // First, so that nothing is missed between the answer and the first message.
        if self.messages.is_none() {
            self.messages = self.inner.connections.subscribe(&self.inner.keys.channel()).await.ok();
        }
        let pointer = self.inner.keys.current();
        let mut get = cmd("GET");
        get.arg(&pointer);
        let what = format!("reading {pointer}");
        match self.inner.connections.ask_within::<Option<u64>>(ANSWER_WITHIN, &what, get).await {
            Ok(current) => self.heard(current.map(Generation)),
            Err(error) => self.unreachable(&error),
        }
    }

    fn heard(&mut self, generation: Option<Generation>) {
        if let Some((since, _)) = self.unreachable.take() {
            Reachable { after: since.elapsed() }.tell();
        }
        let now = Following { generation, unreachable_since: None };
        let changed = self.following.send_if_modified(|following| {
            let changed = *following != now;
            *following = now;
            changed
        });
        if changed {
            Heard(generation).tell();
        }
    }

    fn unreachable(&mut self, error: &StoreError) {
        match &mut self.unreachable {
            Some((_, pause)) => *pause = pause.saturating_mul(2).min(LONGEST_RETRY),
            None => {
                self.unreachable = Some((Instant::now(), FIRST_RETRY));
                Unreachable { error }.tell();
                let since = Some(Timestamp::now());
                self.following.send_modify(|following| following.unreachable_since = since);
            }
        }
    }
}

/// Between half of a pause and all of it, so that many who wait do not come at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
