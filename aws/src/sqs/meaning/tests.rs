use serde_json::{Value, json};

use super::*;

/// What a row of the table expects, written shortly.
#[derive(Debug, PartialEq)]
enum Expected {
    /// Changes of these keys, and so many unreadable records beside them.
    Keys(&'static [&'static str], usize),
    /// The removal of these keys.
    Removed(&'static [&'static str]),
    /// The removal of this key and its creation, in whatever order.
    Both(&'static str),
    Request(&'static str),
    /// Nothing for this reason, and so many unreadable records beside it.
    Nothing(Irrelevant, usize),
    /// Poison, and what its reason begins with.
    Poison(&'static str),
}

use Expected::{Both, Keys, Nothing, Poison as Refused, Removed, Request};

/// A bucket's own notification, as documented, of one object.
fn record(event: &str, key: &str) -> Value {
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2025-07-29T21:30:00.123Z",
        "eventName": event,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "models",
            "bucket": {"name": "criptos-data", "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                       "arn": "arn:aws:s3:::criptos-data"},
            "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                       "sequencer": "0055AED6DCD90281E5"}
        }
    })
}

fn notification(records: impl Into<Vec<Value>>) -> Value {
    json!({"Records": records.into()})
}

fn created(key: &str) -> Value {
    notification([record("ObjectCreated:Put", key)])
}

/// A record with one thing in it replaced or, with `null`, removed.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    parent.insert(name.to_owned(), value);
    body
}

fn without(mut body: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    body
}

fn sns(message: &Value) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
        "TopicArn": "arn:aws:sns:us-east-1:111122223333:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": message.to_string(),
        "Timestamp": "2025-07-29T21:30:01.000Z",
        "SignatureVersion": "1",
        "Signature": "FMG5tlZhJNHLHUXvZgtZzlk24FzVa7oX0T4P03neeXw8ZEXZx6z35j2FOTuNYShn2h0bKi/zLTnMyIxEzmi2X1sh",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe"
    })
}

fn event_bridge(detail_type: &str, key: &str) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2025-07-29T21:30:00Z",
        "region": "us-east-1",
        "resources": ["arn:aws:s3:::criptos-data"],
        "detail": {
            "version": "0",
            "event-version": "1.0",
            "bucket": {"name": "criptos-data"},
            "object": {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184",
                       "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "sequencer": "617f08299329d189"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject"
        }
    })
}

fn seen(meaning: &Meaning, expected: &Expected) -> bool {
    match (meaning, expected) {
        (Meaning::Changes { changes, unreadable, .. }, Keys(keys, others)) => {
            let keys = keys.iter().map(|key| Change::Object((*key).to_owned())).collect();
            *changes == keys && unreadable.len() == *others
        }
        (Meaning::Changes { changes, .. }, Removed(keys)) => {
            *changes == keys.iter().map(|key| Change::Removed((*key).to_owned())).collect()
        }
        (Meaning::Changes { changes, .. }, Both(key)) => {
            *changes == [Change::Removed((*key).to_owned()), Change::Object((*key).to_owned())].into()
        }
        (Meaning::Request(id), Request(expected)) => id.as_str() == *expected,
        (Meaning::Nothing { reason, unreadable }, Nothing(expected, others)) => {
            reason == expected && unreadable.len() == *others
        }
        (Meaning::Poison(poison), Refused(beginning)) => poison.to_string().starts_with(beginning),
        _ => false,
    }
}

macro_rules! table {
    ($($name:ident: $body:expr => $expected:expr;)*) => {$(
        #[test]
        fn $name() {
            let body: Value = $body;
            let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            let expected = $expected;
            let found = meaning(&text, &Scope::of("criptos-data"));
            assert!(seen(&found, &expected), "{text}\nmeans {found:?}\nnot {expected:?}");
        }
    )*};
}

table! {
    // The ways by which a notification comes.
    a_notification_of_s3_is_a_change: created("models/a.joblib") => Keys(&["models/a.joblib"], 0);
    what_sns_wraps_is_what_is_inside: sns(&created("models/a.joblib")) => Keys(&["models/a.joblib"], 0);
    what_sns_delivers_raw_is_a_notification:
        json!(serde_json::to_string_pretty(&created("models/a.joblib")).unwrap()) => Keys(&["models/a.joblib"], 0);
    event_bridge_tells_of_a_creation:
        event_bridge("Object Created", "models/a.joblib") => Keys(&["models/a.joblib"], 0);
    event_bridge_tells_of_a_removal:
        event_bridge("Object Deleted", "models/a.joblib") => Removed(&["models/a.joblib"]);
    event_bridge_by_way_of_sns:
        sns(&event_bridge("Object Created", "models/a.joblib")) => Keys(&["models/a.joblib"], 0);
    a_test_event_means_nothing:
        json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2014-10-13T15:57:02.089Z",
               "Bucket": "criptos-data", "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8"})
        => Nothing(Irrelevant::TestEvent, 0);
    a_test_event_in_sns_means_nothing:
        sns(&json!({"Service": "Amazon S3", "Event": "s3:TestEvent"})) => Nothing(Irrelevant::TestEvent, 0);
    a_request_to_reload: json!({"cripto": "reload", "version": 1, "id": "b7-42"}) => Request("b7-42");

    // What happened.
    every_way_of_creating_counts: notification([
        record("ObjectCreated:Put", "models/1"), record("ObjectCreated:Post", "models/2"),
        record("ObjectCreated:Copy", "models/3"), record("ObjectCreated:CompleteMultipartUpload", "models/4"),
    ]) => Keys(&["models/1", "models/2", "models/3", "models/4"], 0);
    every_way_of_removing_counts: notification([
        record("ObjectRemoved:Delete", "models/1"), record("ObjectRemoved:DeleteMarkerCreated", "models/2"),
        record("LifecycleExpiration:Delete", "models/3"),
        record("LifecycleExpiration:DeleteMarkerCreated", "models/4"),
    ]) => Removed(&["models/1", "models/2", "models/3", "models/4"]);
    an_event_may_be_named_with_its_service:
        notification([record("s3:ObjectCreated:Put", "models/a")]) => Keys(&["models/a"], 0);
    a_restored_object_was_there_before:
        notification([record("ObjectRestore:Completed", "models/a")]) => Nothing(Irrelevant::OtherEvent, 0);
    tags_are_no_change:
        notification([record("ObjectTagging:Put", "models/a")]) => Nothing(Irrelevant::OtherEvent, 0);
    event_bridge_tells_of_tags:
        event_bridge("Object Tags Added", "models/a") => Nothing(Irrelevant::OtherEvent, 0);
    event_bridge_tells_of_another_service:
        with(event_bridge("Object Created", "models/a"), "/source", json!("aws.ec2"))
        => Nothing(Irrelevant::OtherEvent, 0);

    // Where.
    another_bucket_is_not_ours:
        with(created("models/a"), "/Records/0/s3/bucket/name", json!("criptos-data-2"))
        => Nothing(Irrelevant::OtherBucket, 0);
    event_bridge_tells_of_another_bucket:
        with(event_bridge("Object Created", "models/a"), "/detail/bucket/name", json!("other"))
        => Nothing(Irrelevant::OtherBucket, 0);
    another_prefix_is_not_read: created("logs/2025/a.txt") => Nothing(Irrelevant::OtherKey, 0);
    the_four_places_are_read: notification([
        record("ObjectCreated:Put", "models/latest/regressor_rf.joblib"),
        record("ObjectCreated:Put", "features/latest.parquet"),
        record("ObjectCreated:Put", "data/BTC/BTC_2025-07-29.csv"), record("ObjectCreated:Put", "raw.csv"),
    ]) => Keys(&[
        "data/BTC/BTC_2025-07-29.csv", "features/latest.parquet", "models/latest/regressor_rf.joblib", "raw.csv",
    ], 0);

    // Keys. Notifications are form-encoded, EventBridge is not.
    a_plus_is_a_space: created("models/a+b") => Keys(&["models/a b"], 0);
    an_encoded_plus_is_a_plus: created("models/a%2Bb") => Keys(&["models/a+b"], 0);
    an_encoded_slash_is_a_slash: created("models%2Flatest%2Fa") => Keys(&["models/latest/a"], 0);
    encoded_utf_8: created("models/cora%C3%A7%C3%A3o") => Keys(&["models/coração"], 0);
    unencoded_utf_8: created("models/coração") => Keys(&["models/coração"], 0);
    an_encoded_percent_is_a_percent: created("models/100%25") => Keys(&["models/100%"], 0);
    a_percent_is_decoded_once: created("models/%252B") => Keys(&["models/%2B"], 0);
    a_percent_before_no_digits_is_one: created("models/100%") => Keys(&["models/100%"], 0);
    bytes_that_are_no_utf_8: created("models/%FF") => Refused("key \"models/%FF\"");
    event_bridge_does_not_encode: event_bridge("Object Created", "models/a+b%2Bç%") => Keys(&["models/a+b%2Bç%"], 0);

    // Versions of an object make no difference.
    a_version_id: with(created("models/a"), "/Records/0/s3/object/versionId", json!("096fKKXTRTtl3on89fVO.nfljtsv6qko"))
        => Keys(&["models/a"], 0);
    a_version_id_of_null: with(created("models/a"), "/Records/0/s3/object/versionId", Value::Null)
        => Keys(&["models/a"], 0);
    no_version_id_in_event_bridge:
        without(event_bridge("Object Created", "models/a"), "/detail/object/version-id") => Keys(&["models/a"], 0);
    no_sequencer_and_no_etag: without(
        without(created("models/a"), "/Records/0/s3/object/sequencer"), "/Records/0/s3/object/eTag",
    ) => Keys(&["models/a"], 0);

    // Versions of the structures.
    a_later_minor_version_only_adds:
        with(with(created("models/a"), "/Records/0/eventVersion", json!("2.17")), "/Records/0/neu", json!([1]))
        => Keys(&["models/a"], 0);
    another_major_version_is_refused: with(created("models/a"), "/Records/0/eventVersion", json!("3.0"))
        => Refused("a notification of version \"3.0\", and only 2 is known");
    no_version_is_refused: without(created("models/a"), "/Records/0/eventVersion")
        => Refused("not as documented: missing field `eventVersion`");
    another_version_of_event_bridge: with(event_bridge("Object Created", "models/a"), "/version", json!("1"))
        => Refused("an event of version \"1\"");
    another_version_of_the_detail: with(event_bridge("Object Created", "models/a"), "/detail/version", json!("1"))
        => Refused("an S3 event of version \"1\"");
    another_version_of_a_request: json!({"cripto": "reload", "version": 2, "id": "b7"})
        => Refused("a request to reload of version \"2\"");

    // Several records.
    changes_of_the_same_object_are_one:
        notification([record("ObjectRemoved:Delete", "models/a"), record("ObjectCreated:Put", "models/a")])
        => Both("models/a");
    a_bad_record_does_not_spoil_the_others: notification([
        record("ObjectCreated:Put", "models/a"), json!({"eventVersion": "2.1"}), json!(7),
        record("ObjectCreated:Put", "models/b"),
    ]) => Keys(&["models/a", "models/b"], 2);
    an_irrelevant_record_does_not_spoil_the_others:
        notification([record("ObjectTagging:Put", "models/a"), record("ObjectCreated:Put", "models/b")])
        => Keys(&["models/b"], 0);
    a_bad_record_beside_an_irrelevant_one:
        notification([json!({}), record("ObjectCreated:Put", "logs/a")]) => Nothing(Irrelevant::OtherKey, 1);
    nothing_but_bad_records: notification([json!({"eventVersion": "2.1"}), json!(7)]) => Refused("not as documented");
    no_records: notification([]) => Nothing(Irrelevant::NoRecords, 0);

    // What cannot be understood.
    an_empty_body: json!("") => Refused("not as documented");
    a_body_that_is_no_json: json!("<xml/>") => Refused("not as documented");
    half_a_body: json!(created("models/a").to_string().split_at(200).0) => Refused("not as documented");
    json_that_is_no_object: json!([1, 2]) => Refused("not as documented");
    records_that_are_no_list: json!({"Records": "none"}) => Refused("not as documented");
    json_of_another_kind: json!({"hello": "world"}) => Refused("neither an S3 notification");
    a_message_of_sns_that_is_no_notification:
        json!({"Type": "SubscriptionConfirmation", "Message": "You have chosen", "Token": "2336412f37"})
        => Refused("neither an S3 notification");
    sns_in_sns: sns(&sns(&created("models/a"))) => Refused("wrapped more than once");
    text_in_sns: sns(&json!("hello")) => Refused("not as documented");
    depth_without_end: json!("[".repeat(100_000)) => Refused("not as documented");
    more_than_sqs_gives: json!(" ".repeat(MAX_BODY + 1)) => Refused("1048577 bytes are more");
    a_request_without_a_name: json!({"cripto": "reload", "version": 1}) => Refused("\"\" is not the name");
    a_request_under_a_strange_name: json!({"cripto": "reload", "version": 1, "id": "a b"}) => Refused("\"a b\"");
    a_request_for_something_else: json!({"cripto": "stop", "version": 1, "id": "b7"}) => Refused("neither");
}

#[test]
fn a_request_is_understood_as_it_was_written() {
    let id: RequestId = "b7-42".parse().unwrap();
    let body = serde_json::to_string(&ReloadRequest::new(&id)).unwrap();
    assert_eq!(body, r#"{"cripto":"reload","version":1,"id":"b7-42"}"#);
    assert!(seen(&meaning(&body, &Scope::of("any")), &Request("b7-42")));
}

#[test]
fn the_oldest_change_of_a_message_tells_its_time() {
    let newer =
        with(record("ObjectCreated:Put", "models/a"), "/eventTime", json!("2025-07-29T21:31:00.000Z"));
    let strange = with(record("ObjectCreated:Put", "models/b"), "/eventTime", json!("yesterday"));
    let body = notification([newer, record("ObjectCreated:Put", "models/c"), strange]).to_string();
    let Meaning::Changes { changes, oldest, .. } = meaning(&body, &Scope::of("criptos-data")) else {
        panic!("{body}");
    };
    assert_eq!(changes.len(), 3);
    assert_eq!(oldest, Some("2025-07-29T21:30:00.123Z".parse().unwrap()));
}

#[test]
fn the_events_of_any_bucket_count_where_an_access_point_is_named_instead_of_a_bucket() {
    for bucket in [
        "criptos-ab1cd2-s3alias",
        "arn:aws:s3:us-east-1:111122223333:accesspoint/criptos",
        "mfzwi23gnjvgw.mrap",
        "criptos-ab1cd2--ol-s3",
    ] {
        let body = created("models/a").to_string();
        match meaning(&body, &Scope::of(bucket)) {
            Meaning::Changes { changes, .. } => {
                assert_eq!(changes, [Change::Object("models/a".to_owned())].into(), "{bucket}");
            }
            other => panic!("{bucket}: {other:?}"),
        }
    }
    let other = meaning(&created("models/a").to_string(), &Scope::of("my-s3alias-bucket"));
    assert!(matches!(other, Meaning::Nothing { reason: Irrelevant::OtherBucket, .. }), "{other:?}");
}
