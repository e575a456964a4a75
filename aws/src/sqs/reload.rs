use std::time::Duration;

use aws_config::SdkConfig;
use shared::{EventError, RequestId};

use super::{meaning::ReloadRequest, messages::Messages};
use crate::HttpUrl;

/// The queue as the API sees it, which asks the scorer for a reload.
#[derive(Debug, Clone)]
pub struct ReloadQueue {
    messages: Messages,
}

impl ReloadQueue {
    /// The queue that the scorer receives from.
    #[must_use]
    pub fn new(config: &SdkConfig, url: &HttpUrl) -> Self {
        Self { messages: Messages::new(config, url.as_str(), Duration::ZERO) }
    }

    /// Asks for the whole bucket to be looked at. The outcome is published under the request's name.
    ///
    /// # Errors
    /// The queue cannot be reached. The request may have been sent nevertheless.
    pub async fn send(&self, id: &RequestId) -> Result<(), EventError> {
        let request = serde_json::to_string(&ReloadRequest::new(id));
        let request = request.map_err(|error| self.messages.error("a request cannot be written", error))?;
        self.messages.send(request).await
    }
}
