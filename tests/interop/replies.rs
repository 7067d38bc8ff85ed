//! Recorded replies of Celery are read, and written so that Celery reads the same.

use celeriac_protocol::{Codec, DecodeLimits, Failure, Message, Properties, ResultMeta};
use celeriac_tests::{Bed, PythonApp};
use serde_json::{Value as Json, json};

use crate::recordings::{Recording, results_of_python};
use crate::spelling::spell;

fn codec(recording: &Recording) -> Codec {
    Codec::from_content_type(recording.property("content_type")).unwrap()
}

fn read(recording: &Recording) -> ResultMeta {
    let value = codec(recording).decode_value(&recording.body(), &DecodeLimits::default()).unwrap();
    ResultMeta::read(value).unwrap_or_else(|error| panic!("{}: {error}", recording.name()))
}

fn message(codec: Codec, body: Vec<u8>) -> Message {
    let properties = Properties {
        content_type: Some(codec.content_type().to_owned()),
        content_encoding: Some(codec.content_encoding().to_owned()),
        ..Properties::default()
    };
    Message { properties, body: body.into(), ..Message::default() }
}

#[test]
fn every_recorded_reply_is_read() {
    for recording in Recording::replies() {
        let (name, meta) = (recording.name(), read(&recording));
        let text = |key: &str| recording.expect(key).as_str();
        assert_eq!(Some(meta.task_id.as_str()), text("task_id"), "{name}");
        assert_eq!(Some(meta.status.as_str()), text("status"), "{name}");
        assert_eq!(meta.date_done, text("date_done").map(|time| time.parse().unwrap()), "{name}");
        assert_eq!(
            (meta.parent_id.as_deref(), meta.group_id.as_deref()),
            (text("parent_id"), text("group_id")),
            "{name}"
        );
        assert_eq!(spell(&meta.children), *recording.expect("children"), "{name}");
        let Some(failure) = meta.failure else {
            assert_eq!(recording.part("exception"), &Json::Null, "{name}");
            assert_eq!(spell(&meta.result), *recording.expect("result"), "{name}");
            continue;
        };
        let exception = recording.expect("result");
        if exception.is_null() {
            // A retry without a cause has no exception.
            assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Retry", ""), "{name}");
            continue;
        }
        assert_eq!(json!(failure.kind), exception["exc_type"], "{name}");
        assert_eq!(json!(failure.module), exception["exc_module"], "{name}");
        assert_eq!(failure.trace.as_deref(), text("traceback"), "{name}");
    }
}

#[celeriac_tests::test(real)]
async fn a_failure_of_celerys_says_what_it_says_in_python(bed: Bed) {
    let mut client = PythonApp::new(&bed).await.client().await;
    let replies = Recording::replies();
    let bodies: Vec<_> = replies.iter().map(|recording| message(codec(recording), recording.body())).collect();
    let mut otherwise = Vec::new();
    for (recording, told) in replies.iter().zip(results_of_python(&mut client, &bodies).await) {
        let name = recording.name();
        assert!(told["error"].is_null(), "{name}: {told}");
        let Some(Failure { message, .. }) = read(recording).failure else { continue };
        let said = told["exception"]["text"].as_str().unwrap_or_default();
        if message != said {
            otherwise.push((name.to_owned(), message, said.to_owned()));
        }
    }
    let expected = [
        // Python puts quotes around the key of a KeyError, and of a NotRegistered, which is a
        // KeyError.
        ("failure_key", "k", "'k'"),
        // billiard's own exceptions print their class too, which is the kind of the failure.
        ("failure_soft_time_limit", "", "SoftTimeLimitExceeded()"),
        ("failure_time_limit-1", "0.5", "TimeLimitExceeded(0.5,)"),
        ("failure_time_limit-2", "0.5", "TimeLimitExceeded(0.5,)"),
        ("failure_unknown_task", "interop.missing", "'interop.missing'"),
    ];
    assert_eq!(otherwise, expected.map(|(name, ours, pythons)| (name.to_owned(), ours.to_owned(), pythons.to_owned())));
    client.stop().await;
}

#[celeriac_tests::test(real)]
async fn a_result_that_is_written_again_is_the_same_to_celery(bed: Bed) {
    let mut client = PythonApp::new(&bed).await.client().await;
    let replies = Recording::replies();
    let written: Vec<_> = replies
        .iter()
        .map(|recording| {
            let codec = codec(recording);
            message(codec, codec.encode_value(&read(recording).to_value()).unwrap())
        })
        .collect();
    let recorded: Vec<_> = replies.iter().map(|recording| message(codec(recording), recording.body())).collect();
    let before = results_of_python(&mut client, &recorded).await;
    let after = results_of_python(&mut client, &written).await;
    let mut changed = Vec::<(String, String, String)>::new();
    for (recording, (mut before, mut after)) in replies.iter().zip(before.into_iter().zip(after)) {
        let name = recording.name();
        assert!(after["error"].is_null(), "{name}: {after}");
        // The additions of `result_extended` are not kept.
        for key in ["name", "args", "kwargs", "worker", "retries", "queue", "delivery_info", "stamped_headers", "team"]
        {
            before["meta"].as_object_mut().unwrap().remove(key);
        }
        let (was, is) = (before["exception"].take(), after["exception"].take());
        if is["args"] != was["args"] || is["type"] != was["type"] || is["module"] != was["module"] {
            changed.push((
                name.to_owned(),
                format!("{} {}", was["type"], was["args"]),
                format!("{} {}", is["type"], is["args"]),
            ));
        }
        assert_eq!(after["meta"], before["meta"], "{name}");
        assert_eq!((&after["state"], &after["result"]), (&before["state"], &before["result"]), "{name}");
    }
    assert_eq!(changed, [], "name, before, after");
    client.stop().await;
}
