//! The broker that spans name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// The address of a broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: Arc<str>,
    pub(super) port: u16,
}

/// The brokers that a process has had.
#[derive(Debug)]
pub(super) struct Servers {
    first: OnceLock<Server>,
    /// True once there was another one.
    several: AtomicBool,
}

/// Those of this process.
pub(super) static SERVERS: Servers = Servers::new();

impl Servers {
    const fn new() -> Self {
        Self { first: OnceLock::new(), several: AtomicBool::new(false) }
    }

    fn add(&self, address: &str, port: u16) {
        let first = self.first.get_or_init(|| Server { address: address.into(), port });
        if (&*first.address, first.port) != (address, port) {
            self.several.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the only one.
    pub(super) fn only(&self) -> Option<&Server> {
        self.first.get().filter(|_| !self.several.load(Ordering::Relaxed))
    }
}

/// Names the broker of this process in its spans. A process with several brokers names none.
pub fn set_server(address: &str, port: u16) {
    SERVERS.add(address, port);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_named_while_it_is_the_only_one() {
        let servers = Servers::new();
        assert_eq!(servers.only(), None);
        servers.add("rabbit", 5672);
        servers.add("rabbit", 5672);
        assert_eq!(servers.only(), Some(&Server { address: "rabbit".into(), port: 5672 }));
        servers.add("rabbit", 5673);
        assert_eq!(servers.only(), None);
    }
}
