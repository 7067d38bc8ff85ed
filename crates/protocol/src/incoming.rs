//! Turns a message into its task.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use crate::body::Body;
use crate::codec::Codec;
use crate::codec::DecodeLimits;
use crate::codec_error::DecodeError;
use crate::compression::Compression;
use crate::headers::{HeaderError, TaskHeaders, names};
use crate::legacy::{self, LegacyError};
use crate::message::Message;
use crate::signature::{Embed, SignatureError};
use crate::value::Value;

/// The reason why a message is not a valid task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The headers are not those of a task.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// The body cannot be read.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The headers in the body of a protocol 1 task are invalid.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// The embed cannot be read.
    #[error("follow-ups are not valid: {0}")]
    Embed(#[from] SignatureError),
}

impl Message {
    /// Returns the headers of a task. Converts a message of protocol 1, which has its headers in
    /// its body, to protocol 2.
    ///
    /// Times of protocol 1 are in `zone` if the sender does not use UTC.
    ///
    /// # Errors
    /// Returns an error if the message is not a task.
    pub fn read_headers(
        &mut self,
        limits: &DecodeLimits,
        zone: impl FnOnce() -> TimeZone,
    ) -> Result<TaskHeaders, Unreadable> {
        let error = match TaskHeaders::read(&self.headers) {
            Ok(headers) => return Ok(headers),
            Err(error) => error,
        };
        let is_changed = self.headers.get(names::UNREADABLE).is_some();
        let is_old_fashioned = !is_changed && self.headers.get(names::TASK).is_none() && !self.body.is_empty();
        if !is_old_fashioned {
            return Err(error.into());
        }
        // A message of neither protocol gets the error of protocol 2.
        let plain = self.plain_body(limits).map_err(|_| error.clone())?;
        let (codec, value) = (plain.codec, plain.value(limits).map_err(|_| error.clone())?);
        if !matches!(&value, Value::Map(entries) if entries.contains_key(names::TASK)) {
            return Err(error.into());
        }
        let (headers, body) = legacy::read(value, &zone())?;
        let rewritten = codec.encode(&body).map_err(|_| error)?;
        self.body = rewritten.into();
        self.headers.remove(names::COMPRESSION);
        headers.clone().write(&mut self.headers, None);
        Ok(headers)
    }

    /// Returns the arguments of a message, and its embed.
    ///
    /// # Errors
    /// Returns an error if they cannot be read.
    pub fn read_body(&self, limits: &DecodeLimits) -> Result<(Body, Embed), Unreadable> {
        self.plain_body(limits)?.read(limits)
    }

    /// Returns the body of a message, decompressed and not decoded.
    ///
    /// # Errors
    /// Returns an error if its encoding or compression is not accepted, or if it is too large.
    pub fn plain_body(&self, limits: &DecodeLimits) -> Result<PlainBody<'_>, Unreadable> {
        let codec = Codec::from_properties(&self.properties)?;
        limits.admit(codec)?;
        let bytes = match self.headers.get(names::COMPRESSION) {
            None | Some(Value::Null) => Cow::Borrowed(&*self.body),
            Some(Value::Text(name)) => Cow::Owned(Compression::from_header(name)?.decompress(&self.body, limits.size)?),
            Some(other) => {
                let found = other.kind().to_owned();
                return Err(HeaderError::Invalid { name: names::COMPRESSION, expected: "a string", found }.into());
            }
        };
        Ok(PlainBody { codec, bytes })
    }
}

/// A body that is decompressed and not decoded.
#[derive(Debug)]
pub struct PlainBody<'a> {
    codec: Codec,
    bytes: Cow<'a, [u8]>,
}

/// Memory of a decoded value beside its bytes. An object with one entry has three values, and takes
/// some 500 bytes.
const VALUE: usize = 200;

impl PlainBody<'_> {
    /// Returns its size in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns an estimate of the memory that its task takes. Its text exists three times: as it
    /// arrived, decoded, and as the arguments of the row.
    pub fn decoded_size(&self, limits: &DecodeLimits) -> usize {
        let values = self.codec.count_values(&self.bytes).min(limits.values);
        self.size().saturating_mul(3).saturating_add(values.saturating_mul(VALUE))
    }

    /// Decodes it to arguments and embed. The embed is taken out of the body.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub fn read(&self, limits: &DecodeLimits) -> Result<(Body, Embed), Unreadable> {
        let mut body = Body::from_value(self.value(limits)?)?;
        let embed = Embed::from_value(std::mem::take(&mut body.embed))?;
        Ok((body, embed))
    }

    fn value(&self, limits: &DecodeLimits) -> Result<Value, DecodeError> {
        self.codec.decode_value(&self.bytes, limits)
    }
}
