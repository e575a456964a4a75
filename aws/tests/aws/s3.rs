use std::{
    error::Error,
    io::{self, Read},
    time::{Duration, Instant},
};

use aws::{
    HttpUrl, S3Bucket,
    testing::{Ministack, config_at},
};
use shared::{
    FaultKind, Object, ObjectError, ObjectReader, ObjectStore, ObjectWriter,
    conformance::{World, object_store, object_writer},
};
use tokio::time::timeout;

use crate::{
    PATIENCE,
    faulty_server::{Answer, FaultyServer, http},
    until,
};

#[tokio::test]
async fn a_bucket_behaves_as_an_object_store() {
    object_store(async || {
        let bucket = Ministack::shared().bucket().await;
        (bucket.store(), bucket)
    })
    .await;
}

#[tokio::test]
async fn a_bucket_can_be_written_to() {
    object_writer(async || Ministack::shared().bucket().await.store()).await;
}

#[tokio::test]
async fn what_cannot_be_written_or_removed_names_bucket_and_key() {
    let store = S3Bucket::new(&Ministack::shared().config().await, "no-such-bucket");
    let error = store.put("predictions/a", "content".into()).await.unwrap_err();
    assert!(matches!(error, ObjectError::Write { .. }), "{error:?}");
    assert!(chain(&error).contains(r#""predictions/a" in bucket "no-such-bucket""#), "{}", chain(&error));
    let error = store.delete("predictions/a").await.unwrap_err();
    assert!(matches!(error, ObjectError::Delete { .. }), "{error:?}");
    assert!(chain(&error).contains("NoSuchBucket"), "{}", chain(&error));
}

#[tokio::test]
async fn keys_of_any_characters_are_listed_and_read() {
    let bucket = Ministack::shared().bucket().await;
    let mut keys = ["models/a b+c", "models/100%", "models/%2B", "models/ç&<>\"'?#", "models/\u{1}\n"];
    keys.sort_unstable();
    for key in keys {
        bucket.put(key, key.as_bytes()).await;
    }
    let store = bucket.store();
    let listed: Vec<String> =
        store.list("models/").await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(listed, keys);
    for key in keys {
        assert_eq!(whole(store.open(key).await.unwrap()).await.unwrap(), key.as_bytes());
    }
}

#[tokio::test]
async fn what_no_object_can_be_called_is_not_asked_for() {
    let store = faulty(&"http://127.0.0.1:9".parse().unwrap()).await;
    for key in [String::new(), "a".repeat(1025)] {
        assert!(matches!(store.open(&key).await, Err(ObjectError::InvalidKey { .. })), "{key}");
    }
}

#[tokio::test]
async fn a_bucket_of_too_many_objects_is_refused() {
    let bucket = Ministack::shared().bucket().await;
    for key in ["1", "2", "3"] {
        bucket.put(key, b"x").await;
    }
    assert_eq!(bucket.store().with_max_objects(3).list("").await.unwrap().len(), 3);
    match bucket.store().with_max_objects(2).list("").await {
        Err(ObjectError::TooMany { limit, .. }) => assert_eq!(limit, 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_with_its_code() {
    let store = S3Bucket::new(&Ministack::shared().config().await, "no-such-bucket");
    assert!(chain(&store.list("").await.unwrap_err()).contains("NoSuchBucket"));
    let error = store.open("a").await.err().unwrap();
    assert!(matches!(error, ObjectError::Read { .. }), "{error:?}");
    assert!(chain(&error).contains("NoSuchBucket"), "{}", chain(&error));
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_an_error_after_three_attempts() {
    let server = FaultyServer::start(|_, _| Answer::Silence).await;
    let store = hasty(&server.url).await;
    let started = Instant::now();
    let error = timeout(PATIENCE, store.list("")).await.unwrap().unwrap_err();
    assert!(started.elapsed() >= 3 * ATTEMPT, "{:?}", started.elapsed());
    assert!(chain(&error).contains("timeout"), "{}", chain(&error));
    // The server may still have to read the last one.
    until("three requests", async || server.requests() == 3).await;
}

#[tokio::test]
async fn an_object_of_another_etag_is_not_read_even_if_the_condition_is_not_heeded() {
    let server = FaultyServer::start(|_, _| Answer::Bytes([head(3), b"new".to_vec()].concat())).await;
    let store = faulty(&server.url).await;
    let listed = |etag: &str| Object {
        key: "models/a".to_owned(),
        size: 3,
        last_modified: Default::default(),
        etag: etag.to_owned(),
    };
    let error = store.open_listed(&listed("\"old\"")).await.err().unwrap();
    assert!(matches!(error, ObjectError::Changed { .. }), "{error:?}");
    // The same one, and one of a listing without ETags.
    for etag in ["\"abc\"", ""] {
        assert_eq!(whole(store.open_listed(&listed(etag)).await.unwrap()).await.unwrap(), b"new", "{etag}");
    }
}

#[tokio::test]
async fn a_500_is_tried_again() {
    let server = FaultyServer::start(|number, _| match number {
        0 | 1 => Answer::Bytes(broken()),
        _ => Answer::Bytes(http("200 OK", "application/octet-stream", "content")),
    })
    .await;
    let reader = faulty(&server.url).await.open("models/a").await.unwrap();
    assert_eq!(whole(reader).await.unwrap(), b"content");
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_500_that_stays_is_an_error_with_its_code_and_the_request() {
    let server = FaultyServer::start(|_, _| Answer::Bytes(broken())).await;
    let error = faulty(&server.url).await.open("models/a").await.err().unwrap();
    let chain = chain(&error);
    for part in [r#""models/a" in bucket "criptos-data""#, "InternalError", "REQUEST-1"] {
        assert!(chain.contains(part), "{chain}");
    }
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_fault_has_a_kind_and_says_what_to_do_without_the_ids_of_the_request() {
    // Status, code, message and header of the answer; kind and text of the error.
    let rows = [
        (
            "403 Forbidden",
            "AccessDenied",
            "Access Denied",
            "",
            FaultKind::Denied,
            "allow s3:GetObject to the role",
        ),
        (
            "403 Forbidden",
            "AccessDenied",
            "User: arn:aws:sts::1:assumed-role/r/session-REQUEST-1 is not authorized to perform: kms:Decrypt",
            "",
            FaultKind::Denied,
            "allow kms:Decrypt on its key",
        ),
        (
            "400 Bad Request",
            "KMS.DisabledException",
            "disabled",
            "",
            FaultKind::Denied,
            "KMS.DisabledException",
        ),
        ("403 Forbidden", "InvalidObjectState", "archived", "", FaultKind::Archived, "restore it"),
        ("405 Method Not Allowed", "MethodNotAllowed", "no", "", FaultKind::Rejected, "is refused"),
        ("403 Forbidden", "ExpiredToken", "expired", "", FaultKind::Credentials, "renew them"),
        ("400 Bad Request", "ExpiredToken", "expired", "", FaultKind::Credentials, "renew them"),
        ("403 Forbidden", "RequestTimeTooSkewed", "clock", "", FaultKind::Credentials, "check the clock"),
        ("503 Slow Down", "SlowDown", "slow down", "", FaultKind::Throttled, "fewer requests (SlowDown"),
        ("500 Internal Server Error", "InternalError", "try again", "", FaultKind::Server, "InternalError"),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            "elsewhere",
            "x-amz-bucket-region: eu-west-1\r\n",
            FaultKind::WrongRegion,
            "in region eu-west-1 and not in us-east-1 (PermanentRedirect, HTTP 301); set AWS_REGION=eu-west-1",
        ),
        (
            "400 Bad Request",
            "AuthorizationHeaderMalformed",
            "the region 'us-east-1' is wrong; expecting 'sa-east-1'",
            "",
            FaultKind::WrongRegion,
            "set AWS_REGION=sa-east-1",
        ),
        (
            "301 Moved Permanently",
            "PermanentRedirect",
            "elsewhere",
            "",
            FaultKind::WrongRegion,
            "to its region",
        ),
    ];
    for (status, code, message, header, kind, text) in rows {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let head = http(status, "application/xml", &body);
        let answer = String::from_utf8(head).unwrap().replacen("\r\n", &format!("\r\n{header}"), 1);
        let server = FaultyServer::start(move |_, _| Answer::Bytes(answer.clone().into_bytes())).await;
        let store = faulty(&server.url).await;
        let error = store.open("models/a").await.err().unwrap();
        assert_eq!((error.kind(), error.kind().is_permanent()), (kind, kind.is_permanent()), "{code}");
        let reason = error.reason();
        assert!(reason.contains(text), "{reason}");
        assert!(!reason.contains("REQUEST-1"), "{reason}");
        // The log has all of it.
        assert!(chain(&error).contains(code), "{}", chain(&error));
        let listing = store.list("models/").await.unwrap_err();
        assert_eq!(listing.kind(), kind, "{code}: {listing:?}");
    }
}

#[tokio::test]
async fn an_endpoint_without_a_server_is_unreachable_and_one_that_is_silent_times_out() {
    let nobody = faulty(&"http://127.0.0.1:9".parse().unwrap()).await;
    assert_eq!(nobody.list("").await.unwrap_err().kind(), FaultKind::Unreachable);
    let server = FaultyServer::start(|_, _| Answer::Silence).await;
    let silent = hasty(&server.url).await;
    assert_eq!(silent.list("").await.unwrap_err().kind(), FaultKind::TimedOut);
}

#[tokio::test]
async fn an_object_that_comes_slowly_comes_whole() {
    let server = FaultyServer::start(|_, _| {
        let mut parts = vec![head(3000)];
        parts.extend((0..30).map(|number| vec![number; 100]));
        Answer::Slowly(parts, ATTEMPT / 10)
    })
    .await;
    let reader = hasty(&server.url).await.open("models/a").await.unwrap();
    assert_eq!(whole(reader).await.unwrap().len(), 3000, "it takes longer than an attempt may");
}

#[tokio::test]
async fn an_object_that_is_cut_short_is_an_error_however_often_it_is_read() {
    let server = FaultyServer::start(|_, _| Answer::Bytes([head(1000), vec![7; 600]].concat())).await;
    let mut reader = faulty(&server.url).await.open("models/a").await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        let error = reader.read_to_end(&mut content).unwrap_err();
        assert_eq!(content.len(), 600);
        assert!(chain(&error).contains("the download broke off after 600 bytes"), "{}", chain(&error));
        // Decompressors take this for bad data, and this is not.
        assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.read(&mut [0; 10]).is_err());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_object_that_stops_coming_is_an_error() {
    let server =
        FaultyServer::start(|_, _| Answer::BytesThenSilence([head(1000), vec![7; 600]].concat())).await;
    let reader = faulty(&server.url).await.open("models/a").await.unwrap();
    let error = timeout(PATIENCE, whole(reader)).await.unwrap().unwrap_err();
    assert!(chain(&error).contains("throughput"), "{}", chain(&error));
}

#[tokio::test]
async fn a_reader_may_take_its_time() {
    let bucket = Ministack::shared().bucket().await;
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    bucket.put("models/large", &content).await;
    let mut reader = bucket.store().open("models/large").await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut read = vec![0; 100_000];
        reader.read_exact(&mut read).unwrap();
        // Longer than a download may stall. The SDK has its own clock for that, so that real time has to pass.
        std::thread::sleep(Duration::from_secs(8));
        reader.read_to_end(&mut read).unwrap();
        assert!(read == content);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_dropped_reader_stops_the_download() {
    let mut server = FaultyServer::start(|_, _| Answer::Endlessly(head(1 << 40))).await;
    let mut reader = faulty(&server.url).await.open("models/a").await.unwrap();
    tokio::task::spawn_blocking(move || reader.read_exact(&mut [0; 1000]).unwrap()).await.unwrap();
    timeout(PATIENCE, server.hung_up.recv()).await.unwrap().unwrap();
}

/// How long an attempt of [`hasty`] may take.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A bucket at a server that answers at once, if it answers.
async fn faulty(url: &HttpUrl) -> S3Bucket {
    S3Bucket::new(&config_at(url.clone(), PATIENCE).await, "criptos-data")
}

/// A bucket at a server that is too slow.
async fn hasty(url: &HttpUrl) -> S3Bucket {
    S3Bucket::new(&config_at(url.clone(), ATTEMPT).await, "criptos-data")
}

fn broken() -> Vec<u8> {
    let body = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>We encountered an internal error\
                </Message><RequestId>REQUEST-1</RequestId></Error>";
    http("500 Internal Server Error", "application/xml", body)
}

fn head(length: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"abc\"\r\n\r\n").into_bytes()
}

async fn whole(mut reader: ObjectReader) -> io::Result<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map(|_| content)
    });
    reading.await.unwrap()
}

/// An error with all of its causes, as a log line has them.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
