//! Cases of dead-lettering: a message that a queue does not keep is in its dead-letter queue, with
//! the reason.

use std::time::Duration;

use celeriac_protocol::{HeaderMap, Message, Properties, Value};
use celeriac_topology::dead_letter_queue;

use super::stage::{Stage, body, next, text};
use crate::delivery::Delivery;

pub(super) async fn a_rejected_message_is_dead_lettered(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let headers: HeaderMap = [("task", Value::from("t.add"))].into_iter().collect();
    stage.publish("", &queue, Message { headers, ..text("unwanted") }).await.unwrap();
    let mut consumer = stage.consume(&queue, 1).await;
    next(&mut consumer).await.settlement.reject();
    consumer.close().await;

    let dead = take_dead(stage, &queue).await;
    assert_eq!(body(&dead), "unwanted");
    assert_eq!(dead.message.headers.text("task"), Some("t.add"));
    assert_died(&dead, "rejected", &queue);
    dead.settlement.ack();
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn an_expired_message_is_dead_lettered(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let properties = Properties { expiration: Some(Duration::from_millis(50)), ..Properties::default() };
    stage.publish("", &queue, Message { properties, ..text("too late") }).await.unwrap();

    let dead = take_dead(stage, &queue).await;
    assert_eq!(body(&dead), "too late");
    assert_died(&dead, "expired", &queue);
    assert_eq!(dead.message.properties.expiration, None, "it would expire in the dead-letter queue as well");
    dead.settlement.ack();
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn a_dead_letter_stays_however_often_it_is_browsed(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["unwanted"]).await;
    let mut consumer = stage.consume(&queue, 1).await;
    next(&mut consumer).await.settlement.reject();
    consumer.close().await;

    let mut looking = stage.consume(&dead_letter_queue(&queue), 1).await;
    // RabbitMQ 4 limits returns to 20 for a queue without a limit of its own.
    for _ in 0..50 {
        next(&mut looking).await.settlement.requeue();
    }
    let letter = next(&mut looking).await;
    assert_eq!(body(&letter), "unwanted");
    letter.settlement.ack();
    looking.close().await;
}

async fn take_dead(stage: &Stage, queue: &str) -> Delivery {
    next(&mut stage.consume(&dead_letter_queue(queue), 1).await).await
}

fn assert_died(delivery: &Delivery, reason: &str, queue: &str) {
    let headers = &delivery.message.headers;
    let first = ["reason", "queue", "exchange"].map(|what| headers.text(&format!("x-first-death-{what}")));
    assert_eq!(first, [Some(reason), Some(queue), Some("")]);
    let Some(Value::List(deaths)) = headers.get("x-death") else { panic!("no x-death in {headers:?}") };
    let [Value::Map(death)] = deaths.as_slice() else { panic!("not one death: {deaths:?}") };
    let told = ["reason", "queue", "exchange"].map(|what| death.get(what).and_then(Value::as_str));
    assert_eq!(told, [Some(reason), Some(queue), Some("")]);
    assert_eq!(death.get("count"), Some(&Value::Int(1)));
    assert_eq!(death.get("routing-keys"), Some(&Value::List(vec![Value::from(queue)])));
}
