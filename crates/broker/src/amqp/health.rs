//! How it stands with the connections, told to whoever watches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::{
    ConnectionFailed, ConnectionLost, ConnectionRestored, ConnectionStillFailing, PublisherBlocked, PublisherUnblocked,
};
use tokio::sync::watch;

use super::connection::Purpose;
use super::told::Told;
use crate::broker::Health;

/// The state of both connections, and what follows from it for the broker as a whole.
#[derive(Debug)]
pub(super) struct Board {
    links: Mutex<[Link; 2]>,
    health: watch::Sender<Health>,
    /// The broker's reason for taking no messages, while it does so.
    blocked: watch::Sender<Option<String>>,
    /// The same as a flag, for a look on the way of every message.
    is_blocked: AtomicBool,
}

#[derive(Debug, Default)]
struct Link {
    /// Number of the connection; news of an older one is no news.
    generation: u64,
    up: bool,
    /// Why the last attempt to connect failed, until one succeeds.
    failing: Option<String>,
    told: Told,
    lost: Option<(Instant, String)>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            links: Mutex::default(),
            health: watch::Sender::new(Health::Disconnected { reason: None }),
            blocked: watch::Sender::new(None),
            is_blocked: AtomicBool::new(false),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// A connection stands. Its number has to come with later news of it.
    pub(super) fn up(&self, purpose: Purpose) -> u64 {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        link.generation += 1;
        link.up = true;
        link.failing = None;
        link.told = Told::default();
        let generation = link.generation;
        if let Some((since, _)) = link.lost.take() {
            ConnectionRestored { purpose: purpose.name(), after: since.elapsed() }.emit();
        }
        if purpose == Purpose::Publish {
            self.set_blocked(None);
        }
        self.tell(&links);
        generation
    }

    /// A connection is lost.
    pub(super) fn lost(&self, purpose: Purpose, generation: u64, reason: &str) {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        if link.generation != generation || !link.up {
            return;
        }
        link.up = false;
        link.lost = Some((Instant::now(), reason.to_owned()));
        ConnectionLost { purpose: purpose.name(), error: reason }.emit();
        if purpose == Purpose::Publish {
            self.set_blocked(None);
        }
        self.tell(&links);
    }

    /// An attempt to connect failed.
    pub(super) fn failed(&self, purpose: Purpose, reason: &str) {
        let mut links = self.lock();
        let link = &mut links[purpose as usize];
        link.up = false;
        let now = Instant::now();
        let known = !link.told.is_news(reason, now);
        link.failing = Some(reason.to_owned());
        link.lost.get_or_insert_with(|| (now, reason.to_owned()));
        let (purpose, error) = (purpose.name(), reason);
        match known {
            true => ConnectionStillFailing { purpose, error }.emit(),
            false => ConnectionFailed { purpose, error }.emit(),
        }
        self.tell(&links);
    }

    /// All connections were ended by this program.
    pub(super) fn closed(&self) {
        let mut links = self.lock();
        for link in links.iter_mut() {
            *link = Link { generation: link.generation + 1, ..Link::default() };
        }
        self.set_blocked(None);
        self.tell(&links);
    }

    /// The broker takes no messages, or takes them again.
    pub(super) fn block(&self, purpose: Purpose, generation: u64, reason: Option<String>) {
        let links = self.lock();
        // Nothing is published on the other connection, so its being blocked holds nothing up.
        if purpose != Purpose::Publish || links[purpose as usize].generation != generation {
            return;
        }
        match &reason {
            Some(reason) => PublisherBlocked { reason }.emit(),
            None => PublisherUnblocked.emit(),
        }
        self.set_blocked(reason);
        self.tell(&links);
    }

    /// Waits while the broker takes no messages.
    pub(super) async fn unblocked(&self) {
        if self.is_blocked.load(Ordering::Relaxed) {
            // The sender lives as long as `self`.
            let _ = self.blocked.subscribe().wait_for(Option::is_none).await;
        }
    }

    /// Why the broker takes no messages, if it does not.
    pub(super) fn blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Why there is no connection for `purpose`, if that is known.
    pub(super) fn trouble(&self, purpose: Purpose) -> Option<String> {
        let links = self.lock();
        let link = &links[purpose as usize];
        link.failing.clone().or_else(|| link.lost.as_ref().map(|(_, reason)| reason.clone()))
    }

    /// Whether a connection for `purpose` stands.
    pub(super) fn is_up(&self, purpose: Purpose) -> bool {
        self.lock()[purpose as usize].up
    }

    fn set_blocked(&self, reason: Option<String>) {
        self.is_blocked.store(reason.is_some(), Ordering::Relaxed);
        self.blocked.send_if_modified(|blocked| {
            let modified = *blocked != reason;
            *blocked = reason;
            modified
        });
    }

    fn tell(&self, links: &[Link; 2]) {
        let health = health(links, self.blocked());
        self.health.send_if_modified(|told| {
            let modified = *told != health;
            *told = health;
            modified
        });
    }

    fn lock(&self) -> MutexGuard<'_, [Link; 2]> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that cannot be made is a trouble; one that is not needed is not.
fn health(links: &[Link; 2], blocked: Option<String>) -> Health {
    if let Some(reason) = links.iter().find_map(|link| link.failing.clone()) {
        return Health::Disconnected { reason: Some(reason) };
    }
    if let Some(reason) = blocked {
        return Health::Blocked { reason };
    }
    if links.iter().any(|link| link.up) {
        return Health::Connected;
    }
    Health::Disconnected { reason: links.iter().find_map(|link| link.lost.as_ref().map(|(_, reason)| reason.clone())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disconnected(reason: &str) -> Health {
        Health::Disconnected { reason: Some(reason.to_owned()) }
    }

    #[test]
    fn health_follows_both_connections() {
        let board = Board::new();
        let health = board.watch();
        assert_eq!(*health.borrow(), Health::Disconnected { reason: None });
        let publishing = board.up(Purpose::Publish);
        assert_eq!(*health.borrow(), Health::Connected);
        board.block(Purpose::Publish, publishing, Some("low on memory".to_owned()));
        assert_eq!(*health.borrow(), Health::Blocked { reason: "low on memory".to_owned() });
        board.block(Purpose::Publish, publishing, None);
        assert_eq!(*health.borrow(), Health::Connected);
        board.failed(Purpose::Consume, "refused");
        assert_eq!(*health.borrow(), disconnected("refused"));
        board.up(Purpose::Consume);
        board.lost(Purpose::Publish, publishing, "reset");
        // The next message makes a new connection; until then none is missed.
        assert_eq!(*health.borrow(), Health::Connected);
    }

    #[test]
    fn news_of_an_earlier_connection_is_no_news() {
        let board = Board::new();
        let first = board.up(Purpose::Publish);
        board.lost(Purpose::Publish, first, "reset");
        assert_eq!(*board.watch().borrow(), disconnected("reset"));
        let second = board.up(Purpose::Publish);
        board.lost(Purpose::Publish, first, "reset");
        board.block(Purpose::Publish, first, Some("low on disk".to_owned()));
        assert_eq!(*board.watch().borrow(), Health::Connected);
        board.lost(Purpose::Publish, second, "closed");
        assert_eq!(board.trouble(Purpose::Publish).as_deref(), Some("closed"));
    }
}
