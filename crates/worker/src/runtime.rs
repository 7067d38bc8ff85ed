//! All that the attempts of a worker share.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::Broker;
use celeriac_protocol::DecodeLimits;
use celeriac_results::{Backend, CrashTracker, Recorder};
use celeriac_topology::Topology;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::rate_limits::RateLimits;
use crate::slots::Slots;
use crate::task::context::TaskEnvironment;
use crate::task::hooks::HookList;
use crate::task::registry::Registry;
use crate::threads::Threads;

/// All that the attempts of a worker share.
pub(crate) struct WorkerRuntime {
    pub(crate) name: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) topology: Topology,
    /// The queues in which it finds messages that are sent to every worker.
    pub(crate) broadcasts: HashSet<String>,
    /// `None` where outcomes are not stored.
    pub(crate) results: Option<ResultStore>,
    /// Bounds of the bodies that are read.
    pub(crate) limits: DecodeLimits,
    /// Sends replies to callers that name a queue for them.
    pub(crate) replies: bool,
    pub(crate) slots: Arc<Slots>,
    pub(crate) rates: Arc<RateLimits>,
    /// Deliveries of a task that seems to bring its worker down, where the task sets no number of its own.
    pub(crate) max_deliveries: u32,
    /// The turn of a suspect that has to run alone.
    pub(crate) alone: Arc<Semaphore>,
    /// Hooks around every attempt.
    pub(crate) hooks: HookList,
    pub(crate) threads: Threads,
    /// The time that a terminated task may still take.
    pub(crate) terminate_grace: Duration,
    /// Cancelled when nothing may be waited for any longer, neither broker nor store: each delivery goes back as it is.
    pub(crate) abort: CancellationToken,
    /// The part that tasks see.
    pub(crate) environment: Arc<TaskEnvironment>,
}

/// The store of outcomes.
pub(crate) struct ResultStore {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) recorder: Recorder,
    pub(crate) crashes: CrashTracker,
}

impl WorkerRuntime {
    /// Cancelled when running tasks have to come to an end.
    pub(crate) fn interrupt(&self) -> &CancellationToken {
        &self.environment.interrupt
    }
}
