//! The objects of a topology and of the delay ladder, in the order of their declaration. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use celeriac_protocol::Value;

use crate::delay::{Ladder, delivery_binding};
use crate::exchange::{Binding, ExchangeKind, ExchangeOptions};
use crate::queue::{Overflow, QueueKind, QueueOptions};
use crate::topology::Topology;

/// Arguments, by their names in AMQP.
pub type Arguments = BTreeMap<String, Argument>;

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// A boolean.
    Flag(bool),
}

/// An object that has to exist.
#[derive(Debug, Clone, PartialEq)]
pub enum TopologyObject {
    /// An exchange.
    Exchange(ExchangeObject),
    /// A queue.
    Queue(QueueObject),
    /// A binding.
    Binding(BindingObject),
}

/// An exchange that has to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeObject {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ExchangeKind,
    /// Its arguments.
    pub arguments: Arguments,
    /// True if another program declares it.
    pub external: bool,
}

/// A queue that has to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueObject {
    /// Its name.
    pub name: String,
    /// True if it survives a restart of the broker.
    pub durable: bool,
    /// Its arguments, which cannot change.
    pub arguments: Arguments,
    /// The settings of its policy, which can change.
    pub policy: Arguments,
    /// The arguments that the configuration sets. Another value on the broker is a mismatch. Other
    /// arguments stay as they are on the broker.
    pub configured: BTreeMap<&'static str, String>,
    /// True if another program declares it.
    pub external: bool,
}

/// A binding that has to exist.
#[derive(Debug, Clone, PartialEq)]
pub struct BindingObject {
    /// The exchange that messages come from.
    pub source: String,
    /// The queue or exchange that they go to.
    pub destination: BindingTarget,
    /// The binding key.
    pub routing_key: String,
    /// Its arguments.
    pub arguments: Arguments,
}

/// The destination of a binding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingTarget {
    /// A queue.
    Queue(String),
    /// An exchange.
    Exchange(String),
}

/// The place of settings of queues that RabbitMQ can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SettingsLocation {
    /// The arguments of the queue, which cannot change.
    #[default]
    Arguments,
    /// A policy for each queue. Its arguments are those that cannot change.
    Policies,
}

/// The delivery limit of a quorum queue without a limit of its own. It is for a message that
/// crashes its consumer before the consumer can read it, as lapin does at a short string that is
/// not UTF-8. Restarts count as deliveries too, so the limit is high.
const DELIVERY_LIMIT: u32 = 100;

/// The delivery limit of dead-letter queues. It is practically unlimited, because each listing of
/// dead letters is a delivery, and these queues have no dead-letter queue of their own. RabbitMQ 4
/// drops a message after 20 returns, unless the queue sets a limit. `-1` is no limit there, but
/// RabbitMQ 3.10 accepts it and drops the message after the first return. This number has the same
/// effect in both, and stays valid after an upgrade.
const LETTERS_LIMIT: u32 = i32::MAX.cast_unsigned();

impl Topology {
    /// Returns all its objects, with their bindings to the delay ladder.
    pub fn objects(&self, ladder: &Ladder, settings: SettingsLocation) -> Vec<TopologyObject> {
        let mut objects = Vec::new();
        for (name, options) in &self.exchanges {
            objects.push(TopologyObject::Exchange(exchange(name, options)));
        }
        for (name, options) in self.queues.iter().filter(|(_, options)| options.broadcast) {
            // A broadcast is sent to an exchange. Each worker binds a queue of its own to it.
            let kind = ExchangeKind::Fanout;
            let (arguments, external) = (Arguments::new(), options.external);
            objects.push(TopologyObject::Exchange(ExchangeObject { name: name.clone(), kind, arguments, external }));
        }
        for (name, kind) in self.dead_letter_queues() {
            objects.push(TopologyObject::Queue(dead_letters(&name, kind, settings)));
        }
        for (name, options) in &self.queues {
            self.queue(name, options, settings, ladder, &mut objects);
        }
        for (name, options) in &self.exchanges {
            let place = BindingTarget::Exchange(name.clone());
            objects.extend(options.bindings.iter().map(|binding| bound(binding, self, place.clone())));
        }
        objects
    }

    fn queue(
        &self,
        name: &str,
        options: &QueueOptions,
        settings: SettingsLocation,
        ladder: &Ladder,
        objects: &mut Vec<TopologyObject>,
    ) {
        let place = if options.broadcast {
            BindingTarget::Exchange(name.to_owned())
        } else {
            objects.push(TopologyObject::Queue(queue(
                name,
                options,
                self.dead_letter_queue(name).as_deref(),
                settings,
            )));
            BindingTarget::Queue(name.to_owned())
        };
        // External queues are bound to the delay ladder too. Declaring fails here if they do not
        // exist.
        objects.push(binding(&ladder.delivery_exchange(), place.clone(), &delivery_binding(name)));
        objects.extend(options.bindings.iter().map(|binding| bound(binding, self, place.clone())));
    }
}

/// Returns the objects of the delay ladder.
pub fn delay_ladder(ladder: &Ladder, kind: QueueKind) -> Vec<TopologyObject> {
    let topic = |name: &str| {
        let (name, kind) = (name.to_owned(), ExchangeKind::Topic);
        TopologyObject::Exchange(ExchangeObject { name, kind, arguments: Arguments::new(), external: false })
    };
    let mut objects = vec![topic(&ladder.delivery_exchange())];
    for level in ladder.levels() {
        let mut arguments = Arguments::from([
            ("x-queue-type".to_owned(), text(kind.name())),
            ("x-overflow".to_owned(), text(Overflow::RejectPublish.name())),
            ("x-message-ttl".to_owned(), milliseconds(level.wait)),
            ("x-dead-letter-exchange".to_owned(), text(&level.next)),
        ]);
        if kind == QueueKind::Quorum {
            arguments.insert("x-dead-letter-strategy".to_owned(), text("at-least-once"));
        }
        objects.push(topic(&level.name));
        objects.push(TopologyObject::Queue(QueueObject {
            name: level.name,
            durable: true,
            arguments,
            policy: Arguments::new(),
            configured: BTreeMap::new(),
            external: false,
        }));
    }
    for level in ladder.levels() {
        objects.push(binding(&level.name, BindingTarget::Queue(level.name.clone()), &level.waits));
        objects.push(binding(&level.name, BindingTarget::Exchange(level.next), &level.passes));
    }
    objects
}

fn exchange(name: &str, options: &ExchangeOptions) -> ExchangeObject {
    let alternate =
        options.alternate_exchange.iter().map(|alternate| ("alternate-exchange".to_owned(), text(alternate)));
    ExchangeObject {
        name: name.to_owned(),
        kind: options.kind,
        arguments: alternate.collect(),
        external: options.external,
    }
}

fn dead_letters(name: &str, kind: QueueKind, settings: SettingsLocation) -> QueueObject {
    let mut arguments: Arguments = kind_argument(kind).into_iter().collect();
    if kind == QueueKind::Quorum {
        arguments.insert("x-delivery-limit".to_owned(), number(u64::from(LETTERS_LIMIT)));
    }
    let policy = if settings == SettingsLocation::Policies { take_policy(&mut arguments) } else { Arguments::new() };
    QueueObject {
        name: name.to_owned(),
        durable: true,
        arguments,
        policy,
        configured: BTreeMap::new(),
        external: false,
    }
}

fn queue(name: &str, options: &QueueOptions, dead: Option<&str>, settings: SettingsLocation) -> QueueObject {
    let said = said(options);
    let mut configured: BTreeMap<_, _> = said.iter().map(|(name, value)| (*name, value.to_string())).collect();
    configured.insert("x-queue-type", options.kind.name().to_owned());
    let mut arguments: Arguments = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    arguments.extend(kind_argument(options.kind));
    if let Some(dead) = dead.filter(|_| !options.plain) {
        arguments.insert("x-dead-letter-exchange".to_owned(), text(""));
        arguments.insert("x-dead-letter-routing-key".to_owned(), text(dead));
    }
    if options.kind == QueueKind::Quorum {
        let limit = || number(u64::from(DELIVERY_LIMIT));
        arguments.entry("x-delivery-limit".to_owned()).or_insert_with(limit);
        // RabbitMQ confirms dead-lettering only if a full queue refuses messages instead of
        // dropping them.
        if options.overflow != Some(Overflow::DropHead) {
            arguments.insert("x-overflow".to_owned(), text(Overflow::RejectPublish.name()));
            arguments.insert("x-dead-letter-strategy".to_owned(), text("at-least-once"));
        }
    }
    let mut policy = Arguments::new();
    if settings == SettingsLocation::Policies && !options.external && !options.own {
        policy = take_policy(&mut arguments);
        configured.retain(|name, _| policy_key(name).is_none());
    }
    let (name, durable) = (name.to_owned(), !options.transient);
    QueueObject { name, durable, arguments, policy, configured, external: options.external }
}

/// Moves the arguments that a policy can hold out of these.
fn take_policy(arguments: &mut Arguments) -> Arguments {
    let mut policy = Arguments::new();
    arguments.retain(|name, value| match policy_key(name) {
        Some(key) => {
            policy.insert(key.to_owned(), value.clone());
            false
        }
        None => true,
    });
    policy
}

/// Returns the arguments that the configuration sets, without the type.
fn said(options: &QueueOptions) -> Vec<(&'static str, Argument)> {
    let QueueOptions { max_length, overflow, .. } = options;
    let said = [
        ("x-max-priority", options.max_priority.map(|most| Argument::Number(i64::from(most)))),
        ("x-message-ttl", options.message_ttl.map(milliseconds)),
        ("x-expires", options.expires.map(milliseconds)),
        ("x-max-length", max_length.map(number)),
        ("x-max-length-bytes", options.max_length_bytes.map(|bytes| number(bytes.bytes()))),
        ("x-max-age", options.max_age.map(|age| text(&format!("{}s", age.as_secs())))),
        ("x-overflow", overflow.map(|overflow| text(overflow.name()))),
        ("x-delivery-limit", options.delivery_limit.map(|limit| number(u64::from(limit)))),
        ("x-single-active-consumer", options.single_active_consumer.then_some(Argument::Flag(true))),
        (replicas_argument(options.kind), options.replicas.map(|count| number(u64::from(count)))),
        ("x-queue-mode", options.lazy.then(|| text("lazy"))),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn replicas_argument(kind: QueueKind) -> &'static str {
    if kind == QueueKind::Stream { "x-initial-cluster-size" } else { "x-quorum-initial-group-size" }
}

/// Returns the argument for the type. A classic queue has none, as in Celery.
fn kind_argument(kind: QueueKind) -> Option<(String, Argument)> {
    (kind != QueueKind::Classic).then(|| ("x-queue-type".to_owned(), text(kind.name())))
}

/// Returns the name of an argument in a policy, if a policy can hold it.
pub(crate) fn policy_key(argument: &str) -> Option<&'static str> {
    Some(match argument {
        "x-message-ttl" => "message-ttl",
        "x-expires" => "expires",
        "x-max-length" => "max-length",
        "x-max-length-bytes" => "max-length-bytes",
        "x-max-age" => "max-age",
        "x-overflow" => "overflow",
        "x-delivery-limit" => "delivery-limit",
        "x-dead-letter-exchange" => "dead-letter-exchange",
        "x-dead-letter-routing-key" => "dead-letter-routing-key",
        "x-dead-letter-strategy" => "dead-letter-strategy",
        "x-queue-mode" => "queue-mode",
        _ => return None,
    })
}

fn bound(binding: &Binding, topology: &Topology, destination: BindingTarget) -> TopologyObject {
    let by_headers = topology.exchanges.get(&binding.exchange).is_some_and(|from| from.kind == ExchangeKind::Headers);
    let mut arguments = Arguments::new();
    if by_headers {
        arguments.insert("x-match".to_owned(), text(binding.header_match.name()));
        arguments.extend(
            binding.headers.iter().filter_map(|(name, value)| Some((name.clone(), Argument::of_header(value)?))),
        );
    }
    TopologyObject::Binding(BindingObject {
        source: binding.exchange.clone(),
        destination,
        routing_key: binding.routing_key.clone(),
        arguments,
    })
}

fn binding(source: &str, destination: BindingTarget, key: &str) -> TopologyObject {
    let (source, key) = (source.to_owned(), key.to_owned());
    TopologyObject::Binding(BindingObject { source, destination, routing_key: key, arguments: Arguments::new() })
}

fn text(text: &str) -> Argument {
    Argument::Text(text.to_owned())
}

fn number(number: u64) -> Argument {
    Argument::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn milliseconds(duration: Duration) -> Argument {
    Argument::Number(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

impl Argument {
    /// Returns the value that a binding compares a header with. `None` for a value that RabbitMQ
    /// does not compare.
    pub(crate) fn of_header(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Text(text) => Self::Text(text.clone()),
            Value::Int(number) => Self::Number(*number),
            Value::Bool(flag) => Self::Flag(*flag),
            _ => return None,
        })
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Flag(flag) => write!(formatter, "{flag}"),
        }
    }
}

impl fmt::Display for BindingTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue(name) => write!(formatter, "queue `{name}`"),
            Self::Exchange(name) => write!(formatter, "exchange `{name}`"),
        }
    }
}

impl TopologyObject {
    /// Returns true if another program declares it.
    pub fn is_foreign(&self) -> bool {
        matches!(
            self,
            Self::Queue(QueueObject { external: true, .. }) | Self::Exchange(ExchangeObject { external: true, .. })
        )
    }

    /// Returns the queue or exchange as a binding's destination, unless it is external.
    pub(crate) fn place(&self) -> Option<BindingTarget> {
        match self {
            _ if self.is_foreign() => None,
            Self::Queue(queue) => Some(BindingTarget::Queue(queue.name.clone())),
            Self::Exchange(exchange) => Some(BindingTarget::Exchange(exchange.name.clone())),
            Self::Binding(_) => None,
        }
    }
}

impl fmt::Display for TopologyObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(formatter, "exchange `{}`", exchange.name),
            Self::Queue(queue) => write!(formatter, "queue `{}`", queue.name),
            Self::Binding(BindingObject { source, destination, routing_key: key, arguments }) => {
                write!(formatter, "binding of {destination} to exchange `{source}` with key `{key}`")?;
                for (name, value) in arguments {
                    write!(formatter, " {name}={value}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
