//! Looking through a queue from its head without taking anything that is not wanted.
//!
//! AMQP has no such look: whoever sees a message has it delivered, and whoever wants to see the next keeps it. So a browser
//! keeps what it has shown at the broker, not here, and gives it back at its end, in order. Meanwhile nobody else is given
//! those messages.

use std::fmt;

use celeriac_protocol::Message;
use futures::future::BoxFuture;

use crate::delivery::DeliveryInfo;
use crate::error::Result;

/// A look through one queue, from its head to what was its end when it began.
///
/// What comes onto the queue later is not shown, so that a look ends although its messages come back meanwhile. Others
/// that consume the queue go on doing so: each message is seen by one of them or by the browser.
///
/// Dropping it gives everything back that was not removed, as [`Browser::close`] does, without waiting and in any order.
pub trait Browser: fmt::Debug + Send {
    /// How many messages were ready when the look began.
    fn ready(&self) -> u64;

    /// The next message; the one before stays on the queue. `None` when there are no more.
    ///
    /// # Errors
    /// [`Error::LookLost`](crate::Error::LookLost) when the connection was lost or another consumer has the queue to itself:
    /// then everything is back that was not removed.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Browsed>>>;

    /// Takes the message off the queue that was shown last. Nothing when it was already.
    fn remove(&mut self);

    /// Waits until the broker has noted what was removed.
    ///
    /// # Errors
    /// When that is not known: some of it may be on the queue again.
    fn removed(&mut self) -> BoxFuture<'_, Result<()>>;

    /// Gives everything back that was not removed, in the order in which it was shown, and waits until the broker has it.
    ///
    /// # Errors
    /// When that is not known: the broker gives it back by itself when the connection ends, in any order.
    fn close(self: Box<Self>) -> BoxFuture<'static, Result<()>>;
}

/// A message that stands on a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Browsed {
    /// The message.
    pub message: Message,
    /// Where it came from.
    pub origin: DeliveryInfo,
}
