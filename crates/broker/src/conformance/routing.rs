//! Cases of routing: a message reaches its queues, or its publisher gets an error.

use std::collections::BTreeSet;
use std::time::Duration;

use celeriac_protocol::{Message, Value};
use celeriac_topology::{Binding, ExchangeKind, ExchangeOptions, HeaderMatch, QueueOptions, Topology};
use futures::future::join_all;

use super::stage::{Stage, body, next, text};
use crate::error::Error;

pub(super) async fn the_default_exchange_knows_queues_by_name(stage: &Stage) {
    let (one, other) = (stage.queue("one").await, stage.queue("other").await);
    stage.send(&one, &["for one"]).await;
    stage.send(&other, &["for the other"]).await;
    assert_eq!(stage.drain(&one).await, ["for one"]);
    assert_eq!(stage.drain(&other).await, ["for the other"]);
}

pub(super) async fn a_direct_exchange_compares_keys(stage: &Stage) {
    let queues = [("a", "a"), ("b", "b"), ("also-a", "a")];
    let expected = [("a", vec!["a"]), ("b", vec!["b"]), ("also-a", vec!["a"])];
    check(stage, ExchangeKind::Direct, &queues, &["a", "b"], &expected).await;
}

pub(super) async fn a_topic_exchange_matches_words(stage: &Stage) {
    let queues = [("star", "orders.*"), ("hash", "orders.#"), ("all", "#"), ("end", "#.late")];
    let keys = ["orders", "orders.charge", "orders.charge.late", "reports.late"];
    let expected = [
        ("star", vec!["orders.charge"]),
        ("hash", vec!["orders", "orders.charge", "orders.charge.late"]),
        ("all", keys.to_vec()),
        ("end", vec!["orders.charge.late", "reports.late"]),
    ];
    check(stage, ExchangeKind::Topic, &queues, &keys, &expected).await;
}

pub(super) async fn a_fanout_exchange_fills_every_queue(stage: &Stage) {
    let expected = [("one", vec!["", "any"]), ("other", vec!["", "any"])];
    check(stage, ExchangeKind::Fanout, &[("one", ""), ("other", "key")], &["", "any"], &expected).await;
}

/// Publishes a message for each key, with the key as its body, and checks the queues.
async fn check(
    stage: &Stage,
    kind: ExchangeKind,
    queues: &[(&str, &str)],
    keys: &[&str],
    expected: &[(&str, Vec<&str>)],
) {
    let exchange = stage.exchange(kind, queues).await;
    for key in keys {
        stage.publish(&exchange, key, text(key)).await.unwrap();
    }
    for (queue, keys) in expected {
        assert_eq!(stage.drain(&stage.name(queue)).await, *keys, "{queue}");
    }
}

pub(super) async fn a_message_for_no_queue_is_an_error(stage: &Stage) {
    let missing = stage.name("missing");
    let exchange = stage.exchange(ExchangeKind::Direct, &[("queue", "key")]).await;
    for (exchange, key) in [("", missing.as_str()), (exchange.as_str(), "other")] {
        let refused = stage.publish(exchange, key, text("lost")).await;
        let Err(Error::Unroutable { exchange: named, routing_key }) = &refused else { panic!("{refused:?}") };
        assert_eq!((named.as_str(), routing_key.as_str()), (exchange, key));
    }
    // A returned message does not affect the messages around it.
    let queue = stage.name("queue");
    let keys = [queue.as_str(), missing.as_str()].repeat(20);
    let sent = join_all(keys.iter().map(|key| stage.publish("", key, text(key)))).await;
    for (key, sent) in keys.iter().zip(sent) {
        assert_eq!(sent.is_ok(), *key == queue, "{key}: {sent:?}");
    }
    assert_eq!(stage.drain(&queue).await.len(), 20);
}

pub(super) async fn a_message_for_no_exchange_is_an_error(stage: &Stage) {
    let missing = stage.name("missing");
    let refused = stage.publish(&missing, "key", text("lost")).await;
    assert!(matches!(&refused, Err(Error::NoSuchExchange { exchange }) if *exchange == missing), "{refused:?}");
    let queue = stage.queue("queue").await;
    stage.send(&queue, &["the broker is still of use"]).await;
    assert_eq!(stage.drain(&queue).await.len(), 1);
}

pub(super) async fn a_confirmed_message_is_queued(stage: &Stage) {
    let queue = stage.queue("queue").await;
    for round in 0..20 {
        let body = round.to_string();
        stage.send(&queue, &[&body]).await;
        assert_eq!(stage.drain(&queue).await, [body]);
    }
}

pub(super) async fn many_publishers_at_once_lose_nothing(stage: &Stage) {
    const MANY: usize = 2000;
    let queue = stage.queue("queue").await;
    let bodies: Vec<_> = (0..MANY).map(|index| index.to_string()).collect();
    let sent = join_all(bodies.iter().map(|body| stage.publish("", &queue, text(body)))).await;
    assert!(sent.iter().all(Result::is_ok), "{:?}", sent.iter().find(|sent| sent.is_err()));

    let mut consumer = stage.consume(&queue, 256).await;
    let mut missing: BTreeSet<_> = bodies.into_iter().collect();
    while !missing.is_empty() {
        let delivery = next(&mut consumer).await;
        let body = body(&delivery);
        assert!(missing.remove(&body), "`{body}` arrived twice");
        delivery.settlement.ack();
    }
    consumer.close().await;
    assert_eq!(stage.drain(&queue).await, [""; 0]);
}

pub(super) async fn a_headers_exchange_compares_headers(stage: &Stage) {
    let exchange = stage.name("exchange");
    let bound = |header_match, headers: &[(&str, Value)]| QueueOptions {
        bindings: vec![Binding {
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            header_match,
            ..Binding::new(exchange.clone(), "")
        }],
        ..QueueOptions::default()
    };
    let wanted = [("region", Value::from("eu")), ("express", Value::Bool(true))];
    let topology = Topology {
        exchanges: [(exchange.clone(), kind(ExchangeKind::Headers))].into(),
        queues: [
            (stage.name("all"), bound(HeaderMatch::All, &wanted)),
            (stage.name("any"), bound(HeaderMatch::Any, &wanted)),
            (stage.name("number"), bound(HeaderMatch::All, &[("shelf", Value::Int(7))])),
        ]
        .into(),
    };
    stage.broker.declare(&topology).await.unwrap();
    let sent: [(&str, &[(&'static str, Value)]); 4] = [
        ("both", &wanted),
        ("one", &wanted[..1]),
        ("shelf", &[("shelf", Value::Int(7))]),
        ("wrong", &[("region", Value::from("us")), ("express", Value::Bool(true))]),
    ];
    for (body, headers) in sent {
        let headers = headers.iter().cloned().collect();
        stage.publish(&exchange, "", Message { headers, ..text(body) }).await.unwrap();
    }
    let refused = stage.publish(&exchange, "", text("no headers")).await;
    assert!(matches!(refused, Err(Error::Unroutable { .. })), "{refused:?}");
    for (queue, expected) in [("all", vec!["both"]), ("any", vec!["both", "one", "wrong"]), ("number", vec!["shelf"])] {
        assert_eq!(stage.drain(&stage.name(queue)).await, expected, "{queue}");
    }
}

pub(super) async fn exchanges_fill_exchanges_and_an_alternate_takes_the_rest(stage: &Stage) {
    let (shop, orders, rest) = (stage.name("shop"), stage.name("orders"), stage.name("rest"));
    let bound = |exchange: &str, key: &str| QueueOptions {
        bindings: vec![Binding::new(exchange, key)],
        ..QueueOptions::default()
    };
    let topology = Topology {
        exchanges: [
            (shop.clone(), ExchangeOptions { alternate_exchange: Some(rest.clone()), ..kind(ExchangeKind::Topic) }),
            (
                orders.clone(),
                ExchangeOptions { bindings: vec![Binding::new(shop.clone(), "orders.#")], ..kind(ExchangeKind::Topic) },
            ),
            (rest.clone(), kind(ExchangeKind::Fanout)),
        ]
        .into(),
        queues: [
            (stage.name("charges"), bound(&orders, "*.charge")),
            (stage.name("all"), bound(&orders, "#")),
            (stage.name("odd"), bound(&rest, "")),
        ]
        .into(),
    };
    stage.broker.declare(&topology).await.unwrap();
    for key in ["orders.charge", "orders.refund", "mail"] {
        assert_eq!(topology.reached(&shop, key).unwrap().len(), if key == "orders.charge" { 2 } else { 1 });
        stage.publish(&shop, key, text(key)).await.unwrap();
    }
    let expected =
        [("charges", vec!["orders.charge"]), ("all", vec!["orders.charge", "orders.refund"]), ("odd", vec!["mail"])];
    for (queue, keys) in expected {
        assert_eq!(stage.drain(&stage.name(queue)).await, keys, "{queue}");
    }
}

pub(super) async fn a_broadcast_reaches_every_queue_that_is_bound_to_it_also_after_a_delay(stage: &Stage) {
    let reload = stage.name("reload");
    let broadcast = QueueOptions { broadcast: true, ..QueueOptions::default() };
    let own = QueueOptions { bindings: vec![Binding::new(reload.clone(), "")], ..QueueOptions::default() };
    let mut topology = Topology { queues: [(reload.clone(), broadcast)].into(), ..Topology::default() };
    stage.broker.declare(&topology).await.unwrap();
    let refused = stage.publish(&reload, "", text("nobody is there")).await;
    assert!(matches!(refused, Err(Error::Unroutable { .. })), "{refused:?}");

    topology.exchanges.insert(reload.clone(), kind(ExchangeKind::Fanout));
    topology.queues = [(stage.name("one"), own.clone()), (stage.name("other"), own)].into();
    stage.broker.declare(&topology).await.unwrap();
    stage.publish(&reload, "", text("now")).await.unwrap();
    let (exchange, key) = stage.broker.ladder().address(Duration::from_secs(1), &reload).unwrap();
    stage.publish(&exchange, &key, text("later")).await.unwrap();
    for queue in ["one", "other"] {
        let mut consumer = stage.consume(&stage.name(queue), 1).await;
        for expected in ["now", "later"] {
            let delivery = next(&mut consumer).await;
            assert_eq!(body(&delivery), expected, "{queue}");
            delivery.settlement.ack();
        }
        consumer.close().await;
    }
}

fn kind(kind: ExchangeKind) -> ExchangeOptions {
    ExchangeOptions { kind, ..ExchangeOptions::default() }
}
