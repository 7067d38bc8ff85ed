//! A bare client of the broker in memory.

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Broker, BrokerOptions, Outgoing, Subscription};
use celeriac_config::Secret;
use celeriac_protocol::{HeaderMap, Map, Message, Properties, Value};
use celeriac_topology::{QueueOptions, Topology};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::peer::{Found, field};

#[derive(Debug)]
pub(super) struct MemoryPeer {
    broker: Arc<dyn Broker>,
}

impl MemoryPeer {
    pub(super) fn new(url: &str) -> Self {
        let options = BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() };
        Self { broker: celeriac_broker::connect(&options, "peer").expect("a broker in memory") }
    }

    pub(super) async fn put(&self, queue: &str, properties: &BasicProperties, body: &[u8]) {
        let message = Message {
            headers: read_headers(properties.headers().as_ref()),
            properties: read_properties(properties),
            body: body.to_vec().into(),
        };
        let outgoing = Outgoing { exchange: "".into(), routing_key: queue.to_owned(), message, mandatory: false };
        self.broker.publish(outgoing).await.expect("published");
    }

    pub(super) async fn declare(&self, queue: &str) {
        let queues = [(queue.to_owned(), QueueOptions::default())].into_iter().collect();
        self.broker.declare(&Topology { queues, ..Topology::default() }).await.expect("the queue");
    }

    pub(super) async fn consumers(&self, queue: &str) -> Option<u32> {
        self.broker.depth(queue).await.expect("the broker").map(|depth| depth.consumers)
    }

    pub(super) async fn ready(&self, queue: &str) -> u32 {
        self.broker.depth(queue).await.expect("the broker").expect("the queue").ready
    }

    pub(super) async fn take_all(&self, queue: &str) -> Vec<Found> {
        let mut browser = self.broker.browse(queue).await.expect("the queue");
        let mut found = Vec::new();
        while let Some(browsed) = browser.next().await.expect("the queue") {
            let Message { headers, properties, body } = browsed.message;
            let mut table = FieldTable::default();
            for (name, value) in headers.iter() {
                table.insert(name.into(), field(&serde_json::to_value(value).expect("a header in JSON")));
            }
            let (reply_to, correlation_id) = (properties.reply_to, properties.correlation_id);
            found.push(Found { headers: table, body: body.to_vec(), reply_to, correlation_id });
            browser.remove();
            browser.removed().await.expect("the queue");
        }
        browser.close().await.expect("the queue");
        found
    }

    pub(super) async fn give_back(&self, queue: &str) -> bool {
        if self.ready(queue).await == 0 {
            return false;
        }
        let subscription =
            Subscription { queue: queue.to_owned(), prefetch: 1, most: 1, priority: 0, tag: "peer".to_owned() };
        let mut consumer = self.broker.consume(subscription).await.expect("the queue");
        let delivery = consumer.next().await.expect("a delivery");
        consumer.stop();
        delivery.settlement.requeue();
        consumer.close().await;
        true
    }
}

fn read_properties(properties: &BasicProperties) -> Properties {
    let text = |text: &Option<ShortString>| text.as_ref().map(ToString::to_string);
    let expiration = text(properties.expiration()).map(|text| text.parse().expect("milliseconds"));
    Properties {
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        transient: *properties.delivery_mode() != Some(2),
        priority: *properties.priority(),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        expiration: expiration.map(Duration::from_millis),
    }
}

fn read_headers(table: Option<&FieldTable>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in table.into_iter().flat_map(|table| table.inner().iter()) {
        headers.insert(name.to_string(), read_value(value));
    }
    headers
}

fn read_value(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(flag) => Value::Bool(*flag),
        AMQPValue::LongInt(number) => Value::Int(i64::from(*number)),
        AMQPValue::LongLongInt(number) => Value::Int(*number),
        AMQPValue::Double(number) => Value::Float(*number),
        AMQPValue::LongString(text) => Value::Text(text.to_string()),
        AMQPValue::FieldArray(items) => Value::List(items.as_slice().iter().map(read_value).collect()),
        AMQPValue::FieldTable(table) => {
            let entries = table.inner().iter().map(|(name, value)| (name.to_string(), read_value(value)));
            Value::Map(entries.collect::<Map>())
        }
        other => panic!("no test writes a header such as {other:?}"),
    }
}
