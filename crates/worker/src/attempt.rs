//! The steps of one delivery. [`process`] lists them in order: read it first.
//!
//! Each step is a function in a file of its name:
//!
//! - `decode`: turns bytes into headers, task and arguments; `follow_up_check`: checks that every
//!   follow-up can be sent;
//! - `reject`: ends a message that can never run here;
//! - `admission`: ends or delays a task that has expired, is revoked, is recorded already, or is
//!   not due; `duplicate`: applies the outcome that an earlier delivery recorded;
//! - `long_run`: delays a task that runs already; returns the message of a task that runs for long;
//! - `rate`: delays a task that exceeds its rate;
//! - `crash`: counts deliveries whose worker was lost, and quarantines their task;
//! - `revocation`: keeps a revoked task from starting, or ends it;
//! - `execute`, `hooks`: run the task; `transaction`: runs it within a transaction;
//! - `decide`: turns outcome and policy into a decision; pure;
//! - `complete`: carries out the decision, in the order that the invariants require;
//! - `replace`: sends the tasks in place of the task;
//! - `settle`: acknowledges, rejects or requeues.
//!
//! The steps share `recorded`, `row` and `record` (the row of a task, and its way to the store),
//! `stored` (reads them), `replaced` (the row of a replaced task), `outcome` (records an outcome,
//! and finds the delivery that sends its follow-ups), `stored_outcome` (counts the outcome of
//! another delivery for its chord), `body` (decodes a body when there is memory for it), `refused`
//! (ends an attempt that broker or store cannot accept), `embed` and `follow_up` (the tasks and
//! replies that follow from an outcome, and the body of a chord), `celerys_chords` (the follow-ups
//! of `celery.chord_unlock` and `celery.chord`), `joins` (the chords in the store), and
//! `dead_letter`, `resend`, `rebind`, `reply` and `publish` (the messages that a delivery causes).

pub(crate) mod admission;
pub(crate) mod body;
pub(crate) mod celerys_chords;
pub(crate) mod complete;
pub(crate) mod crash;
pub(crate) mod dead_letter;
pub(crate) mod decide;
pub(crate) mod decode;
pub(crate) mod duplicate;
pub(crate) mod embed;
pub(crate) mod end_chord;
pub(crate) mod execute;
pub(crate) mod follow_up;
pub(crate) mod follow_up_check;
pub(crate) mod hooks;
pub(crate) mod joins;
pub(crate) mod long_run;
pub(crate) mod outcome;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod rate;
pub(crate) mod rebind;
pub(crate) mod record;
pub(crate) mod recorded;
pub(crate) mod refused;
pub(crate) mod reject;
pub(crate) mod reject_reason;
pub(crate) mod replace;
pub(crate) mod replaced;
pub(crate) mod reply;
pub(crate) mod resend;
pub(crate) mod revocation;
pub(crate) mod row;
pub(crate) mod settle;
pub(crate) mod stored;
pub(crate) mod stored_outcome;
pub(crate) mod transaction;
pub(crate) mod unknown;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::Settlement;
use celeriac_client::Children;
use celeriac_protocol::headers::names;
use celeriac_protocol::redact::RedactedValues;
use celeriac_protocol::{Embed, Failure, HeaderMap, TaskHeaders, TaskState};
use celeriac_results::JoinMember;
use celeriac_telemetry::events::worker::task::TaskInterrupted;
use celeriac_telemetry::trace::ProcessSpan;
use jiff::Timestamp;

use crate::attempt::recorded::{RecordedArguments, RunTiming};
use crate::memory::ReservedMemory;
use crate::options::CHORD_UNLOCK;
use crate::runtime::WorkerRuntime;
use crate::slots::{SlotMeter, TaskSlot};
use crate::task::definition::TaskDefinition;
use crate::task::received::{MessagePlace, Received};

/// One delivery with its headers, and the results of its steps so far.
pub(crate) struct Attempt<'a> {
    pub(crate) runtime: &'a WorkerRuntime,
    pub(crate) received: Arc<Received>,
    pub(crate) received_at: Timestamp,
    pub(crate) span: ProcessSpan,
    /// Measures the slots of the queue.
    pub(crate) meter: Arc<SlotMeter>,
    /// The slot of the task. `None` while the attempt waits.
    pub(crate) slot: Option<TaskSlot>,
    /// `None` after the acknowledgement.
    pub(crate) settlement: Option<Settlement>,
    /// The definition of the task, once it is found.
    pub(crate) task: Option<&'a TaskDefinition>,
    /// The tasks that follow from this one, once they are known to be valid.
    pub(crate) embed: Embed,
    /// The arguments, for the row.
    pub(crate) arguments: Option<RecordedArguments>,
    /// The arguments as Python prints them, if monitors are told and the message has no such text.
    pub(crate) shown_arguments: Option<Box<(String, String)>>,
    /// The values of arguments that are not shown, once the arguments are known.
    pub(crate) redacted: RedactedValues,
    /// Start and duration of the run.
    pub(crate) timing: Option<RunTiming>,
    /// The memory of the decoded body, once it is decoded.
    pub(crate) memory: Option<ReservedMemory>,
    /// The row of the outcome has counted the task as a member of its chord.
    pub(crate) is_counted: bool,
}

/// A step's value, or the end of the attempt, which is not an error.
pub(crate) type AttemptStep<T> = Result<T, Processed>;

/// The end of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The task's outcome and follow-ups are durable, and the broker may forget the delivery.
    Done,
    /// Another delivery of the same task has recorded an outcome. This delivery causes nothing.
    Superseded,
    /// The delivery returns to its queue.
    Requeue,
    /// The broker moves the message to the dead-letter queue.
    Reject,
}

/// The end of an attempt: the disposition of its delivery, and the state for its span.
#[derive(Debug)]
pub(crate) struct Processed {
    pub(crate) disposition: Disposition,
    pub(crate) state: TaskState,
    pub(crate) failure: Option<Failure>,
    /// True if the message was sent for later. Nothing of the attempt has run.
    pub(crate) held: bool,
}

/// The worker stops, and the attempt ends at this point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interrupted;

impl Attempt<'_> {
    pub(crate) fn headers(&self) -> &TaskHeaders {
        &self.received.headers
    }

    /// Returns the headers of the message, including those that are not a task's.
    pub(crate) fn message_headers(&self) -> &HeaderMap {
        &self.received.message.headers
    }

    /// Returns the number of the attempt among those of the task, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.headers().retries.saturating_add(1)
    }

    /// Returns `true` if the result is needed neither in a row nor in a reply.
    pub(crate) fn ignores_result(&self) -> bool {
        let declared = self.task.is_some_and(|task| task.options.ignore_result);
        self.headers().ignore_result.unwrap_or(declared)
    }

    /// Returns the membership of the task in a chord whose members the result store counts.
    pub(crate) fn member(&self) -> Option<JoinMember> {
        self.runtime.results.as_ref()?;
        let join = self.message_headers().text(names::JOIN)?.to_owned();
        Some(JoinMember { join, index: self.headers().group_index? })
    }

    /// Returns `true` if a success is recorded with its result. That of a member of a chord is,
    /// even if it is ignored, because the body needs it.
    pub(crate) fn keeps_outcome(&self) -> bool {
        self.runtime.results.is_some() && (!self.ignores_result() || self.member().is_some() || self.is_in_celerys())
    }

    /// Returns `true` for a member of a chord that a Celery client has sent, and for the task that
    /// waits for the members.
    fn is_in_celerys(&self) -> bool {
        self.embed.chord.is_some() || self.headers().task == CHORD_UNLOCK
    }

    /// Returns `true` if anything follows from the outcome: a task, a reply, or the body of a
    /// chord.
    pub(crate) fn is_followed(&self) -> bool {
        !self.embed.is_empty() || self.is_awaited() || self.member().is_some()
    }

    /// Returns `true` if the message requests a reply.
    pub(crate) fn is_awaited(&self) -> bool {
        let awaited = self.received.message.properties.reply_to.as_deref().is_some_and(|queue| !queue.is_empty());
        awaited && self.runtime.replies && !self.ignores_result()
    }

    /// Returns `true` if another delivery of the message will find the outcome of this attempt, and
    /// sends its follow-ups.
    pub(crate) fn is_taken_back(&self) -> bool {
        let is_void = self.settlement.as_ref().is_some_and(Settlement::is_void);
        is_void || self.received.place() != MessagePlace::Held
    }

    /// Returns the tasks that this one has sent.
    pub(crate) fn children(&self) -> Children {
        let client = self.received.client.get();
        client.and_then(|client| client.lineage()).map(|own| own.children()).unwrap_or_default()
    }

    /// Frees the slot for the next task, because the remaining steps only wait.
    pub(crate) fn release_slot(&mut self) {
        self.slot = None;
    }

    /// Waits for a slot, unless the worker stops first.
    pub(crate) async fn take_slot(&mut self) -> Result<(), Interrupted> {
        let slot = self.unless_stopping(self.runtime.slots.take(&self.meter)).await?;
        self.slot = Some(slot.ok_or(Interrupted)?);
        Ok(())
    }

    /// Reserves memory for a body of this estimated size. Returns `false` if there is not enough.
    pub(crate) fn try_reserve_memory(&mut self, size: usize) -> bool {
        if self.memory.is_none() {
            self.memory = self.runtime.decode_memory.try_reserve(size);
        }
        self.memory.is_some()
    }

    /// Waits for memory for a body. The slot is free meanwhile, for a task that needs less.
    pub(crate) async fn reserve_memory(&mut self, size: usize) -> Result<(), Interrupted> {
        let had_slot = self.slot.take().is_some();
        self.memory = Some(self.unless_stopping(self.runtime.decode_memory.reserve(size)).await?);
        if had_slot {
            self.take_slot().await?;
        }
        Ok(())
    }

    /// Returns the end of an attempt that was interrupted because the worker stops. Such an attempt
    /// does not count.
    pub(crate) fn interrupted(&self) -> Processed {
        let TaskHeaders { task, id, .. } = self.headers();
        self.span.emit(&TaskInterrupted { task, id });
        Disposition::Requeue.into()
    }

    /// Sleeps, unless the worker stops first.
    pub(crate) async fn sleep_unless_stopping(&self, wait: Duration) -> Result<(), Interrupted> {
        self.unless_stopping(tokio::time::sleep(wait)).await
    }

    /// Waits until the clock is certain, or until the worker stops.
    pub(crate) async fn settle_clock(&self) {
        tokio::select! {
            biased;
            () = self.runtime.clock.settled() => {}
            () = self.runtime.interrupt().cancelled() => {}
        }
    }

    /// Waits for a future, unless the worker stops first.
    pub(crate) async fn unless_stopping<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.runtime.interrupt().cancelled() => Err(Interrupted),
            awaited = awaited => Ok(awaited),
        }
    }
}

impl Processed {
    pub(crate) fn new(disposition: Disposition, state: TaskState) -> Self {
        Self { disposition, state, failure: None, held: false }
    }

    /// Returns the end of an attempt whose message was sent for later.
    pub(crate) fn held(disposition: Disposition) -> Self {
        Self { held: true, ..disposition.into() }
    }

    pub(crate) fn failed(disposition: Disposition, state: TaskState, failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::new(disposition, state) }
    }
}

impl Disposition {
    /// Returns the disposition of the next step, or this one if the next step is done.
    pub(crate) fn and(self, next: Self) -> Self {
        if next == Self::Done { self } else { next }
    }
}

impl From<Disposition> for Processed {
    /// Returns the end of an attempt without a decision about its task.
    fn from(disposition: Disposition) -> Self {
        Self::new(disposition, TaskState::Pending)
    }
}

impl From<Interrupted> for Processed {
    fn from(Interrupted: Interrupted) -> Self {
        Disposition::Requeue.into()
    }
}
