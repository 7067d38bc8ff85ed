//! Tasks that are sent in somebody's own transaction: they stand in a table until a relay has sent them.

use celeriac_protocol::Message;
use jiff::Timestamp;

#[cfg(feature = "postgres")]
pub use crate::backends::postgres::outbox::add;
#[cfg(feature = "postgres")]
pub use crate::backends::postgres::relay::{Lead, Outbox};

#[cfg(not(feature = "postgres"))]
pub use absent::{Lead, Outbox, add};

/// A message for the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Task id.
    pub id: String,
    /// Task name.
    pub task: String,
    /// The exchange it goes to in the end.
    pub exchange: String,
    /// The routing key it goes with.
    pub routing_key: String,
    /// The queue that it is held for, where it is to run later.
    pub queue: Option<String>,
    /// Messages of one key are sent one after the other.
    pub order_key: Option<String>,
    /// Earliest time to run.
    pub eta: Option<Timestamp>,
    /// Time after which it must not start.
    pub expires: Option<Timestamp>,
    /// The message.
    pub message: Message,
}

/// A message that waits in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its place.
    pub seq: i64,
    /// When it was put there.
    pub created_at: Timestamp,
    /// How often it could not be sent.
    pub attempts: u32,
    /// The message itself.
    pub entry: Entry,
}

/// A message that could not be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsent {
    /// Its place.
    pub seq: i64,
    /// Why.
    pub error: String,
    /// When to try again.
    pub wait: std::time::Duration,
}

/// How it stands with the outbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// How many messages wait.
    pub waiting: u64,
    /// How many of them could not be sent when that was tried.
    pub failing: u64,
    /// When the oldest was put there.
    pub oldest_at: Option<Timestamp>,
    /// Whether somebody relays at this moment.
    pub led: bool,
}

/// Stands in for Postgres in a program that is built without it: there are no such values.
#[cfg(not(feature = "postgres"))]
mod absent {
    use std::time::Duration;

    use super::{Entry, Lag, Unsent, Waiting};
    use crate::error::Result;
    use crate::transaction::PgConnection;

    /// An outbox, which no store of this program has.
    #[derive(Debug)]
    pub enum Outbox {}

    /// The right to send from an outbox, which no store of this program has.
    #[derive(Debug)]
    pub enum Lead {}

    /// There is none.
    ///
    /// # Errors
    /// Never.
    pub async fn add(connection: &mut PgConnection, _: &[Entry]) -> Result<()> {
        match *connection {}
    }

    impl Outbox {
        /// There is none.
        pub async fn lead(&self) -> Result<Lead> {
            match *self {}
        }

        /// There is none.
        pub async fn lag(&self) -> Result<Lag> {
            match *self {}
        }
    }

    impl Lead {
        /// There is none.
        pub async fn window(&mut self, _: u32, _: u64) -> Result<Vec<Waiting>> {
            match *self {}
        }

        /// There is none.
        pub async fn conclude(&mut self, _: &[i64], _: &[Unsent]) -> Result<()> {
            match *self {}
        }

        /// There is none.
        pub async fn news(&mut self) -> Result<()> {
            match *self {}
        }

        /// There is none.
        pub async fn beat(&mut self) -> Result<()> {
            match *self {}
        }

        /// There is none.
        pub fn beats(&self) -> Duration {
            match *self {}
        }

        /// There is none.
        pub fn held_until(&self) -> tokio::time::Instant {
            match *self {}
        }

        /// There is none.
        pub async fn end(self) {
            match self {}
        }
    }
}
