//! The objects on a broker, as its management API lists them. A field that a version does not have
//! is empty, not an error.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::objects::{Argument, Arguments, BindingTarget};

/// The objects on a broker, as the management API lists them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Existing {
    /// Queues.
    pub queues: Vec<QueueFacts>,
    /// Exchanges.
    pub exchanges: Vec<ExchangeFacts>,
    /// Bindings.
    pub bindings: Vec<BindingFacts>,
    /// Policies.
    pub policies: Vec<PolicyFacts>,
}

/// A queue.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct QueueFacts {
    /// Its name.
    pub name: String,
    /// `classic`, `quorum`, `stream`, or what a plug-in calls it.
    #[serde(rename = "type")]
    pub kind: String,
    /// True if it outlives the broker's restart.
    pub durable: bool,
    /// True if it is deleted with its last consumer.
    pub auto_delete: bool,
    /// True if it belongs to one connection.
    pub exclusive: bool,
    /// The arguments it was declared with.
    #[serde(deserialize_with = "arguments")]
    pub arguments: Arguments,
    /// The policy that applies to it.
    #[serde(deserialize_with = "name")]
    pub policy: Option<String>,
    /// The operator policy that applies to it.
    #[serde(deserialize_with = "name")]
    pub operator_policy: Option<String>,
    /// The settings of both policies, merged.
    #[serde(rename = "effective_policy_definition", deserialize_with = "arguments")]
    pub effective_policy: Arguments,
    /// Waiting messages.
    #[serde(rename = "messages_ready", deserialize_with = "or_default")]
    pub ready: u64,
    /// Delivered and unsettled messages.
    #[serde(rename = "messages_unacknowledged", deserialize_with = "or_default")]
    pub unacked: u64,
    /// The number of its consumers.
    #[serde(deserialize_with = "or_default")]
    pub consumers: u64,
    /// Message rates.
    #[serde(rename = "message_stats", deserialize_with = "or_default")]
    pub rates: MessageRates,
    /// The time of its first message, in seconds since 1970. Only for classic queues, and for
    /// messages with a timestamp.
    #[serde(rename = "head_message_timestamp", deserialize_with = "number")]
    pub head: Option<i64>,
    /// The node on which it was declared, or which leads it.
    #[serde(deserialize_with = "name")]
    pub node: Option<String>,
    /// The node that leads it.
    #[serde(deserialize_with = "name")]
    pub leader: Option<String>,
    /// The nodes that hold it.
    #[serde(deserialize_with = "or_default")]
    pub members: Vec<String>,
    /// The nodes that hold it and run.
    #[serde(deserialize_with = "or_default")]
    pub online: Vec<String>,
    /// `running`, `down`, `minority` and the like.
    #[serde(deserialize_with = "name")]
    pub state: Option<String>,
}

/// Messages of a queue per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct MessageRates {
    /// Published.
    #[serde(rename = "publish_details", deserialize_with = "rate")]
    pub publish: f64,
    /// Delivered.
    #[serde(rename = "deliver_get_details", deserialize_with = "rate")]
    pub deliver: f64,
    /// Acknowledged.
    #[serde(rename = "ack_details", deserialize_with = "rate")]
    pub ack: f64,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ExchangeFacts {
    /// Its name; empty for the default exchange.
    pub name: String,
    /// `direct`, `topic`, `fanout`, `headers`, or what a plug-in calls it.
    #[serde(rename = "type")]
    pub kind: String,
    /// True if it outlives the broker's restart.
    pub durable: bool,
    /// True if it is deleted with its last binding.
    pub auto_delete: bool,
    /// True if only exchanges can publish to it.
    pub internal: bool,
    /// The arguments it was declared with.
    #[serde(deserialize_with = "arguments")]
    pub arguments: Arguments,
    /// The policy that applies to it.
    #[serde(deserialize_with = "name")]
    pub policy: Option<String>,
}

/// A binding.
#[derive(Debug, Clone, PartialEq)]
pub struct BindingFacts {
    /// The exchange that messages come from.
    pub source: String,
    /// The queue or exchange that they go to.
    pub destination: BindingTarget,
    /// The binding key.
    pub routing_key: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// Its name in the API, among the bindings between these two.
    pub properties_key: String,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// A regular expression for the names that it applies to.
    pub pattern: String,
    /// The kind of objects: `queues`, `exchanges`, `all` and the like.
    #[serde(rename = "apply-to")]
    pub apply_to: String,
    /// Its priority. The highest wins.
    pub priority: i64,
    /// Its settings.
    #[serde(deserialize_with = "arguments")]
    pub definition: Arguments,
}

#[derive(Deserialize)]
struct RawBinding {
    source: String,
    destination: String,
    destination_type: String,
    routing_key: String,
    #[serde(default, deserialize_with = "arguments")]
    arguments: Arguments,
    #[serde(default)]
    properties_key: String,
}

impl<'de> Deserialize<'de> for BindingFacts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawBinding { source, destination, destination_type, routing_key, arguments, properties_key } =
            RawBinding::deserialize(deserializer)?;
        let destination = if destination_type == "queue" {
            BindingTarget::Queue(destination)
        } else {
            BindingTarget::Exchange(destination)
        };
        Ok(Self { source, destination, routing_key, arguments, properties_key })
    }
}

/// Reads arguments from JSON.
pub fn as_json(arguments: &Arguments) -> BTreeMap<&str, Value> {
    let value = |argument: &Argument| match argument {
        Argument::Text(text) => Value::from(text.as_str()),
        Argument::Number(number) => Value::from(*number),
        Argument::Flag(flag) => Value::from(*flag),
    };
    arguments.iter().map(|(name, argument)| (name.as_str(), value(argument))).collect()
}

/// Reads arguments. RabbitMQ also writes `[]` or `null` for none.
fn arguments<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arguments, D::Error> {
    let Value::Object(object) = Value::deserialize(deserializer)? else { return Ok(Arguments::new()) };
    Ok(object.into_iter().map(|(name, value)| (name, argument(&value))).collect())
}

fn argument(value: &Value) -> Argument {
    match value {
        Value::String(text) => Argument::Text(text.clone()),
        Value::Bool(flag) => Argument::Flag(*flag),
        // Celeriac sets no argument of another type, so it needs only a text to show.
        value => value.as_i64().map_or_else(|| Argument::Text(value.to_string()), Argument::Number),
    }
}

/// Reads a name. None is `null` or empty.
fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().filter(|name| !name.is_empty()).map(str::to_owned))
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_i64())
}

/// Reads a field that a new queue does not have yet: `null`, `[]` or text.
fn or_default<'de, D: Deserializer<'de>, T: Default + serde::de::DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Value::deserialize(deserializer)?["rate"].as_f64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_read_with_everything_and_with_nothing() {
        let all = r#"{"name":"q","type":"quorum","durable":true,"arguments":{"x-max-length":5,"x-list":[1]},
            "policy":"p","operator_policy":null,"effective_policy_definition":{"expires":1},"messages_ready":3,
            "messages_unacknowledged":2,"consumers":1,"message_stats":{"publish_details":{"rate":1.5}},
            "leader":"a@b","members":["a@b"],"online":["a@b"],"node":"a@b","state":"running",
            "head_message_timestamp":null}"#;
        let queue: QueueFacts = serde_json::from_str(all).unwrap();
        assert_eq!((queue.ready, queue.unacked, queue.consumers, queue.rates.publish), (3, 2, 1, 1.5));
        assert_eq!(queue.arguments["x-max-length"], Argument::Number(5));
        assert_eq!(queue.arguments["x-list"], Argument::Text("[1]".to_owned()));
        assert_eq!(queue.policy.as_deref(), Some("p"));
        assert_eq!(queue.effective_policy["expires"], Argument::Number(1));
        let little = r#"{"name":"q","arguments":[],"effective_policy_definition":[],"message_stats":[],"policy":""}"#;
        let expected = QueueFacts { name: "q".to_owned(), ..QueueFacts::default() };
        assert_eq!(serde_json::from_str::<QueueFacts>(little).unwrap(), expected);
    }

    #[test]
    fn the_end_of_a_binding_is_a_queue_or_an_exchange() {
        let binding = |kind: &str| {
            format!(
                r#"{{"source":"x","vhost":"/","destination":"d","destination_type":"{kind}","routing_key":"k",
                "arguments":{{}},"properties_key":"k"}}"#
            )
        };
        let read = |kind: &str| serde_json::from_str::<BindingFacts>(&binding(kind)).unwrap().destination;
        assert_eq!(read("queue"), BindingTarget::Queue("d".to_owned()));
        assert_eq!(read("exchange"), BindingTarget::Exchange("d".to_owned()));
    }
}
