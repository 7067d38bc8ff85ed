//! From bytes to a task that can run, or to the reason why not.

use std::sync::OnceLock;

use celeriac_broker::Origin;
use celeriac_client::Client;
use celeriac_protocol::compression::Compression;
use celeriac_protocol::headers::names;
use celeriac_protocol::legacy::{self, LegacyError};
use celeriac_protocol::signature::SignatureError;
use celeriac_protocol::{Body, Codec, DecodeLimits, Embed, HeaderError, Message, TaskHeaders, Value};
use jiff::tz::TimeZone;

use crate::builtin;
use crate::follow_up::Unstartable;
use crate::handler::TaskDefinition;
use crate::registry::Registry;

/// A message that is a task.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) headers: TaskHeaders,
    pub(crate) origin: Origin,
    /// The client with which the task sends others, once it has asked for one.
    pub(crate) client: OnceLock<Client>,
}

impl Received {
    pub(crate) fn new(message: Message, headers: TaskHeaders, origin: Origin) -> Self {
        Self { message, headers, origin, client: OnceLock::new() }
    }

    /// First task of the workflow.
    pub(crate) fn root_id(&self) -> &str {
        self.headers.root_id.as_deref().unwrap_or(&self.headers.id)
    }
}

/// Why a message cannot run here, whatever is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Its headers are not those of a task.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// Its body cannot be read.
    #[error(transparent)]
    Body(#[from] celeriac_protocol::DecodeError),
    /// The headers that stand in the body of an old-fashioned task are not those of one.
    #[error(transparent)]
    Legacy(#[from] LegacyError),
    /// What it carries with it cannot be read.
    #[error("in what it carries, {0}")]
    Embed(#[from] SignatureError),
    /// What should follow from it could not be started.
    #[error(transparent)]
    Unstartable(#[from] Unstartable),
    /// It is one of Celery's own tasks, and not served here.
    #[error("`{name}` is not served: {reason}")]
    Unserved { name: String, reason: &'static str },
    /// This worker has no task of that name.
    #[error("no task is named `{name}` here{}", .nearest.as_ref().map(|near| format!("; the nearest is `{near}`")).unwrap_or_default())]
    Unknown { name: String, nearest: Option<String> },
    /// Its arguments do not fit the task.
    #[error(transparent)]
    Arguments(#[from] celeriac_protocol::ArgumentError),
}

impl Unusable {
    /// A word for the header that says why a message is in the dead-letter queue.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Headers(_) | Self::Body(_) | Self::Legacy(_) | Self::Embed(_) => "unreadable",
            Self::Unstartable(_) | Self::Unserved { .. } => "unsupported",
            Self::Unknown { .. } => "unknown-task",
            Self::Arguments(_) => "wrong-arguments",
        }
    }

    /// The kind of error under which it is recorded.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Headers(_) | Self::Body(_) | Self::Legacy(_) | Self::Embed(_) => "DecodeError",
            Self::Unstartable(_) | Self::Unserved { .. } => "NotImplementedError",
            Self::Unknown { .. } => "NotRegistered",
            Self::Arguments(_) => "ArgumentError",
        }
    }
}

/// The task that a message asks for.
pub(crate) fn find_task<'a>(registry: &'a Registry, headers: &TaskHeaders) -> Result<&'a TaskDefinition, Unusable> {
    if let Some(task) = registry.get(&headers.task) {
        return Ok(task);
    }
    Err(match builtin::why_unserved(&headers.task) {
        Some(reason) => Unusable::Unserved { name: headers.task.clone(), reason },
        None => Unusable::Unknown {
            name: headers.task.clone(),
            nearest: registry.nearest(&headers.task).map(str::to_owned),
        },
    })
}

/// The headers of a task. A message of protocol 1, whose headers stand in its body, is made one of protocol 2.
pub(crate) fn read_headers(message: &mut Message, limits: &DecodeLimits) -> Result<TaskHeaders, Unusable> {
    let error = match TaskHeaders::read(&message.headers) {
        Ok(headers) => return Ok(headers),
        Err(error) => error,
    };
    let is_old_fashioned = message.headers.get(names::TASK).is_none() && !message.body.is_empty();
    if !is_old_fashioned {
        return Err(error.into());
    }
    // What is no task of protocol 1 either is told of as what it most likely was to be.
    let (codec, value) = read_value(message, limits).map_err(|_| error.clone())?;
    if !matches!(&value, Value::Map(entries) if entries.contains_key(names::TASK)) {
        return Err(error.into());
    }
    let (headers, body) = legacy::read(value, &TimeZone::system())?;
    let rewritten = codec.encode(&body).map_err(|_| error)?;
    message.body = rewritten.into();
    message.headers.remove(names::COMPRESSION);
    headers.clone().write(&mut message.headers, None);
    Ok(headers)
}

/// The arguments that a message carries.
pub(crate) fn read_body(message: &Message, limits: &DecodeLimits) -> Result<(Body, Embed), Unusable> {
    let (_, value) = read_value(message, limits)?;
    let body = Body::from_value(value)?;
    let embed = Embed::read(&body.embed)?;
    Ok((body, embed))
}

fn read_value(message: &Message, limits: &DecodeLimits) -> Result<(Codec, Value), Unusable> {
    let codec = Codec::from_content_type(message.properties.content_type.as_deref())?;
    let value = match message.headers.get(names::COMPRESSION) {
        None | Some(Value::Null) => codec.decode_value(&message.body, limits)?,
        Some(Value::Text(name)) => {
            let plain = Compression::from_header(name)?.decompress(&message.body, limits.size)?;
            codec.decode_value(&plain, limits)?
        }
        Some(other) => {
            let found = other.kind().to_owned();
            return Err(HeaderError::Invalid { name: names::COMPRESSION, expected: "a string", found }.into());
        }
    };
    Ok((codec, value))
}
