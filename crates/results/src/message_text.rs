//! Messages as text, in columns of their own for headers, properties and body.

use celeriac_protocol::headers::names;
use celeriac_protocol::{Codec, DecodeLimits, HeaderMap, Map, Message, Properties, Value};
use serde::{Deserialize, Serialize};

/// Any error of a serializer.
pub(crate) type TextError = Box<dyn std::error::Error + Send + Sync>;

/// A message in the form of its columns.
#[derive(Debug)]
pub(crate) struct MessageText<'a> {
    /// The headers as exact JSON.
    pub(crate) headers: String,
    /// The properties as JSON.
    pub(crate) properties: String,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// The properties that are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    transient: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

impl<'a> MessageText<'a> {
    /// Writes a message.
    ///
    /// # Errors
    /// Returns an error if a header has no text.
    pub(crate) fn of(message: &'a Message) -> Result<Self, TextError> {
        Self::with_headers(message, |_| true)
    }

    /// Writes the message of a next attempt. Returns `None` for a message that has no text.
    pub(crate) fn of_next_attempt(message: &'a Message) -> Option<Self> {
        // The row has the number of the replay.
        Self::with_headers(message, |name| name != names::REPLAYED).ok()
    }

    fn with_headers(message: &'a Message, keep: impl Fn(&str) -> bool) -> Result<Self, TextError> {
        let headers = message.headers.iter().filter(|(name, _)| keep(name));
        let headers: Map = headers.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let headers = String::from_utf8(Codec::Json.encode_value(&Value::Map(headers))?)?;
        let Properties { content_type, content_encoding, transient, priority, correlation_id, reply_to, .. } =
            message.properties.clone();
        let kept = Kept { content_type, content_encoding, transient, priority, correlation_id, reply_to };
        Ok(Self { headers, properties: serde_json::to_string(&kept)?, body: &message.body })
    }
}

/// Reads a message from its columns.
///
/// # Errors
/// Returns an error if a text is not of that form.
pub(crate) fn read(headers: &str, properties: &str, body: Vec<u8>) -> Result<Message, TextError> {
    let limits = DecodeLimits { size: usize::MAX, values: usize::MAX, ..DecodeLimits::default() };
    let headers = match Codec::Json.decode_value(headers.as_bytes(), &limits)? {
        Value::Map(headers) => headers.into_iter().collect::<HeaderMap>(),
        other => return Err(format!("headers are a map, found {}", other.kind()).into()),
    };
    let kept: Kept = serde_json::from_str(properties)?;
    let Kept { content_type, content_encoding, transient, priority, correlation_id, reply_to } = kept;
    let properties = Properties {
        content_type,
        content_encoding,
        transient,
        priority,
        correlation_id,
        reply_to,
        ..Properties::default()
    };
    Ok(Message { headers, properties, body: body.into() })
}
