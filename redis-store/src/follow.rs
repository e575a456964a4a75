use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use jiff::Timestamp;
use redis::cmd;
use shared::{Damage, Following, Generation, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    Access,
    connection::{CONNECT_WITHIN, Subscription},
    events::{Damaged, Heard, NotSubscribed, Reachable, Subscribed, SubscriptionLost, Unreachable},
    fault::Fault,
    ledger::Pointer,
    standing::State,
    store::Inner,
};

/// A server that says nothing for so long cannot be reached.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How often a subscription is asked for a sign of life, and a server for its role. A connection that a network has
/// dropped without a word looks like one on which nothing happens.
const CHECK_EVERY: Duration = Duration::from_secs(3);

/// How soon a subscription is tried again that the user has no right to.
const DENIED_RETRY: Duration = Duration::from_secs(60);

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
    subscription: Option<Subscription>,
    /// Of the connection that the subscription was made beside. It may lead to another server than the next one.
    epoch: u64,
    /// When a subscription was denied.
    denied: Option<Instant>,
    /// When the subscription and the role of the server were checked.
    checked: Instant,
    rights_checked: bool,
    /// Since when, and the last pause.
    unreachable: Option<(Instant, Duration)>,
}

impl Follower {
    pub(crate) fn new(inner: Arc<Inner>, poll: Duration, following: watch::Sender<Following>) -> Self {
        Self {
            inner,
            poll,
            following,
            subscription: None,
            epoch: 0,
            denied: None,
            checked: Instant::now(),
            rights_checked: false,
            unreachable: None,
        }
    }

    pub(crate) async fn run(mut self) {
        // After the first look, so that nobody waits for it.
        self.check_rights().await;
        let mut asked = Instant::now();
        loop {
            let pause = self.unreachable.map_or(self.poll, |(_, pause)| jittered(pause));
            let message = async {
                match &mut self.subscription {
                    Some(subscription) => subscription.messages.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = message => {
                    // The end of them: most likely the server is gone.
                    if message.is_none() {
                        self.lost("it ended");
                    }
                }
                () = sleep(pause.saturating_sub(asked.elapsed())) => {}
                () = sleep(CHECK_EVERY.saturating_sub(self.checked.elapsed())), if self.unreachable.is_none() => {
                    if self.check().await {
                        continue;
                    }
                }
            }
            asked = Instant::now();
            self.look().await;
            self.check_rights().await;
        }
    }

    /// Asks what is current.
    pub(crate) async fn look(&mut self) {
        if self.unreachable.is_some() {
            self.inner.connections.check_role(ANSWER_WITHIN).await;
        }
        // First, so that nothing is missed between the answer and the first message.
        self.subscribe().await;
        let before = self.inner.standing.until_now();
        match self.state().await {
            Ok((pointer, incomplete)) => self.heard(pointer, before, incomplete),
            Err(error) => return self.unreachable(&error),
        }
        if self.subscription.is_some() && !self.inner.connections.holds(self.epoch).await {
            self.lost("requests go to another connection");
            self.subscribe().await;
        }
    }

    async fn state(&self) -> Result<(Pointer, Option<u64>), StoreError> {
        let connections = &self.inner.connections;
        let what = format!("reading {}", self.inner.keys.current());
        let pointer = self.inner.ledger().pointer();
        let pointer = connections.ask_within(ANSWER_WITHIN, &what, &pointer).await?;
        let incomplete = self.inner.keys.incomplete();
        let mut get = cmd("GET");
        get.arg(&incomplete);
        let what = format!("reading {incomplete}");
        let incomplete = connections.ask_within(ANSWER_WITHIN, &what, &get).await?;
        if self.inner.access == Access::Publish {
            // A publisher waits for the moment at which a publication can succeed, and tries again then.
            let what = format!("looking whether {} can be written", self.inner.keys.pending());
            connections.ask_within::<()>(ANSWER_WITHIN, &what, &self.inner.ledger().probe()).await?;
        }
        Ok((pointer, incomplete))
    }

    async fn subscribe(&mut self) {
        let is_denied = self.denied.is_some_and(|since| since.elapsed() < DENIED_RETRY);
        if self.subscription.is_some() || is_denied {
            return;
        }
        // A subscription is made where requests go to.
        let Some(epoch) = self.inner.connections.reach(CONNECT_WITHIN).await else { return };
        let channel = self.inner.keys.channel();
        match self.inner.connections.subscribe(&channel).await {
            Ok(subscription) => {
                Subscribed.tell();
                self.subscription = Some(subscription);
                self.epoch = epoch;
                self.checked = Instant::now();
                self.denied = None;
            }
            Err(error) if Fault::of(&error) == Fault::Permission => {
                NotSubscribed { channel: &channel, error: &error, known: self.denied.is_some() }.tell();
                self.denied = Some(Instant::now());
            }
            // The request that comes next tells what is wrong.
            Err(_) => {}
        }
    }

    /// Looks whether the subscription lives and whether the server is still the primary. Whether all is well.
    async fn check(&mut self) -> bool {
        self.checked = Instant::now();
        self.inner.connections.check_role(ANSWER_WITHIN).await;
        let is_alive = match &mut self.subscription {
            Some(subscription) => subscription.is_alive(ANSWER_WITHIN).await,
            None => true,
        };
        if !is_alive {
            self.lost("it gave no sign of life");
        }
        is_alive && (self.subscription.is_none() || self.inner.connections.holds(self.epoch).await)
    }

    fn lost(&mut self, why: &'static str) {
        self.subscription = None;
        SubscriptionLost { why }.tell();
    }

    /// Checks the rights of the user once, as soon as a server answers.
    async fn check_rights(&mut self) {
        if !self.rights_checked && self.unreachable.is_none() {
            self.rights_checked = true;
            self.inner.check_rights().await;
        }
    }

    fn heard(&mut self, pointer: Pointer, before: State, incomplete: Option<u64>) {
        if let Some((since, _)) = self.unreachable.take() {
            Reachable { after: since.elapsed() }.tell();
        }
        let generation = pointer.0.map(Generation);
        let damage = if self.inner.standing.seen(pointer, before).is_err() {
            Some(Damage::Behind)
        } else if generation.is_some() && incomplete == pointer.0 {
            Some(Damage::Incomplete)
        } else {
            None
        };
        let now = Following { generation, unreachable_since: None, damage };
        let before = *self.following.borrow();
        if before == now {
            return;
        }
        self.following.send_replace(now);
        Heard(generation).tell();
        if let Some(damage) = damage.filter(|damage| before.damage != Some(*damage)) {
            Damaged { damage, generation }.tell();
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
