//! The health of the connections, and its watchers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::{
    ConnectionFailed, ConnectionLost, ConnectionRestored, ConnectionStillFailing, ConnectionStillLost,
    PublisherBlocked, PublisherUnblocked,
};
use tokio::sync::watch;

use super::purpose::ConnectionPurpose;
use crate::broker::BrokerHealth;

/// The state of both connections, and the health of the broker.
#[derive(Debug)]
pub(crate) struct HealthTracker {
    links: Mutex<[LinkState; 2]>,
    health: watch::Sender<BrokerHealth>,
    /// The broker's reason for blocking publishers, while it blocks them.
    blocked: watch::Sender<Option<String>>,
    /// The same as a flag, which each message can read at little cost.
    is_blocked: AtomicBool,
    block_times: Mutex<BlockTimes>,
}

/// Time for which the broker has blocked publishers.
#[derive(Debug, Default)]
struct BlockTimes {
    /// Time of the blocks that are over.
    over: Duration,
    /// Start of the present block.
    since: Option<Instant>,
}

#[derive(Debug, Default)]
struct LinkState {
    /// Number of the connection. Reports about an earlier connection are ignored.
    generation: u64,
    up: bool,
    /// Reason of the last failed attempt to connect, until one succeeds.
    failing: Option<String>,
    told: LogThrottle,
    lost: Option<(Instant, String)>,
}

impl HealthTracker {
    pub(crate) fn new() -> Self {
        Self {
            links: Mutex::default(),
            health: watch::Sender::new(BrokerHealth::Disconnected { reason: None }),
            blocked: watch::Sender::new(None),
            is_blocked: AtomicBool::new(false),
            block_times: Mutex::default(),
        }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BrokerHealth> {
        self.health.subscribe()
    }

    /// Records a new connection, and returns its number for later reports about it.
    pub(crate) fn up(&self, purpose: ConnectionPurpose) -> u64 {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        if link.up {
            // The end of the connection before this one has not been reported yet.
            link.lose(purpose, "another connection replaces it");
        }
        link.generation += 1;
        link.up = true;
        let generation = link.generation;
        link.restore(purpose);
        if purpose == ConnectionPurpose::Publish {
            self.set_blocked(None);
        }
        self.tell(&links);
        generation
    }

    /// Records a channel that was opened on an existing connection, which may have refused another
    /// one before.
    pub(crate) fn opened(&self, purpose: ConnectionPurpose, generation: u64) {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        if link.generation == generation && link.up && link.failing.is_some() {
            link.restore(purpose);
            self.tell(&links);
        }
    }

    /// Records the loss of a connection.
    pub(crate) fn lost(&self, purpose: ConnectionPurpose, generation: u64, reason: &str) {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        if link.generation != generation || !link.up {
            return;
        }
        link.lose(purpose, reason);
        if purpose == ConnectionPurpose::Publish {
            self.set_blocked(None);
        }
        self.tell(&links);
    }

    /// Records a failed attempt to connect, or to open a channel on an existing connection.
    ///
    /// The latter may happen before the loss of that connection is reported, or while it stands.
    pub(crate) fn failed(&self, purpose: ConnectionPurpose, reason: &str) {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        let now = Instant::now();
        let is_due = link.told.should_log(reason, now);
        let is_new = link.failing.as_deref() != Some(reason);
        link.failing = Some(reason.to_owned());
        let (since, _) = link.lost.get_or_insert_with(|| (now, reason.to_owned()));
        let (purpose, error, after) = (purpose.name(), reason, now.duration_since(*since));
        match (is_due, is_new) {
            (true, true) => ConnectionFailed { purpose, error }.emit(),
            (true, false) => ConnectionStillLost { purpose, after, error }.emit(),
            (false, _) => ConnectionStillFailing { purpose, error }.emit(),
        }
        self.tell(&links);
    }

    /// Records that this program closed all connections.
    pub(crate) fn closed(&self) {
        let mut links = self.lock();
        for link in links.iter_mut() {
            *link = LinkState { generation: link.generation + 1, ..LinkState::default() };
        }
        self.set_blocked(None);
        self.tell(&links);
    }

    /// Records that the broker blocks publishers, or no longer blocks them.
    pub(crate) fn block(&self, purpose: ConnectionPurpose, generation: u64, reason: Option<String>) {
        let links = self.lock();
        // The other connection publishes nothing, so a block of it delays nothing.
        if purpose != ConnectionPurpose::Publish || links[purpose as usize].generation != generation {
            return;
        }
        match &reason {
            Some(reason) => PublisherBlocked { reason }.emit(),
            None => PublisherUnblocked.emit(),
        }
        self.set_blocked(reason);
        self.tell(&links);
    }

    /// Waits while the broker blocks publishers.
    pub(crate) async fn unblocked(&self) {
        if self.is_blocked.load(Ordering::Relaxed) {
            // The sender lives as long as `self`.
            let _ = self.blocked.subscribe().wait_for(Option::is_none).await;
        }
    }

    /// Returns the broker's reason for blocking publishers, if it blocks them.
    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Returns the time for which the broker has blocked publishers so far.
    pub(crate) fn blocked_time(&self) -> Duration {
        let times = self.block_times.lock().unwrap_or_else(PoisonError::into_inner);
        times.over + times.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Returns the reason why there is no connection for `purpose`, if it is known.
    pub(crate) fn trouble(&self, purpose: ConnectionPurpose) -> Option<String> {
        let links = self.lock();
        let link = &links[purpose as usize];
        link.failing.clone().or_else(|| link.lost.as_ref().map(|(_, reason)| reason.clone()))
    }

    /// Returns `true` if there is a connection for `purpose`, and it opens channels.
    pub(crate) fn is_up(&self, purpose: ConnectionPurpose) -> bool {
        let links = self.lock();
        links[purpose as usize].up && links[purpose as usize].failing.is_none()
    }

    fn set_blocked(&self, reason: Option<String>) {
        self.is_blocked.store(reason.is_some(), Ordering::Relaxed);
        self.block_times.lock().unwrap_or_else(PoisonError::into_inner).set(reason.is_some());
        self.blocked.send_if_modified(|blocked| {
            let modified = *blocked != reason;
            *blocked = reason;
            modified
        });
    }

    fn tell(&self, links: &[LinkState; 2]) {
        let health = health(links, self.blocked());
        self.health.send_if_modified(|told| {
            let modified = *told != health;
            *told = health;
            modified
        });
    }

    fn lock(&self) -> MutexGuard<'_, [LinkState; 2]> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkState {
    /// Records the loss of the connection.
    fn lose(&mut self, purpose: ConnectionPurpose, reason: &str) {
        self.up = false;
        self.lost.get_or_insert_with(|| (Instant::now(), reason.to_owned()));
        ConnectionLost { purpose: purpose.name(), error: reason }.emit();
    }

    /// Records that channels can be opened again.
    fn restore(&mut self, purpose: ConnectionPurpose) {
        self.failing = None;
        self.told = LogThrottle::default();
        if let Some((since, _)) = self.lost.take() {
            ConnectionRestored { purpose: purpose.name(), after: since.elapsed() }.emit();
        }
    }
}

impl BlockTimes {
    fn set(&mut self, blocked: bool) {
        if blocked {
            self.since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.since.take() {
            self.over += since.elapsed();
        }
    }
}

/// Returns the health. A connection that cannot be made is a fault; an unused one is not.
fn health(links: &[LinkState; 2], blocked: Option<String>) -> BrokerHealth {
    if let Some(reason) = links.iter().find_map(|link| link.failing.clone()) {
        return BrokerHealth::Disconnected { reason: Some(reason) };
    }
    if let Some(reason) = blocked {
        return BrokerHealth::Blocked { reason };
    }
    if links.iter().any(|link| link.up) {
        return BrokerHealth::Connected;
    }
    BrokerHealth::Disconnected {
        reason: links.iter().find_map(|link| link.lost.as_ref().map(|(_, reason)| reason.clone())),
    }
}

/// Time after which the same reason is logged again.
const REMINDER: Duration = Duration::from_secs(60);

/// The reason that was logged last, and the time of it.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Option<(String, Instant)>);

impl LogThrottle {
    /// Returns `true` if this reason is new, or was last logged a while ago, and records it as
    /// logged.
    pub(crate) fn should_log(&mut self, reason: &str, now: Instant) -> bool {
        let known = self.0.as_ref().is_some_and(|(told, at)| told == reason && now.duration_since(*at) < REMINDER);
        if !known {
            self.0 = Some((reason.to_owned(), now));
        }
        !known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disconnected(reason: &str) -> BrokerHealth {
        BrokerHealth::Disconnected { reason: Some(reason.to_owned()) }
    }

    #[test]
    fn health_follows_both_connections() {
        let tracker = HealthTracker::new();
        let health = tracker.watch();
        assert_eq!(*health.borrow(), BrokerHealth::Disconnected { reason: None });
        let publishing = tracker.up(ConnectionPurpose::Publish);
        assert_eq!(*health.borrow(), BrokerHealth::Connected);
        tracker.block(ConnectionPurpose::Publish, publishing, Some("low on memory".to_owned()));
        assert_eq!(*health.borrow(), BrokerHealth::Blocked { reason: "low on memory".to_owned() });
        let (first, second) = (tracker.blocked_time(), tracker.blocked_time());
        assert!(second > first, "the present block counts");
        tracker.block(ConnectionPurpose::Publish, publishing, None);
        assert_eq!(*health.borrow(), BrokerHealth::Connected);
        assert!(tracker.blocked_time() > second);
        assert_eq!(tracker.blocked_time(), tracker.blocked_time(), "it is over");
        tracker.failed(ConnectionPurpose::Consume, "refused");
        assert_eq!(*health.borrow(), disconnected("refused"));
        tracker.up(ConnectionPurpose::Consume);
        tracker.lost(ConnectionPurpose::Publish, publishing, "reset");
        // Nothing needs a connection before the next message, which makes one.
        assert_eq!(*health.borrow(), BrokerHealth::Connected);
    }

    #[test]
    fn reports_of_an_earlier_connection_are_ignored() {
        let tracker = HealthTracker::new();
        let first = tracker.up(ConnectionPurpose::Publish);
        tracker.lost(ConnectionPurpose::Publish, first, "reset");
        assert_eq!(*tracker.watch().borrow(), disconnected("reset"));
        let second = tracker.up(ConnectionPurpose::Publish);
        tracker.lost(ConnectionPurpose::Publish, first, "reset");
        tracker.block(ConnectionPurpose::Publish, first, Some("low on disk".to_owned()));
        assert_eq!(*tracker.watch().borrow(), BrokerHealth::Connected);
        tracker.lost(ConnectionPurpose::Publish, second, "closed");
        assert_eq!(tracker.trouble(ConnectionPurpose::Publish).as_deref(), Some("closed"));
    }

    #[test]
    fn a_loss_is_counted_although_an_attempt_notices_it_first() {
        let tracker = HealthTracker::new();
        let health = tracker.watch();
        let first = tracker.up(ConnectionPurpose::Consume);
        tracker.failed(ConnectionPurpose::Consume, "no heartbeat");
        assert_eq!(*health.borrow(), disconnected("no heartbeat"));
        let is_lost = || !tracker.lock()[ConnectionPurpose::Consume as usize].up;
        assert!(!is_lost(), "its loss is still to be reported");
        tracker.lost(ConnectionPurpose::Consume, first, "no heartbeat");
        assert!(is_lost());
        tracker.up(ConnectionPurpose::Consume);
        assert_eq!(*health.borrow(), BrokerHealth::Connected);
    }

    #[test]
    fn a_connection_that_opens_channels_again_is_healthy() {
        let tracker = HealthTracker::new();
        let health = tracker.watch();
        let first = tracker.up(ConnectionPurpose::Consume);
        tracker.failed(ConnectionPurpose::Consume, "no answer");
        assert_eq!(*health.borrow(), disconnected("no answer"));
        tracker.opened(ConnectionPurpose::Consume, first);
        assert_eq!(*health.borrow(), BrokerHealth::Connected);
        assert_eq!(tracker.trouble(ConnectionPurpose::Consume), None);
    }

    #[test]
    fn the_same_reason_is_logged_at_intervals() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut told = LogThrottle::default();
        let failures =
            [(0, "refused"), (1, "refused"), (2, "no such host"), (3, "refused"), (20, "refused"), (63, "refused")];
        let news = failures.into_iter().filter(|(second, reason)| told.should_log(reason, at(*second)));
        assert_eq!(news.map(|(second, _)| second).collect::<Vec<_>>(), [0, 2, 3, 63]);
    }
}
