//! Browses a queue from its head, and takes only the chosen messages.
//!
//! AMQP has no such operation: it only delivers messages. So a browser leaves the messages that it
//! has shown unacknowledged, and returns them at its end, in order. No other consumer gets them
//! meanwhile.

use std::fmt;

use celeriac_protocol::Message;
use futures::future::BoxFuture;

use crate::delivery::DeliveryInfo;
use crate::error::Result;

/// A browser of one queue, from its head to its tail at the start.
///
/// Messages that arrive later are not shown, so a browser ends. Other consumers of the queue
/// continue: each message goes to one of them or to the browser.
///
/// Dropping a browser returns all messages that were not removed, as [`Browser::close`] does, but
/// in any order and without waiting.
pub trait Browser: fmt::Debug + Send {
    /// Returns the number of messages that were ready at the start.
    fn ready(&self) -> u64;

    /// Returns the next message, or `None` at the end. The message before it stays on the queue.
    ///
    /// # Errors
    /// Returns [`Error::LookLost`](crate::Error::LookLost) if the connection was lost, or if
    /// another consumer has the queue exclusively. The queue then has every message that was not
    /// removed.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Browsed>>>;

    /// Removes the message that was shown last. Does nothing if it is removed already.
    fn remove(&mut self);

    /// Waits until the broker has processed all removals.
    ///
    /// # Errors
    /// Returns an error if that is unknown. Some of the messages may be on the queue again.
    fn removed(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Returns all messages that were not removed to the queue, in their order, and waits until the
    /// broker has them.
    ///
    /// # Errors
    /// Returns an error if that is unknown. The broker returns the messages when the connection
    /// ends, in any order.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// A message on a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Browsed {
    /// The message.
    pub message: Message,
    /// The origin of the message.
    pub origin: DeliveryInfo,
}
