//! A message that asks for a task, with its headers read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use celeriac_broker::DeliveryInfo;
use celeriac_client::Client;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders};

/// A message that asks for a task.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) headers: TaskHeaders,
    pub(crate) origin: DeliveryInfo,
    /// The client with which the task sends others, once it has asked for one.
    pub(crate) client: OnceLock<Client>,
    /// Set once the task has asked to be told when it should come to an end.
    listens: AtomicBool,
}

impl Received {
    pub(crate) fn new(message: Message, headers: TaskHeaders, origin: DeliveryInfo) -> Self {
        Self { message, headers, origin, client: OnceLock::new(), listens: AtomicBool::new(false) }
    }

    /// Notes that the task asks to be told when it should come to an end.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Returns whether the task has asked to be told.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Returns whether this attempt was delivered before, to anybody.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.origin.redelivered || self.message.headers.get(names::SUSPECTED).is_some()
    }

    /// First task of the workflow.
    pub(crate) fn root_id(&self) -> &str {
        self.headers.root_id.as_deref().unwrap_or(&self.headers.id)
    }
}
