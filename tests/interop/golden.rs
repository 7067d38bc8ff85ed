//! Recordings of Celery are read as Celery reads them, and written so that Celery reads the same.

use celeriac_protocol::headers::names;
use celeriac_protocol::repr::{repr_args, repr_kwargs};
use celeriac_protocol::{Appearance, Body, Codec, Compression, DecodeLimits, Embed, HeaderMap, Message};
use celeriac_protocol::{TaskHeaders, Unreadable, Value};
use celeriac_tests::{Bed, PythonApp};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::recordings::{Recording, read_by_python};
use crate::spelling::{spell, spell_headers, spell_map};

const EMBEDDED: [&str; 4] = ["callbacks", "errbacks", "chain", "chord"];

/// A worker's view of a message before it runs the task.
struct Read {
    message: Message,
    headers: TaskHeaders,
    body: Body,
    embed: Embed,
}

fn read(mut message: Message) -> Result<Read, Unreadable> {
    let limits = DecodeLimits::default();
    let headers = message.read_headers(&limits, || TimeZone::UTC)?;
    let (body, embed) = message.read_body(&limits)?;
    Ok(Read { message, headers, body, embed })
}

/// Returns every recording that can be executed, with its reading.
async fn all_read(bed: &Bed) -> Vec<(Recording, Read)> {
    let recordings = Recording::messages();
    let messages = Recording::delivered(&recordings, bed).await;
    let executed = recordings.into_iter().zip(messages).filter(|(recording, _)| !recording.is_refused());
    let all: Vec<_> = executed
        .map(|(recording, message)| {
            let read = read(message).unwrap_or_else(|error| panic!("{}: {error}", recording.name()));
            (recording, read)
        })
        .collect();
    assert_eq!(all.len(), 121);
    all
}

#[celeriac_tests::test(real)]
async fn every_recorded_message_arrives_with_its_headers_and_properties(bed: Bed) {
    let recordings = Recording::messages();
    let messages = Recording::delivered(&recordings, &bed).await;
    for (recording, message) in recordings.iter().zip(messages) {
        let name = recording.name();
        assert_eq!(spell_headers(&message.headers), without_amqps_own(recording.part("headers")), "{name}");
        let properties = &message.properties;
        assert_eq!(properties.content_type.as_deref(), recording.property("content_type"), "{name}");
        assert_eq!(properties.content_encoding.as_deref(), recording.property("content_encoding"), "{name}");
        assert_eq!(properties.correlation_id.as_deref(), recording.property("correlation_id"), "{name}");
        assert_eq!(properties.reply_to.as_deref(), recording.property("reply_to"), "{name}");
        let told = &recording.part("properties");
        assert_eq!(json!(properties.priority), told["priority"], "{name}");
        assert_eq!(properties.transient, told["delivery_mode"] == 1, "{name}");
        let expiration = properties.expiration.map(|expiration| expiration.as_millis().to_string());
        assert_eq!(expiration.as_deref(), recording.property("expiration"), "{name}");
        assert_eq!(message.body, recording.body(), "{name}");
    }
}

/// Replaces values of AMQP's own types: times and decimals become numbers, and invalid UTF-8
/// becomes bytes.
fn without_amqps_own(spelt: &Json) -> Json {
    match spelt {
        Json::Array(items) => items.iter().map(without_amqps_own).collect(),
        Json::Object(entries) => {
            let text = |tag: &str| entries.get(tag).and_then(Json::as_str);
            match (text("$datetime"), text("$decimal"), text("$surrogates")) {
                (Some(time), ..) => json!(moment(time).as_second()),
                (_, Some(number), _) => json!(number.parse::<f64>().unwrap()),
                (.., Some(text)) => json!({"$bytes": text}),
                _ => entries.iter().map(|(key, value)| (key.clone(), without_amqps_own(value))).collect(),
            }
        }
        other => other.clone(),
    }
}

#[celeriac_tests::test(real)]
async fn every_recorded_message_is_read_as_celery_reads_it(bed: Bed) {
    for (recording, Read { headers, body, embed, .. }) in all_read(&bed).await {
        let name = recording.name();
        assert_eq!(spell(&Value::List(body.args)), *recording.expect("args"), "{name}");
        assert_eq!(spell_map(&body.kwargs), *recording.expect("kwargs"), "{name}");
        assert_eq!(headers_of(&headers), expected_headers(&recording), "{name}");
        // The signatures were read completely.
        let mut carried = spell(&embed.into());
        for part in EMBEDDED {
            let understood = carried.as_object_mut().unwrap().remove(part).unwrap_or_default();
            assert_eq!(understood, nothing_if_empty(recording.expect(part)), "{name}");
        }
        let others = recording.expect("embed");
        assert_eq!(carried, if others.is_null() { json!({}) } else { others.clone() }, "{name}");
    }
}

/// Returns null for an empty list of steps, which means the same.
fn nothing_if_empty(signatures: &Json) -> Json {
    if *signatures == json!([]) { Json::Null } else { signatures.clone() }
}

/// Returns headers as they were read, with times as moments.
fn headers_of(headers: &TaskHeaders) -> Json {
    let limits = headers.limits;
    json!({
        "task": headers.task,
        "id": headers.id,
        "retries": headers.retries,
        "eta": headers.eta,
        "expires": headers.expires,
        "root_id": headers.root_id,
        "parent_id": headers.parent_id,
        "group": headers.group,
        "group_index": headers.group_index,
        "shadow": headers.shadow,
        "timelimit": [limits.hard.map(|limit| limit.as_secs_f64()), limits.soft.map(|limit| limit.as_secs_f64())],
        "ignore_result": headers.ignore_result,
        "replaced_task_nesting": headers.replaced_task_nesting,
        "stamped_headers": headers.stamped_headers,
        "stamps": spell_map(&headers.stamps),
    })
}

/// Returns the same from Celery's reading.
fn expected_headers(recording: &Recording) -> Json {
    let in_body = recording.expect("protocol") == "1";
    understood(if in_body { recording.expect("request") } else { recording.part("headers") })
}

fn understood(headers: &Json) -> Json {
    let or = |name: &str, default: Json| if headers[name].is_null() { default } else { headers[name].clone() };
    let moment = |name: &str| headers[name].as_str().map(moment);
    let limits = or("timelimit", json!([null, null]));
    let limits = limits.get("$tuple").unwrap_or(&limits);
    json!({
        "task": headers["task"],
        "id": headers["id"],
        "retries": or("retries", json!(0)),
        "eta": moment("eta"),
        "expires": moment("expires"),
        "root_id": headers["root_id"],
        "parent_id": headers["parent_id"],
        "group": headers["group"],
        "group_index": headers["group_index"],
        "shadow": headers["shadow"],
        "timelimit": [limits[0].as_f64(), limits[1].as_f64()],
        "ignore_result": headers["ignore_result"],
        "replaced_task_nesting": or("replaced_task_nesting", json!(0)),
        "stamped_headers": or("stamped_headers", json!([])),
        "stamps": or("stamps", json!({})),
    })
}

/// Parses a time. Without an offset it is UTC.
fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|_| format!("{text}Z").parse().unwrap())
}

#[celeriac_tests::test(real)]
async fn what_is_not_executed_is_refused_with_a_reason(bed: Bed) {
    let recordings: Vec<_> = Recording::messages().into_iter().filter(Recording::is_refused).collect();
    let messages = Recording::delivered(&recordings, &bed).await;
    let reasons: Vec<_> = recordings
        .iter()
        .zip(messages)
        .map(|(recording, message)| match read(message) {
            Ok(_) => panic!("{} is not refused", recording.name()),
            Err(error) => (recording.name(), error.to_string()),
        })
        .collect();
    let compression =
        |name: &str| format!("compression `application/{name}` is refused: accepted are gzip (zlib), bzip2 and zstd");
    let pickle = "content type `application/x-python-serialize` is refused: pickle runs code of the sender's choice";
    let expected = [
        ("compression_brotli", compression("x-brotli")),
        ("compression_lzma", compression("x-lzma")),
        ("extended_pickle", pickle.to_owned()),
        (
            "keys_that_are_not_text_msgpack",
            "the body is not valid MessagePack: invalid type: integer `1`, expected a string as a key".to_owned(),
        ),
        (
            "lone_surrogate",
            "the body is not valid JSON: half a surrogate pair, which is no character, at line 1 column 10".to_owned(),
        ),
        ("no_task", "header `task` is missing".to_owned()),
        ("not_json", "the body is not valid JSON: EOF while parsing an object at line 1 column 14".to_owned()),
        ("serializer_pickle", pickle.to_owned()),
        (
            "serializer_yaml",
            "content type `application/x-yaml` is refused: YAML is not read here, json and msgpack are".to_owned(),
        ),
        ("two_parts", "the body should be [arguments, named arguments, embedded], got a list of 2".to_owned()),
        ("unknown_compression", compression("x-nothing")),
        ("unknown_type", "the body is not valid JSON: unknown `__type__` `money` at line 1 column 42".to_owned()),
    ];
    assert_eq!(reasons, expected);
}

#[celeriac_tests::test(real)]
async fn what_is_written_again_is_read_by_celery_as_before(bed: Bed) {
    let mut client = PythonApp::new(&bed).await.client().await;
    let all = all_read(&bed).await;
    for style in ["minimal", "full"] {
        let written: Vec<_> = all.iter().map(|(recording, read)| written_again(recording, read, style)).collect();
        let answers = read_by_python(&mut client, &written).await;
        assert_eq!(answers.len(), all.len());
        for ((recording, _), answer) in all.iter().zip(answers) {
            let name = recording.name();
            assert!(answer["error"].is_null(), "{name}, {style}: {answer}");
            assert_eq!(answer["protocol"], "2", "{name}, {style}");
            for part in ["args", "kwargs"] {
                assert_eq!(answer[part], *recording.expect(part), "{name}, {style}");
            }
            let mut embed = answer["embed"].as_object().unwrap().clone();
            for part in EMBEDDED {
                let read = embed.remove(part).unwrap_or_default();
                assert_eq!(read, nothing_if_empty(recording.expect(part)), "{name}, {style}");
            }
            let others = recording.expect("embed").as_object().cloned().unwrap_or_default();
            assert_eq!(embed, others, "{name}, {style}");
            assert_eq!(understood(&answer["headers"]), expected_headers(recording), "{name}, {style}");
            if style == "full" && recording.part("headers")["lang"] == "py" {
                let celerys = without_amqps_own(recording.part("headers"));
                assert_eq!(without_times(&answer["headers"]), without_times(&celerys), "{name}");
            }
        }
    }
    client.stop().await;
}

/// Returns the message that this project writes from its reading.
fn written_again(recording: &Recording, read: &Read, style: &str) -> Message {
    let Read { message, headers, body, embed } = read;
    let text = |name: &str| message.headers.text(name).unwrap_or_default().to_owned();
    let appearance = Appearance {
        argsrepr: text(names::ARGSREPR),
        kwargsrepr: text(names::KWARGSREPR),
        origin: text(names::ORIGIN),
    };
    let mut written = HeaderMap::new();
    headers.clone().write(&mut written, (style == "full").then_some(appearance));
    for (name, value) in message.headers.iter().filter(|(name, _)| !names::RESERVED.contains(name)) {
        written.push(name.to_owned(), value.clone());
    }
    let codec = Codec::from_content_type(message.properties.content_type.as_deref()).unwrap();
    let body = Body { embed: embed.clone().into(), ..body.clone() };
    let mut bytes = codec.encode(&body).unwrap();
    if let Some(name) = message.headers.text(names::COMPRESSION) {
        let compression = Compression::from_header(name).unwrap();
        bytes = compression.compress(&bytes).unwrap();
        written.push(names::COMPRESSION, compression.header_value());
    }
    assert_eq!(recording.property("content_encoding"), Some(codec.content_encoding()), "{}", recording.name());
    Message { headers: written, body: bytes.into(), ..message.clone() }
}

/// Returns headers without the times, which are compared as moments, and without the sender's
/// language.
fn without_times(headers: &Json) -> Json {
    let mut headers = headers.clone();
    for name in [names::ETA, names::EXPIRES, names::LANG] {
        assert!(headers.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    headers
}

#[celeriac_tests::test(real)]
async fn a_retry_has_the_headers_that_celery_gives_it(bed: Bed) {
    let all = all_read(&bed).await;
    let find = |name: &str| &all.iter().find(|(recording, _)| recording.name() == name).unwrap().1;
    for name in ["worker_retry", "worker_retry_chain", "worker_retry_everything", "worker_retry_msgpack"] {
        let (call, retry) = (find(&format!("{name}_call")), find(name));
        let mut next = call.message.headers.clone();
        TaskHeaders::next_attempt(&mut next, call.headers.retries + 1, retry.headers.eta);
        assert_eq!(spell_headers(&next), spell_headers(&retry.message.headers), "{name}");
        // The body is passed on unchanged.
        assert_eq!((&call.body, &call.embed), (&retry.body, &retry.embed), "{name}");
        let (ours, celerys) = (&call.message.properties, &retry.message.properties);
        assert_eq!((ours.priority, &ours.reply_to), (celerys.priority, &celerys.reply_to), "{name}");
        assert_eq!(ours.correlation_id, celerys.correlation_id, "{name}");
    }
}

#[celeriac_tests::test(real)]
async fn arguments_are_shown_as_celery_shows_them(bed: Bed) {
    let mut otherwise = Vec::new();
    for (recording, Read { message, body, .. }) in all_read(&bed).await {
        for (name, ours) in [(names::ARGSREPR, repr_args(&body.args)), (names::KWARGSREPR, repr_kwargs(&body.kwargs))] {
            if message.headers.text(name).is_some_and(|celerys| celerys != ours) {
                otherwise.push((recording.name().to_owned(), name));
            }
        }
    }
    let both = |name| [(name, names::ARGSREPR), (name, names::KWARGSREPR)];
    let args = |name| (name, names::ARGSREPR);
    let kwargs = |name| (name, names::KWARGSREPR);
    let mut expected = [
        // The caller chose another text.
        both("argsrepr").to_vec(),
        // Python's tuples are lists after they were sent.
        vec![args("tuples"), args("tuples_msgpack"), kwargs("map"), kwargs("starmap")],
        [both("chord-1"), both("chord_of_chains-1")].concat(),
        vec![kwargs("chunks-1"), kwargs("chunks-2")],
        // Celery shows arguments as a list if they were given as one.
        vec![args("unicode_name"), args("unicode_name_msgpack"), args("unknown_to_the_sender")],
        vec![args("worker_link_immutable")],
        // Keys that are not text become text when they are sent.
        vec![args("keys_that_are_not_text")],
        // Times are shown as text, not as calls of Python's constructors.
        both("extended").to_vec(),
        // Celery shows bytes as text or in hexadecimal, and control characters unchanged; this
        // project shows both as Python's repr does.
        vec![args("bytes_msgpack"), args("unicode"), args("unicode_msgpack")],
        // Omitted parts are shown in another way: `...` and no closing brackets.
        both("long_argsrepr").to_vec(),
    ]
    .concat();
    expected.sort_unstable();
    otherwise.sort_unstable();
    let otherwise: Vec<_> = otherwise.iter().map(|(case, name)| (case.as_str(), *name)).collect();
    assert_eq!(otherwise, expected);
}
