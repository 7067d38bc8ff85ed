//! The contract of a store for outcomes: recording, finding and awaiting them.

use std::fmt;
use std::time::Duration;

use celeriac_protocol::{Message, TaskState};
use futures::future::BoxFuture;

use crate::error::Result;
use crate::record::{AttemptRecord, SentRecord, TaskRecord};
use crate::task_end::TaskEnd;

/// The outcomes in a store.
pub trait Outcomes: fmt::Debug + Send + Sync + 'static {
    /// Writes records.
    ///
    /// After `Ok` they are durable. After an error each of them may be stored or not; writing all
    /// of them again is safe.
    ///
    /// Returns an answer for each record, in order. An id may occur more than once in a call, and
    /// the later record is written later. Existing rows are kept or replaced by these rules:
    ///
    /// - `SUCCESS` and `IGNORED` stay;
    /// - any other row is replaced by `SUCCESS`, and by any record of a later replay;
    /// - a record of an earlier replay changes nothing;
    /// - the other final states (`FAILURE`, `REVOKED`, `REJECTED`) stay;
    /// - a row that has not ended is replaced by any final state, and by a record that is not
    ///   older: with more attempts, or with as many and not an earlier state;
    /// - a `RETRY` stays if another run of the same attempt sends one, because the next attempt
    ///   follows from it;
    /// - the same outcome of the same attempt by the same worker counts as stored, because it is
    ///   the one that was written again after a lost connection;
    /// - a record in the state `SENT` changes no row.
    ///
    /// A time, an argument or a relation stays if the new record has none.
    ///
    /// If a record is written whose attempt ran and did not succeed, that attempt is written too.
    fn record<'a>(&'a self, records: &'a [TaskRecord]) -> BoxFuture<'a, Result<Vec<Recorded>>>;

    /// Writes a row in the state `SENT` for each task that has no row. Existing rows stay as they
    /// are.
    fn record_sent<'a>(&'a self, tasks: &'a [SentRecord]) -> BoxFuture<'a, Result<()>>;

    /// Notifies the waits in [`finished`](Self::finished) that these tasks have ended, after a
    /// transaction, for example, has written their rows.
    ///
    /// It is only a hint: the waits also check the store at intervals.
    fn announce(&self, _ends: Vec<TaskEnd>) -> BoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Returns the row of a task.
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TaskRecord>>>;

    /// Returns the message of the next attempt of a task, if its row has it: that of a `RETRY`
    /// whose message was recorded with it.
    fn next_attempt<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Message>>>;

    /// Returns all recorded attempts of a task, in order.
    fn attempts<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Vec<AttemptRecord>>>;

    /// Waits until a task has ended, and returns its row. Waits without a limit; the caller sets
    /// the deadline.
    ///
    /// It continues after a lost connection.
    ///
    /// # Errors
    /// Returns an error only if this program closes the store.
    fn finished<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>>;

    /// Waits until a task has ended, and returns a record that has at least its id, state, result
    /// and error. A store that is notified of them need not read the row.
    ///
    /// # Errors
    /// Returns an error only if this program closes the store.
    fn outcome<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<TaskRecord>> {
        self.finished(id)
    }

    /// Returns `true` if a task has a row, ended or not. Waits while the store is unavailable; the
    /// caller sets the deadline. Thousands of calls at once are answered together.
    fn has_row<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(self.find(id).await?.is_some()) })
    }

    /// Deletes the row and the attempts of a task. Returns `true` if there were any.
    fn forget<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Deletes at most `at_most` tasks that ended longer ago than `keep`, and their attempts, the
    /// oldest first. Returns their number.
    ///
    /// The clock of the database decides. A worker with a wrong clock would otherwise delete the
    /// outcomes of all workers.
    fn sweep(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// The result of writing one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// The record is stored.
    Stored,
    /// Another outcome was stored and stays, by the rules of [`Outcomes::record`].
    Kept(TaskState),
    /// The store can never hold the record. The other records of the call are not affected.
    Refused {
        /// The reason.
        reason: String,
    },
}
