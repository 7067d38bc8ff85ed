//! Cases of declaring objects that exist, with the same or with other arguments.

use celeriac_topology::{Binding, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, Topology};

use super::stage::{Stage, next, text};
use crate::broker::{Depth, Subscription};
use crate::error::Error;

pub(super) async fn an_existing_object_can_be_declared_again(stage: &Stage) {
    let (exchange, queue) = (stage.name("exchange"), stage.name("queue"));
    let bind = vec![Binding::new(exchange.clone(), "a.*".to_owned())];
    let mut topology = Topology {
        exchanges: [(exchange.clone(), ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() })]
            .into(),
        queues: [(queue.clone(), QueueOptions { delivery_limit: Some(20), bindings: bind, ..QueueOptions::default() })]
            .into(),
    };
    stage.broker.declare(&topology).await.unwrap();
    stage.send(&queue, &["kept"]).await;
    stage.broker.declare(&topology).await.unwrap();

    topology.queues[&queue].bindings.push(Binding::new(exchange.clone(), "b.*".to_owned()));
    stage.broker.declare(&topology).await.unwrap();
    for key in ["a.1", "b.1"] {
        stage.publish(&exchange, key, text(key)).await.unwrap();
    }
    assert_eq!(stage.drain(&queue).await, ["kept", "a.1", "b.1"]);
}

pub(super) async fn a_queue_of_another_kind_is_a_mismatch(stage: &Stage) {
    let queue = stage.queue("queue").await;
    let classic = QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() };
    let topology = Topology { queues: [(queue.clone(), classic)].into(), ..Topology::default() };
    assert_mismatch(stage, &topology, &format!("queue `{queue}`"), ["x-queue-type", "quorum", "classic"]).await;
    stage.send(&queue, &["still there"]).await;
    assert_eq!(stage.drain(&queue).await, ["still there"]);
}

pub(super) async fn an_exchange_of_another_kind_is_a_mismatch(stage: &Stage) {
    let exchange = stage.exchange(ExchangeKind::Topic, &[]).await;
    let fanout = ExchangeOptions { kind: ExchangeKind::Fanout, ..ExchangeOptions::default() };
    let topology = Topology { exchanges: [(exchange.clone(), fanout)].into(), ..Topology::default() };
    assert_mismatch(stage, &topology, &format!("exchange `{exchange}`"), ["type", "topic", "fanout"]).await;
}

async fn assert_mismatch(stage: &Stage, topology: &Topology, what: &str, [name, server, file]: [&str; 3]) {
    let refused = stage.broker.declare(topology).await;
    let Err(Error::Mismatch { object, argument, found, expected }) = &refused else { panic!("{refused:?}") };
    assert_eq!((object.as_str(), argument.as_str()), (what, name));
    assert!(found.contains(server) && expected.contains(file), "{refused:?}");
}

pub(super) async fn a_closed_broker_takes_nothing(stage: &Stage) {
    let queue = stage.queue("queue").await;
    stage.broker.close().await;
    let published = stage.publish("", &queue, text("too late")).await;
    assert!(matches!(published, Err(Error::Closed)), "{published:?}");
    let subscription = Subscription { queue, prefetch: 1, most: 1, priority: 0, tag: stage.name("consumer") };
    let consumed = stage.broker.consume(subscription).await;
    assert!(matches!(consumed, Err(Error::Closed)), "{consumed:?}");
}

pub(super) async fn a_queue_is_looked_at_without_touching_it(stage: &Stage) {
    assert_eq!(stage.broker.depth(&stage.name("missing")).await.unwrap(), None);
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["1", "2"]).await;
    let depth = |ready, consumers| Some(Depth { ready, consumers });
    // RabbitMQ counts a confirmed message with a small delay.
    while stage.broker.depth(&queue).await.unwrap() != depth(2, 0) {
        tokio::task::yield_now().await;
    }
    let mut consumer = stage.consume(&queue, 1).await;
    let first = next(&mut consumer).await;
    while stage.broker.depth(&queue).await.unwrap() != depth(1, 1) {
        tokio::task::yield_now().await;
    }
    first.settlement.ack();
    consumer.close().await;
    assert_eq!(stage.drain(&queue).await, ["2"]);
}
