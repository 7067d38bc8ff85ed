//! Recordings of Celery: the files of `golden/`, which `record.py` documents.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use celeriac_broker::{BrokerOptions, Subscription, connect};
use celeriac_config::Secret;
use celeriac_protocol::Message;
use celeriac_tests::{Bed, PythonClient};
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, parsing};
use serde_json::{Value as Json, json};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/golden");
const QUEUE: &str = "recordings";

/// A recorded message, and Celery's reading of it.
#[derive(Debug)]
pub(crate) struct Recording(Json);

impl Recording {
    /// Returns every recorded task.
    pub(crate) fn messages() -> Vec<Self> {
        let all = read_all(Path::new(GOLDEN));
        assert_eq!(all.len(), 133, "recordings in {GOLDEN}");
        all
    }

    /// Returns every recorded reply.
    pub(crate) fn replies() -> Vec<Self> {
        let all = read_all(&Path::new(GOLDEN).join("replies"));
        assert_eq!(all.len(), 43, "recordings in {GOLDEN}/replies");
        all
    }

    pub(crate) fn name(&self) -> &str {
        self.0["case"].as_str().unwrap()
    }

    /// Returns a part of the file.
    pub(crate) fn part(&self, name: &str) -> &Json {
        &self.0[name]
    }

    /// Returns a part of Celery's reading.
    pub(crate) fn expect(&self, name: &str) -> &Json {
        &self.0["expect"][name]
    }

    /// Returns `true` if the message must be refused.
    pub(crate) fn is_refused(&self) -> bool {
        !self.0["refused"].is_null()
    }

    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.0["properties"][name].as_str()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(self.0["body_base64"].as_str().unwrap()).unwrap()
    }

    /// Returns the headers, as the AMQP library reads them.
    fn table(&self) -> FieldTable {
        let raw = BASE64_STANDARD.decode(self.0["headers_base64"].as_str().unwrap()).unwrap();
        let (rest, table) = parsing::parse_field_table(raw.as_slice()).unwrap();
        assert!(rest.is_empty(), "{}", self.name());
        table
    }

    fn properties(&self) -> BasicProperties {
        let number = |name: &str| self.0["properties"][name].as_u64().map(|number| u8::try_from(number).unwrap());
        let mut properties = BasicProperties::default().with_headers(self.table());
        let mut known = 0;
        if let Some(priority) = number("priority") {
            properties = properties.with_priority(priority);
            known += 1;
        }
        if let Some(mode) = number("delivery_mode") {
            properties = properties.with_delivery_mode(mode);
            known += 1;
        }
        for (name, set) in [
            ("content_type", BasicProperties::with_content_type as fn(BasicProperties, _) -> _),
            ("content_encoding", BasicProperties::with_content_encoding),
            ("correlation_id", BasicProperties::with_correlation_id),
            ("reply_to", BasicProperties::with_reply_to),
            ("expiration", BasicProperties::with_expiration),
        ] {
            if let Some(text) = self.property(name) {
                properties = set(properties, text.into());
                known += 1;
            }
        }
        assert_eq!(self.0["properties"].as_object().unwrap().len(), known, "{}: an unknown property", self.name());
        properties
    }

    /// Returns the messages as this project's consumer delivers them, after they were published as
    /// recorded.
    pub(crate) async fn delivered(recordings: &[Self], bed: &Bed) -> Vec<Message> {
        let peer = bed.peer().await;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        peer.channel().queue_declare(QUEUE.into(), options, FieldTable::default()).await.unwrap();
        let options = BrokerOptions { url: Secret::new(bed.amqp_url()), ..BrokerOptions::default() };
        let broker = connect(&options, "recordings").unwrap();
        let subscription =
            Subscription { queue: QUEUE.to_owned(), prefetch: 64, most: 64, priority: 0, tag: "recordings".to_owned() };
        let mut consumer = broker.consume(subscription).await.unwrap();
        let mut messages = Vec::new();
        for recording in recordings {
            peer.put(QUEUE, recording.properties(), &recording.body()).await;
            let delivery = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await;
            let delivery = delivery.unwrap_or_else(|_| panic!("{} was not delivered", recording.name())).unwrap();
            messages.push(delivery.message);
            delivery.settlement.ack();
        }
        consumer.close().await;
        broker.close().await;
        messages
    }
}

fn read_all(folder: &Path) -> Vec<Recording> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    paths.sort();
    paths.iter().map(|path| Recording(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())).collect()
}

/// Returns Celery's reading of messages: for each, the answer of `driver.py` to `decode`.
pub(crate) async fn read_by_python(client: &mut PythonClient, messages: &[Message]) -> Vec<Json> {
    let messages: Vec<_> = messages.iter().map(spelt).collect();
    let answer = client.get(json!({"command": "decode_all", "messages": messages})).await;
    answer["answers"].as_array().unwrap().clone()
}

/// Returns Celery's reading of reply bodies: for each, the answer of `driver.py` to `read_results`.
pub(crate) async fn results_of_python(client: &mut PythonClient, messages: &[Message]) -> Vec<Json> {
    let messages: Vec<_> = messages.iter().map(spelt).collect();
    let answer = client.get(json!({"command": "read_results", "messages": messages})).await;
    answer["answers"].as_array().unwrap().clone()
}

fn spelt(message: &Message) -> Json {
    json!({
        "body": BASE64_STANDARD.encode(&message.body),
        "content_type": message.properties.content_type,
        "content_encoding": message.properties.content_encoding,
        "headers": crate::spelling::spell_headers(&message.headers),
        "accept": ["json", "msgpack"],
    })
}
