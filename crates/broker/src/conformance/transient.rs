//! Cases of queues for messages that may be lost.

use std::time::Duration;

use celeriac_topology::ExchangeKind;

use super::stage::{Stage, body, next, text};
use crate::broker::{TransientExchange, TransientQueue};
use crate::error::Error;

const ALL: TransientExchange = TransientExchange { name: "conformance.all", kind: ExchangeKind::Fanout };
const ONE: TransientExchange = TransientExchange { name: "conformance.one", kind: ExchangeKind::Direct };

fn queue(stage: &Stage, name: &str, exchange: TransientExchange) -> TransientQueue {
    TransientQueue {
        name: stage.name(name),
        exchange,
        routing_key: if exchange == ONE { name.to_owned() } else { String::new() },
        publishes_to: if exchange == ONE { ALL } else { ONE },
        expires: Duration::from_secs(10),
        message_ttl: Duration::from_secs(300),
    }
}

pub(super) async fn a_transient_queue_takes_what_its_exchange_gets(stage: &Stage) {
    let mut first = stage.broker.consume_transient(queue(stage, "first", ALL)).await.unwrap();
    let mut second = stage.broker.consume_transient(queue(stage, "second", ALL)).await.unwrap();
    let mut third = stage.broker.consume_transient(queue(stage, "third", ONE)).await.unwrap();
    stage.publish(ALL.name, "", text("all")).await.unwrap();
    stage.publish(ONE.name, "third", text("one")).await.unwrap();
    for (consumer, expected) in [(&mut first, "all"), (&mut second, "all"), (&mut third, "one")] {
        let delivery = next(consumer).await;
        assert_eq!(body(&delivery), expected);
        delivery.settlement.ack();
    }
    tokio::join!(first.close(), second.close(), third.close());
}

pub(super) async fn a_transient_queue_goes_with_its_consumer(stage: &Stage) {
    let consumer = stage.broker.consume_transient(queue(stage, "gone", ONE)).await.unwrap();
    consumer.close().await;
    let late = stage.publish(ONE.name, "gone", text("late")).await;
    assert!(matches!(late, Err(Error::Unroutable { .. })), "{late:?}");
    let mut again = stage.broker.consume_transient(queue(stage, "gone", ONE)).await.unwrap();
    stage.publish(ONE.name, "gone", text("new")).await.unwrap();
    let delivery = next(&mut again).await;
    assert_eq!(body(&delivery), "new");
    delivery.settlement.ack();
    again.close().await;
}
