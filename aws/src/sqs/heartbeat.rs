use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    time::sleep,
};

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
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    visibility: Visibility,
    mut queue: watch::Receiver<bool>,
) {
    let dropped = async { while queue.changed().await.is_ok() {} };
    tokio::select! {
        () = dropped => {}
        () = beat(&messages, deliveries, visibility) => {}
    }
}

async fn beat(messages: &Messages, deliveries: Arc<Mutex<Vec<Delivery>>>, visibility: Visibility) {
    let period = Duration::from_secs(visibility.seconds().unsigned_abs().into()) / 3;
    loop {
        sleep(period).await;
        // Locked until the beat is over, so that it hides nothing that is settled meanwhile.
        let mut deliveries = deliveries.lock().await;
        if deliveries.is_empty() {
            return;
        }
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
