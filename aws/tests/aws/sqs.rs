use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws::{
    QueueDepth, SqsQueue, SqsReceipt, SqsSettings,
    meaning::Scope,
    testing::{Ministack, TestBucket, config_at},
};
use futures_util::FutureExt;
use shared::{
    Batch, Change, EventSource, FaultKind, RequestId, SourceStatus,
    conformance::{World, event_source},
};
use tokio::time::{sleep, timeout};

use crate::{
    PATIENCE,
    faulty_server::{Answer, FaultyServer, http},
    until,
};

#[tokio::test]
async fn a_queue_behaves_as_an_event_source() {
    event_source(async || {
        let bucket = Ministack::shared().bucket().await;
        // The suite releases a message more often than any policy lets it come again.
        bucket.remove_redrive_policy().await;
        (bucket.source(bucket.settings()), bucket)
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_reload_arrives() {
    let bucket = Ministack::shared().bucket().await;
    let id: RequestId = "b7-42".parse().unwrap();
    bucket.reload_queue().send(&id).await.unwrap();
    let mut source = bucket.source(bucket.settings());
    let batch = receive(&mut source).await;
    assert_eq!(batch.changes, [Change::Requested(id)]);
    assert!(batch.oldest.is_some());
    source.acknowledge(batch).await.unwrap();
    is_left(&source, 0, 0).await;
}

#[tokio::test]
async fn duplicates_and_a_wrong_order_are_one_batch() {
    let bucket = Ministack::shared().bucket().await;
    bucket.purge().await;
    let created = notification(&bucket, "ObjectCreated:Put", "a", "2025-07-29T21:30:05.000Z");
    let removed = notification(&bucket, "ObjectRemoved:Delete", "a", "2025-07-29T21:30:04.000Z");
    bucket.send(&[created.clone(), removed, created.clone(), created]).await;
    let mut source = bucket.source(bucket.settings());
    let batch = receive(&mut source).await;
    assert_eq!(batch.changes, [Change::Object("a".to_owned()), Change::Removed("a".to_owned())]);
    assert_eq!(batch.oldest, Some("2025-07-29T21:30:04Z".parse().unwrap()));
    source.acknowledge(batch).await.unwrap();
    is_left(&source, 0, 0).await;
}

#[tokio::test]
async fn a_message_is_acknowledged_without_the_others_of_its_batch() {
    let bucket = Ministack::shared().bucket().await;
    bucket.purge().await;
    let mut source = bucket.source(briefly(&bucket));
    let keys: BTreeSet<Change> = ["a", "b", "c"].map(|key| Change::Object(key.to_owned())).into();
    let bodies: Vec<String> =
        ["a", "b", "c"].iter().map(|key| notification(&bucket, "ObjectCreated:Put", key, TIME)).collect();
    bucket.send(&bodies).await;
    let mut left = Vec::new();
    for batch in receive_all(&mut source, &keys).await {
        let is_published = |change: &Change| *change != Change::Object("b".to_owned());
        let (done, rest) = source.split(batch, &is_published).await;
        if let Some(done) = done {
            assert!(done.changes.iter().all(is_published), "{:?}", done.changes);
            source.acknowledge(done).await.unwrap();
        }
        left.extend(rest);
    }
    is_left(&source, 0, 1).await;
    let rest = left.pop().unwrap();
    assert_eq!((rest.changes.as_slice(), left.len()), ([Change::Object("b".to_owned())].as_slice(), 0));
    // It is split by what is published now, and whole if nothing is or everything is.
    let (done, rest) = source.split(rest, &|_: &Change| false).await;
    assert!(done.is_none());
    let (done, rest) = source.split(rest.unwrap(), &|_: &Change| true).await;
    assert!(rest.is_none());
    source.release(done.unwrap()).await.unwrap();
    let again = receive(&mut source).await;
    assert_eq!(again.changes, [Change::Object("b".to_owned())]);
    source.acknowledge(again).await.unwrap();
    is_left(&source, 0, 0).await;
}

#[tokio::test]
async fn a_flood_becomes_few_batches() {
    let bucket = Ministack::shared().bucket().await;
    let keys: Vec<String> = (0..1000).map(|number| format!("data/{number}/x.csv")).collect();
    let bodies: Vec<String> =
        keys.iter().map(|key| notification(&bucket, "ObjectCreated:Put", key, TIME)).collect();
    bucket.send(&bodies).await;
    let mut source = bucket.source(bucket.settings());
    let mut awaited: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
    let mut batches = Vec::new();
    while !awaited.is_empty() {
        let batch = receive(&mut source).await;
        for change in &batch.changes {
            let Change::Object(key) = change else { panic!("{change:?}") };
            awaited.remove(key.as_str());
        }
        batches.push(batch.changes.len());
        source.acknowledge(batch).await.unwrap();
    }
    // A request gives ten messages. On a machine so busy that one look takes all the time there is, a batch is two of them.
    assert!(batches.len() <= 50, "{batches:?}");
    is_left(&source, 0, 0).await;
}

#[tokio::test]
async fn what_is_worked_on_stays_out_of_sight() {
    let bucket = Ministack::shared().bucket().await;
    bucket.purge().await;
    let (mut one, mut other) = (bucket.source(briefly(&bucket)), bucket.source(briefly(&bucket)));
    // More than one request can extend.
    let keys: Vec<String> = (0..25).map(|number| format!("data/{number:02}.csv")).collect();
    let bodies: Vec<String> =
        keys.iter().map(|key| notification(&bucket, "ObjectCreated:Put", key, TIME)).collect();
    bucket.send(&bodies).await;
    let expected: BTreeSet<Change> = keys.into_iter().map(Change::Object).collect();
    let batches = receive_all(&mut one, &expected).await;
    // Without heartbeats all of them would come within this time.
    let again = timeout(2 * VISIBLE_AGAIN_AFTER, other.receive()).await;
    assert!(again.is_err(), "{:?}", again.unwrap().unwrap().changes);
    for batch in batches {
        one.release(batch).await.unwrap();
    }
    receive_all(&mut other, &expected).await;
}

#[tokio::test]
async fn the_work_of_a_worker_that_is_gone_comes_again() {
    let bucket = Ministack::shared().bucket().await;
    let (mut one, mut other) = (bucket.source(briefly(&bucket)), bucket.source(briefly(&bucket)));
    bucket.put("a", b"one").await;
    let batch = receive(&mut one).await;
    drop(one);
    assert_eq!(receive(&mut other).await.changes, batch.changes);
}

#[tokio::test]
async fn a_receipt_that_has_become_invalid_is_told_and_not_extended() {
    let bucket = Ministack::shared().bucket().await;
    let mut source = bucket.source(briefly(&bucket));
    bucket.put("a", b"one").await;
    let batch = receive(&mut source).await;
    let failures_before = counter("cripto_queue_heartbeat_failures_total");
    bucket.purge().await;
    let failures = || counter("cripto_queue_heartbeat_failures_total") - failures_before;
    until("a heartbeat that fails", async || failures() > 0).await;
    // Time for more heartbeats. A slow machine has time for fewer, which cannot fail here.
    sleep(VISIBLE_AGAIN_AFTER).await;
    assert_eq!(failures(), 1, "once, and no more");
    let error = source.acknowledge(batch).await.unwrap_err();
    assert!(error.message.starts_with("1 of 1 messages are not deleted: "), "{}", error.message);
    assert!(error.message.contains("ReceiptHandleIsInvalid"), "{}", error.message);
}

#[tokio::test]
async fn what_is_gone_already_can_be_released() {
    let bucket = Ministack::shared().bucket().await;
    let mut source = bucket.source(bucket.settings());
    bucket.put("a", b"one").await;
    let batch = receive(&mut source).await;
    bucket.purge().await;
    source.release(batch).await.unwrap();
}

#[tokio::test]
async fn poison_goes_to_the_dead_letter_queue_and_the_others_are_handled() {
    let bucket = Ministack::shared().bucket().await;
    let mut source = bucket.source(SqsSettings {
        poison_delay: Duration::from_secs(1),
        wait: Duration::from_secs(1),
        ..bucket.settings()
    });
    bucket.send(&["<poison>".to_owned()]).await;
    bucket.put("a", b"one").await;
    let batch = receive(&mut source).await;
    assert_eq!(batch.changes, [Change::Object("a".to_owned())]);
    source.acknowledge(batch).await.unwrap();
    nothing_comes_until(&mut source, async || bucket.dead_letters().await == ["<poison>"]).await;
    is_left(&source, 0, 0).await;
}

#[tokio::test]
async fn poison_that_no_redrive_policy_removes_is_deleted_in_the_end() {
    let bucket = Ministack::shared().bucket().await;
    bucket.remove_redrive_policy().await;
    let mut source = bucket.source(SqsSettings { poison_delay: Duration::ZERO, ..bucket.settings() });
    bucket.send(&["<poison>".to_owned()]).await;
    let monitor = source.monitor();
    nothing_comes_until(&mut source, async || monitor.depth().await.unwrap() == EMPTY).await;
    assert!(counter(r#"cripto_queue_messages_poison_total{outcome="deleted"}"#) > 0);
}

#[tokio::test]
async fn what_means_nothing_is_deleted_at_once() {
    let bucket = Ministack::shared().bucket().await;
    let scope = Scope::of(bucket.name.as_str());
    let mut source = bucket.source(SqsSettings { scope, ..bucket.settings() });
    // S3's own test event is there, too.
    bucket.put("logs/2025.txt", b"x").await;
    let elsewhere =
        notification(&bucket, "ObjectCreated:Put", "models/a", TIME).replace(&bucket.name, "elsewhere");
    bucket.send(&[elsewhere, r#"{"Records":[]}"#.to_owned()]).await;
    let monitor = source.monitor();
    nothing_comes_until(&mut source, async || monitor.depth().await.unwrap() == EMPTY).await;
}

#[tokio::test]
async fn what_a_cancelled_receive_got_is_given_back_by_closing() {
    let bucket = Ministack::shared().bucket().await;
    bucket.purge().await;
    // It would not come again by itself while this test runs.
    let settings = SqsSettings { visibility: "600".parse().unwrap(), ..bucket.settings() };
    let (mut one, mut other) = (bucket.source(settings.clone()), bucket.source(settings));
    // The first look at a queue does not wait for messages; the next one does.
    bucket.put("before", b"one").await;
    let before = receive(&mut one).await;
    one.acknowledge(before).await.unwrap();
    // Begun and given up before there is a message: what goes on receiving is a task that has not even started.
    assert!(one.receive().now_or_never().is_none());
    bucket.put("a", b"one").await;
    let in_flight = QueueDepth { visible: 0, in_flight: 1 };
    until("the message is received", async || one.monitor().depth().await.unwrap() == in_flight).await;
    one.close().await;
    assert!(one.receive().await.is_err(), "it is closed");
    assert_eq!(receive(&mut other).await.changes, [Change::Object("a".to_owned())]);
}

#[tokio::test]
async fn a_queue_that_never_answers_is_an_error_in_time() {
    let server = FaultyServer::start(|_, _| Answer::Silence).await;
    let mut source = faulty_with(&server, Duration::from_secs(1), ATTEMPT).await;
    let errors_before = counter("cripto_queue_receive_errors_total");
    let started = Instant::now();
    let error = timeout(PATIENCE, source.receive()).await.unwrap().unwrap_err();
    // No sooner: the queue may hold an answer back for the second that it was asked to.
    assert!(started.elapsed() >= Duration::from_secs(1) + ATTEMPT, "{:?}", started.elapsed());
    assert!(error.to_string().contains("cannot be received"), "{error}");
    assert_eq!(server.requests(), 1, "whoever receives tries again");
    assert!(counter("cripto_queue_receive_errors_total") > errors_before);
}

#[tokio::test]
async fn a_queue_says_whether_it_lets_itself_be_asked_and_why_not() {
    let denied = serde_json::json!({
        "__type": "com.amazonaws.sqs#AccessDeniedException",
        "message": "User is not authorized to perform: sqs:receivemessage; request REQUEST-1"
    });
    let server = FaultyServer::start(move |number, _| {
        let (status, body) = match number {
            0 | 1 => ("400 Bad Request", denied.clone()),
            _ => ("200 OK", serde_json::json!({})),
        };
        Answer::Bytes(http(status, "application/x-amz-json-1.0", &body.to_string()))
    })
    .await;
    let mut source = faulty(&server, Duration::from_secs(1)).await;
    let mut status = source.status();
    assert_eq!(*status.borrow(), SourceStatus::default());
    source.receive().await.unwrap_err();
    let first = status.borrow_and_update().trouble.clone().unwrap();
    assert_eq!(first.kind, FaultKind::Denied);
    assert!(first.reason.contains("allow sqs:ReceiveMessage to the role"), "{}", first.reason);
    assert!(!first.reason.contains("REQUEST-1"), "{}", first.reason);
    source.receive().await.unwrap_err();
    assert!(!status.has_changed().unwrap(), "the same fault since the same time");
    let receiving = tokio::spawn(async move { source.receive().await.map(drop) });
    timeout(Duration::from_secs(30), status.wait_for(|status| status.reached)).await.unwrap().unwrap();
    assert_eq!(status.borrow().trouble, None);
    receiving.abort();
}

#[tokio::test]
async fn an_idle_queue_is_known_to_be_reached_without_waiting_for_a_message() {
    let bucket = Ministack::shared().bucket().await;
    bucket.purge().await;
    let mut source = bucket.source(SqsSettings { wait: Duration::from_secs(20), ..bucket.settings() });
    let mut status = source.status();
    let receiving = tokio::spawn(async move { source.receive().await.map(drop) });
    // Sooner than the first long poll would end.
    let reached = timeout(Duration::from_secs(15), status.wait_for(|status| status.reached)).await;
    reached.unwrap().unwrap();
    receiving.abort();
}

#[tokio::test]
async fn a_look_for_more_that_hangs_does_not_hold_back_what_came() {
    let server = FaultyServer::start(|number, head| match number {
        0 => answer_of_a_queue(number, head, false),
        _ => Answer::Silence,
    })
    .await;
    // The wait for a first message, which a look for more must not take over.
    let mut source = faulty(&server, 10 * PATIENCE).await;
    assert_eq!(receive(&mut source).await.changes.len(), 2);
}

#[tokio::test]
async fn what_the_queue_fails_to_delete_is_tried_again() {
    let server = FaultyServer::start(|number, head| answer_of_a_queue(number, head, number < 3)).await;
    let mut source = faulty(&server, Duration::ZERO).await;
    let batch = receive(&mut source).await;
    assert_eq!(batch.changes.len(), 2);
    source.acknowledge(batch).await.unwrap();
    assert_eq!(server.requests(), 4, "two that received and two that deleted");
}

#[tokio::test]
async fn what_cannot_be_deleted_is_named() {
    let server = FaultyServer::start(|number, head| answer_of_a_queue(number, head, true)).await;
    let mut source = faulty(&server, Duration::ZERO).await;
    let batch = receive(&mut source).await;
    let error = source.acknowledge(batch).await.unwrap_err();
    assert!(error.message.starts_with("1 of 2 messages are not deleted: "), "{}", error.message);
    assert!(error.message.contains("(InternalError: try again)"), "{}", error.message);
    assert_eq!(server.requests(), 5, "three attempts");
}

const TIME: &str = "2025-07-29T21:30:00.000Z";

/// For servers that never answer. It is no time in which anything must succeed.
const ATTEMPT: Duration = Duration::from_millis(400);

/// The visibility timeout of [`briefly`]. A heartbeat comes every third of it, and may be late by two thirds.
const VISIBLE_AGAIN_AFTER: Duration = Duration::from_secs(6);

const EMPTY: QueueDepth = QueueDepth { visible: 0, in_flight: 0 };

/// A queue that has two messages at first, and fails to delete one of them if it is to.
fn answer_of_a_queue(number: usize, head: &str, fails: bool) -> Answer {
    let message = |name: &str| {
        let body = format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"b"}},"object":{{"key":"{name}"}}}}}}]}}"#
        );
        serde_json::json!({"MessageId": format!("id-{name}"), "ReceiptHandle": name, "Body": body})
    };
    let body = if head.contains("deletemessagebatch") {
        match fails {
            true => serde_json::json!({"Successful": [], "Failed":
                [{"Id": "0", "Code": "InternalError", "Message": "try again", "SenderFault": false}]}),
            false => serde_json::json!({"Successful": [{"Id": "0"}], "Failed": []}),
        }
    } else if number == 0 {
        serde_json::json!({"Messages": [message("a"), message("b")]})
    } else {
        serde_json::json!({})
    };
    Answer::Bytes(http("200 OK", "application/x-amz-json-1.0", &body.to_string()))
}

/// A queue at a server that answers everything, or one whose look for more messages is given up by itself.
async fn faulty(server: &FaultyServer, wait: Duration) -> SqsQueue {
    faulty_with(server, wait, PATIENCE).await
}

async fn faulty_with(server: &FaultyServer, wait: Duration, attempt: Duration) -> SqsQueue {
    let config = config_at(server.url.clone(), attempt).await;
    let url = format!("{}/000000000000/fila", server.url).parse().unwrap();
    let scope = Scope { bucket: "b".to_owned(), prefixes: vec![String::new()] };
    SqsQueue::new(&config, SqsSettings { wait, ..SqsSettings::new(url, scope) })
}

/// Received messages come again in [`VISIBLE_AGAIN_AFTER`].
fn briefly(bucket: &TestBucket) -> SqsSettings {
    let visibility = VISIBLE_AGAIN_AFTER.as_secs().to_string().parse().unwrap();
    SqsSettings { visibility, ..bucket.settings() }
}

async fn receive(source: &mut SqsQueue) -> Batch<SqsReceipt> {
    timeout(PATIENCE, source.receive()).await.unwrap().unwrap()
}

/// Receives until something holds. No batch may come meanwhile.
async fn nothing_comes_until(source: &mut SqsQueue, holds: impl AsyncFn() -> bool) {
    tokio::select! {
        () = until("it is settled", holds) => {}
        batch = source.receive() => panic!("{batch:?}"),
    }
}

/// As many batches as it takes to see these changes.
async fn receive_all(source: &mut SqsQueue, expected: &BTreeSet<Change>) -> Vec<Batch<SqsReceipt>> {
    let mut batches = Vec::new();
    let mut seen = BTreeSet::new();
    while seen != *expected {
        let batch = receive(source).await;
        seen.extend(batch.changes.iter().cloned());
        batches.push(batch);
    }
    batches
}

async fn is_left(source: &SqsQueue, visible: u64, in_flight: u64) {
    let depth = source.monitor().depth().await.unwrap();
    assert_eq!(depth, QueueDepth { visible, in_flight });
}

fn notification(bucket: &TestBucket, event: &str, key: &str, time: &str) -> String {
    serde_json::json!({"Records": [{
        "eventVersion": "2.1", "eventTime": time, "eventName": event,
        "s3": {"bucket": {"name": bucket.name}, "object": {"key": key}},
    }]})
    .to_string()
}

/// Value of a counter in this process, which runs a single test.
fn counter(name: &str) -> u64 {
    let text = String::from_utf8(shared::metrics::render()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}
