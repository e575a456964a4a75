use std::{collections::HashSet, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    Visibility,
    messages::{Delivery, Messages, To},
};
use crate::events;

/// Keeps messages out of others' sight, until all receipts have become invalid or the queue is dropped.
///
/// The visibility timeout is renewed every third of it, so that one failure does no harm.
pub(super) async fn heartbeat(
    messages: Messages,
    deliveries: Vec<Delivery>,
    visibility: Visibility,
    mut queue: watch::Receiver<bool>,
) {
    let dropped = async { while queue.changed().await.is_ok() {} };
    tokio::select! {
        () = dropped => {}
        () = beat(&messages, deliveries, visibility) => {}
    }
}

async fn beat(messages: &Messages, mut deliveries: Vec<Delivery>, visibility: Visibility) {
    let period = Duration::from_secs(visibility.seconds().unsigned_abs().into()) / 3;
    while !deliveries.is_empty() {
        sleep(period).await;
        let failed = messages.settle(deliveries.clone(), To::ReappearAfter(visibility.seconds())).await;
        let Some(first) = failed.first() else { continue };
        events::HeartbeatFailed {
            queue: messages.url(),
            messages: failed.len(),
            message_id: &first.delivery.message_id,
            reason: &first.reason,
        }
        .emit();
        let invalid = failed.iter().filter(|failed| failed.receipt_is_invalid);
        let invalid: HashSet<&str> = invalid.map(|failed| failed.delivery.message_id.as_str()).collect();
        deliveries.retain(|delivery| !invalid.contains(delivery.message_id.as_str()));
    }
}
