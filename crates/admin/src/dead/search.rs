//! Walks a dead-letter queue and does what is asked.

use std::borrow::Cow;
use std::time::Duration;

use celeriac_broker::{Broker, Browser, Error, Outgoing, Result};
use celeriac_protocol::{Message, RateLimit};
use celeriac_telemetry::events::broker::MessageReplayed;
use celeriac_telemetry::trace::PublishSpan;
use tokio::time::{Instant, Interval, MissedTickBehavior, sleep};

use super::{DeadLetter, Filter, ReplayOptions};

/// Number of letters that are purged before the broker is asked to confirm.
const PURGED_TOGETHER: u64 = 256;

/// The time for which a replay tries to come back to a broker that is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time that a broker may take, once it is back, to return what it had delivered.
const RETURN: Duration = Duration::from_secs(3);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// A look for dead letters in one queue, which leaves them where they are.
#[derive(Debug)]
pub struct Search<'a> {
    browser: Box<dyn Browser>,
    filter: &'a Filter,
    dead_queue: String,
    seen: u64,
}

impl<'a> Search<'a> {
    /// Begins at the head of a dead-letter queue.
    ///
    /// # Errors
    /// When there is no such queue, or no connection within the publish timeout.
    pub async fn begin(broker: &dyn Broker, dead_queue: &str, filter: &'a Filter) -> Result<Self> {
        Ok(Self { browser: broker.browse(dead_queue).await?, filter, dead_queue: dead_queue.to_owned(), seen: 0 })
    }

    /// Number of messages that stood there when it began, whether they are meant or not.
    pub fn ready(&self) -> u64 {
        self.browser.ready()
    }

    /// Number of messages looked at.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next that is meant, with its message.
    ///
    /// # Errors
    /// [`Error::LookLost`] when the connection is lost.
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

    /// Ends the search: everything is back on the queue, in order.
    ///
    /// # Errors
    /// When the connection is lost: then it comes back by itself, in any order.
    pub async fn close(self) -> Result<()> {
        self.browser.close().await
    }
}

/// A replay: the destination of dead letters, and the options of their messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replay {
    /// The queue it goes to. Default: the one it came from.
    pub to: Option<String>,
    /// Options of its message.
    pub options: ReplayOptions,
    /// The rate. Default: as fast as the broker confirms them, one by one.
    pub rate: Option<RateLimit>,
}

/// Takes dead letters off their queues, after each was put where it goes.
///
/// A replay publishes, waits for the confirm, removes the original and waits until the broker has noted that, before it turns
/// to the next. So a process that dies at any moment leaves every task on a queue, and one of them at most on two; and so does
/// every connection that is lost. With a store of results the worker that meets the second copy finds what the first has
/// come to.
#[derive(Debug)]
pub struct Removal<'a> {
    broker: &'a dyn Broker,
    filter: &'a Filter,
    replay: Option<&'a Replay>,
    ticks: Option<Interval>,
    at_most: u64,
    tally: Tally,
}

/// Counts of the dead letters that were handled.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Tally {
    /// Number of letters replayed or purged.
    pub removed: u64,
    /// Number of letters of the beginning that are still there.
    pub left: u64,
    /// Number of these that were meant and could not be replayed.
    pub stuck: u64,
    /// Why the last of those could not.
    pub reason: Option<String>,
}

/// Evenly; the first comes at once.
fn ticks(rate: RateLimit) -> Interval {
    let mut ticks = tokio::time::interval(rate.interval());
    // One that took long is no reason to hurry with the next.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl<'a> Removal<'a> {
    /// Puts those that the filter means back on their queues, at most so many.
    pub fn replay(broker: &'a dyn Broker, filter: &'a Filter, replay: &'a Replay, at_most: Option<u64>) -> Self {
        let ticks = replay.rate.map(ticks);
        Self { ticks, replay: Some(replay), ..Self::purge(broker, filter, at_most) }
    }

    /// Throws those away that the filter means, at most so many.
    pub fn purge(broker: &'a dyn Broker, filter: &'a Filter, at_most: Option<u64>) -> Self {
        let at_most = at_most.unwrap_or(u64::MAX);
        Self { broker, filter, replay: None, ticks: None, at_most, tally: Tally::default() }
    }

    /// The counts until now, also when it has ended with an error.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Goes through one dead-letter queue, as it stands now: what arrives meanwhile is left alone, so that a task that
    /// fails again is not replayed again.
    ///
    /// Comes back to a broker that is lost, and goes on.
    ///
    /// # Errors
    /// When the broker is lost for longer than a minute, refuses access, or has no such queue.
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
            tracing::warn!(error = &error as &dyn std::error::Error, "begins again at the head of {dead_queue}");
            sleep(PAUSE).await;
        }
        self.tally.left += todo.unwrap_or_default();
        Ok(())
    }

    /// Goes through the queue once. `todo` is how many of those are left that stood there at the beginning: they are at
    /// the head, in front of what came later.
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
                        // What is not removed has to be back before anybody begins again.
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

    /// Waits until what a lost connection held is back. Some of it may have been removed, of which there was no news.
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

/// Puts a dead letter where it goes. It is on that queue when this returns `Ok`.
async fn put_back(broker: &dyn Broker, replay: &Replay, letter: &DeadLetter, message: Message) -> Result<()> {
    let to = replay.to.as_deref().unwrap_or(&letter.queue);
    let (task, id) = (letter.task.as_deref(), letter.id.as_deref());
    let mut span = PublishSpan::again(&message.headers, task.unwrap_or_default(), id.unwrap_or_default(), "", to);
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

/// Returns true when another message may fare better.
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
