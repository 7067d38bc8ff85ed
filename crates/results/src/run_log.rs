//! The run log: attempts whose message is on the broker while they run.
//!
//! RabbitMQ limits the time for which a worker may hold a message. So the message of a long attempt
//! returns to its queue before the attempt ends. An entry is a lease, which the running worker
//! renews, and the message waits as long as the lease lasts. If the worker dies, the lease ends.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::crash_log::AttemptKey;
use crate::error::Result;

/// Records attempts that run while the broker has their message.
pub trait RunLog: fmt::Debug + Send + Sync + 'static {
    /// Records that `worker` runs an attempt, for the time of `lease` from now.
    fn renew_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str, lease: Duration) -> BoxFuture<'a, Result<()>>;

    /// Returns the worker that runs an attempt, if its lease has not ended.
    fn find_run<'a>(&'a self, attempt: &'a AttemptKey) -> BoxFuture<'a, Result<Option<String>>>;

    /// Removes an attempt that has ended on `worker`. Changes nothing if another worker runs it.
    fn end_run<'a>(&'a self, attempt: &'a AttemptKey, worker: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Deletes at most `at_most` attempts whose lease has ended, and returns their number.
    fn sweep_runs(&self, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}
