//! A bucket with its queue, a Redis, and the programs around them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aws::testing::{Ministack, TestBucket};
use redis_store::testing::RedisServer;
use shared::{ObjectStore, conformance::World};

use crate::process::{Process, wait_until};

pub(crate) const VERSION: &str = "20250729-2130";
pub(crate) const LIN: &str = "models/regressor_lin_20250729-2130.joblib";
pub(crate) const GBR: &str = "models/regressor_gbr_20250729-2130.joblib";
pub(crate) const TABLE: &str = "features/cripto_features_20250729.parquet";

/// A newer version of `regressor_lin`.
pub(crate) const NEWER: &str = "models/regressor_lin_20250801-0000.joblib";
pub(crate) const NEWER_VERSION: &str = "20250801-0000";

/// What a program is told about the world: where S3 and SQS are, and Redis.
pub(crate) struct System {
    pub(crate) bucket: TestBucket,
    pub(crate) redis: RedisServer,
    runtime: tokio::runtime::Runtime,
}

impl System {
    /// An empty bucket.
    pub(crate) fn empty() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let bucket = runtime.block_on(Ministack::shared().bucket());
        Self { bucket, redis: RedisServer::start(), runtime }
    }

    /// The sample bucket, whose events were seen to already.
    pub(crate) fn sample() -> Self {
        let system = Self::empty();
        for key in [
            LIN,
            GBR,
            TABLE,
            "models/regressor_rf_20250729-2130.joblib",
            "models/classifier_rf_20250729-2130.joblib",
            "models/classifier_log_20250729-2130.joblib",
        ] {
            system.put(key, &sample(key));
        }
        system
    }

    pub(crate) fn put(&self, key: &str, content: &[u8]) {
        self.runtime.block_on(self.bucket.put(key, content));
    }

    pub(crate) fn remove(&self, key: &str) {
        self.runtime.block_on(self.bucket.remove(key));
    }

    /// Copies the objects whose keys begin with `prefix` into a folder.
    pub(crate) fn download(&self, prefix: &str, folder: &Path) {
        let store = self.bucket.store();
        for key in self.keys(prefix) {
            let path = folder.join(&key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content = self.runtime.block_on(async {
                let mut reader = store.open(&key).await.unwrap();
                let read = tokio::task::spawn_blocking(move || {
                    let mut content = Vec::new();
                    std::io::Read::read_to_end(&mut reader, &mut content).unwrap();
                    content
                });
                read.await.unwrap()
            });
            std::fs::write(path, content).unwrap();
        }
    }

    /// The keys of the bucket that begin with `prefix`.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.runtime.block_on(self.bucket.store().list(prefix)).unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    pub(crate) fn send(&self, bodies: &[String]) {
        self.runtime.block_on(self.bucket.send(bodies));
    }

    pub(crate) fn dead_letters(&self) -> Vec<String> {
        self.runtime.block_on(self.bucket.dead_letters())
    }

    /// How many messages wait in the queue or are in flight.
    pub(crate) fn messages(&self) -> u64 {
        let queue = self.bucket.source(self.bucket.settings());
        let depth = self.runtime.block_on(queue.monitor().depth()).unwrap();
        depth.visible + depth.in_flight
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = Ministack::shared().environment().to_vec();
        variables.extend([
            ("BUCKET_NAME", self.bucket.name.clone()),
            ("QUEUE_URL", self.bucket.queue.to_string()),
            ("REDIS_URL", self.redis.url()),
            ("METRICS_PORT", "0".to_owned()),
            ("METRICS_HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
            ("HOST", "127.0.0.1".to_owned()),
            // Short, so that what a killed worker had comes again while the test waits.
            ("VISIBILITY_TIMEOUT", "3".to_owned()),
        ]);
        variables
    }

    pub(crate) fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// A worker with other values of some variables.
    pub(crate) fn worker_with(&self, others: &[(&'static str, String)]) -> Process {
        let mut variables = self.variables();
        variables.extend_from_slice(others);
        Process::start("scorer", &["worker"], &variables)
    }

    pub(crate) fn api(&self) -> Process {
        self.api_with(&[])
    }

    pub(crate) fn api_with(&self, others: &[(&'static str, String)]) -> Process {
        let mut variables = self.variables();
        variables.extend_from_slice(others);
        Process::start("api", &[], &variables)
    }

    /// A worker and an API, once the first answers are there and the queue is empty.
    pub(crate) fn running(&self) -> (Process, Process) {
        let (worker, api) = (self.worker(), self.api());
        wait_until("the first predictions", || api.get("/health").0 == 200);
        self.settled();
        (worker, api)
    }

    /// Waits until every event was seen to.
    pub(crate) fn settled(&self) {
        wait_until("an empty queue", || self.messages() == 0);
    }
}

/// An object of the sample bucket.
pub(crate) fn sample(key: &str) -> Vec<u8> {
    let bucket = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample/bucket");
    std::fs::read(bucket.join(key)).unwrap()
}

/// Where a URL such as `http://127.0.0.1:4566` points.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

/// The documented answers of the sample bucket, as scikit-learn computed them.
pub(crate) fn expected() -> serde_json::Value {
    let file: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample/expected.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}
