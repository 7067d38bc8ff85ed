//! The commands about the queues that a worker consumes.

use std::time::Duration;

use celeriac_broker::{Error as BrokerError, Subscription};
use celeriac_protocol::control::{exception, ok};
use celeriac_protocol::{Map, Value};
use celeriac_topology::{
    Argument, Binding, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, SettingsLocation, Topology,
    TopologyObject,
};
use tokio::time::timeout;

use crate::control::arguments::{CommandArguments, Refusal};
use crate::control::node::ControlNode;
use crate::intake::prefetch;
use crate::live_queues::AddedConsumer;

/// Longest time to declare a queue and to subscribe to it.
const LONGEST: Duration = Duration::from_secs(20);

/// Most queues that a worker consumes, if others add some.
const MOST: usize = 1_000;

/// Lists the queues that are consumed, as kombu shows queues.
pub(super) fn active_queues(node: &ControlNode) -> Value {
    node.runtime.live.list().iter().map(|queue| shown(node, &queue.name)).collect()
}

fn shown(node: &ControlNode, name: &str) -> Value {
    let added = node.added.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let topology = if added.queues.contains_key(name) { &*added } else { &node.runtime.topology };
    let options = topology.queues.get(name).cloned().unwrap_or_default();
    let first = options.bindings.first();
    let exchange = |binding: &Binding| {
        let kind = topology.exchanges.get(&binding.exchange).map(|exchange| exchange.kind).unwrap_or_default();
        shown_exchange(&binding.exchange, kind)
    };
    let own = match first {
        Some(binding) => exchange(binding),
        None => shown_exchange("", ExchangeKind::Direct),
    };
    let key = first.map_or(name, |binding| binding.routing_key.as_str());
    let further = options.bindings.iter().skip(1).map(|binding| -> Value {
        [
            ("exchange", exchange(binding)),
            ("routing_key", binding.routing_key.as_str().into()),
            ("arguments", Value::Null),
            ("unbind_arguments", Value::Null),
        ]
        .into_iter()
        .collect()
    });
    let millis = |time: Option<Duration>| Value::from(time.map(|time| time.as_secs_f64()));
    [
        ("name", Value::from(name)),
        ("exchange", own),
        ("routing_key", key.into()),
        ("queue_arguments", arguments(node, topology, name)),
        ("binding_arguments", Value::Null),
        ("consumer_arguments", consumer_arguments(node)),
        ("durable", (!options.transient).into()),
        ("exclusive", false.into()),
        ("auto_delete", false.into()),
        ("no_ack", false.into()),
        ("alias", Value::Null),
        ("bindings", further.collect()),
        ("no_declare", if options.external { true.into() } else { Value::Null }),
        ("expires", millis(options.expires)),
        ("message_ttl", millis(options.message_ttl)),
        ("max_length", options.max_length.into()),
        ("max_length_bytes", options.max_length_bytes.map(|size| size.bytes()).into()),
        ("max_priority", options.max_priority.into()),
    ]
    .into_iter()
    .collect()
}

fn shown_exchange(name: &str, kind: ExchangeKind) -> Value {
    [
        ("name", Value::from(name)),
        ("type", kind.name().into()),
        ("arguments", Value::Null),
        ("durable", true.into()),
        ("passive", false.into()),
        ("auto_delete", false.into()),
        ("delivery_mode", Value::Null),
        ("no_declare", false.into()),
    ]
    .into_iter()
    .collect()
}

/// Returns the arguments of a queue. Those of another program's queue are not known.
fn arguments(node: &ControlNode, topology: &Topology, name: &str) -> Value {
    let objects = topology.objects(node.runtime.broker.ladder(), SettingsLocation::Arguments);
    let found = objects.into_iter().find_map(|object| match object {
        TopologyObject::Queue(queue) if queue.name == name && !queue.external => Some(queue.arguments),
        _ => None,
    });
    let value = |argument: Argument| match argument {
        Argument::Text(text) => Value::from(text),
        Argument::Number(number) => number.into(),
        Argument::Flag(flag) => flag.into(),
    };
    let arguments: Map = found.into_iter().flatten().map(|(name, argument)| (name, value(argument))).collect();
    if arguments.is_empty() { Value::Null } else { arguments.into() }
}

fn consumer_arguments(node: &ControlNode) -> Value {
    match node.options.consumer_priority {
        0 => Value::Null,
        priority => [("x-priority", priority)].into_iter().collect(),
    }
}

/// Consumes one more queue, until the worker ends. A queue that does not exist is declared.
pub(super) async fn add_consumer(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let queue = arguments.required_text("queue")?;
    let (exchange, routing_key) = (arguments.text("exchange")?, arguments.text("routing_key")?);
    let kind = arguments.text("exchange_type")?;
    let kind = kind.as_deref().filter(|kind| !kind.is_empty()).map_or(Ok(ExchangeKind::Direct), read_kind)?;
    let answer = ok(format!("add consumer {queue}"));
    let live = node.runtime.live.list();
    if live.iter().any(|live| *live.name == *queue && !live.stop.is_cancelled()) {
        return Ok(answer);
    }
    if live.len() >= MOST {
        return Err(exception("ValueError", format!("a worker consumes at most {MOST} queues")));
    }
    let consumed = timeout(LONGEST, consume(node, &queue, exchange, kind, routing_key)).await;
    match consumed {
        Ok(Ok(())) => Ok(answer),
        Ok(Err(error)) => Err(exception("OperationalError", error.to_string())),
        Err(_) => Err(exception("OperationalError", "the broker did not answer in time")),
    }
}

fn read_kind(kind: &str) -> Result<ExchangeKind, Refusal> {
    let kinds = [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Fanout, ExchangeKind::Headers];
    let found = kinds.into_iter().find(|known| known.name() == kind);
    found.ok_or_else(|| {
        exception("ValueError", format!("exchange type {kind} is none of direct, topic, fanout, headers"))
    })
}

async fn consume(
    node: &ControlNode,
    queue: &str,
    exchange: Option<String>,
    kind: ExchangeKind,
    routing_key: Option<String>,
) -> Result<(), BrokerError> {
    let broker = &node.runtime.broker;
    if !node.runtime.topology.queues.contains_key(queue) {
        // A queue of another program keeps its arguments, whatever they are.
        let external = broker.depth(queue).await?.is_some();
        let added = if external { external_queue(queue) } else { queue_of_celery(queue, exchange, kind, routing_key) };
        broker.declare(&added).await?;
        let mut all = node.added.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.exchanges.extend(added.exchanges);
        all.queues.extend(added.queues);
    }
    let options = node.runtime.topology.queues.get(queue);
    let chosen = prefetch::of_queue(options, node.options.prefetch, node.runtime.slots.all());
    let (prefetch, most) = prefetch::bounds(chosen, node.runtime.slots.all());
    let tag = format!("{}/{queue}", node.name());
    let priority = node.options.consumer_priority;
    let consumer = broker.consume(Subscription { queue: queue.to_owned(), prefetch, most, priority, tag }).await?;
    if node.runtime.live.add(AddedConsumer { consumer, prefetch: chosen }).await {
        Ok(())
    } else {
        Err(BrokerError::Closed)
    }
}

fn external_queue(queue: &str) -> Topology {
    let options = QueueOptions { external: true, ..QueueOptions::default() };
    Topology { queues: [(queue.to_owned(), options)].into(), ..Topology::default() }
}

/// Returns a queue as a Python worker declares it, which may get the same command.
fn queue_of_celery(queue: &str, exchange: Option<String>, kind: ExchangeKind, routing_key: Option<String>) -> Topology {
    let exchange = exchange.filter(|exchange| !exchange.is_empty()).unwrap_or_else(|| queue.to_owned());
    let key = routing_key.filter(|key| !key.is_empty()).unwrap_or_else(|| queue.to_owned());
    let options = QueueOptions {
        kind: QueueKind::Classic,
        bindings: vec![Binding::new(exchange.as_str(), key)],
        plain: true,
        ..QueueOptions::default()
    };
    let exchange = (exchange, ExchangeOptions { kind, ..ExchangeOptions::default() });
    Topology { exchanges: [exchange].into(), queues: [(queue.to_owned(), options)].into() }
}

/// Stops consuming a queue. Deliveries that have not started return to it.
pub(super) fn cancel_consumer(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let queue = arguments.required_text("queue")?;
    for live in node.runtime.live.list().iter().filter(|live| *live.name == *queue) {
        live.stop.cancel();
    }
    Ok(ok(format!("no longer consuming from {queue}")))
}
