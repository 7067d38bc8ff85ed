//! Joins: sets of tasks whose last end has a task follow. A chord is one.
//!
//! Its members are counted as they end, whichever worker runs them, and no worker waits for the
//! counter of another one. After its member is counted, a worker looks whether all have ended. One
//! member fires the join: whoever holds its delivery sends the body.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::Failure;
use celeriac_protocol::signature::{ChordPolicy, ChordRules};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::results::{JoinsUnavailable, StoreAwaited};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backoff::StoreBackoff;
use crate::error::{Error, Result};

/// Most arrivals in one statement.
const PIECE: usize = 256;

/// Most bytes of their results, beyond which a statement takes no further one.
const ENOUGH_BYTES: usize = 4 << 20;

/// Counts the ends of tasks that belong together.
pub trait Joins: fmt::Debug + Send + Sync + 'static {
    /// Adds a join, before any of its members is sent. Changes nothing if it is there.
    fn add_join<'a>(&'a self, join: &'a NewJoin) -> BoxFuture<'a, Result<()>>;

    /// Tells that the sender of a join is at work, and how many members it has sent. Without a
    /// patience, these are all of them. Returns `false` if the join has ended without its members.
    fn touch_join<'a>(&'a self, id: &'a str, sent: u64, patience: Option<Duration>) -> BoxFuture<'a, Result<bool>>;

    /// Returns joins that should end although members have not ended, those that are due first.
    fn overdue_joins(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Ends a join that is overdue, unless it has fired. Then nobody's turn is [`NOBODY`]'s.
    fn end_overdue_join<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Ends a join whose members could not all be sent, unless it has fired. Nothing follows from
    /// it.
    fn give_up_join<'a>(&'a self, id: &'a str, error: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Records members that have ended. Each counts once, however often it is recorded. Members of
    /// an unknown join are not recorded, nor positions that the join does not have.
    fn record_arrivals<'a>(&'a self, arrivals: &'a [Arrival]) -> BoxFuture<'a, Result<()>>;

    /// Fires the joins that are complete. Returns what each member has to do, in order.
    ///
    /// One member fires a join. The same member is told so again whenever it asks, because its
    /// worker may have died before it sent the body. The arrivals of the members must be recorded.
    fn fire<'a>(&'a self, members: &'a [JoinMember]) -> BoxFuture<'a, Result<Vec<Turn>>>;

    /// Returns a join that has fired, if it is known. Does not read results of more than `largest`
    /// bytes together.
    fn find_fired<'a>(&'a self, id: &'a str, largest: usize) -> BoxFuture<'a, Result<Option<FiredJoin>>>;

    /// Deletes joins that fired longer ago than `keep`, with their arrivals: at most `at_most` rows
    /// of each table. Returns the number of rows that it has changed, which is zero at the end.
    fn sweep_joins(&self, keep: Duration, at_most: u32) -> BoxFuture<'_, Result<u64>>;
}

/// A join before its members are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJoin {
    /// Its id: that of the group of its members.
    pub id: String,
    /// Number of members.
    pub size: u64,
    /// The signature of the body, as JSON text.
    pub body: String,
    /// The ends of members that decide it, and until when.
    pub rules: ChordRules,
    /// Longest time without a word of the sender, after which the sender is gone. `None` if a
    /// delivery sends the members, which comes again until they are sent.
    pub patience: Option<Duration>,
}

/// The position of the member that fires a join which no member fires.
pub const NOBODY: i64 = -1;

/// The numbers by which a join is decided before all members have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Decisive {
    /// So many successes.
    pub(crate) enough: Option<i64>,
    /// More failures than these.
    pub(crate) tolerated: Option<i64>,
}

impl NewJoin {
    /// Makes a join that all members decide, and that a delivery sends.
    pub fn new(id: impl Into<String>, size: u64, body: impl Into<String>) -> Self {
        Self { id: id.into(), size, body: body.into(), rules: ChordRules::default(), patience: None }
    }

    pub(crate) fn size(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.rules.policy == ChordPolicy::Settled
    }

    pub(crate) fn decisive(&self) -> Decisive {
        match self.rules.policy {
            ChordPolicy::All | ChordPolicy::Settled => Decisive::default(),
            ChordPolicy::FailFast => Decisive { enough: None, tolerated: Some(0) },
            ChordPolicy::AtLeast(least) => {
                let least = i64::try_from(least).unwrap_or(i64::MAX).min(self.size());
                Decisive { enough: Some(least), tolerated: Some(self.size().saturating_sub(least)) }
            }
        }
    }
}

/// A member of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinMember {
    /// The join.
    pub join: String,
    /// The position of the member.
    pub index: i64,
}

/// The end of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// The member.
    pub member: JoinMember,
    /// Its task id.
    pub task: String,
    /// Its result as JSON text, or its error.
    pub outcome: Result<String, Failure>,
}

/// The duty of a member that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing: other members have not ended, or another member fires the join.
    Done,
    /// It fires the join.
    Fire {
        /// True if it was told so before. The body may have been sent.
        again: bool,
    },
    /// Nothing: there is no such join.
    Unknown,
}

/// A join that is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct FiredJoin {
    /// The signature of the body, as JSON text.
    pub body: String,
    /// The results of the members.
    pub results: JoinResults,
}

/// The results of the members of a join.
#[derive(Debug, Clone, PartialEq)]
pub enum JoinResults {
    /// As many have succeeded as have to. Their results as JSON text, in order.
    All(Vec<String>),
    /// The first member that has not, in order.
    Failed {
        /// Its task id.
        task: String,
        /// Its error.
        failure: Failure,
    },
    /// It has ended before its members.
    Over {
        /// The reason.
        reason: String,
    },
    /// The results are larger than the limit.
    TooLarge {
        /// Their size in bytes.
        size: u64,
    },
}

/// Records arrivals and fires joins, many at a time. Clones share one queue.
#[derive(Debug, Clone)]
pub struct JoinTracker {
    queue: mpsc::Sender<JoinRequest>,
}

#[derive(Debug)]
struct JoinRequest {
    member: JoinMember,
    /// Its end, unless that was recorded with its row.
    arrival: Option<Box<Arrival>>,
    answer: oneshot::Sender<Turn>,
}

impl JoinTracker {
    /// Returns a tracker, and the service that must run for it.
    pub fn new(joins: Arc<dyn Joins>) -> (Self, JoinTrackerService) {
        let (queue, requests) = mpsc::channel(2 * PIECE);
        (Self { queue }, JoinTrackerService { requests, joins })
    }

    /// Records the end of a member, and returns what it has to do. Waits while the store is
    /// unavailable.
    ///
    /// # Errors
    /// Returns an error if the service has ended first. The arrival may be recorded or not: do not
    /// acknowledge the message.
    pub async fn arrive(&self, arrival: Arrival) -> Result<Turn> {
        self.ask(arrival.member.clone(), Some(Box::new(arrival))).await
    }

    /// Returns what a member has to do whose end is recorded. Waits while the store is unavailable.
    ///
    /// # Errors
    /// Returns an error if the service has ended first: do not acknowledge the message.
    pub async fn look(&self, member: JoinMember) -> Result<Turn> {
        self.ask(member, None).await
    }

    async fn ask(&self, member: JoinMember, arrival: Option<Box<Arrival>>) -> Result<Turn> {
        let (answer, turn) = oneshot::channel();
        self.queue.send(JoinRequest { member, arrival, answer }).await.map_err(|_| Error::Closed)?;
        turn.await.map_err(|_| Error::Closed)
    }
}

/// The part of [`JoinTracker`] that reads and writes.
#[derive(Debug)]
pub struct JoinTrackerService {
    requests: mpsc::Receiver<JoinRequest>,
    joins: Arc<dyn Joins>,
}

impl JoinTrackerService {
    /// Answers requests until `stop`, then those that it has accepted, and returns.
    ///
    /// While the store is unavailable it does not return: drop the future to end it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !self.requests.is_closed() => self.requests.close(),
                batch = next_batch(&mut self.requests) => match batch {
                    Some(batch) => self.answer(batch).await,
                    None => return,
                },
            }
        }
    }

    async fn answer(&self, batch: Vec<JoinRequest>) {
        let (mut members, mut arrivals, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        for JoinRequest { member, arrival, answer } in batch {
            members.push(member);
            arrivals.extend(arrival.map(|arrival| *arrival));
            answers.push(answer);
        }
        if !arrivals.is_empty() && self.insist(|| self.joins.record_arrivals(&arrivals)).await.is_none() {
            return;
        }
        let Some(turns) = self.insist(|| self.joins.fire(&members)).await else { return };
        for (answer, turn) in answers.into_iter().zip(turns) {
            // If the caller no longer waits, its message is delivered again, and the next delivery
            // is told the same.
            let _: Result<_, _> = answer.send(turn);
        }
    }

    /// Repeats an operation until it succeeds. Returns `None` if the store was closed.
    async fn insist<'a, T>(&self, attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Option<T> {
        let mut backoff = StoreBackoff::new();
        loop {
            let error = match attempt().await {
                Ok(done) => return Some(done),
                Err(Error::Closed) => return None,
                Err(error) => error,
            };
            let retry_in = backoff.next_wait();
            let told = error.to_string();
            match error.is_retryable() {
                true => StoreAwaited { work: "joins", retry_in, error: &told }.emit(),
                false => JoinsUnavailable { retry_in, error: &told }.emit(),
            }
            sleep(retry_in).await;
        }
    }
}

/// Waits for one request, and takes all that are there by then.
async fn next_batch(requests: &mut mpsc::Receiver<JoinRequest>) -> Option<Vec<JoinRequest>> {
    let first = requests.recv().await?;
    let mut bytes = first.size();
    let mut batch = vec![first];
    while batch.len() < PIECE && bytes < ENOUGH_BYTES {
        match requests.try_recv() {
            Ok(request) => {
                bytes += request.size();
                batch.push(request);
            }
            Err(_) => break,
        }
    }
    Some(batch)
}

impl JoinRequest {
    fn size(&self) -> usize {
        self.arrival.as_ref().map_or(0, |arrival| arrival.size())
    }
}

impl Arrival {
    fn size(&self) -> usize {
        match &self.outcome {
            Ok(result) => result.len(),
            Err(failure) => failure.message.len(),
        }
    }

    pub(crate) fn result(&self) -> Option<&str> {
        self.outcome.as_deref().ok()
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.outcome.as_ref().err()
    }
}

/// Returns the turns of members from the joins that are known: their ids, the members that fire
/// them, and whether that was decided just now.
pub(crate) fn turns<'a>(
    members: &[JoinMember],
    known: impl IntoIterator<Item = (&'a str, Option<i64>, bool)>,
) -> Vec<Turn> {
    let mut joins = HashMap::new();
    for (id, fired_by, is_now) in known {
        joins.entry(id).or_insert((fired_by, is_now));
    }
    let turn = |member: &JoinMember| match joins.get_mut(member.join.as_str()) {
        None => Turn::Unknown,
        // Of two deliveries of the member, the second one repeats.
        Some((fired_by, is_now)) if *fired_by == Some(member.index) => {
            Turn::Fire { again: !std::mem::replace(is_now, false) }
        }
        Some(_) => Turn::Done,
    };
    members.iter().map(turn).collect()
}

/// The row of a join that has fired, and the sums of its arrivals.
pub(crate) struct FiredRow {
    pub(crate) body: String,
    /// The reason why it ended before its members.
    pub(crate) over: Option<String>,
    pub(crate) settled: bool,
    pub(crate) enough: Option<i64>,
    /// Number of members that have succeeded.
    pub(crate) ok: i64,
    /// Bytes of all results and errors.
    pub(crate) size: i64,
    /// The first member that has not succeeded, in order.
    pub(crate) first_failed: Option<(String, Failure)>,
}

/// The rows to read next.
pub(crate) enum NextRead {
    /// Nothing.
    Done(JoinResults),
    /// The results of the members that have succeeded.
    Results,
    /// All ends.
    Ends,
}

impl FiredRow {
    /// Decides what the body gets.
    pub(crate) fn next(&mut self, largest: usize) -> NextRead {
        let size = u64::try_from(self.size).unwrap_or_default();
        let is_enough = self.enough.is_some_and(|enough| self.ok >= enough);
        if let Some(reason) = self.over.take() {
            return NextRead::Done(JoinResults::Over { reason });
        }
        match self.first_failed.take().filter(|_| !self.settled && !is_enough) {
            Some((task, failure)) => NextRead::Done(JoinResults::Failed { task, failure }),
            None if size > largest as u64 => NextRead::Done(JoinResults::TooLarge { size }),
            None if self.settled => NextRead::Ends,
            None => NextRead::Results,
        }
    }
}

/// Writes the end of a member for a body that gets errors too.
pub(crate) fn end_text(task: &str, result: Option<&str>, failure: Option<&Failure>) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    match failure {
        None => format!(r#"{{"id":{},"ok":true,"result":{}}}"#, text(task), result.unwrap_or("null")),
        Some(Failure { kind, message, .. }) => {
            let (kind, message) = (text(kind), text(message));
            format!(r#"{{"id":{},"ok":false,"error":{{"type":{kind},"message":{message}}}}}"#, text(task))
        }
    }
}
