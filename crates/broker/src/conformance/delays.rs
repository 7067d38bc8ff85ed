//! Cases of delayed messages, which arrive at their time.

use std::time::Duration;

use tokio::time::Instant;

use super::stage::{Stage, body, next, text};
use crate::broker::Consumer;

/// A broker's clock counts milliseconds, so a message may arrive this much early.
const TICK: Duration = Duration::from_millis(10);

pub(super) async fn a_delayed_message_arrives_at_its_time(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let mut consumer = stage.consume(&queue, 10).await;
    let sent = Instant::now();
    send_later(stage, &queue, 2).await;
    stage.send(&queue, &["at once"]).await;
    take(&mut consumer, "at once").await;
    take(&mut consumer, "after 2 s").await;
    assert!(sent.elapsed() + TICK >= Duration::from_secs(2), "came after {:?}", sent.elapsed());
    consumer.close().await;
}

pub(super) async fn delays_do_not_wait_for_each_other(stage: &Stage) {
    let (queue, other) = (stage.queue("queue").await, stage.queue("long.queue").await);
    let mut consumer = stage.consume(&queue, 10).await;
    let mut other_consumer = stage.consume(&other, 10).await;
    send_later(stage, &queue, 3600).await;
    for seconds in [3, 1, 2] {
        send_later(stage, &queue, seconds).await;
    }
    send_later(stage, &other, 1).await;
    for expected in ["after 1 s", "after 2 s", "after 3 s"] {
        take(&mut consumer, expected).await;
    }
    take(&mut other_consumer, "after 1 s").await;
    consumer.close().await;
    other_consumer.close().await;
}

async fn send_later(stage: &Stage, queue: &str, seconds: u64) {
    let (exchange, key) = stage.broker.ladder().address(Duration::from_secs(seconds), queue).unwrap();
    stage.publish(&exchange, &key, text(&format!("after {seconds} s"))).await.unwrap();
}

async fn take(consumer: &mut Consumer, expected: &str) {
    let delivery = next(consumer).await;
    assert_eq!(body(&delivery), expected);
    assert_eq!(delivery.origin.routing_key, **consumer.queue());
    delivery.settlement.ack();
}
