//! How values become bytes: the closed set of serialisers.

use serde::{Deserialize, Serialize};

use crate::body::{Body, DecodeError, DecodeLimits};
use crate::codecs::{json, msgpack};

/// A serialiser of task bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// JSON, which every Celery accepts out of the box.
    #[default]
    Json,
    /// MessagePack: smaller and quicker, with bytes. A Celery peer has to allow it (`accept_content`).
    Msgpack,
}

impl Codec {
    /// The media type that names this codec on the wire.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
        }
    }

    /// The encoding that goes with it.
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Json => "utf-8",
            Self::Msgpack => "binary",
        }
    }

    /// The codec that a media type names.
    ///
    /// # Errors
    /// When it is none of ours; the message says why pickle is refused.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, DecodeError> {
        match content_type {
            Some("application/json") => Ok(Self::Json),
            Some("application/x-msgpack" | "application/msgpack") => Ok(Self::Msgpack),
            Some("application/x-python-serialize") => Err(DecodeError::Refused {
                content_type: "application/x-python-serialize".to_owned(),
                reason: "pickle runs code of the sender's choice",
            }),
            Some(other) => Err(DecodeError::Refused {
                content_type: other.chars().take(80).collect(),
                reason: "accepted are application/json and application/x-msgpack",
            }),
            None => Err(DecodeError::Refused {
                content_type: String::new(),
                reason: "the message does not say how its body is encoded",
            }),
        }
    }

    /// Encodes any serialisable value.
    ///
    /// # Errors
    /// When the value cannot be represented.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::Json => json::encode(value),
            Self::Msgpack => msgpack::encode(value),
        }
    }

    /// Decodes the body of a task.
    ///
    /// # Errors
    /// When it is too large, too deep, not well-formed, or not the body of a task.
    pub fn decode_body(self, bytes: &[u8], limits: &DecodeLimits) -> Result<Body, DecodeError> {
        if bytes.len() > limits.size {
            return Err(DecodeError::TooLarge { size: bytes.len(), limit: limits.size });
        }
        let value = match self {
            Self::Json => json::decode(bytes)?,
            Self::Msgpack => msgpack::decode(bytes, limits.depth)?,
        };
        Body::from_value(value)
    }
}

/// A value that a codec cannot represent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be written as {codec}: {reason}")]
pub struct EncodeError {
    /// Name of the codec.
    pub codec: &'static str,
    /// Why not.
    pub reason: String,
}
