//! The state of a worker that remote commands read and change.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use celeriac_client::events::EventSender;
use celeriac_protocol::LamportClock;
use celeriac_topology::Topology;
use serde_json::Value as Json;

use crate::options::WorkerOptions;
use crate::runtime::WorkerRuntime;
use crate::shutdown::Shutdown;

/// A worker as remote commands see it.
pub(crate) struct ControlNode {
    pub(crate) runtime: Arc<WorkerRuntime>,
    pub(crate) options: WorkerOptions,
    pub(crate) shutdown: Shutdown,
    /// The broker's address, without password.
    pub(crate) broker_url: String,
    /// The store's address, without password.
    pub(crate) results_url: String,
    pub(crate) settings: ShownSettings,
    pub(crate) clock: Arc<LamportClock>,
    /// Sends events to monitors.
    pub(crate) events: Arc<EventSender>,
    pub(crate) started: Instant,
    /// Exchanges and queues that were added while the worker runs.
    pub(crate) added: Mutex<Topology>,
}

/// The configuration of a program, with masked secrets.
#[derive(Debug, Clone, Default)]
pub struct ShownSettings {
    /// The settings in force, by section.
    pub in_force: Json,
    /// The defaults.
    pub defaults: Json,
}

impl ControlNode {
    /// Returns the name of the worker.
    pub(crate) fn name(&self) -> &str {
        &self.runtime.name
    }
}
