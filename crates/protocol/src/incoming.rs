//! Turns a message into its task.

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
        let is_old_fashioned = self.headers.get(names::TASK).is_none() && !self.body.is_empty();
        if !is_old_fashioned {
            return Err(error.into());
        }
        // A message of neither protocol gets the error of protocol 2.
        let (codec, value) = self.read_value(limits).map_err(|_| error.clone())?;
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
        let (_, value) = self.read_value(limits)?;
        let body = Body::from_value(value)?;
        let embed = Embed::read(&body.embed)?;
        Ok((body, embed))
    }

    fn read_value(&self, limits: &DecodeLimits) -> Result<(Codec, Value), Unreadable> {
        let codec = Codec::from_content_type(self.properties.content_type.as_deref())?;
        limits.admit(codec)?;
        let value = match self.headers.get(names::COMPRESSION) {
            None | Some(Value::Null) => codec.decode_value(&self.body, limits)?,
            Some(Value::Text(name)) => {
                let plain = Compression::from_header(name)?.decompress(&self.body, limits.size)?;
                codec.decode_value(&plain, limits)?
            }
            Some(other) => {
                let found = other.kind().to_owned();
                return Err(HeaderError::Invalid { name: names::COMPRESSION, expected: "a string", found }.into());
            }
        };
        Ok((codec, value))
    }
}
