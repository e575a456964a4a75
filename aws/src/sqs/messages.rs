use std::{collections::HashMap, error::Error, sync::Arc, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig};
use aws_sdk_sqs::{
    Client,
    config::{Builder, http::HttpResponse},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        Message, MessageSystemAttributeName, QueueAttributeName,
    },
};
use jiff::Timestamp;
use shared::{EventError, Fault};
use tokio::{task::JoinSet, time::sleep};

use super::QueueDepth;
use crate::{
    Settings,
    fault::{self, Needs},
};

/// How many messages go into one request, by SQS' own limit.
pub(super) const PER_REQUEST: usize = 10;

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// How often messages that SQS failed to settle are tried.
const ATTEMPTS: u32 = 3;

/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The requests to one queue.
#[derive(Debug, Clone)]
pub(super) struct Messages {
    client: Client,
    /// Waits longer for an answer, and does not try again: whoever receives does that.
    receiver: Client,
    url: Arc<str>,
    /// Address that requests are sent to, for messages.
    region: Arc<str>,
}

/// A message that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) delivery: Delivery,
    pub(super) body: String,
    /// How often it came, this time included.
    pub(super) receives: u32,
    /// When it was sent to the queue.
    pub(super) sent: Option<Timestamp>,
}

/// One delivery of a message, by which it is settled.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) message_id: String,
    receipt_handle: String,
}

/// What is to become of messages.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// They do not come again.
    Delete,
    /// They come again after so many seconds.
    ReappearAfter(i32),
}

/// A message that could not be settled.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) delivery: Delivery,
    pub(super) reason: String,
    /// The message came again in the meantime, or is gone; it cannot be settled by this delivery any more.
    pub(super) receipt_is_invalid: bool,
}

/// An error that names the messages which are `left` of `all`.
pub(super) fn unsettled(
    messages: &Messages,
    done: &str,
    all: usize,
    left: &[Unsettled],
) -> Result<(), EventError> {
    /// More are not named.
    const NAMED: usize = 10;
    if left.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = left
        .iter()
        .take(NAMED)
        .map(|Unsettled { delivery, reason, .. }| format!("{} ({reason})", delivery.message_id))
        .collect();
    let message = format!("{} of {all} messages are not {done}: {}", left.len(), named.join(", "));
    Err(EventError { source_name: messages.url().to_owned(), message, source: None })
}

impl Messages {
    pub(super) fn new(config: &SdkConfig, url: &str, wait: Duration) -> Self {
        let attempt = config.timeout_config().and_then(|timeouts| timeouts.operation_attempt_timeout());
        let attempt = attempt.unwrap_or(Settings::DEFAULT_ATTEMPT_TIMEOUT).saturating_add(wait);
        let timeouts = config.timeout_config().map(|timeouts| timeouts.to_builder()).unwrap_or_default();
        let receiver = Builder::from(config)
            .timeout_config(timeouts.read_timeout(attempt).operation_attempt_timeout(attempt).build())
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            client: Client::new(config),
            receiver: Client::from_conf(receiver),
            url: url.into(),
            region: fault::region(config).into(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn error(&self, message: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> EventError {
        EventError {
            source_name: self.url.to_string(),
            message: message.to_owned(),
            source: Some(source.into()),
        }
    }

    /// Says what is wrong with a request that needs this right on the queue.
    fn fault<E>(&self, error: SdkError<E, HttpResponse>, right: &'static str) -> Fault
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let needs = Needs { right, settings: "QUEUE_URL and AWS_REGION" };
        fault::fault(error, needs, &self.region)
    }

    /// Up to ten messages, for which the queue waits up to `wait` if it has none. Others do not see them for
    /// `visibility` seconds.
    pub(super) async fn receive(&self, wait: Duration, visibility: i32) -> Result<Vec<Received>, EventError> {
        let request = self
            .receiver
            .receive_message()
            .queue_url(&*self.url)
            .max_number_of_messages(PER_REQUEST as i32)
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
            .visibility_timeout(visibility)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            self.error("messages cannot be received", self.fault(error, "sqs:ReceiveMessage"))
        })?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(received).collect())
    }

    /// Settles messages, and gives those for which that failed.
    pub(super) async fn settle(&self, deliveries: Vec<Delivery>, to: To) -> Vec<Unsettled> {
        let mut left = Vec::new();
        let mut requests = JoinSet::new();
        for ten in deliveries.chunks(PER_REQUEST) {
            if requests.len() >= AT_ONCE {
                left.extend(requests.join_next().await.and_then(Result::ok).into_iter().flatten());
            }
            let (this, ten) = (self.clone(), ten.to_vec());
            requests.spawn(async move { this.settle_ten(ten, to).await });
        }
        while let Some(result) = requests.join_next().await {
            left.extend(result.ok().into_iter().flatten());
        }
        left
    }

    async fn settle_ten(&self, mut deliveries: Vec<Delivery>, to: To) -> Vec<Unsettled> {
        let mut left = Vec::new();
        for attempt in 1..=ATTEMPTS {
            let failed = match self.request(&deliveries, to).await {
                Ok(failed) => failed,
                // The SDK has tried it several times.
                Err(reason) => {
                    left.extend(deliveries.into_iter().map(|delivery| Unsettled {
                        delivery,
                        reason: reason.clone(),
                        receipt_is_invalid: false,
                    }));
                    return left;
                }
            };
            let mut again = Vec::new();
            for entry in failed {
                let Some(delivery) = entry.id.parse().ok().and_then(|id: usize| deliveries.get(id)) else {
                    continue;
                };
                if attempt < ATTEMPTS && !entry.sender_fault {
                    again.push(delivery.clone());
                    continue;
                }
                left.push(Unsettled {
                    delivery: delivery.clone(),
                    reason: format!("{}: {}", entry.code, entry.message.unwrap_or_default()),
                    receipt_is_invalid: entry.sender_fault,
                });
            }
            if again.is_empty() {
                break;
            }
            deliveries = again;
            sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
        }
        left
    }

    /// One request for at most ten messages, which are told apart by their place. Gives the entries that failed.
    async fn request(&self, deliveries: &[Delivery], to: To) -> Result<Vec<BatchResultErrorEntry>, String> {
        let numbered = deliveries.iter().enumerate();
        match to {
            To::Delete => {
                let entries = numbered.map(|(id, delivery)| {
                    DeleteMessageBatchRequestEntry::builder()
                        .id(id.to_string())
                        .receipt_handle(&delivery.receipt_handle)
                        .build()
                });
                let entries = entries.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
                let request = self.client.delete_message_batch().queue_url(&*self.url);
                let answer = request.set_entries(Some(entries)).send().await;
                answer.map(|answer| answer.failed).map_err(|error| DisplayErrorContext(error).to_string())
            }
            To::ReappearAfter(seconds) => {
                let entries = numbered.map(|(id, delivery)| {
                    ChangeMessageVisibilityBatchRequestEntry::builder()
                        .id(id.to_string())
                        .receipt_handle(&delivery.receipt_handle)
                        .visibility_timeout(seconds)
                        .build()
                });
                let entries = entries.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
                let request = self.client.change_message_visibility_batch().queue_url(&*self.url);
                let answer = request.set_entries(Some(entries)).send().await;
                answer.map(|answer| answer.failed).map_err(|error| DisplayErrorContext(error).to_string())
            }
        }
    }

    pub(super) async fn depth(&self) -> Result<QueueDepth, EventError> {
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(&*self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
        let answer = request.send().await;
        let answer = answer.map_err(|error| {
            self.error("its depth cannot be asked for", self.fault(error, "sqs:GetQueueAttributes"))
        })?;
        let attributes: HashMap<_, _> = answer.attributes.unwrap_or_default();
        let number = |name: &QueueAttributeName| -> Result<u64, EventError> {
            let text = attributes.get(name).map(String::as_str).unwrap_or_default();
            text.parse().map_err(|error| self.error(&format!("{name} is {text:?}"), error))
        };
        Ok(QueueDepth {
            visible: number(&QueueAttributeName::ApproximateNumberOfMessages)?,
            in_flight: number(&QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
        })
    }
}

/// The message, if it can be settled at all.
fn received(message: Message) -> Option<Received> {
    let attribute = |name| message.attributes.as_ref()?.get(&name).map(String::as_str);
    let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount);
    let sent = attribute(MessageSystemAttributeName::SentTimestamp);
    let receipt_handle = message.receipt_handle?;
    Some(Received {
        receives: receives.and_then(|receives| receives.parse().ok()).unwrap_or(1),
        sent: sent.and_then(|sent| sent.parse().ok()).and_then(|sent| Timestamp::from_millisecond(sent).ok()),
        delivery: Delivery {
            message_id: message.message_id.unwrap_or_else(|| receipt_handle.clone()),
            receipt_handle,
        },
        body: message.body.unwrap_or_default(),
    })
}
