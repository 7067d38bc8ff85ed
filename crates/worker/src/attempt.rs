//! One delivery of a task, on its way through the worker. [`process`] names its steps in their order: read it first.
//!
//! Each step is a function in the file of its name:
//!
//! - `decode`: bytes to headers, task and arguments; `follow_up_check`: everything that follows can be sent;
//! - `reject`: the message cannot run here, whatever is tried;
//! - `admission`: expired, revoked, recorded before, or not due yet; `duplicate`: what an earlier delivery left in the store;
//! - `rate`: the task may not start as often as it comes;
//! - `crash`: deliveries whose worker was lost are counted, and quarantined;
//! - `revocation`: a revoked task does not begin, or comes to its end;
//! - `execute`, `hooks`: runs the task; `transaction`: the same within a transaction;
//! - `decide`: outcome and policy give a decision, pure;
//! - `complete`: carries the decision out, in the order that the invariants demand;
//! - `settle`: acknowledges, rejects or requeues.
//!
//! They share `recorded`, `row` and `record` (the row of a task, and its way to the store), `follow_up` (tasks and replies that follow
//! from an outcome), `dead_letter`, `resend`, `reply` and `publish` (messages that are sent because of a delivery).

pub(crate) mod admission;
pub(crate) mod complete;
pub(crate) mod crash;
pub(crate) mod dead_letter;
pub(crate) mod decide;
pub(crate) mod decode;
pub(crate) mod duplicate;
pub(crate) mod execute;
pub(crate) mod follow_up;
pub(crate) mod follow_up_check;
pub(crate) mod hooks;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod rate;
pub(crate) mod record;
pub(crate) mod recorded;
pub(crate) mod reject;
pub(crate) mod reply;
pub(crate) mod resend;
pub(crate) mod revocation;
pub(crate) mod row;
pub(crate) mod settle;
pub(crate) mod transaction;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::Settlement;
use celeriac_protocol::{Embed, Failure, HeaderMap, State, TaskHeaders};
use celeriac_telemetry::events::worker::TaskInterrupted;
use celeriac_telemetry::trace::ProcessSpan;
use jiff::Timestamp;

use crate::attempt::recorded::{RecordedArguments, RunTiming};
use crate::runtime::WorkerRuntime;
use crate::slots::{SlotMeter, TaskSlot};
use crate::task::definition::TaskDefinition;
use crate::task::received::Received;

/// One delivery whose headers are read, and all that its steps have found out so far.
pub(crate) struct Attempt<'a> {
    pub(crate) runtime: &'a WorkerRuntime,
    pub(crate) received: Arc<Received>,
    pub(crate) received_at: Timestamp,
    pub(crate) span: ProcessSpan,
    /// Measures the slots of its queue.
    pub(crate) meter: Arc<SlotMeter>,
    /// The slot in which it runs. `None` while it waits for others.
    pub(crate) slot: Option<TaskSlot>,
    /// `None` once it was acknowledged.
    pub(crate) settlement: Option<Settlement>,
    /// The task that it asks for, once that is found.
    pub(crate) task: Option<&'a TaskDefinition>,
    /// The tasks that follow from it, once they are known to be possible.
    pub(crate) embed: Embed,
    /// Its arguments, for its row.
    pub(crate) arguments: Option<RecordedArguments>,
    /// When it ran, and how long.
    pub(crate) timing: Option<RunTiming>,
}

/// A step's value, or the end of the attempt, which is no error.
pub(crate) type Step<T> = Result<T, Processed>;

/// The way a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Everything that follows from it is safe: the broker may forget it.
    Done,
    /// Another delivery of the same task came to another end, which stands: nothing follows from this one.
    Superseded,
    /// It goes back to its queue.
    Requeue,
    /// The broker itself moves it to the dead-letter queue.
    Reject,
}

/// The end of an attempt: the disposition of its delivery, and what its span tells of it.
#[derive(Debug)]
pub(crate) struct Processed {
    pub(crate) disposition: Disposition,
    pub(crate) state: State,
    pub(crate) failure: Option<Failure>,
}

/// The worker stops, and the attempt has to end where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl Attempt<'_> {
    pub(crate) fn headers(&self) -> &TaskHeaders {
        &self.received.headers
    }

    /// The headers of its message, those that are not a task's included.
    pub(crate) fn message_headers(&self) -> &HeaderMap {
        &self.received.message.headers
    }

    /// Its number among the attempts of its task, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.headers().retries.saturating_add(1)
    }

    /// Returns whether nobody wants its result: neither a row of it, nor a reply.
    pub(crate) fn ignores_result(&self) -> bool {
        let declared = self.task.is_some_and(|task| task.options.ignore_result);
        self.headers().ignore_result.unwrap_or(declared)
    }

    /// Returns whether a success is recorded with its result.
    pub(crate) fn keeps_outcome(&self) -> bool {
        self.runtime.results.is_some() && !self.ignores_result()
    }

    /// Returns whether anybody awaits a reply.
    pub(crate) fn is_awaited(&self) -> bool {
        let awaited = self.received.message.properties.reply_to.as_deref().is_some_and(|queue| !queue.is_empty());
        awaited && self.runtime.replies && !self.ignores_result()
    }

    /// Ids of the tasks that it has sent.
    pub(crate) fn children(&self) -> Vec<String> {
        self.received.client.get().and_then(|client| client.lineage()).map(|own| own.children()).unwrap_or_default()
    }

    /// Frees its slot for the next task: what remains is waiting for others.
    pub(crate) fn release_slot(&mut self) {
        self.slot = None;
    }

    /// Waits for a slot, unless the worker stops first.
    pub(crate) async fn take_slot(&mut self) -> Result<(), Interrupted> {
        let slot = self.unless_stopping(self.runtime.slots.take(&self.meter)).await?;
        self.slot = Some(slot.ok_or(Interrupted)?);
        Ok(())
    }

    /// The end of an attempt that the worker's stop has interrupted: it does not count.
    pub(crate) fn interrupted(&self) -> Processed {
        let TaskHeaders { task, id, .. } = self.headers();
        self.span.emit(&TaskInterrupted { task, id });
        Disposition::Requeue.into()
    }

    /// Waits, unless the worker stops first.
    pub(crate) async fn sleep_unless_stopping(&self, wait: Duration) -> Result<(), Interrupted> {
        self.unless_stopping(tokio::time::sleep(wait)).await
    }

    /// Waits for something, unless the worker stops first.
    pub(crate) async fn unless_stopping<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.runtime.interrupt().cancelled() => Err(Interrupted),
            awaited = awaited => Ok(awaited),
        }
    }
}

impl Processed {
    pub(crate) fn new(disposition: Disposition, state: State) -> Self {
        Self { disposition, state, failure: None }
    }

    /// Goes on with what comes next, unless the delivery goes back to its queue, or nothing follows from it.
    pub(crate) async fn and_then(mut self, next: impl Future<Output = Disposition>) -> Self {
        if !matches!(self.disposition, Disposition::Requeue | Disposition::Superseded) {
            match next.await {
                Disposition::Done => {}
                disposition => self.disposition = disposition,
            }
        }
        self
    }
}

impl From<Disposition> for Processed {
    /// An end before anything was decided about the task.
    fn from(disposition: Disposition) -> Self {
        Self::new(disposition, State::Pending)
    }
}

impl From<Interrupted> for Processed {
    fn from(Interrupted: Interrupted) -> Self {
        Disposition::Requeue.into()
    }
}
