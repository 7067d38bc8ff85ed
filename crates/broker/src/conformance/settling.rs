//! Cases of settlements.

use celeriac_protocol::{Message, Properties};
use celeriac_topology::{QueueKind, QueueOptions};

use super::stage::{Stage, body, next, text};

pub(super) async fn an_acknowledged_message_is_gone(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2", "3", "4"]).await;
    let mut consumer = stage.consume(&queue, 10).await;
    let mut deliveries = Vec::new();
    for _ in 0..4 {
        deliveries.push(next(&mut consumer).await);
    }
    // Out of order, and one is held back: messages in between must not be settled with others.
    let third = deliveries.remove(2);
    for delivery in deliveries.into_iter().rev() {
        delivery.settlement.ack();
    }
    third.settlement.requeue();
    let again = next(&mut consumer).await;
    assert_eq!(body(&again), "3");
    again.settlement.ack();
    consumer.close().await;
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn a_requeued_message_is_marked_as_redelivered(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["again"]).await;
    let mut consumer = stage.consume(&queue, 1).await;
    let first = next(&mut consumer).await;
    assert!(!first.origin.redelivered);
    first.settlement.requeue();
    let second = next(&mut consumer).await;
    assert_eq!(body(&second), "again");
    assert!(second.origin.redelivered);
    second.settlement.ack();
    consumer.close().await;
}

pub(super) async fn higher_priorities_come_first(stage: &Stage) {
    let options = QueueOptions { kind: QueueKind::Classic, max_priority: Some(4), ..QueueOptions::default() };
    let queue = stage.queue_with("queue", options).await;
    let priorities = [Some(1), None, Some(4), Some(2), Some(4), Some(0)];
    for (index, priority) in priorities.into_iter().enumerate() {
        let properties = Properties { priority, ..Properties::default() };
        let message = Message { properties, ..text(&index.to_string()) };
        stage.publish("", &queue, message).await.unwrap();
    }
    // The last message of the drain has no priority and arrived last.
    assert_eq!(stage.drain(&queue).await, ["2", "4", "3", "0", "1", "5"]);
}
