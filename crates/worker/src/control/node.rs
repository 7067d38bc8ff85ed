//! The state of a worker that remote commands read and change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

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
    pub(crate) clock: LogicalClock,
    pub(crate) started: Instant,
    /// Exchanges and queues that were added while the worker runs.
    pub(crate) added: Mutex<Topology>,
}

/// The parts of a [`ControlNode`].
pub(crate) struct ControlParts {
    pub(crate) runtime: Arc<WorkerRuntime>,
    pub(crate) options: WorkerOptions,
    pub(crate) shutdown: Shutdown,
    pub(crate) broker_url: String,
    pub(crate) results_url: String,
    pub(crate) settings: ShownSettings,
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
    pub(crate) fn new(parts: ControlParts) -> Self {
        let ControlParts { runtime, options, shutdown, broker_url, results_url, settings } = parts;
        Self {
            runtime,
            options,
            shutdown,
            broker_url,
            results_url,
            settings,
            clock: LogicalClock::default(),
            started: Instant::now(),
            added: Mutex::default(),
        }
    }

    /// Returns the name of the worker.
    pub(crate) fn name(&self) -> &str {
        &self.runtime.name
    }
}

/// Counts what happens before what, among all workers (Lamport).
#[derive(Debug, Default)]
pub(crate) struct LogicalClock(AtomicU64);

impl LogicalClock {
    /// Records an event of another process.
    pub(crate) fn adjust(&self, other: u64) {
        let later = |own: u64| Some(own.max(other).saturating_add(1));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// Records an event, and returns its time.
    pub(crate) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the time of the last event.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
