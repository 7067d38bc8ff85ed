//! Cases of the bounds of a queue: it exceeds neither its length nor the age of its messages, and
//! no other message is lost.

use std::time::Duration;

use celeriac_topology::{Overflow, QueueKind, QueueOptions};

use super::stage::{Stage, body, next, text};
use crate::error::Error;

fn classic() -> QueueOptions {
    QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() }
}

pub(super) async fn a_full_queue_refuses_or_gives_way(stage: &Stage) {
    let full = |overflow| QueueOptions { max_length: Some(2), overflow, ..classic() };
    let refusing = stage.queue_with("refusing", full(Some(Overflow::RejectPublish))).await;
    stage.send(&refusing, &["1", "2"]).await;
    let refused = stage.publish("", &refusing, text("3")).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");

    let dropping = stage.queue_with("dropping", full(Some(Overflow::DropHead))).await;
    stage.send(&dropping, &["1", "2", "3"]).await;
    let mut dead = stage.consume(&format!("{dropping}.dead"), 1).await;
    let oldest = next(&mut dead).await;
    assert_eq!(body(&oldest), "1");
    assert_eq!(oldest.message.headers.text("x-first-death-reason"), Some("maxlen"));
    oldest.settlement.ack();
    dead.close().await;
    let mut consumer = stage.consume(&dropping, 1).await;
    for expected in ["2", "3"] {
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), expected);
        delivery.settlement.ack();
    }
    consumer.close().await;
}

pub(super) async fn a_message_older_than_its_queue_allows_is_dead_lettered(stage: &Stage) {
    let failures = stage.name("failures");
    let options = QueueOptions {
        message_ttl: Some(Duration::from_millis(50)),
        dead_letter_queue: Some(failures.clone()),
        ..QueueOptions::default()
    };
    let queue = stage.queue_with("queue", options).await;
    stage.send(&queue, &["too late"]).await;
    let mut dead = stage.consume(&failures, 1).await;
    let delivery = next(&mut dead).await;
    assert_eq!(body(&delivery), "too late");
    assert_eq!(delivery.message.headers.text("x-first-death-reason"), Some("expired"));
    delivery.settlement.ack();
    dead.close().await;
}

pub(super) async fn a_single_active_consumer_is_followed_by_the_next(stage: &Stage) {
    let options = QueueOptions { single_active_consumer: true, ..QueueOptions::default() };
    let queue = stage.queue_with("queue", options).await;
    let mut first = stage.consume(&queue, 1).await;
    let mut second = stage.consume(&queue, 1).await;
    stage.send(&queue, &["1", "2", "3"]).await;
    for expected in ["1", "2"] {
        let delivery = next(&mut first).await;
        assert_eq!(body(&delivery), expected);
        assert!(second.try_next().is_none(), "the second had its turn");
        delivery.settlement.ack();
    }
    first.close().await;
    let delivery = next(&mut second).await;
    assert_eq!(body(&delivery), "3");
    delivery.settlement.ack();
    second.close().await;
}
