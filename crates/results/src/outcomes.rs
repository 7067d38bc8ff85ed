//! Outcomes: what a store records of tasks, and how that is found and awaited.

use std::fmt;

use celeriac_protocol::State;
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::error::Result;
use crate::record::{AttemptRecord, TaskRecord};

/// The outcomes in a store.
pub trait Outcomes: fmt::Debug + Send + Sync + 'static {
    /// Writes records. When it returns `Ok` they are durable; after an error each of them may stand or not, and writing
    /// all of them again puts that right.
    ///
    /// Answers in the order of the records. An id may occur more than once in a call: the later record is written
    /// later. What stands already gives way by these rules:
    ///
    /// - a `SUCCESS` or `IGNORED` stays;
    /// - everything else gives way to a `SUCCESS`, and to whatever comes of a later replay;
    /// - what came of an earlier replay changes nothing;
    /// - another end (`FAILURE`, `REVOKED`, `REJECTED`) stays;
    /// - what has not ended gives way to any end, and to a step that is not older: more attempts, or as many and not an
    ///   earlier state;
    /// - a `RETRY` stays beside one of another run of the same attempt, since the next attempt follows from it;
    /// - the same outcome of the same attempt by the same worker counts as stored, since it is the one that was written
    ///   again after a lost connection.
    ///
    /// A time, an argument or a relation that stands already stays where the new record has none.
    ///
    /// With a record that is written, the attempt that it tells of is written if it ran and did not succeed.
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>>;

    /// Tells those who wait in [`finished`](Self::finished) that these tasks have ended, whose rows were written by somebody
    /// else, such as a transaction. It is no more than a hint: they look for themselves now and then.
    fn announce<'a>(&'a self, _ids: &'a [String]) -> BoxFuture<'a, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns what is known of a task.
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>>;

    /// Returns every attempt of a task that is on record, in order.
    fn attempts<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>>;

    /// Waits until a task has ended, and tells how. Waits for ever: the caller brings the deadline.
    ///
    /// Comes back by itself from a lost connection.
    ///
    /// # Errors
    /// Only when the store is closed by this program.
    fn finished<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>>;

    /// Deletes what is known of a task and its attempts; whether there was anything.
    fn forget<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Deletes tasks and their attempts that ended before a time, the oldest first, and no more than `at_most` of them. Returns how many it were.
    fn sweep(&self, ended_before: Timestamp, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// The fate of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It stands in the store.
    Stored,
    /// Another outcome stood there and stays, by the rules of [`Outcomes::record`].
    Kept(State),
    /// The store cannot hold it, now or ever. The other records of the call are not affected.
    Refused {
        /// The reason.
        reason: String,
    },
}
