//! Names and values of span attributes, after OpenTelemetry's messaging conventions.

use std::sync::Arc;

use opentelemetry::{KeyValue, Value};

use super::server::{SERVERS, Server};
use crate::events::{Attribute, AttributeValue};

pub(super) const SYSTEM: &str = "messaging.system";
pub(super) const OPERATION_NAME: &str = "messaging.operation.name";
pub(super) const OPERATION_TYPE: &str = "messaging.operation.type";
pub(super) const DESTINATION: &str = "messaging.destination.name";
pub(super) const ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
pub(super) const MESSAGE_ID: &str = "messaging.message.id";
pub(super) const DELIVERY_TAG: &str = "messaging.rabbitmq.message.delivery_tag";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const TASK_NAME: &str = "celeriac.task.name";
pub(super) const TASK_ATTEMPT: &str = "celeriac.task.attempt";
pub(super) const TASK_REDELIVERED: &str = "celeriac.task.redelivered";
pub(super) const TASK_STATE: &str = "celeriac.task.state";
pub(super) const TASK_DELAY: &str = "celeriac.task.delay";
pub(super) const LINK_REASON: &str = "celeriac.link.reason";
pub(super) const QUEUE: &str = "celeriac.queue";
pub(super) const WORKER: &str = "celeriac.worker";

pub(super) const RABBITMQ: &str = "rabbitmq";

/// Returns the conventions' name of a destination or source: exchange, routing key and queue, each
/// once.
pub(super) fn destination(exchange: &str, routing_key: &str, queue: Option<&str>) -> String {
    let mut parts: Vec<&str> = Vec::with_capacity(3);
    for part in [exchange, routing_key, queue.unwrap_or_default()] {
        if !part.is_empty() && !parts.contains(&part) {
            parts.push(part);
        }
    }
    match parts.as_slice() {
        [] => "amq.default".to_owned(),
        parts => parts.join(":"),
    }
}

/// Adds the address of the broker, if it is known.
pub(super) fn add_server(attributes: &mut Vec<KeyValue>) {
    if let Some(Server { address, port }) = SERVERS.only() {
        attributes.push(KeyValue::new(SERVER_ADDRESS, Arc::clone(address)));
        attributes.push(KeyValue::new(SERVER_PORT, i64::from(*port)));
    }
}

/// Returns the attributes of a span event in OpenTelemetry's type.
pub(super) fn to_key_values(attributes: &[Attribute<'_>]) -> Vec<KeyValue> {
    attributes.iter().filter_map(|(name, value)| Some(KeyValue::new(*name, to_value(*value)?))).collect()
}

fn to_value(value: AttributeValue<'_>) -> Option<Value> {
    match value {
        AttributeValue::Text(text) => Some(text.to_owned().into()),
        AttributeValue::Number(number) => Some(number.into()),
        AttributeValue::Absent => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_names_what_is_known_once() {
        let cases = [
            ("orders", "billing.charge", None, "orders:billing.charge"),
            ("orders", "billing.charge", Some("billing"), "orders:billing.charge:billing"),
            ("", "billing", None, "billing"),
            ("", "billing", Some("billing"), "billing"),
            ("orders", "", None, "orders"),
            ("", "", None, "amq.default"),
        ];
        for (exchange, routing_key, queue, expected) in cases {
            assert_eq!(destination(exchange, routing_key, queue), expected);
        }
    }
}
