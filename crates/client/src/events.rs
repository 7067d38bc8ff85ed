//! The events of Celery's protocol, on the exchange `celeryev`.
//!
//! - `writer`: events as JSON;
//! - `buffer`: events on their way to the broker, within a bound;
//! - `sender`: takes events from tasks without a wait, and publishes them.

mod buffer;
mod sender;
mod writer;

pub use sender::{EventHeartbeat, EventSender, WorkerLoad};

use celeriac_topology::{ExchangeKind, ExchangeOptions, Topology};
use serde::{Deserialize, Serialize};

/// The events that a worker sends to monitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum EventLevel {
    /// None.
    #[default]
    None,
    /// Its own: it comes, it lives, it goes.
    Worker,
    /// Its own, and those of its tasks.
    All,
}

/// The exchange of all events: Celery's `event_exchange`.
pub const EVENT_EXCHANGE: &str = "celeryev";

/// Returns the exchange of the events, as Celery declares it.
fn event_topology() -> Topology {
    let exchange = ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() };
    Topology { exchanges: [(EVENT_EXCHANGE.to_owned(), exchange)].into(), ..Topology::default() }
}
