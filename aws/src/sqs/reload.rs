use std::{error::Error, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use shared::{EventError, RequestId};

use super::meaning::ReloadRequest;
use crate::{
    HttpUrl,
    fault::{self, Needs},
};

/// The queue as the API sees it, which asks the scorer for a reload.
///
/// It has a client of its own, and can do nothing but send: that is all that the API's role allows.
#[derive(Debug, Clone)]
pub struct ReloadQueue {
    client: Client,
    url: Arc<str>,
    region: Arc<str>,
}

impl ReloadQueue {
    /// The queue that the scorer receives from.
    #[must_use]
    pub fn new(config: &SdkConfig, url: &HttpUrl) -> Self {
        let region = fault::region(config).into();
        Self { client: Client::new(config), url: url.as_str().into(), region }
    }

    /// Asks for the whole bucket to be looked at. The outcome is published under the request's name.
    ///
    /// # Errors
    /// The queue cannot be reached. The request may have been sent nevertheless.
    pub async fn send(&self, id: &RequestId) -> Result<(), EventError> {
        let request = serde_json::to_string(&ReloadRequest::new(id));
        let request = request.map_err(|error| self.error("a request cannot be written", error))?;
        let request = self.client.send_message().queue_url(&*self.url).message_body(request);
        request.send().await.map(drop).map_err(|error| {
            let needs = Needs { right: "sqs:SendMessage", settings: "QUEUE_URL and AWS_REGION" };
            self.error("a message cannot be sent", fault::fault(error, needs, &self.region))
        })
    }

    fn error(&self, message: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> EventError {
        EventError {
            source_name: self.url.to_string(),
            message: message.to_owned(),
            source: Some(source.into()),
        }
    }
}
