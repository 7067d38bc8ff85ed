//! The events of Celery's protocol, on the exchange `celeryev`.
//!
//! - `writer`: events as JSON;
//! - `buffer`: events on their way to the broker, within a bound;
//! - `sender`: takes events from tasks without a wait, and publishes them;
//! - `sent`: the events of tasks that a client sends;
//! - `reader`: events of messages, whoever sent them; `stream`: receives them;
//! - `fleet_state`: workers and tasks, as far as events tell of them.

mod buffer;
mod fleet_state;
mod reader;
mod sender;
mod sent;
mod stream;
mod writer;

pub use fleet_state::{FleetState, FleetTask, FleetWorker};
pub use reader::MonitorEvent;
pub use sender::{EventHeartbeat, EventSender, WorkerLoad};
pub(crate) use sent::{SentEvents, SentMessage};
pub use stream::EventStream;

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
