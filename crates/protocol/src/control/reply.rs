//! The answer of one worker.

use super::body::{ControlError, properties, read_body, read_clock};
use crate::codec::Codec;
use crate::codec_error::EncodeError;
use crate::headers::HeaderMap;
use crate::message::Message;
use crate::repr::repr_value;
use crate::value::{Map, Value};

/// The answer of one worker.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlReply {
    /// Name of the worker.
    pub node: String,
    /// The answer. A command that was refused has an object with `error`.
    pub value: Value,
    /// Identifies the request among those of its sender.
    pub ticket: String,
    /// Logical time of the worker.
    pub clock: u64,
}

impl ControlReply {
    /// Returns the message in Celery's format.
    ///
    /// # Errors
    /// Returns an error if the answer cannot be written as JSON.
    #[doc(hidden)]
    pub fn to_message(&self) -> Result<Message, EncodeError> {
        let body: Map = [(self.node.clone(), self.value.clone())].into_iter().collect();
        let mut headers = HeaderMap::with_capacity(2);
        headers.push("ticket", self.ticket.as_str());
        headers.push("clock", self.clock);
        Ok(Message { headers, properties: properties(), body: Codec::Json.encode_value(&body.into())?.into() })
    }

    /// Reads a message in Celery's format.
    ///
    /// # Errors
    /// Returns an error if the body is larger than [`LIMITS`](super::LIMITS) allow, or if it is no
    /// reply.
    #[doc(hidden)]
    pub fn read(message: &Message) -> Result<Self, ControlError> {
        let mut body = read_body(message)?;
        let Some((node, value)) = body.shift_remove_index(0) else {
            return Err(ControlError::field("the body", "the answer of a worker", &Value::Map(body)));
        };
        let ticket = message.headers.text("ticket").unwrap_or_default().to_owned();
        Ok(Self { node, value, ticket, clock: read_clock(message) })
    }

    /// Returns the reason of a refusal.
    pub fn refusal(&self) -> Option<&str> {
        self.value.get("error").and_then(Value::as_str)
    }
}

/// Returns the answer of a command that was obeyed.
pub fn ok(text: impl Into<Value>) -> Value {
    [("ok", text.into())].into_iter().collect()
}

/// Returns the answer of a command that was refused.
pub fn error(text: impl Into<Value>) -> Value {
    [("error", text.into())].into_iter().collect()
}

/// Returns the answer of a command that failed, as Python prints an exception.
pub fn exception(kind: &str, message: impl Into<Value>) -> Value {
    error(format!("{kind}({})", repr_value(&message.into())))
}
