//! Cases of messages, which arrive as they were sent.

use std::time::Duration;

use bytes::Bytes;
use celeriac_protocol::{HeaderMap, Map, Message, Properties, Value};

use super::stage::{Stage, next, text};
use crate::error::Error;
use crate::headers::{MAX, MAX_OF_CALL};

pub(super) async fn headers_and_properties_arrive_as_they_were_sent(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let sent = Message { headers: headers(), properties: properties(), body: Bytes::from_static(b"[[],{},{}]") };
    stage.publish("", &queue, sent.clone()).await.unwrap();
    let mut consumer = stage.consume(&queue, 1).await;
    let delivery = next(&mut consumer).await;

    for (name, value) in sent.headers.iter() {
        assert_eq!(delivery.message.headers.get(name), Some(value), "{name}");
    }
    assert_eq!(delivery.message.headers.len(), sent.headers.len());
    assert_eq!(delivery.message.properties, sent.properties);
    assert_eq!(delivery.message.body, sent.body);
    let origin = &delivery.origin;
    assert_eq!((&*origin.queue, origin.exchange.as_str(), origin.routing_key.as_str()), (&*queue, "", &*queue));
    assert!(!origin.redelivered);
    delivery.settlement.ack();

    let persistent = text("no properties at all");
    stage.publish("", &queue, persistent.clone()).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, persistent);
    delivery.settlement.ack();
    consumer.close().await;
}

fn headers() -> HeaderMap {
    let nested: Map = [("list".to_owned(), Value::List(vec![Value::Int(1), Value::from("two"), Value::Null]))].into();
    [
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("zero", Value::Int(0)),
        ("least", Value::Int(i64::MIN)),
        ("most", Value::Int(i64::MAX)),
        ("float", Value::Float(-2.5)),
        ("whole float", Value::Float(1.0)),
        ("text", Value::from("größer als ∅ 🌱")),
        ("empty text", Value::from("")),
        ("bytes", Value::Bytes(vec![0, 0xff, 0xfe])),
        ("list", Value::List(vec![Value::Bool(false), Value::List(vec![])])),
        ("map", Value::Map(nested)),
    ]
    .into_iter()
    .collect()
}

fn properties() -> Properties {
    Properties {
        content_type: Some("application/json".to_owned()),
        content_encoding: Some("utf-8".to_owned()),
        transient: true,
        priority: Some(3),
        correlation_id: Some("id".to_owned()),
        reply_to: Some("somewhere".to_owned()),
        expiration: Some(Duration::from_secs(3600)),
    }
}

pub(super) async fn an_empty_body_arrives(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.publish("", &queue, Message::default()).await.unwrap();
    stage.send(&queue, &["after"]).await;
    assert_eq!(stage.drain(&queue).await, ["", "after"]);
}

pub(super) async fn a_large_body_arrives_whole(stage: &Stage) {
    let queue = stage.queue("queue").await;
    // Not a multiple of any frame size, and no two frames are equal.
    let body: Bytes = (0..256 * 1024_u32 + 7).map(|index| (index * 31 / 7 % 251) as u8).collect();
    stage.publish("", &queue, Message { body: body.clone(), ..Message::default() }).await.unwrap();
    let mut consumer = stage.consume(&queue, 1).await;
    let delivery = next(&mut consumer).await;
    assert!(
        delivery.message.body == body,
        "{} bytes of {} arrived, or others",
        delivery.message.body.len(),
        body.len()
    );
    delivery.settlement.ack();
    consumer.close().await;
}

fn padded(size: usize) -> Message {
    let headers = [("id", Value::from("1")), ("pad", Value::from("x".repeat(size)))].into_iter().collect();
    Message { headers, ..Message::default() }
}

pub(super) async fn large_headers_arrive_whole(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let mut consumer = stage.consume(&queue, 2).await;
    for size in [50_000, MAX_OF_CALL, MAX - 100] {
        stage.publish("", &queue, padded(size)).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message.headers.text("pad").map(str::len), Some(size));
        assert!(!delivery.origin.redelivered);
        delivery.settlement.ack();
    }
    consumer.close().await;
}

pub(super) async fn headers_that_are_too_large_are_an_error_that_names_the_largest(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let refused = stage.publish("", &queue, padded(MAX)).await;
    match refused {
        Err(Error::HeadersTooLarge { size, limit, name, .. }) => {
            assert!(size > MAX && limit == MAX && name == "pad", "{size} {limit} {name}");
        }
        other => panic!("{other:?}"),
    }
    stage.send(&queue, &["after"]).await;
    assert_eq!(stage.drain(&queue).await, ["after"]);
}
