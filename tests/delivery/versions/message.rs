//! A message as RabbitMQ has it, as JSON that keeps AMQP's types.

use lapin::BasicProperties;
use lapin::message::BasicGetMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use celeriac_tests::Peer;

/// Number of the delay levels, each with a word in the routing key.
const LEVELS: usize = 28;

/// A message on a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    queue: String,
    /// Exchange and routing key of its publishing.
    exchange: String,
    routing_key: String,
    /// The properties that it has, without the headers.
    properties: Json,
    /// The headers, each as `{type: value}`.
    headers: Json,
    body: String,
}

impl Stored {
    pub(super) fn of(queue: &str, message: &BasicGetMessage) -> Self {
        let of = &message.properties;
        let mut properties = json!({
            "content_type": of.content_type(),
            "content_encoding": of.content_encoding(),
            "delivery_mode": of.delivery_mode(),
            "priority": of.priority(),
            "correlation_id": of.correlation_id(),
            "reply_to": of.reply_to(),
            "expiration": of.expiration(),
            "message_id": of.message_id(),
            "timestamp": of.timestamp(),
            "type": of.kind(),
        });
        properties.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut headers = table(&of.headers().clone().unwrap_or_default());
        // RabbitMQ's own.
        headers.as_object_mut().unwrap().remove("x-delivery-count");
        Self {
            queue: queue.to_owned(),
            exchange: message.exchange.to_string(),
            routing_key: message.routing_key.to_string(),
            properties,
            headers,
            body: String::from_utf8(message.data.clone()).unwrap(),
        }
    }

    /// Returns a header that is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers[name]["text"].as_str()
    }

    /// Publishes it as it was published. A delayed one is due at once.
    pub(super) async fn publish(&self, peer: &Peer) {
        let text = |name: &str| self.properties[name].as_str();
        let number = |name: &str| self.properties[name].as_u64();
        let mut properties = BasicProperties::default().with_headers(fields(&self.headers));
        for (name, set) in [
            ("content_type", BasicProperties::with_content_type as fn(BasicProperties, _) -> _),
            ("content_encoding", BasicProperties::with_content_encoding),
            ("correlation_id", BasicProperties::with_correlation_id),
            ("reply_to", BasicProperties::with_reply_to),
            ("expiration", BasicProperties::with_expiration),
            ("message_id", BasicProperties::with_message_id),
            ("type", BasicProperties::with_type),
        ] {
            properties = text(name).map_or(properties.clone(), |text| set(properties, text.into()));
        }
        for (name, set) in [
            ("delivery_mode", BasicProperties::with_delivery_mode as fn(BasicProperties, _) -> _),
            ("priority", BasicProperties::with_priority),
        ] {
            properties =
                number(name).map_or(properties.clone(), |number| set(properties, u8::try_from(number).unwrap()));
        }
        if let Some(timestamp) = number("timestamp") {
            properties = properties.with_timestamp(timestamp);
        }
        let mut key = self.routing_key.clone();
        if self.exchange.starts_with("celery_delayed") {
            // It waits in its queue, for a millisecond, and in no other one.
            let mut words: Vec<_> = key.splitn(LEVELS + 1, '.').collect();
            let first = words.iter().position(|bit| *bit == "1").unwrap();
            words[first + 1..LEVELS].fill("0");
            key = words.join(".");
            properties = properties.with_expiration("1".into());
        }
        let (exchange, options) = (self.exchange.as_str().into(), BasicPublishOptions::default());
        let sent = peer.channel().basic_publish(exchange, key.into(), options, self.body.as_bytes(), properties).await;
        sent.unwrap().await.unwrap();
    }

    /// Returns what a reader of the older message would miss in this one.
    pub(super) fn missing_from(&self, older: &Self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut compare = |what: &str, older: &Json, this: &Json| {
            if kind(older) != kind(this) {
                missing.push(format!("{what} was {older} and is {this}"));
            }
        };
        for (name, value) in older.headers.as_object().unwrap() {
            compare(name, value, &self.headers[name]);
        }
        for (name, value) in older.properties.as_object().unwrap() {
            compare(name, value, &self.properties[name]);
        }
        let body = |message: &Self| serde_json::from_str::<Json>(&message.body).unwrap();
        let (was, is) = (body(older), body(self));
        if was[0] != is[0] || was[1] != is[1] {
            missing.push(format!("the arguments were {was} and are {is}"));
        }
        for (name, value) in was[2].as_object().unwrap() {
            if value.is_null() != is[2][name].is_null() {
                missing.push(format!("{name} was {value} and is {}", is[2][name]));
            }
        }
        missing
    }
}

/// Returns the type of a value, and of a header the type that AMQP gives it.
fn kind(value: &Json) -> String {
    match value {
        Json::Null => "nothing".to_owned(),
        Json::Bool(_) => "flag".to_owned(),
        Json::Number(_) => "number".to_owned(),
        Json::String(_) => "text".to_owned(),
        Json::Array(items) => items.iter().map(kind).collect::<Vec<_>>().join(" "),
        Json::Object(entries) => entries.keys().cloned().collect::<Vec<_>>().join(" "),
    }
}

fn table(fields: &FieldTable) -> Json {
    fields.inner().iter().map(|(name, value)| (name.to_string(), header(value))).collect()
}

fn header(value: &AMQPValue) -> Json {
    match value {
        AMQPValue::Boolean(flag) => json!({"flag": flag}),
        AMQPValue::LongInt(number) => json!({"i32": number}),
        AMQPValue::LongLongInt(number) => json!({"i64": number}),
        AMQPValue::Double(number) => json!({"f64": number}),
        AMQPValue::Timestamp(seconds) => json!({"time": seconds}),
        AMQPValue::LongString(text) => json!({"text": text.to_string()}),
        AMQPValue::FieldArray(items) => json!({"array": items.as_slice().iter().map(header).collect::<Vec<_>>()}),
        AMQPValue::FieldTable(entries) => json!({"table": table(entries)}),
        AMQPValue::Void => json!({"void": null}),
        other => panic!("a header of another type: {other:?}"),
    }
}

fn fields(table: &Json) -> FieldTable {
    let mut fields = FieldTable::default();
    for (name, value) in table.as_object().unwrap() {
        fields.insert(name.as_str().into(), field(value));
    }
    fields
}

fn field(header: &Json) -> AMQPValue {
    let (kind, value) = header.as_object().and_then(|header| header.iter().next()).unwrap();
    match kind.as_str() {
        "flag" => AMQPValue::Boolean(value.as_bool().unwrap()),
        "i32" => AMQPValue::LongInt(i32::try_from(value.as_i64().unwrap()).unwrap()),
        "i64" => AMQPValue::LongLongInt(value.as_i64().unwrap()),
        "f64" => AMQPValue::Double(value.as_f64().unwrap()),
        "time" => AMQPValue::Timestamp(value.as_u64().unwrap()),
        "text" => AMQPValue::LongString(value.as_str().unwrap().into()),
        "array" => {
            AMQPValue::FieldArray(FieldArray::from(value.as_array().unwrap().iter().map(field).collect::<Vec<_>>()))
        }
        "table" => AMQPValue::FieldTable(fields(value)),
        "void" => AMQPValue::Void,
        other => panic!("a header of the type {other}"),
    }
}
