//! Messages as Celery's clients write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use celeriac_tests::Peer;
use celeriac_tests::peer::field;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};

/// A message, and its queue.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) headers: Vec<(String, AMQPValue)>,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
}

impl Letter {
    /// Returns a task of protocol 2 with these arguments, in JSON.
    pub(crate) fn new(task: &str, id: &str, args: &Json) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2);
        let headers = [("task", task), ("id", id)].map(|(name, value)| (name.to_owned(), text(value)));
        let letter = Self { headers: headers.into(), properties, body: Vec::new() };
        letter.carrying(args, &json!({}))
    }

    /// Returns a message that was recorded from Celery: a file of `tests/interop/golden`.
    pub(crate) fn recorded(case: &str) -> Self {
        let path = format!("{}/interop/golden/{case}.json", env!("CARGO_MANIFEST_DIR"));
        let golden: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let said = |name: &str| golden["properties"][name].as_str().unwrap_or_default().to_owned();
        let properties = BasicProperties::default()
            .with_content_type(said("content_type").into())
            .with_content_encoding(said("content_encoding").into())
            .with_delivery_mode(2);
        let headers = golden["headers"].as_object().unwrap().iter();
        let body = STANDARD.decode(golden["body_base64"].as_str().unwrap()).unwrap();
        Self { headers: headers.map(|(name, value)| (name.clone(), field(value))).collect(), properties, body }
    }

    /// Returns the same message with these arguments and this embed.
    pub(crate) fn carrying(self, args: &Json, embed: &Json) -> Self {
        self.body(json!([args, {}, embed]).to_string())
    }

    /// Returns the same message with this body.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Returns the same message with this header.
    pub(crate) fn header(mut self, name: &str, value: &Json) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self.headers.push((name.to_owned(), field(value)));
        self
    }

    /// Returns the same message for a caller that awaits the reply.
    pub(crate) fn reply_to(mut self, queue: &str, correlation_id: Option<&str>) -> Self {
        self.properties = self.properties.with_reply_to(queue.into());
        if let Some(id) = correlation_id {
            self.properties = self.properties.with_correlation_id(id.into());
        }
        self
    }

    /// Publishes it to a queue.
    pub(crate) async fn put(self, peer: &Peer) {
        let mut table = FieldTable::default();
        for (name, value) in self.headers {
            table.insert(name.into(), value);
        }
        peer.put("celeriac", self.properties.with_headers(table), &self.body).await;
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}
