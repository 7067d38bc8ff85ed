//! The queues that messages reach, and those of their dead letters.

use super::*;
use crate::exchange::ExchangeKind;

fn exchange(kind: ExchangeKind) -> ExchangeOptions {
    ExchangeOptions { kind, ..ExchangeOptions::default() }
}

fn queue(bind: Vec<Binding>) -> QueueOptions {
    QueueOptions { bindings: bind, ..QueueOptions::default() }
}

#[test]
fn a_message_reaches_each_queue_once_however_many_bindings_match() {
    let bind = |exchange: &str, key: &str| Binding::new(exchange, key);
    let topology = Topology {
        exchanges: [
            ("orders".to_owned(), exchange(ExchangeKind::Topic)),
            ("plain".to_owned(), exchange(ExchangeKind::Direct)),
            ("all".to_owned(), exchange(ExchangeKind::Fanout)),
        ]
        .into(),
        queues: [
            ("billing".to_owned(), queue(vec![bind("orders", "billing.#"), bind("orders", "#"), bind("all", "")])),
            ("audit".to_owned(), queue(vec![bind("orders", "*.charge"), bind("plain", "x")])),
        ]
        .into(),
    };
    let cases: [(&str, &str, &[&str]); 7] = [
        ("", "billing", &["billing"]),
        ("", "orders", &[]),
        ("orders", "billing.charge", &["billing", "audit"]),
        ("orders", "billing", &["billing"]),
        ("plain", "x", &["audit"]),
        ("plain", "y", &[]),
        ("all", "whatever", &["billing"]),
    ];
    for (exchange, key, queues) in cases {
        assert_eq!(topology.reached(exchange, key).unwrap(), queues, "{exchange} {key}");
    }
    assert_eq!(topology.reached("elsewhere", "billing"), None);
}

#[test]
fn exchanges_pass_messages_on_and_an_alternate_takes_the_rest() {
    let from =
        |source: &str, key: &str, kind| ExchangeOptions { bindings: vec![Binding::new(source, key)], ..exchange(kind) };
    let topology = Topology {
        exchanges: [
            (
                "shop".to_owned(),
                ExchangeOptions { alternate_exchange: Some("rest".to_owned()), ..exchange(ExchangeKind::Topic) },
            ),
            // Around in a circle: RabbitMQ visits each exchange once.
            (
                "orders".to_owned(),
                ExchangeOptions {
                    bindings: vec![Binding::new("shop", "orders.#"), Binding::new("back", "")],
                    ..exchange(ExchangeKind::Topic)
                },
            ),
            ("back".to_owned(), from("orders", "#", ExchangeKind::Fanout)),
            ("rest".to_owned(), exchange(ExchangeKind::Fanout)),
            ("by_region".to_owned(), exchange(ExchangeKind::Headers)),
        ]
        .into(),
        queues: [
            ("billing".to_owned(), queue(vec![Binding::new("orders", "*.charge")])),
            ("all_orders".to_owned(), queue(vec![Binding::new("back", "")])),
            ("odd".to_owned(), queue(vec![Binding::new("rest", "")])),
            ("eu".to_owned(), queue(vec![Binding::new("by_region", "")])),
            ("reload".to_owned(), QueueOptions { broadcast: true, ..QueueOptions::default() }),
        ]
        .into(),
    };
    let cases: [(&str, &str, &[&str]); 5] = [
        ("shop", "orders.charge", &["billing", "all_orders"]),
        ("shop", "orders.refund", &["all_orders"]),
        ("shop", "mail", &["odd"]),
        ("orders", "nothing.of.it", &["all_orders"]),
        ("reload", "", &["reload"]),
    ];
    for (exchange, key, queues) in cases {
        assert_eq!(topology.reached(exchange, key).unwrap(), queues, "{exchange} {key}");
    }
    // The headers decide.
    assert_eq!(topology.reached("by_region", ""), None);
}

#[test]
fn queues_may_share_a_dead_letter_queue_which_is_replicated_if_one_of_them_is() {
    let dead = |kind, target: Option<&str>| QueueOptions {
        kind,
        dead_letter_queue: target.map(str::to_owned),
        ..QueueOptions::default()
    };
    let topology = Topology {
        queues: [
            ("a".to_owned(), dead(QueueKind::Classic, Some("failures"))),
            ("b".to_owned(), dead(QueueKind::Quorum, Some("failures"))),
            ("c".to_owned(), dead(QueueKind::Classic, None)),
            ("log".to_owned(), dead(QueueKind::Stream, None)),
        ]
        .into(),
        ..Topology::default()
    };
    let queues = topology.dead_letter_queues();
    let expected = [("failures".to_owned(), QueueKind::Quorum), ("c.dead".to_owned(), QueueKind::Classic)];
    assert_eq!(queues.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(topology.dead_letter_queue("log"), None);
    assert_eq!(topology.work_queues().collect::<Vec<_>>(), ["a", "b", "c"]);
}
