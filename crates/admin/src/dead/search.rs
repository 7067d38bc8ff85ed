//! Searches a dead-letter queue, replays and purges.

use std::borrow::Cow;
use std::time::Duration;

use celeriac_broker::{Broker, Browser, Error, Outgoing, Result};
use celeriac_protocol::{Message, RateLimit};
use celeriac_telemetry::events::admin::SearchRestarted;
use celeriac_telemetry::events::broker::MessageReplayed;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};
use celeriac_telemetry::{ErrorChain, Event};
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep};

use super::{DeadLetter, Filter, ReplayOptions};

/// Number of letters that are purged between two confirmations of the broker.
const PURGED_TOGETHER: u64 = 256;

/// Longest time for a replay to reconnect.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest time for a reconnected broker to return delivered messages to their queue.
const RETURN: Duration = Duration::from_secs(3);

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// A search of one dead-letter queue, which leaves the letters there.
#[derive(Debug)]
pub struct Search<'a> {
    browser: Box<dyn Browser>,
    filter: &'a Filter,
    dead_queue: String,
    seen: u64,
}

impl<'a> Search<'a> {
    /// Starts at the head of a dead-letter queue.
    ///
    /// # Errors
    /// Returns an error if the queue does not exist, or without a connection within the publish
    /// timeout.
    pub async fn begin(broker: &dyn Broker, dead_queue: &str, filter: &'a Filter) -> Result<Self> {
        Ok(Self { browser: broker.browse(dead_queue).await?, filter, dead_queue: dead_queue.to_owned(), seen: 0 })
    }

    /// Returns the number of messages of the queue when the search started.
    pub fn ready(&self) -> u64 {
        self.browser.ready()
    }

    /// Returns the number of messages read.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns the next matching letter, with its message.
    ///
    /// # Errors
    /// Returns [`Error::LookLost`] if the connection is lost.
    pub async fn next(&mut self) -> Result<Option<(DeadLetter, Message)>> {
        while let Some(found) = self.browser.next().await? {
            self.seen += 1;
            let letter = DeadLetter::read(&found.message, &self.dead_queue);
            if self.filter.matches(&letter) {
                return Ok(Some((letter, found.message)));
            }
        }
        Ok(None)
    }

    /// Ends the search and returns all messages to the queue, in order.
    ///
    /// # Errors
    /// Returns an error if the connection is lost. Then the broker returns the messages, in any
    /// order.
    pub async fn close(self) -> Result<()> {
        self.browser.close().await
    }
}

/// Destination, message options and rate of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// Destination queue. Default: the queue that each letter came from.
    pub to: Option<String>,
    /// Options of the messages.
    pub options: ReplayOptions,
    /// Rate. Default: as fast as the broker confirms, one by one.
    pub rate: Option<RateLimit>,
}

/// Replays or purges dead letters.
///
/// A replay publishes a letter, waits for the confirm, removes the original and waits for the
/// broker to record that, before the next letter. So a killed process or a lost connection leaves
/// every task on a queue, and at most one of them on two. With a result store, the worker of the
/// second copy finds the outcome of the first.
#[derive(Debug)]
pub struct Removal<'a> {
    broker: &'a dyn Broker,
    filter: &'a Filter,
    replay: Option<&'a Replay>,
    ticks: Option<Interval>,
    at_most: u64,
    tally: Tally,
}

/// Counts of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Tally {
    /// Number of letters replayed or purged.
    pub removed: u64,
    /// Number of the counted letters that remain.
    pub left: u64,
    /// Number of matching letters that could not be replayed.
    pub stuck: u64,
    /// Error of the last of those.
    pub reason: Option<String>,
}

/// Returns an interval of this rate. The first tick is immediate.
fn ticks(rate: RateLimit) -> Interval {
    let mut ticks = tokio::time::interval(rate.interval());
    // A slow letter does not make the next one come sooner.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl<'a> Removal<'a> {
    /// Replays up to `at_most` matching letters.
    pub fn replay(broker: &'a dyn Broker, filter: &'a Filter, replay: &'a Replay, at_most: Option<u64>) -> Self {
        let ticks = replay.rate.map(ticks);
        Self { ticks, replay: Some(replay), ..Self::purge(broker, filter, at_most) }
    }

    /// Purges up to `at_most` matching letters.
    pub fn purge(broker: &'a dyn Broker, filter: &'a Filter, at_most: Option<u64>) -> Self {
        let at_most = at_most.unwrap_or(u64::MAX);
        Self { broker, filter, replay: None, ticks: None, at_most, tally: Tally::default() }
    }

    /// Returns the counts so far, also after an error.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Processes one dead-letter queue. Letters that arrive meanwhile are left alone, so that a
    /// task that fails again is not replayed twice.
    ///
    /// Reconnects to a lost broker and continues.
    ///
    /// # Errors
    /// Returns an error if the broker is lost for longer than a minute, refuses access, or lacks
    /// the queue.
    pub async fn go_through(&mut self, dead_queue: &str) -> Result<()> {
        let mut todo = None;
        let mut lost: Option<Instant> = None;
        loop {
            let before = self.tally.removed;
            let error = match self.pass(dead_queue, &mut todo).await {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.tally.removed > before {
                lost = None;
            }
            let since = *lost.get_or_insert_with(Instant::now);
            if !error.is_connection_lost() || since.elapsed() > PATIENCE {
                self.tally.left += todo.unwrap_or_default();
                return Err(error);
            }
            SearchRestarted { queue: dead_queue, error: &ErrorChain(&error).to_string() }.emit();
            sleep(PAUSE).await;
        }
        self.tally.left += todo.unwrap_or_default();
        Ok(())
    }

    /// Processes the queue once. `todo` is the number of remaining letters of the first pass. They
    /// are at the head, before later ones.
    async fn pass(&mut self, dead_queue: &str, todo: &mut Option<u64>) -> Result<()> {
        let mut search = match todo {
            Some(expected) => self.begin_again(dead_queue, *expected).await?,
            None => Search::begin(self.broker, dead_queue, self.filter).await?,
        };
        let todo = todo.get_or_insert(search.ready());
        *todo = search.ready().min(*todo);
        let looks = *todo;
        let (mut unnoted, mut stuck) = (0, 0);
        while search.seen() < looks && self.tally.removed + unnoted < self.at_most {
            let Some((letter, message)) = search.next().await? else { break };
            if search.seen() > looks {
                break;
            }
            if let Some(replay) = self.replay {
                if let Some(ticks) = &mut self.ticks {
                    ticks.tick().await;
                }
                match put_back(self.broker, replay, &letter, message).await {
                    Ok(()) => {}
                    Err(error) if is_about_the_message(&error) => {
                        stuck += 1;
                        self.tally.reason = Some(error.to_string());
                        continue;
                    }
                    Err(error) => {
                        // Kept messages have to be back on the queue before the next pass.
                        let _ = search.close().await;
                        return Err(error);
                    }
                }
            }
            search.browser.remove();
            unnoted += 1;
            if self.replay.is_some() || unnoted >= PURGED_TOGETHER {
                search.browser.removed().await?;
                self.note(&mut unnoted, todo);
            }
        }
        search.browser.removed().await?;
        self.note(&mut unnoted, todo);
        self.tally.stuck += stuck;
        search.close().await
    }

    /// Waits until the messages of a lost connection are back on the queue. Some of them may have
    /// been removed without a confirmation.
    async fn begin_again(&self, dead_queue: &str, expected: u64) -> Result<Search<'a>> {
        let began = Instant::now();
        loop {
            let search = Search::begin(self.broker, dead_queue, self.filter).await?;
            if search.ready() >= expected || began.elapsed() > RETURN {
                return Ok(search);
            }
            search.close().await?;
            sleep(PAUSE).await;
        }
    }

    fn note(&mut self, unnoted: &mut u64, todo: &mut u64) {
        self.tally.removed += *unnoted;
        *todo = todo.saturating_sub(std::mem::take(unnoted));
    }
}

/// Publishes a dead letter. It is on the queue when this returns `Ok`.
async fn put_back(broker: &dyn Broker, replay: &Replay, letter: &DeadLetter, message: Message) -> Result<()> {
    let to = replay.to.as_deref().unwrap_or(&letter.queue);
    let (task, id) = (letter.task.as_deref(), letter.id.as_deref());
    let (named, numbered) = (task.unwrap_or_default(), id.unwrap_or_default());
    let info = PublishInfo { task: named, id: numbered, exchange: "", routing_key: to };
    let mut span = PublishSpan::replay(&message.headers, &info);
    let mut message = replay.options.write(message, letter);
    span.inject(&mut message.headers);
    let outgoing = Outgoing { exchange: Cow::Borrowed(""), routing_key: to.to_owned(), message, mandatory: true };
    match broker.publish(outgoing).await {
        Ok(()) => {
            span.emit(&MessageReplayed { from: &letter.dead_queue, to, task, id });
            span.end(Ok(()));
            Ok(())
        }
        Err(error) => {
            span.end(Err(&error));
            Err(error)
        }
    }
}

/// Returns true if the error concerns this message alone, and the next one may succeed.
fn is_about_the_message(error: &Error) -> bool {
    matches!(
        error,
        Error::Unroutable { .. }
            | Error::NoSuchQueue { .. }
            | Error::TooLarge { .. }
            | Error::HeadersTooLarge { .. }
            | Error::Invalid { .. }
    )
}
