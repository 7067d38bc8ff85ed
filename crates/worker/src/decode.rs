//! From a message to a task that can run, or to the reason why not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use celeriac_broker::Origin;
use celeriac_client::Client;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders, Unreadable};

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
    /// Whether the task has asked to be told when it should come to an end.
    listens: AtomicBool,
}

impl Received {
    pub(crate) fn new(message: Message, headers: TaskHeaders, origin: Origin) -> Self {
        Self { message, headers, origin, client: OnceLock::new(), listens: AtomicBool::new(false) }
    }

    /// The task asks to be told when it should come to an end.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Whether the task has asked to be told.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Whether this attempt was delivered before, to anybody.
    pub(crate) fn is_again(&self) -> bool {
        self.origin.redelivered || self.message.headers.get(names::SUSPECTED).is_some()
    }

    /// First task of the workflow.
    pub(crate) fn root_id(&self) -> &str {
        self.headers.root_id.as_deref().unwrap_or(&self.headers.id)
    }
}

/// Why a message cannot run here, whatever is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// It is no task that can be understood.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
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
            Self::Unreadable(_) => "unreadable",
            Self::Unstartable(_) | Self::Unserved { .. } => "unsupported",
            Self::Unknown { .. } => "unknown-task",
            Self::Arguments(_) => "wrong-arguments",
        }
    }

    /// The kind of error under which it is recorded.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "DecodeError",
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
