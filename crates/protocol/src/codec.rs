//! Serialisers of values. The set is closed.

use serde::{Deserialize, Serialize};

use crate::codec_error::{DecodeError, EncodeError};
use crate::codecs::{count, json, msgpack};
use crate::message::Properties;
use crate::value::Value;

/// A serialiser of task bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// JSON, which every Celery accepts by default.
    #[default]
    Json,
    /// MessagePack, which is smaller and faster, and has bytes. A Celery peer must allow it
    /// (`accept_content`).
    Msgpack,
}

impl Codec {
    /// Returns its name in settings and signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }

    /// Returns the codec with this name or media type.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "msgpack" => Some(Self::Msgpack),
            other => Self::from_content_type(Some(other)).ok(),
        }
    }

    /// Returns the media type of this codec in a message.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
        }
    }

    /// Returns the content encoding for the media type.
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Json => "utf-8",
            Self::Msgpack => "binary",
        }
    }

    /// Returns the codec of a media type.
    ///
    /// # Errors
    /// Returns an error if there is none. For Celery's other serialisers the error has the reason.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, DecodeError> {
        let reason = match content_type {
            Some("application/json") => return Ok(Self::Json),
            Some("application/x-msgpack" | "application/msgpack") => return Ok(Self::Msgpack),
            Some("application/x-python-serialize") => "pickle runs code of the sender's choice",
            Some("application/x-yaml") => "YAML is not read here, json and msgpack are",
            Some("application/data") => "signed bodies are not read here, and bare bytes are no task",
            Some("text/plain") => "bare text is no task",
            Some(_) => "accepted are application/json and application/x-msgpack",
            None => "the message does not say how its body is encoded",
        };
        Err(DecodeError::Refused { content_type: content_type.unwrap_or_default().chars().take(80).collect(), reason })
    }

    /// Returns the codec of a message, by its content type and its content encoding.
    ///
    /// Celery ignores the encoding of JSON and MessagePack, and reads UTF-8. So does this, but a
    /// message that names another character set would be misread, and is refused.
    ///
    /// # Errors
    /// Returns an error if there is none.
    #[doc(hidden)]
    pub fn from_properties(properties: &Properties) -> Result<Self, DecodeError> {
        const ENCODINGS: [&str; 6] = ["", "utf-8", "utf8", "us-ascii", "ascii", "binary"];
        let codec = Self::from_content_type(properties.content_type.as_deref())?;
        match properties.content_encoding.as_deref() {
            Some(encoding) if !ENCODINGS.iter().any(|known| known.eq_ignore_ascii_case(encoding)) => {
                Err(DecodeError::RefusedEncoding { content_encoding: encoding.chars().take(80).collect() })
            }
            _ => Ok(codec),
        }
    }

    /// Encodes any serialisable value.
    ///
    /// # Errors
    /// Returns an error if the value cannot be represented.
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, EncodeError> {
        let value = Value::from_serialize(value)
            .map_err(|error| EncodeError { codec: self.title(), reason: error.to_string() })?;
        self.encode_value(&value)
    }

    /// Encodes a dynamic value.
    ///
    /// # Errors
    /// Returns an error if the codec cannot represent the value, or if a peer would misread it or
    /// reject its nesting.
    pub fn encode_value(self, value: &Value) -> Result<Vec<u8>, EncodeError> {
        // This decoder refuses deeper values. Python fails at about a thousand levels, and drops
        // the message.
        let depth = DecodeLimits::default().depth;
        match self {
            Self::Json => json::encode(value, depth),
            Self::Msgpack => msgpack::encode(value, depth),
        }
    }

    /// Decodes a value of any shape, such as a reply.
    ///
    /// # Errors
    /// Returns an error if it is too large, too deep or not well-formed.
    pub fn decode_value(self, bytes: &[u8], limits: &DecodeLimits) -> Result<Value, DecodeError> {
        if bytes.len() > limits.size {
            return Err(DecodeError::TooLarge { size: bytes.len(), limit: limits.size });
        }
        // A value has at least one byte, so most bodies need no count.
        if bytes.len() > limits.values {
            let count = self.count_values(bytes);
            if count > limits.values {
                return Err(DecodeError::TooManyValues { count, limit: limits.values });
            }
        }
        match self {
            Self::Json => json::decode(bytes, limits.depth),
            Self::Msgpack => msgpack::decode(bytes, limits.depth),
        }
    }

    /// Returns the number of values in encoded bytes: numbers, texts, lists, objects and the keys
    /// of objects. Builds none of them. The number means nothing if the bytes are not well-formed.
    pub(crate) fn count_values(self, bytes: &[u8]) -> usize {
        match self {
            Self::Json => count::in_json(bytes),
            Self::Msgpack => count::in_msgpack(bytes),
        }
    }

    /// Returns its name for error messages.
    fn title(self) -> &'static str {
        match self {
            Self::Json => json::NAME,
            Self::Msgpack => msgpack::NAME,
        }
    }
}

/// Limits for decoding a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes of a body.
    pub size: usize,
    /// Most levels of nesting.
    pub depth: usize,
    /// Most values, with the keys of objects. Each takes up to some 200 bytes of memory, whatever
    /// its size in the body.
    pub values: usize,
    /// The encodings that are accepted.
    pub accept: Accept,
}

/// The encodings of bodies that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// JSON.
    pub json: bool,
    /// MessagePack.
    pub msgpack: bool,
}

impl Accept {
    /// All encodings that can be read.
    pub const ALL: Self = Self { json: true, msgpack: true };

    /// Returns a set of these encodings alone.
    pub fn only(codecs: &[Codec]) -> Self {
        Self { json: codecs.contains(&Codec::Json), msgpack: codecs.contains(&Codec::Msgpack) }
    }

    fn takes(self, codec: Codec) -> bool {
        match codec {
            Codec::Json => self.json,
            Codec::Msgpack => self.msgpack,
        }
    }
}

impl DecodeLimits {
    /// Refuses an encoding that is not accepted.
    pub(crate) fn admit(&self, codec: Codec) -> Result<(), DecodeError> {
        if self.accept.takes(codec) {
            return Ok(());
        }
        Err(DecodeError::Refused {
            content_type: codec.content_type().to_owned(),
            reason: "worker.accept_content does not list it",
        })
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { size: 8 << 20, depth: 128, values: 1_000_000, accept: Accept::ALL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_another_character_set_is_refused_with_its_name() {
        let of = |content_encoding: Option<&str>| {
            let content_type = Some(Codec::Json.content_type().to_owned());
            let content_encoding = content_encoding.map(str::to_owned);
            Codec::from_properties(&Properties { content_type, content_encoding, ..Properties::default() })
        };
        for known in [None, Some(""), Some("utf-8"), Some("UTF-8"), Some("utf8"), Some("us-ascii"), Some("binary")] {
            assert_eq!(of(known), Ok(Codec::Json), "{known:?}");
        }
        for other in ["klingon", "utf-16", "latin-1", "gzip"] {
            let error = of(Some(other)).unwrap_err().to_string();
            assert!(error.contains(&format!("content encoding `{other}` is refused")), "{error}");
        }
    }

    #[test]
    fn a_media_type_that_is_not_accepted_is_refused_with_its_reason() {
        let cases = [
            (Some("application/x-python-serialize"), "pickle runs code of the sender's choice"),
            (Some("application/x-yaml"), "YAML is not read here, json and msgpack are"),
            (Some("application/data"), "signed bodies are not read here, and bare bytes are no task"),
            (Some("text/plain"), "bare text is no task"),
            (Some("json"), "accepted are application/json and application/x-msgpack"),
            (Some("msgpack"), "accepted are application/json and application/x-msgpack"),
            (None, "the message does not say how its body is encoded"),
        ];
        for (name, expected) in cases {
            match Codec::from_content_type(name) {
                Err(DecodeError::Refused { content_type, reason }) => {
                    assert_eq!((content_type.as_str(), reason), (name.unwrap_or_default(), expected));
                }
                other => panic!("{name:?}: {other:?}"),
            }
        }
        for codec in [Codec::Json, Codec::Msgpack] {
            assert_eq!(Codec::from_content_type(Some(codec.content_type())), Ok(codec));
        }
    }
}
