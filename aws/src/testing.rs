//! A local S3 and SQS to test against: [ministack], an emulator, as a process of its own.
//!
//! The variable `CRIPTO_MINISTACK` says where it is: the program `ministack` of a virtual environment into which
//! `pip install ministack==1.5.33` has put it, or that environment's `python`.
//!
//! [ministack]: https://pypi.org/project/ministack/
#![expect(clippy::unwrap_used, reason = "whatever fails here fails a test")]

use std::{
    env,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::{
    config::{Credentials, SharedCredentialsProvider},
    primitives::ByteStream,
    types::{Event, NotificationConfiguration, QueueConfiguration},
};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use shared::conformance::{World, free_port};

use crate::{HttpUrl, S3Bucket, Settings, SqsQueue, SqsSettings, config, meaning::Scope};

/// After so many receives, the queues of a [`TestBucket`] move a message to the dead-letter queue.
pub const MAX_RECEIVES: u32 = 3;

/// It has started after this time, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The emulator, which runs until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Ministack {
    endpoint: HttpUrl,
    /// A shell that ends the emulator when its standard input is closed.
    keeper: Child,
}

impl Ministack {
    /// One for all tests of this process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Ministack> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// There is none, or it does not start.
    pub fn start() -> Self {
        let program = env::var_os("CRIPTO_MINISTACK").map(PathBuf::from);
        let program =
            program.expect("CRIPTO_MINISTACK is the ministack or the python of a virtual environment");
        let is_python = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let keeper = Command::new("sh")
            .args(["-c", r#""$@" & child=$!; read -r _; kill -KILL "$child"; wait "$child""#, "sh"])
            .arg(program)
            .args(is_python.then_some(["-m", "ministack"]).into_iter().flatten())
            .env("BIND_HOST", address.ip().to_string())
            .env("GATEWAY_PORT", address.port().to_string())
            .env("SERVICES", "s3,sqs")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { endpoint: format!("http://{address}").parse().unwrap(), keeper };
        let started = Instant::now();
        while !is_healthy(address) {
            assert!(started.elapsed() < PATIENCE, "ministack does not start at {address}");
            // A pause between two looks; nothing depends on its length.
            thread::sleep(Duration::from_millis(50));
        }
        this
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &HttpUrl {
        &self.endpoint
    }

    /// The variables by which a program of its own uses it.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.to_string()),
            ("AWS_DEFAULT_REGION", Settings::DEFAULT_REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// The configuration by which clients use it.
    pub async fn config(&self) -> SdkConfig {
        config_at(self.endpoint.clone(), Settings::DEFAULT_ATTEMPT_TIMEOUT).await
    }

    /// A new bucket with its queues.
    pub async fn bucket(&self) -> TestBucket {
        TestBucket::new(self.config().await).await
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
    }
}

fn is_healthy(address: SocketAddr) -> bool {
    let answer = || -> std::io::Result<Vec<u8>> {
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection
            .write_all(b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = vec![0; 12];
        connection.read_exact(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|answer| answer.ends_with(b" 200"))
}

/// The configuration for clients of a local endpoint, with keys that any will do for.
pub async fn config_at(endpoint: HttpUrl, attempt_timeout: Duration) -> SdkConfig {
    let region = Settings::DEFAULT_REGION.to_owned();
    let config = config(&Settings { region, endpoint: Some(endpoint), attempt_timeout }).await;
    let keys = Credentials::new("test", "test", None, None, "test");
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(keys)).build()
}

/// A bucket, a queue that is told of its changes, and the queue's dead-letter queue.
#[derive(Debug, Clone)]
pub struct TestBucket {
    /// The bucket's name.
    pub name: String,
    /// The queue.
    pub queue: HttpUrl,
    /// Where messages go that were received too often.
    pub dead_letters: HttpUrl,
    config: SdkConfig,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
}

impl TestBucket {
    async fn new(config: SdkConfig) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bucket-{}-{number}", process::id());
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let sqs = aws_sdk_sqs::Client::new(&config);
        s3.create_bucket().bucket(&name).send().await.unwrap();
        let create = async |name: String, redrive_policy: Option<String>| {
            let request = sqs.create_queue().queue_name(name);
            let attributes =
                redrive_policy.map(|policy| [(QueueAttributeName::RedrivePolicy, policy)].into());
            let url = request.set_attributes(attributes).send().await.unwrap().queue_url.unwrap();
            let attributes = sqs.get_queue_attributes().queue_url(&url);
            let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
            let arn = attributes.attributes.unwrap().remove(&QueueAttributeName::QueueArn).unwrap();
            (url.parse::<HttpUrl>().unwrap(), arn)
        };
        let (dead_letters, dead_letters_arn) = create(format!("{name}-dead"), None).await;
        let policy =
            format!(r#"{{"deadLetterTargetArn":"{dead_letters_arn}","maxReceiveCount":"{MAX_RECEIVES}"}}"#);
        let (queue, queue_arn) = create(name.clone(), Some(policy)).await;
        let notify = QueueConfiguration::builder()
            .queue_arn(queue_arn)
            .events(Event::from("s3:ObjectCreated:*"))
            .events(Event::from("s3:ObjectRemoved:*"))
            .build()
            .unwrap();
        s3.put_bucket_notification_configuration()
            .bucket(&name)
            .notification_configuration(
                NotificationConfiguration::builder().queue_configurations(notify).build(),
            )
            .send()
            .await
            .unwrap();
        Self { name, queue, dead_letters, config, s3, sqs }
    }

    /// The bucket as a store.
    pub fn store(&self) -> S3Bucket {
        S3Bucket::new(&self.config, &self.name)
    }

    /// What a source of all changes in the bucket needs to know.
    pub fn settings(&self) -> SqsSettings {
        let scope = Scope { bucket: self.name.clone(), prefixes: vec![String::new()] };
        SqsSettings::new(self.queue.clone(), scope)
    }

    /// A source of the changes that `settings` say.
    pub fn source(&self, settings: SqsSettings) -> SqsQueue {
        SqsQueue::new(&self.config, settings)
    }

    /// Where a reload is asked for.
    pub fn reload_queue(&self) -> crate::ReloadQueue {
        crate::ReloadQueue::new(&self.config, &self.queue)
    }

    /// Puts messages into the queue, in about this order.
    pub async fn send(&self, bodies: &[String]) {
        for ten in bodies.chunks(10) {
            let entries = ten.iter().enumerate().map(|(id, body)| {
                SendMessageBatchRequestEntry::builder().id(id.to_string()).message_body(body).build().unwrap()
            });
            let request = self.sqs.send_message_batch().queue_url(self.queue.as_str());
            let answer = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(answer.failed.is_empty(), "{:?}", answer.failed);
        }
    }

    /// The bodies of messages in the dead-letter queue.
    pub async fn dead_letters(&self) -> Vec<String> {
        let request = self.sqs.receive_message().queue_url(self.dead_letters.as_str());
        let answer = request.max_number_of_messages(10).visibility_timeout(0).send().await.unwrap();
        answer.messages.unwrap_or_default().into_iter().filter_map(|message| message.body).collect()
    }

    /// Removes all messages of the queue, received or not.
    pub async fn purge(&self) {
        self.sqs.purge_queue().queue_url(self.queue.as_str()).send().await.unwrap();
    }

    /// Lets the queue keep what is received too often.
    pub async fn remove_redrive_policy(&self) {
        let request = self.sqs.set_queue_attributes().queue_url(self.queue.as_str());
        request.attributes(QueueAttributeName::RedrivePolicy, "").send().await.unwrap();
    }
}

#[async_trait]
impl World for TestBucket {
    async fn put(&self, key: &str, content: &[u8]) {
        let request = self.s3.put_object().bucket(&self.name).key(key);
        request.body(ByteStream::from(content.to_vec())).send().await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.s3.delete_object().bucket(&self.name).key(key).send().await.unwrap();
    }
}
