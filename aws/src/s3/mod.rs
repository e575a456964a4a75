mod download;

use std::{error::Error, sync::Arc};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::{Builder, http::HttpResponse},
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::EncodingType,
};
use bytes::Bytes;
use jiff::Timestamp;
use shared::{Fault, Object, ObjectError, ObjectReader, ObjectStore, ObjectWriter};

use crate::{
    fault::{self, Needs},
    form,
};
use download::Download;

/// A bucket in S3, or in what speaks its protocol.
///
/// * A listing is read page by page; one of more than 200 000 objects is refused.
/// * An object is downloaded while it is read, at most a few chunks ahead of the reader. A download that breaks off,
///   stalls, or ends too early is an error of the reader, never the end of the object.
/// * Requests are tried three times; see [`config`](crate::config()).
///
/// An object is read by one request: artifacts are decompressed while they arrive, which takes several times as long
/// as their download does.
#[derive(Debug, Clone)]
pub struct S3Bucket {
    client: Client,
    name: Arc<str>,
    /// Address that requests are sent to, for messages.
    region: Arc<str>,
    max_objects: usize,
}

impl S3Bucket {
    /// More objects than this are hardly meant to be models and tables.
    pub const MAX_OBJECTS: usize = 200_000;

    /// The bucket of this name. Nothing is asked of S3 yet.
    #[must_use]
    pub fn new(config: &SdkConfig, name: &str) -> Self {
        // At an endpoint of one's own, the names of buckets are rarely names of hosts.
        let path_style = config.endpoint_url().is_some();
        let client = Client::from_conf(Builder::from(config).force_path_style(path_style).build());
        let region = fault::region(config).into();
        Self { client, name: name.into(), region, max_objects: Self::MAX_OBJECTS }
    }

    /// The same bucket, of which no listing may have more than `max_objects`.
    #[must_use]
    pub fn with_max_objects(self, max_objects: usize) -> Self {
        Self { max_objects, ..self }
    }

    fn unlisted(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> ObjectError {
        ObjectError::List { bucket: self.name.to_string(), source: source.into() }
    }

    /// Says what is wrong with a request that needs this right on the bucket.
    fn fault<E>(&self, error: SdkError<E, HttpResponse>, right: &'static str) -> Fault
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let needs = Needs { right, settings: "BUCKET_NAME and AWS_REGION" };
        fault::fault(error, needs, &self.region)
    }

    /// Downloads an object, only if it has this ETag where one is given.
    async fn get(&self, key: &str, etag: Option<&str>) -> Result<ObjectReader, ObjectError> {
        let bucket = self.name.to_string();
        let asked = key.to_owned();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(ObjectError::InvalidKey { bucket, key: asked });
        }
        let is_another = |status: u16| status == PRECONDITION_FAILED;
        let request = self.client.get_object().bucket(&bucket).key(key);
        match request.set_if_match(etag.map(str::to_owned)).send().await {
            // A service that only resembles S3 may not heed the condition.
            Ok(answer) if etag.is_some() && answer.e_tag().is_some_and(|found| Some(found) != etag) => {
                Err(ObjectError::Changed { bucket, key: asked })
            }
            Ok(answer) => Ok(Box::new(Download::start(answer.body))),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                Err(ObjectError::NotFound { bucket, key: asked })
            }
            Err(error) if error.raw_response().is_some_and(|answer| is_another(answer.status().as_u16())) => {
                Err(ObjectError::Changed { bucket, key: asked })
            }
            Err(error) => Err(ObjectError::Read {
                bucket,
                key: asked,
                source: self.fault(error, "s3:GetObject").into(),
            }),
        }
    }

    fn object(&self, listed: aws_sdk_s3::types::Object, encoded: bool) -> Result<Object, ObjectError> {
        let aws_sdk_s3::types::Object { key: Some(key), size: Some(size), last_modified, e_tag, .. } = listed
        else {
            return Err(self.unlisted("an object is listed without its key or its size"));
        };
        let last_modified = last_modified
            .and_then(|time| Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok())
            .ok_or_else(|| self.unlisted(format!("{key:?} is listed without a time")))?;
        Ok(Object {
            key: if encoded { form::decoded(&key).map_err(|error| self.unlisted(error))? } else { key },
            size: u64::try_from(size).map_err(|error| self.unlisted(error))?,
            last_modified,
            etag: e_tag.unwrap_or_default(),
        })
    }
}

#[async_trait]
impl ObjectStore for S3Bucket {
    fn bucket(&self) -> &str {
        &self.name
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&*self.name)
            .prefix(prefix)
            // A key may have characters that XML has not, and one of them would spoil the whole listing.
            .encoding_type(EncodingType::Url)
            .into_paginator()
            .send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.unlisted(self.fault(error, "s3:ListBucket")))?;
            // What only resembles S3 may not have done it.
            let encoded = page.encoding_type == Some(EncodingType::Url);
            for listed in page.contents.unwrap_or_default() {
                objects.push(self.object(listed, encoded)?);
            }
            if objects.len() > self.max_objects {
                let bucket = self.name.to_string();
                return Err(ObjectError::TooMany { bucket, limit: self.max_objects });
            }
        }
        // Directory buckets list in no order.
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError> {
        self.get(key, None).await
    }

    /// A service that only resembles S3 may list no ETags. Then nothing can be compared, and the object is read
    /// as it is.
    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError> {
        self.get(&object.key, Some(&*object.etag).filter(|etag| !etag.is_empty())).await
    }
}

#[async_trait]
impl ObjectWriter for S3Bucket {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), ObjectError> {
        let (bucket, asked) = (self.name.to_string(), key.to_owned());
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(ObjectError::InvalidKey { bucket, key: asked });
        }
        let request = self.client.put_object().bucket(&bucket).key(key).body(ByteStream::from(content));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(ObjectError::Write {
                bucket,
                key: asked,
                source: self.fault(error, "s3:PutObject").into(),
            }),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let (bucket, asked) = (self.name.to_string(), key.to_owned());
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(ObjectError::InvalidKey { bucket, key: asked });
        }
        match self.client.delete_object().bucket(&bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(ObjectError::Delete {
                bucket,
                key: asked,
                source: self.fault(error, "s3:DeleteObject").into(),
            }),
        }
    }
}

/// The status of an answer to a request whose `If-Match` names another ETag.
const PRECONDITION_FAILED: u16 = 412;

/// The longest key of an object, in bytes.
const MAX_KEY: usize = 1024;
