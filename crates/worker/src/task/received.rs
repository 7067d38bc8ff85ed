//! A task message with its headers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use celeriac_broker::DeliveryInfo;
use celeriac_client::Client;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders};

/// A task message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) headers: TaskHeaders,
    pub(crate) origin: DeliveryInfo,
    /// The client for sending further tasks, after its first use.
    pub(crate) client: OnceLock<Client>,
    /// True once the task listens for the signal to end.
    listens: AtomicBool,
}

impl Received {
    pub(crate) fn new(message: Message, headers: TaskHeaders, origin: DeliveryInfo) -> Self {
        Self { message, headers, origin, client: OnceLock::new(), listens: AtomicBool::new(false) }
    }

    /// Records that the task listens for the signal to end.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the task listens for the signal to end.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Returns `true` if this attempt was delivered before, to any worker.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.origin.redelivered || self.message.headers.get(names::SUSPECTED).is_some()
    }

    /// Returns the id of the first task of the workflow.
    pub(crate) fn root_id(&self) -> &str {
        self.headers.root_id.as_deref().unwrap_or(&self.headers.id)
    }
}
