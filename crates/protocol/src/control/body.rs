//! The bodies of requests and replies, their limits and their errors.

use crate::codec::{Accept, Codec, DecodeLimits};
use crate::codec_error::DecodeError;
use crate::message::{Message, Properties};
use crate::value::{Map, Value};

/// Limits of these messages. The largest ones have the ids of many tasks, such as the 50,000
/// revoked tasks that a Python worker remembers.
pub const LIMITS: DecodeLimits = DecodeLimits { size: 4 << 20, depth: 32, values: 100_000, accept: Accept::ALL };

/// A message of remote control that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The body cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A field does not have the type that Celery gives it.
    #[error("`{field}` should be {expected}, got {found}")]
    Field {
        /// The field.
        field: &'static str,
        /// The expected type.
        expected: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// The matcher of the pattern is unknown.
    #[error("matcher `{name}` is unknown: known are glob and pcre")]
    Matcher {
        /// The name, shortened.
        name: String,
    },
}

impl ControlError {
    pub(super) fn field(field: &'static str, expected: &'static str, found: &Value) -> Self {
        Self::Field { field, expected, found: found.kind() }
    }
}

/// Returns the body of a message, which is an object.
pub(super) fn read_body(message: &Message) -> Result<Map, ControlError> {
    let value = Codec::from_properties(&message.properties)?.decode_value(&message.body, &LIMITS)?;
    match value {
        Value::Map(body) => Ok(body),
        other => Err(ControlError::field("the body", "an object", &other)),
    }
}

/// Returns the logical time of the sender. A text is read too, as some clients send it.
pub(super) fn read_clock(message: &Message) -> u64 {
    let clock = message.headers.get("clock");
    clock.and_then(|clock| clock.as_u64().or_else(|| clock.as_str()?.parse().ok())).unwrap_or_default()
}

/// Returns the properties of a JSON body. Neither a request nor a reply outlives the broker.
pub(super) fn properties() -> Properties {
    Properties {
        content_type: Some(Codec::Json.content_type().to_owned()),
        content_encoding: Some(Codec::Json.content_encoding().to_owned()),
        transient: true,
        priority: Some(0),
        ..Properties::default()
    }
}
