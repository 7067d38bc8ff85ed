//! A task message with its headers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use celeriac_broker::DeliveryInfo;
use celeriac_client::Client;
use celeriac_protocol::headers::names;
use celeriac_protocol::{Message, TaskHeaders};
use jiff::Timestamp;

/// A task message.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) message: Message,
    pub(crate) headers: TaskHeaders,
    pub(crate) origin: DeliveryInfo,
    /// The client for sending further tasks, after its first use.
    pub(crate) client: OnceLock<Client>,
    /// Start of the attempt, once it has started.
    started_at: OnceLock<Timestamp>,
    /// True once the task listens for the signal to end.
    listens: AtomicBool,
    /// True once the running task has a row.
    has_row: AtomicBool,
    /// The place of the message, as its number.
    place: AtomicU8,
}

/// The place of the message of a running attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MessagePlace {
    /// The worker holds the delivery.
    Held,
    /// The worker holds the delivery. The message may be on its queue too.
    Returning,
    /// The message is on its queue, and the delivery is acknowledged.
    Returned,
}

impl Received {
    pub(crate) fn new(message: Message, headers: TaskHeaders, origin: DeliveryInfo) -> Self {
        Self {
            message,
            headers,
            origin,
            client: OnceLock::new(),
            started_at: OnceLock::new(),
            listens: AtomicBool::new(false),
            has_row: AtomicBool::new(false),
            place: AtomicU8::new(MessagePlace::Held as u8),
        }
    }

    /// Records the start of the attempt.
    pub(crate) fn start(&self, at: Timestamp) {
        let _ = self.started_at.set(at);
    }

    /// Returns the start of the attempt, or `None` if it waits.
    pub(crate) fn started_at(&self) -> Option<Timestamp> {
        self.started_at.get().copied()
    }

    /// Records that the task listens for the signal to end.
    pub(crate) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the task listens for the signal to end.
    pub(crate) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Records that the running task has a row.
    pub(crate) fn set_has_row(&self) {
        self.has_row.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the task has a row because of a state that it has given itself.
    pub(crate) fn has_row(&self) -> bool {
        self.has_row.load(Ordering::Relaxed)
    }

    /// Records the place of the message.
    pub(crate) fn set_place(&self, place: MessagePlace) {
        self.place.store(place as u8, Ordering::Relaxed);
    }

    /// Returns the place of the message.
    pub(crate) fn place(&self) -> MessagePlace {
        let places = [MessagePlace::Held, MessagePlace::Returning];
        let place = self.place.load(Ordering::Relaxed);
        places.into_iter().find(|known| *known as u8 == place).unwrap_or(MessagePlace::Returned)
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
