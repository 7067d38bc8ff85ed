//! What has to exist on the broker, as a list of AMQP declarations in the order in which they are made. Pure.

use std::collections::BTreeMap;

use lapin::ExchangeKind;
use lapin::types::{AMQPValue, FieldTable, LongString};

use super::convert::short;
use crate::broker::REPLIES_EXPIRE;
use crate::delay::{DELIVERY_EXCHANGE, delivery_binding, ladder};
use crate::error::Result;
use crate::topology::{self, QueueKind, QueueOptions, Topology, dead_letter_queue, is_dead_letter_queue};

/// Arguments by name.
pub(super) type Arguments = BTreeMap<&'static str, AMQPValue>;

/// One declaration.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Exchange { name: String, kind: ExchangeKind },
    Queue(QueueItem),
    BindQueue { queue: String, exchange: String, key: String },
    BindExchange { destination: String, source: String, key: String },
}

/// The declaration of a queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueueItem {
    pub(super) name: String,
    pub(super) arguments: Arguments,
    /// What the configuration says of arguments. Where the broker has them otherwise, that is a mismatch; all others are
    /// taken as they are there.
    pub(super) configured: BTreeMap<&'static str, String>,
}

/// The delay ladder.
pub(super) fn delay_ladder(kind: QueueKind) -> Vec<Item> {
    let mut items = vec![exchange(DELIVERY_EXCHANGE, ExchangeKind::Topic)];
    for level in ladder() {
        let wait = i64::try_from(level.wait.as_millis()).unwrap_or(i64::MAX);
        let mut arguments = Arguments::from([
            ("x-queue-type", text(kind.name())),
            ("x-overflow", text("reject-publish")),
            ("x-message-ttl", AMQPValue::LongLongInt(wait)),
            ("x-dead-letter-exchange", text(&level.next)),
        ]);
        if kind == QueueKind::Quorum {
            arguments.insert("x-dead-letter-strategy", text("at-least-once"));
        }
        items.push(exchange(&level.name, ExchangeKind::Topic));
        items.push(Item::Queue(QueueItem { name: level.name, arguments, configured: BTreeMap::new() }));
    }
    for level in ladder() {
        items.push(bind(&level.name, &level.name, &level.waits));
        items.push(Item::BindExchange { destination: level.next, source: level.name, key: level.passes });
    }
    items
}

/// Everything that a topology names.
///
/// # Errors
/// When a name is longer than AMQP allows.
pub(super) fn topology(topology: &Topology) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (name, options) in &topology.exchanges {
        short(name, "exchange")?;
        items.push(exchange(name, exchange_kind(options.kind)));
    }
    for (name, options) in &topology.queues {
        short(name, "queue")?;
        queue(name, options, &mut items)?;
    }
    Ok(items)
}

/// How often a message of a quorum queue is delivered, where the configuration says nothing. A net below everything else:
/// a message that ends its consumer before it can be looked at, as text that is not UTF-8 in a short string of AMQP does in
/// lapin, is dead-lettered by the broker in the end. Restarts count as well, so the net hangs low.
const DELIVERY_LIMIT: i64 = 100;

/// As good as no limit, for letters that people look at as often as they like. RabbitMQ 4 throws a letter away that went back
/// to its queue 20 times, unless the queue says otherwise. There `-1` would be none; RabbitMQ 3.10 takes it as well, and throws
/// the letter away after the first look. This number means the same to both, and stays when one becomes the other.
const LETTERS_LIMIT: i64 = i32::MAX as i64;

fn queue(name: &str, options: &QueueOptions, items: &mut Vec<Item>) -> Result<()> {
    let mut arguments = kind_arguments(options.kind);
    let mut configured = BTreeMap::from([("x-queue-type", options.kind.name().to_owned())]);
    if let Some(limit) = options.delivery_limit {
        arguments.insert("x-delivery-limit", AMQPValue::LongLongInt(i64::from(limit)));
        configured.insert("x-delivery-limit", limit.to_string());
    }
    if let Some(priorities) = options.max_priority {
        arguments.insert("x-max-priority", AMQPValue::LongInt(i32::from(priorities)));
        configured.insert("x-max-priority", priorities.to_string());
    }
    if is_dead_letter_queue(name) {
        endless(&mut arguments, options.kind);
        items.push(Item::Queue(QueueItem { name: name.to_owned(), arguments, configured }));
    } else {
        let dead = dead_letter_queue(name);
        short(&dead, "dead-letter queue")?;
        short(&delivery_binding(name), "queue, behind the 56 bytes of a delay,")?;
        arguments.extend(dead_letter_arguments(options.kind, &dead));
        if options.kind == QueueKind::Quorum {
            arguments.entry("x-delivery-limit").or_insert(AMQPValue::LongLongInt(DELIVERY_LIMIT));
        }
        let mut its = kind_arguments(options.kind);
        endless(&mut its, options.kind);
        items.push(Item::Queue(QueueItem { name: dead, arguments: its, configured: BTreeMap::new() }));
        if !options.foreign {
            items.push(Item::Queue(QueueItem { name: name.to_owned(), arguments, configured }));
        }
        // Also what others declare has its place behind the delays, and fails here where it is not there.
        items.push(bind(name, DELIVERY_EXCHANGE, &delivery_binding(name)));
    }
    for binding in &options.bind {
        short(&binding.key, "binding key")?;
        items.push(bind(name, &binding.exchange, &binding.key));
    }
    Ok(())
}

/// Nothing is said for a classic queue, since that is what Celery says.
fn kind_arguments(kind: QueueKind) -> Arguments {
    match kind {
        QueueKind::Quorum => Arguments::from([("x-queue-type", text(kind.name()))]),
        QueueKind::Classic => Arguments::new(),
    }
}

/// Keeps what is on a queue there, however often it is looked at.
fn endless(arguments: &mut Arguments, kind: QueueKind) {
    if kind == QueueKind::Quorum {
        arguments.entry("x-delivery-limit").or_insert(AMQPValue::LongLongInt(LETTERS_LIMIT));
    }
}

fn dead_letter_arguments(kind: QueueKind, dead: &str) -> Arguments {
    let mut arguments =
        Arguments::from([("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(dead))]);
    if kind == QueueKind::Quorum {
        // Dead-lettering is confirmed, which RabbitMQ does only where a full queue refuses instead of dropping.
        arguments.insert("x-overflow", text("reject-publish"));
        arguments.insert("x-dead-letter-strategy", text("at-least-once"));
    }
    arguments
}

/// A queue for replies.
pub(super) fn reply_queue() -> Arguments {
    let expires = i64::try_from(REPLIES_EXPIRE.as_millis()).unwrap_or(i64::MAX);
    Arguments::from([("x-expires", AMQPValue::LongLongInt(expires))])
}

fn exchange_kind(kind: topology::ExchangeKind) -> ExchangeKind {
    match kind {
        topology::ExchangeKind::Direct => ExchangeKind::Direct,
        topology::ExchangeKind::Topic => ExchangeKind::Topic,
        topology::ExchangeKind::Fanout => ExchangeKind::Fanout,
    }
}

fn exchange(name: &str, kind: ExchangeKind) -> Item {
    Item::Exchange { name: name.to_owned(), kind }
}

fn bind(queue: &str, exchange: &str, key: &str) -> Item {
    Item::BindQueue { queue: queue.to_owned(), exchange: exchange.to_owned(), key: key.to_owned() }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

/// Arguments as AMQP has them.
pub(super) fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Binding;

    fn planned(name: &str, options: QueueOptions) -> Vec<Item> {
        topology(&Topology { queues: [(name.to_owned(), options)].into(), ..Topology::default() }).unwrap()
    }

    fn queues(items: &[Item]) -> BTreeMap<&str, Vec<String>> {
        let queue = |item: &'_ Item| match item {
            Item::Queue(queue) => Some(queue.clone()),
            _ => None,
        };
        let show = |(name, value): (&&str, &AMQPValue)| match value {
            AMQPValue::LongString(text) => format!("{name}={text}"),
            AMQPValue::LongInt(number) => format!("{name}={number}"),
            other => format!("{name}={}", other.as_long_long_int().unwrap()),
        };
        items
            .iter()
            .filter_map(|item| match item {
                Item::Queue(its) => Some((its.name.as_str(), queue(item)?.arguments.iter().map(show).collect())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_foreign_queue_is_bound_and_not_declared() {
        let items = planned("celery", QueueOptions { foreign: true, ..QueueOptions::default() });
        assert_eq!(queues(&items).into_keys().collect::<Vec<_>>(), ["celery.dead"]);
        assert!(items.contains(&bind("celery", DELIVERY_EXCHANGE, &delivery_binding("celery"))));
    }

    #[test]
    fn a_quorum_queue_has_a_limit_of_deliveries_that_nobody_has_to_configure() {
        let limit = |options| {
            queues(&planned("mail", options))["mail"].iter().find(|said| said.starts_with("x-delivery-limit")).cloned()
        };
        assert_eq!(limit(QueueOptions::default()).as_deref(), Some("x-delivery-limit=100"));
        assert_eq!(limit(QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() }), None);
    }

    #[test]
    fn every_queue_has_a_dead_letter_queue_of_its_kind() {
        let quorum = planned("mail", QueueOptions { delivery_limit: Some(5), ..QueueOptions::default() });
        let queues_of = queues(&quorum);
        assert_eq!(queues_of["mail.dead"], ["x-delivery-limit=2147483647", "x-queue-type=quorum"]);
        let expected = [
            "x-dead-letter-exchange=",
            "x-dead-letter-routing-key=mail.dead",
            "x-dead-letter-strategy=at-least-once",
            "x-delivery-limit=5",
            "x-overflow=reject-publish",
            "x-queue-type=quorum",
        ];
        assert_eq!(queues_of["mail"], expected);

        let classic = planned(
            "mail",
            QueueOptions { kind: QueueKind::Classic, max_priority: Some(4), ..QueueOptions::default() },
        );
        let queues_of = queues(&classic);
        assert!(queues_of["mail.dead"].is_empty());
        let expected = ["x-dead-letter-exchange=", "x-dead-letter-routing-key=mail.dead", "x-max-priority=4"];
        assert_eq!(queues_of["mail"], expected);
    }

    #[test]
    fn a_dead_letter_queue_has_none_of_its_own() {
        let items = planned("mail.dead", QueueOptions::default());
        assert_eq!(queues(&items).keys().collect::<Vec<_>>(), [&"mail.dead"]);
        assert_eq!(queues(&items)["mail.dead"], ["x-delivery-limit=2147483647", "x-queue-type=quorum"]);
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn a_queue_is_bound_where_it_is_configured_and_behind_the_ladder() {
        let bound = Binding { exchange: "orders".to_owned(), key: "billing.#".to_owned() };
        let items = planned("billing", QueueOptions { bind: vec![bound], ..QueueOptions::default() });
        let binds: Vec<_> = items.iter().filter(|item| matches!(item, Item::BindQueue { .. })).collect();
        let stars = "*.".repeat(28) + "billing";
        assert_eq!(binds, [&bind("billing", DELIVERY_EXCHANGE, &stars), &bind("billing", "orders", "billing.#")]);
    }

    #[test]
    fn the_ladder_is_declared_as_celery_declares_it() {
        let items = delay_ladder(QueueKind::Quorum);
        let queues_of = queues(&items);
        assert_eq!(queues_of.len(), 28);
        let expected = [
            "x-dead-letter-exchange=celery_delayed_26",
            "x-dead-letter-strategy=at-least-once",
            "x-message-ttl=134217728000",
            "x-overflow=reject-publish",
            "x-queue-type=quorum",
        ];
        assert_eq!(queues_of["celery_delayed_27"], expected);
        assert!(queues_of["celery_delayed_0"].contains(&"x-dead-letter-exchange=celery_delayed_delivery".to_owned()));
        let last = items.last().unwrap();
        assert_eq!(
            last,
            &Item::BindExchange {
                destination: DELIVERY_EXCHANGE.to_owned(),
                source: "celery_delayed_0".to_owned(),
                key: "*.".repeat(27) + "0.#",
            }
        );
        assert!(
            !queues(&delay_ladder(QueueKind::Classic))["celery_delayed_0"]
                .contains(&"x-dead-letter-strategy=at-least-once".to_owned())
        );
    }

    #[test]
    fn a_name_too_long_to_be_delayed_is_refused() {
        let name = "q".repeat(200);
        let all = Topology { queues: [(name, QueueOptions::default())].into(), ..Topology::default() };
        let message = topology(&all).unwrap_err().to_string();
        assert_eq!(message, "queue, behind the 56 bytes of a delay,: should be at most 255 bytes, got 256");
    }
}
