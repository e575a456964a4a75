use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use thiserror::Error;

/// Where models and tables are kept: a bucket, as flat keys with `/` in them. One of the three seams to the
/// outside world.
#[async_trait]
pub trait ObjectStore: Send + Sync + 'static {
    /// The bucket's name, for messages.
    fn bucket(&self) -> &str;

    /// The objects whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// The bucket could not be listed. A bucket without such objects is no error.
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, ObjectError>;

    /// Opens an object to be read once from its beginning.
    ///
    /// # Errors
    /// There is no such object, or it cannot be read now.
    async fn open(&self, key: &str) -> Result<ObjectReader, ObjectError>;

    /// Opens an object as it was listed, to be read once from its beginning.
    ///
    /// The reader gives the bytes that were listed, or fails. Without this, the name, the size and the ETag of one upload
    /// could be kept with the bytes of a later one.
    ///
    /// # Errors
    /// [`ObjectError::Changed`] if the object was written again since it was listed: list again. Otherwise as
    /// [`open`](Self::open).
    async fn open_listed(&self, object: &Object) -> Result<ObjectReader, ObjectError>;
}

/// Where objects are left in the same bucket, and removed again, for whoever looks there: the half of the seam that only few need, with
/// rights of its own.
#[async_trait]
pub trait ObjectWriter: Send + Sync + 'static {
    /// Makes `content` the object of that key, as a whole and in the place of what was there: nobody reads half of it.
    ///
    /// # Errors
    /// It cannot be written, or no object can have that key.
    async fn put(&self, key: &str, content: Bytes) -> Result<(), ObjectError>;

    /// Removes the object of that key. That there is none is no error, so that it may be repeated.
    ///
    /// # Errors
    /// It cannot be removed, or no object can have that key.
    async fn delete(&self, key: &str) -> Result<(), ObjectError>;
}

/// The content of an object as a stream. Reading blocks, so that it belongs on a thread that may.
pub type ObjectReader = Box<dyn Read + Send>;

/// An object as a listing shows it.
///
/// Two equal values mean the same bytes, so that what was read once need not be read again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object {
    /// Where it is in the bucket.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// What the store changes whenever the bytes do; two objects of the same bytes may differ in it.
    pub etag: String,
}

/// A store could not do what it was asked.
#[derive(Debug, Error)]
pub enum ObjectError {
    /// The bucket itself cannot be used.
    #[error("bucket {bucket:?} cannot be listed")]
    List {
        /// The bucket.
        bucket: String,
        /// What stood in the way.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bucket holds more than this program is prepared to look at.
    #[error("bucket {bucket:?} holds more than {limit} objects")]
    TooMany {
        /// The bucket.
        bucket: String,
        /// How many objects are looked at.
        limit: usize,
    },
    /// There is no such object (any more).
    #[error("{key:?} is not in bucket {bucket:?}")]
    NotFound {
        /// The bucket.
        bucket: String,
        /// The key that was asked for.
        key: String,
    },
    /// The object is not the one that was listed. It passes: the next listing shows what is there now.
    #[error("{key:?} in bucket {bucket:?} was written again after it was listed; list the bucket again")]
    Changed {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
    },
    /// No object can have that key.
    #[error("{key:?} is no key of an object in bucket {bucket:?}")]
    InvalidKey {
        /// The bucket.
        bucket: String,
        /// The key that was asked for.
        key: String,
    },
    /// Somebody is still writing the object; reading it now would give half of it.
    #[error("{key:?} in bucket {bucket:?} is still being written")]
    BeingWritten {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
    },
    /// The object is there and could not be read.
    #[error("{key:?} in bucket {bucket:?} cannot be read")]
    Read {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// What stood in the way.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object could not be written.
    #[error("{key:?} in bucket {bucket:?} cannot be written")]
    Write {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// What stood in the way.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object could not be removed.
    #[error("{key:?} in bucket {bucket:?} cannot be removed")]
    Delete {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// What stood in the way.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
