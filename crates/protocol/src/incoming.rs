//! From a message to the task that it asks for.

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

/// Why a message is no task that can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its headers are not those of a task.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// Its body cannot be read.
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The headers that stand in the body of an old-fashioned task are not those of one.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// Its embedded part cannot be read.
    #[error("in what it carries, {0}")]
    Embed(#[from] SignatureError),
}

impl Message {
    /// The headers of a task. A message of protocol 1, whose headers stand in its body, is made one of protocol 2; its
    /// times are in `zone` where it says that they are not in UTC.
    ///
    /// # Errors
    /// When the message is no task.
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
        // What is no task of protocol 1 either is told of as what it most likely was to be.
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

    /// The arguments that a message carries, and what is to be called when the task has ended.
    ///
    /// # Errors
    /// When they cannot be read.
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
