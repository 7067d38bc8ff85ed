//! The life of one delivery, step by step. Read this first.
//!
//! ```text
//! headers ─ admit ─ decode ─ execute ─ decide ─ record ─ follow up and answer ─ settle
//! ```
//!
//! A delivery is settled last: what is acknowledged is recorded, and what follows from it is on its queue. A process
//! that dies anywhere before that leaves the delivery to another worker, which finds in the store how far this one got.
//!
//! A life is one future, made and moved for every delivery. What is not on the way of a plain success is therefore boxed where
//! it is awaited: otherwise each life would be as large as the largest of all ways, many times the memory that it needs.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Broker, Delivery, Origin, Settlement};
use celeriac_protocol::headers::names;
use celeriac_protocol::task::AckMode;
use celeriac_protocol::{ArgumentError, Body, DecodeLimits, Embed, Failure, Message, State, TaskHeaders};
use celeriac_results::{Backend, Begun, Recorded, Recorder, Suspects, TaskRecord};
use celeriac_telemetry::clock;
use celeriac_telemetry::events::worker::{
    TaskExpired, TaskFailed, TaskInterrupted, TaskReceived, TaskRetried, TaskSkipped, TaskStarted, TaskSucceeded,
};
use celeriac_telemetry::trace::{ProcessInfo, ProcessSpan};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Semaphore;

use crate::after::Again;
use crate::broadcast::make_own;
use crate::context::{TaskContext, World};
use crate::decide::{Tried, Verdict, decide, retry_until};
use crate::decode::{Received, Unusable, find_task};
use crate::execute::{Attempt, Bounds, execute};
use crate::follow_up::{self, Backoff, FollowUps, SHORTEST_HOLD};
use crate::handler::{Finished, Runner, TaskDefinition};
use crate::hooks::Hooked;
use crate::limits;
use crate::rate::Rates;
use crate::record::{self, Timing};
use crate::registry::Registry;
use crate::slots::{Slot, Slots};
use crate::transactional::Prepared;

/// What every life shares.
pub(crate) struct Core {
    pub(crate) name: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) topology: celeriac_topology::Topology,
    /// The queues in which it finds what is sent to every worker.
    pub(crate) broadcasts: HashSet<String>,
    pub(crate) results: Option<Results>,
    pub(crate) limits: DecodeLimits,
    /// Whether who awaits an answer gets one.
    pub(crate) replies: bool,
    pub(crate) slots: Arc<Slots>,
    pub(crate) rates: Arc<Rates>,
    /// How often a task may be delivered that seems to bring its worker down, where it does not say itself.
    pub(crate) max_deliveries: u32,
    /// The turn of a suspect that has to run alone.
    pub(crate) alone: Arc<Semaphore>,
    pub(crate) world: Arc<World>,
}

impl Core {
    /// Goes on until the worker gives up; then the delivery goes back, as it would if the process died here.
    async fn until_given_up<T: From<Ending>>(&self, leading: Pin<&mut impl Future<Output = T>>) -> T {
        self.world.give_up.run_until_cancelled(leading).await.unwrap_or_else(|| Ending::Again.into())
    }
}

/// Where outcomes go, and where earlier ones are looked up.
pub(crate) struct Results {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) recorder: Recorder,
    pub(crate) suspects: Suspects,
}

impl Results {
    /// Records a row; it is durable when this returns [`Ending::Done`].
    ///
    /// # Errors
    /// With the reason, when the store will never take this row, whatever is tried.
    pub(crate) async fn record(&self, row: Box<TaskRecord>) -> Result<Ending, String> {
        let state = row.state;
        match self.recorder.record(row).await {
            Ok(Recorded::Kept(kept)) if kept.is_final() && kept != state => Ok(Ending::Superseded),
            // Another delivery of this attempt, or of a later one, sends the next: one copy of it is enough.
            Ok(Recorded::Kept(State::Retry)) if state == State::Retry => Ok(Ending::Superseded),
            Ok(Recorded::Stored | Recorded::Kept(_)) => Ok(Ending::Done),
            Ok(Recorded::Refused { reason }) => Err(reason),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the outcome is not recorded; the task goes back to its queue");
                Ok(Ending::Again)
            }
        }
    }
}

/// How the life of a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything that follows from it is safe: the broker may forget it.
    Done,
    /// Another delivery of the same task came to another end, which stands: nothing follows from this one.
    Superseded,
    /// It goes back to its queue.
    Again,
    /// The broker itself moves it to the dead-letter queue.
    Refused,
}

/// How the life of a delivery ends, and what its span tells of it.
pub(crate) struct Ended {
    ending: Ending,
    state: State,
    failure: Option<Failure>,
}

impl Ended {
    pub(crate) fn of(ending: Ending, state: State) -> Self {
        Self { ending, state, failure: None }
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    /// Goes on with what comes next, unless the delivery goes back to its queue, or nothing follows from it.
    pub(crate) async fn and(mut self, next: impl Future<Output = Ending>) -> Self {
        if !matches!(self.ending, Ending::Again | Ending::Superseded) {
            match next.await {
                Ending::Done => {}
                ending => self.ending = ending,
            }
        }
        self
    }
}

impl From<Ending> for Ended {
    /// An end before anything was decided about the task.
    fn from(ending: Ending) -> Self {
        Self { ending, state: State::Pending, failure: None }
    }
}

/// The worker stops, and this life has to end where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interrupted;

/// Leads a delivery from its arrival to its settlement.
pub(crate) async fn live(core: Arc<Core>, delivery: Delivery, slot: Slot) {
    let received_at = clock::now();
    let (received, settlement) = match open(&core, delivery) {
        Ok(opened) => opened,
        Err(unreadable) => {
            drop(slot);
            let Unopened { message, origin, unusable, settlement } = *unreadable;
            let mut refused = Box::pin(follow_up::refuse_unread(&core, message, &origin, &unusable, received_at));
            return core.until_given_up(refused.as_mut()).await.settle(settlement);
        }
    };
    let span = begin_span(&core, &received);
    let life = Life { core: &core, received, received_at, span: &span };
    let mut settlement = Some(settlement);
    let Ended { ending, state, failure } = core.until_given_up(pin!(life.lead(slot, &mut settlement))).await;
    if let Some(settlement) = settlement {
        ending.settle(settlement);
    }
    span.record_settlement(ending.word());
    span.end(state, failure.as_ref());
}

/// A delivery whose headers cannot be read.
struct Unopened {
    message: Message,
    origin: Origin,
    unusable: Unusable,
    settlement: Settlement,
}

/// Reads the headers.
fn open(core: &Core, delivery: Delivery) -> Result<(Arc<Received>, Settlement), Box<Unopened>> {
    let Delivery { mut message, origin, settlement } = delivery;
    if core.broadcasts.contains(&*origin.queue) {
        make_own(&mut message.headers, &core.name);
    }
    match message.read_headers(&core.limits, TimeZone::system) {
        Ok(headers) => Ok((Arc::new(Received::new(message, headers, origin)), settlement)),
        Err(unreadable) => Err(Box::new(Unopened { message, origin, unusable: unreadable.into(), settlement })),
    }
}

/// The span of a delivery, which tells that it has arrived.
fn begin_span(core: &Core, received: &Received) -> ProcessSpan {
    let Received { message, headers, origin, .. } = received;
    let info = ProcessInfo {
        task: &headers.task,
        id: &headers.id,
        queue: &origin.queue,
        exchange: &origin.exchange,
        routing_key: &origin.routing_key,
        attempt: headers.retries.saturating_add(1),
        redelivered: origin.redelivered,
        worker: &core.name,
    };
    let span = ProcessSpan::start(&message.headers, &info);
    span.emit(&TaskReceived {
        task: &headers.task,
        id: &headers.id,
        queue: &origin.queue,
        redelivered: origin.redelivered,
    });
    span
}

impl Ending {
    pub(crate) fn settle(self, settlement: Settlement) {
        match self {
            Self::Done | Self::Superseded => settlement.ack(),
            Self::Again => settlement.requeue(),
            Self::Refused => settlement.reject(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Done | Self::Superseded => "ack",
            Self::Again => "nack",
            Self::Refused => "reject",
        }
    }
}

/// One delivery whose headers are read.
pub(crate) struct Life<'a> {
    pub(crate) core: &'a Core,
    pub(crate) received: Arc<Received>,
    pub(crate) received_at: Timestamp,
    pub(crate) span: &'a ProcessSpan,
}

impl Life<'_> {
    fn headers(&self) -> &TaskHeaders {
        &self.received.headers
    }

    pub(crate) fn registered(&self) -> Result<&TaskDefinition, Unusable> {
        find_task(&self.core.registry, self.headers())
    }

    /// The steps between arrival and settlement.
    async fn lead(&self, slot: Slot, settlement: &mut Option<Settlement>) -> Ended {
        let task = match self.registered() {
            Ok(task) => task,
            Err(unusable) => {
                // What it carries is somebody's all the same: the steps after it will never run.
                let embed = self.read_body().map(|(_, embed)| embed).unwrap_or_default();
                return Box::pin(self.refuse(&unusable, None, &embed, slot)).await;
            }
        };
        let slot = match self.admit(slot).await {
            Ok(slot) => slot,
            Err(ended) => return ended,
        };
        let mark = match self.suspect(task).await {
            Ok(mark) => mark,
            Err(ended) => return ended,
        };
        let ended = self.run(task, slot, settlement).await;
        if let Some(mark) = mark {
            Box::pin(mark.clear(&ended)).await;
        }
        ended
    }

    /// The steps from the body to the outcome.
    async fn run(&self, task: &TaskDefinition, slot: Slot, settlement: &mut Option<Settlement>) -> Ended {
        let (body, embed) = match self.read_body() {
            Ok(read) => read,
            Err(unusable) => return Box::pin(self.refuse(&unusable, None, &Embed::default(), slot)).await,
        };
        let begun = match self.begin().await {
            Ok(begun) => begun,
            Err(ended) => return ended,
        };
        // Tasks that must not run twice are acknowledged before they run: from there on a crash is the end of them.
        if let Some(settlement) = settlement.take_if(|_| task.options.acks == AckMode::Early) {
            settlement.ack();
        }
        let arguments = self.keeps_outcome(task).then(|| record::Arguments::of(&body));
        let ctx = self.context(task, begun.as_ref());
        let hooked = Hooked::of(task, &self.core.world, &ctx);
        if let Runner::Transactional(run) = task.runner {
            let bounds = Bounds::of(&ctx);
            return match run(ctx, body) {
                Ok(run) => {
                    let prepared = Prepared { task, run, bounds, hooked, arguments, embed: &embed };
                    Box::pin(self.lead_in_transaction(prepared, slot)).await
                }
                Err(error) => Box::pin(self.refuse(&Unusable::Arguments(error), arguments, &embed, slot)).await,
            };
        }
        let timing = Timing::begin();
        let attempt = match self.execute(task, ctx, body, hooked.as_ref()).await {
            Ok(attempt) => attempt,
            // What it carries could be read: to those who follow, this is a failure like any other.
            Err(error) => {
                return Box::pin(self.refuse(&Unusable::Arguments(error), arguments, &embed, slot)).await;
            }
        };
        let timing = timing.end();
        // What remains is waiting for others, unless there are hooks: the slot is free for the next task.
        let slot = hooked.is_some().then_some(slot);
        let finished = match attempt {
            Attempt::Finished(finished) => finished,
            Attempt::Interrupted => return self.interrupted(task),
            Attempt::Terminated => return Box::pin(self.terminate(arguments, timing, &embed)).await,
        };
        let Ok(verdict) = self.judge(task, hooked, finished, &timing).await else { return self.interrupted(task) };
        drop(slot);
        self.conclude(task, verdict, arguments, timing, &embed).await
    }

    /// What becomes of the task after an attempt, and what its hooks make of that, unless the worker stops first.
    pub(crate) async fn judge(
        &self,
        task: &TaskDefinition,
        hooked: Option<Hooked<'_>>,
        finished: Finished,
        timing: &Timing,
    ) -> Result<Verdict, Interrupted> {
        let until = retry_until(&task.options, &self.received.message.headers, Some(timing.started_at));
        let tried = Tried { retries: self.headers().retries, now: clock::now(), until, chance: fastrand::f64() };
        let verdict = decide(finished, &task.options, &tried);
        let Some(hooked) = hooked else { return Ok(verdict) };
        tokio::select! {
            biased;
            verdict = self.span.run(Box::pin(hooked.judge(verdict))) => Ok(verdict),
            () = self.core.world.interrupt.cancelled() => Err(Interrupted),
        }
    }

    /// The attempt has not come to its end, and does not count.
    pub(crate) fn interrupted(&self, task: &TaskDefinition) -> Ended {
        self.span.emit(&TaskInterrupted { task: task.name, id: &self.headers().id });
        Ending::Again.into()
    }

    /// The arguments, and what the task carries with it, of which everything is known to be possible.
    pub(crate) fn read_body(&self) -> Result<(Body, Embed), Unusable> {
        let (body, embed) = self.received.message.read_body(&self.core.limits)?;
        FollowUps::check(self, &embed)?;
        Ok((body, embed))
    }

    async fn execute(
        &self,
        task: &TaskDefinition,
        ctx: TaskContext,
        body: Body,
        hooked: Option<&Hooked<'_>>,
    ) -> Result<Attempt, ArgumentError> {
        let TaskHeaders { id, retries, .. } = self.headers();
        self.span.emit(&TaskStarted { task: task.name, id, attempt: retries.saturating_add(1) });
        execute(task, ctx, body, self.span, hooked).await
    }

    fn context(&self, task: &TaskDefinition, begun: Option<&Begun>) -> TaskContext {
        let limits = limits::in_force(self.headers().limits, &task.options);
        let terminated = begun.map(|begun| begun.terminated().clone());
        TaskContext::new(Arc::clone(&self.received), Arc::clone(&self.core.world), limits, task, terminated)
    }

    /// Whether the task may start now. Headers and store decide; the body is not looked at.
    async fn admit(&self, slot: Slot) -> Result<Slot, Ended> {
        if self.has_expired() {
            return Err(Box::pin(self.expire()).await);
        }
        if self.is_revoked() {
            return Err(Box::pin(self.revoke()).await);
        }
        if self.may_have_been_led()
            && let Some(ending) = Box::pin(self.already_led()).await
        {
            return Err(ending.into());
        }
        let slot = match self.time_until_due() {
            None => slot,
            Some(wait) => Box::pin(self.await_due(wait, slot)).await?,
        };
        self.keep_to_rate(slot).await
    }

    async fn await_due(&self, wait: Duration, slot: Slot) -> Result<Slot, Ended> {
        let meter = slot.meter();
        drop(slot);
        if wait >= SHORTEST_HOLD {
            // A sender without the delay ladder, such as Celery on a classic queue, left the waiting to the worker.
            return Err(follow_up::hold(self, wait).await.into());
        }
        self.doze(wait).await.map_err(|Interrupted| Ending::Again)?;
        let slot = self.unless_interrupted(self.core.slots.take(&meter)).await;
        slot.ok().flatten().ok_or_else(|| Ending::Again.into())
    }

    fn has_expired(&self) -> bool {
        self.headers().expires.is_some_and(|expires| expires <= clock::now())
    }

    async fn expire(&self) -> Ended {
        let TaskHeaders { task, id, .. } = self.headers();
        self.span.emit(&TaskExpired { task, id });
        let failure = Failure::new("TaskRevokedError", "expired");
        let ended = self.end_with(State::Revoked, failure.clone(), Outcome::default()).await;
        let embed = self.read_body().map(|(_, embed)| embed).unwrap_or_default();
        ended.and(self.after_revoked(&embed, &failure)).await
    }

    fn time_until_due(&self) -> Option<Duration> {
        self.headers().eta.map(time_until).filter(|wait| !wait.is_zero())
    }

    /// Whether this may not be the first delivery of this attempt.
    pub(crate) fn may_have_been_led(&self) -> bool {
        let message = &self.received.message.headers;
        let repeated = message.get(names::REPEATED).is_some() || message.rounds() > 0;
        self.received.is_again() || self.headers().retries > 0 || repeated || message.replays() > 0
    }

    /// What an earlier delivery of this attempt left in the store.
    pub(crate) async fn already_led(&self) -> Option<Ending> {
        let TaskHeaders { task, id, retries, .. } = self.headers();
        let message = &self.received.message.headers;
        let replays = message.replays();
        let row = match self.find_row().await {
            Ok(row) => row?,
            Err(Interrupted) => return Some(Ending::Again),
        };
        if row.replays < replays && !matches!(row.state, State::Success | State::Ignored) {
            // What it came to before it was replayed is why it was.
            return None;
        }
        let has_ended = row.state.is_final();
        // The attempt has run, and its worker died before the next one was on its queue, or just after.
        let has_run = row.state == State::Retry && row.replays == replays && row.attempts > *retries;
        if !has_ended && !has_run {
            return None;
        }
        self.span.emit(&TaskSkipped { task, id, state: row.state });
        if has_ended {
            return Some(self.finish(row).await);
        }
        let until = self.registered().ok().and_then(|task| retry_until(&task.options, message, row.started_at));
        Some(follow_up::retry(self, row.eta.unwrap_or_else(clock::now), until).await)
    }

    pub(crate) async fn find_row(&self) -> Result<Option<TaskRecord>, Interrupted> {
        let Some(results) = &self.core.results else { return Ok(None) };
        let mut backoff = Backoff::default();
        loop {
            match results.backend.find(&self.headers().id).await {
                Ok(row) => return Ok(row),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot look up an earlier outcome yet");
                    self.doze(backoff.next()).await?;
                }
            }
        }
    }

    pub(crate) async fn conclude(
        &self,
        task: &TaskDefinition,
        verdict: Verdict,
        arguments: Option<record::Arguments>,
        timing: Timing,
        embed: &Embed,
    ) -> Ended {
        let TaskHeaders { id, .. } = self.headers();
        let runtime = timing.runtime;
        let outcome = Outcome { arguments, timing: Some(timing), ..Outcome::default() };
        match verdict {
            Verdict::Succeed(result) => {
                self.span.emit(&TaskSucceeded { task: task.name, id, runtime });
                let (row, follow) = match (self.keeps_outcome(task), self.is_awaited() || !embed.is_empty()) {
                    (true, true) => (Some(result.clone()), Some(result)),
                    (true, false) => (Some(result), None),
                    (false, true) => (None, Some(result)),
                    (false, false) => (None, None),
                };
                let ending = match row {
                    Some(result) => self.record(State::Success, Outcome { result: Some(result), ..outcome }).await,
                    None => Ending::Done,
                };
                let ended = Ended { ending, state: State::Success, failure: None };
                match follow {
                    Some(result) => Box::pin(ended.and(self.after_success(embed, &result, Again::No))).await,
                    None => ended,
                }
            }
            Verdict::Retry { wait, failure } => Box::pin(self.try_again(task, wait, failure, outcome)).await,
            Verdict::Fail(failure) => {
                self.tell_failure(task, &failure, runtime);
                let ended = Box::pin(self.end_with(State::Failure, failure.clone(), outcome)).await;
                Box::pin(ended.and(self.after_failure(embed, &failure, Again::No))).await
            }
            Verdict::DeadLetter { reason, failure } => {
                self.tell_failure(task, &failure, runtime);
                let ended = Box::pin(self.bury(reason, failure.clone(), outcome)).await;
                Box::pin(ended.and(self.after_failure(embed, &failure, Again::No))).await
            }
            Verdict::Ignore => Ended { ending: Ending::Done, state: State::Ignored, failure: None },
        }
    }

    fn tell_failure(&self, task: &TaskDefinition, failure: &Failure, runtime: Duration) {
        let TaskHeaders { id, retries, .. } = self.headers();
        let attempts = retries.saturating_add(1);
        self.span.emit(&TaskFailed { task: task.name, id, attempts, error: &failure.to_string(), runtime });
    }

    /// Records that the attempt failed, and only then sends the next: a worker that finds the row knows what is missing.
    async fn try_again(&self, task: &TaskDefinition, wait: Duration, failure: Failure, outcome: Outcome) -> Ended {
        let TaskHeaders { id, retries, .. } = self.headers();
        let attempt = retries.saturating_add(1);
        let started_at = outcome.timing.as_ref().map(|timing| timing.started_at);
        let until = retry_until(&task.options, &self.received.message.headers, started_at);
        self.span.emit(&TaskRetried { task: task.name, id, attempt, error: &failure.to_string(), wait });
        let due = clock::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        let outcome = Outcome { eta: Some(due), ..outcome };
        let ended = self.end_with(State::Retry, failure.clone(), outcome).await;
        let ended = ended.and(follow_up::retry(self, due, until)).await;
        if ended.ending == Ending::Done {
            // The next attempt will tell more: nothing is done again for the sake of this answer.
            let _ = self.answer_failure(State::Retry, &failure).await;
        }
        ended
    }

    /// Dead-letters a message that cannot run here, and records it as failed.
    ///
    /// `embed` is what follows from that. Nothing does, as with Celery, where the task is unknown, or may be what is wrong.
    async fn refuse(
        &self,
        unusable: &Unusable,
        arguments: Option<record::Arguments>,
        embed: &Embed,
        slot: Slot,
    ) -> Ended {
        drop(slot);
        let failure = Failure::new(unusable.kind(), unusable.to_string());
        let outcome = Outcome { arguments, ..Outcome::default() };
        let ended = self.bury(unusable.reason(), failure.clone(), outcome).await;
        let told = match unusable {
            // Python makes a sentence of the name alone.
            Unusable::Unknown { name, .. } => Failure::new(failure.kind, name),
            _ => failure,
        };
        ended.and(self.after_failure(embed, &told, Again::No)).await
    }

    /// Dead-letters the message, and only then records the failure: a row of a failure means that its message is where it
    /// can be replayed.
    pub(crate) async fn bury(&self, reason: &'static str, failure: Failure, outcome: Outcome) -> Ended {
        match follow_up::dead_letter(self, reason, &failure.to_string()).await {
            Ending::Again => Ending::Again.into(),
            ending => {
                let mut ended = self.end_with(State::Failure, failure, outcome).await;
                if ended.ending == Ending::Done {
                    ended.ending = ending;
                }
                ended
            }
        }
    }

    pub(crate) async fn end_with(&self, state: State, failure: Failure, outcome: Outcome) -> Ended {
        let outcome = Outcome { failure: Some(failure.clone()), ..outcome };
        Ended { ending: self.record(state, outcome).await, state, failure: Some(failure) }
    }

    fn keeps_outcome(&self, task: &TaskDefinition) -> bool {
        self.core.results.is_some() && !self.headers().ignore_result.unwrap_or(task.options.ignore_result)
    }

    /// Whether nobody wants its result: neither a row of it, nor an answer.
    pub(crate) fn ignores_result(&self) -> bool {
        let declared = self.registered().is_ok_and(|task| task.options.ignore_result);
        self.headers().ignore_result.unwrap_or(declared)
    }

    /// Records an outcome; it is durable when this returns [`Ending::Done`].
    async fn record(&self, state: State, outcome: Outcome) -> Ending {
        let Some(results) = &self.core.results else { return Ending::Done };
        match results.record(Box::new(record::row(self, state, outcome))).await {
            Ok(ending) => ending,
            // What cannot be recorded is not lost: its message stands where a person finds it.
            Err(reason) => Box::pin(follow_up::dead_letter(self, "unrecordable", &reason)).await,
        }
    }

    /// Waits, unless the worker stops first.
    pub(crate) async fn doze(&self, wait: Duration) -> Result<(), Interrupted> {
        self.unless_interrupted(tokio::time::sleep(wait)).await
    }

    /// Waits for something, unless the worker stops first.
    pub(crate) async fn unless_interrupted<T>(&self, awaited: impl Future<Output = T>) -> Result<T, Interrupted> {
        tokio::select! {
            biased;
            () = self.core.world.interrupt.cancelled() => Err(Interrupted),
            awaited = awaited => Ok(awaited),
        }
    }
}

/// What is recorded of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) arguments: Option<record::Arguments>,
    pub(crate) result: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) timing: Option<Timing>,
    /// Whether it has begun, where nobody knows how long it took.
    pub(crate) begun: bool,
    /// When the next attempt is due.
    pub(crate) eta: Option<Timestamp>,
}

pub(crate) fn time_until(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(clock::now())).unwrap_or_default()
}
