//! A command to workers.

use super::body::{ControlError, properties, read_body, read_clock};
use crate::codec::Codec;
use crate::codec_error::EncodeError;
use crate::headers::HeaderMap;
use crate::message::Message;
use crate::value::{Map, Value};

/// Most characters of a name in an error.
const SHOWN: usize = 80;

/// A command to workers.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlRequest {
    /// Name of the command.
    pub method: String,
    /// Arguments of the command, by name.
    pub arguments: Map,
    /// The workers that it is for.
    pub recipients: Recipients,
    /// The destination of the answers. Without it, workers obey and do not answer.
    pub reply_to: Option<ReplyAddress>,
    /// Time after which nobody waits for an answer, in seconds since 1970.
    pub expires: Option<f64>,
    /// Logical time of the sender.
    pub clock: u64,
}

/// The workers that a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// Every worker.
    All,
    /// The workers of these names.
    Nodes(Vec<String>),
    /// The workers whose names match.
    Matching {
        /// The pattern.
        pattern: String,
        /// The language of the pattern.
        matcher: Matcher,
    },
}

/// The language of a pattern for names of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matcher {
    /// `*`, `?` and `[seq]`, for whole names.
    Glob,
    /// A regular expression for the beginning of a name.
    Pcre,
}

/// The destination of the answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyAddress {
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// Identifies the request among those of its sender.
    pub ticket: String,
}

impl ControlRequest {
    /// Returns the message in Celery's format.
    ///
    /// # Errors
    /// Returns an error if an argument cannot be written as JSON.
    pub fn to_message(&self) -> Result<Message, EncodeError> {
        let (mut destination, mut pattern, mut matcher) = (Value::Null, Value::Null, Value::Null);
        match &self.recipients {
            Recipients::All => {}
            Recipients::Nodes(nodes) => destination = nodes.iter().map(String::as_str).collect(),
            Recipients::Matching { pattern: text, matcher: language } => {
                (pattern, matcher) = (text.as_str().into(), language.name().into());
            }
        }
        let mut body = Map::with_capacity(7);
        body.insert("method".to_owned(), self.method.as_str().into());
        body.insert("arguments".to_owned(), self.arguments.clone().into());
        body.insert("destination".to_owned(), destination);
        body.insert("pattern".to_owned(), pattern);
        body.insert("matcher".to_owned(), matcher);
        if let Some(ReplyAddress { exchange, routing_key, ticket }) = &self.reply_to {
            body.insert("ticket".to_owned(), ticket.as_str().into());
            let address = [("exchange", exchange.as_str()), ("routing_key", routing_key.as_str())];
            body.insert("reply_to".to_owned(), address.into_iter().collect());
        }
        let mut headers = HeaderMap::with_capacity(2);
        headers.push("clock", self.clock);
        headers.push("expires", self.expires.map_or(Value::Int(0), Value::Float));
        let body = Codec::Json.encode_value(&Value::Map(body))?.into();
        Ok(Message { headers, properties: properties(), body })
    }

    /// Reads a message in Celery's format. Unknown fields are ignored.
    ///
    /// # Errors
    /// Returns an error if the body is larger than [`LIMITS`](super::LIMITS) allow, or if it is no
    /// request.
    pub fn read(message: &Message) -> Result<Self, ControlError> {
        let mut body = read_body(message)?;
        let mut take = |field| body.swap_remove(field).filter(|value| !value.is_null());
        let method = match take("method") {
            Some(Value::Text(method)) => method,
            other => return Err(ControlError::field("method", "a string", &other.unwrap_or_default())),
        };
        let arguments = match take("arguments") {
            None => Map::new(),
            Some(Value::Map(arguments)) => arguments,
            Some(other) => return Err(ControlError::field("arguments", "an object", &other)),
        };
        let recipients = read_recipients(take("destination"), take("pattern"), take("matcher"))?;
        let ticket = take("ticket").map(|ticket| text("ticket", ticket)).transpose()?;
        let reply_to = match take("reply_to") {
            None => None,
            Some(Value::Map(mut address)) => {
                let mut part = |field| text(field, address.swap_remove(field).unwrap_or_default());
                let (exchange, routing_key) = (part("exchange")?, part("routing_key")?);
                Some(ReplyAddress { exchange, routing_key, ticket: ticket.unwrap_or_default() })
            }
            Some(other) => return Err(ControlError::field("reply_to", "an object", &other)),
        };
        let expires = message.headers.get("expires").and_then(Value::as_f64).filter(|expires| *expires > 0.0);
        Ok(Self { method, arguments, recipients, reply_to, expires, clock: read_clock(message) })
    }
}

fn read_recipients(
    destination: Option<Value>,
    pattern: Option<Value>,
    matcher: Option<Value>,
) -> Result<Recipients, ControlError> {
    match destination {
        // An empty list is for everybody, as in Celery.
        Some(Value::List(nodes)) if nodes.is_empty() => {}
        Some(Value::List(nodes)) => {
            let nodes: Result<Vec<_>, _> = nodes.into_iter().map(|node| text("destination", node)).collect();
            return Ok(Recipients::Nodes(nodes?));
        }
        Some(other) => return Err(ControlError::field("destination", "a list", &other)),
        None => {}
    }
    let (Some(pattern), Some(matcher)) = (pattern, matcher) else { return Ok(Recipients::All) };
    let (pattern, matcher) = (text("pattern", pattern)?, text("matcher", matcher)?);
    match Matcher::from_name(&matcher) {
        Some(matcher) => Ok(Recipients::Matching { pattern, matcher }),
        None => Err(ControlError::Matcher { name: matcher.chars().take(SHOWN).collect() }),
    }
}

fn text(field: &'static str, value: Value) -> Result<String, ControlError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(ControlError::field(field, "a string", &other)),
    }
}

impl Matcher {
    /// Returns its name in a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glob => "glob",
            Self::Pcre => "pcre",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Glob, Self::Pcre].into_iter().find(|matcher| matcher.name() == name)
    }
}
