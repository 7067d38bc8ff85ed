//! From bytes to a task that can run, or to the reason why not.

use celeriac_broker::Origin;
use celeriac_protocol::{Body, Codec, DecodeLimits, HeaderError, Message, TaskHeaders};

use crate::handler::TaskDefinition;
use crate::registry::Registry;

/// A message that is a task.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) headers: TaskHeaders,
    pub(crate) origin: Origin,
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
            Self::Headers(_) | Self::Body(_) => "unreadable",
            Self::Unknown { .. } => "unknown-task",
            Self::Arguments(_) => "wrong-arguments",
        }
    }

    /// The kind of error under which it is recorded.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Headers(_) | Self::Body(_) => "DecodeError",
            Self::Unknown { .. } => "NotRegistered",
            Self::Arguments(_) => "ArgumentError",
        }
    }
}

/// The task that a message asks for.
pub(crate) fn find_task<'a>(registry: &'a Registry, headers: &TaskHeaders) -> Result<&'a TaskDefinition, Unusable> {
    registry.get(&headers.task).ok_or_else(|| Unusable::Unknown {
        name: headers.task.clone(),
        nearest: registry.nearest(&headers.task).map(str::to_owned),
    })
}

/// The arguments that a message carries.
pub(crate) fn read_body(message: &Message, limits: &DecodeLimits) -> Result<Body, Unusable> {
    let codec = Codec::from_content_type(message.properties.content_type.as_deref())?;
    Ok(codec.decode_body(&message.body, limits)?)
}
