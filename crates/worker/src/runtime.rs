//! The state that the attempts of a worker share.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use celeriac_broker::Broker;
use celeriac_config::ByteSize;
use celeriac_protocol::DecodeLimits;
use celeriac_protocol::task::TrackedStates;
use celeriac_results::{Backend, CrashTracker, JoinTracker, Recorder, StoreClock};
use celeriac_telemetry::Monitors;
use celeriac_topology::Topology;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::allowed::AllowedQueues;
use crate::live_queues::LiveQueues;
use crate::memory::DecodeMemory;
use crate::rate_limits::RateLimits;
use crate::revoked_stamps::RevokedStamps;
use crate::running_tasks::RunningTasks;
use crate::slots::Slots;
use crate::start_counts::StartCounts;
use crate::suspect_turns::SuspectTurns;
use crate::task::context::TaskEnvironment;
use crate::task::hooks::HookList;
use crate::task::limit_overrides::LimitOverrides;
use crate::task::registry::Registry;
use crate::threads::Threads;

/// The state that the attempts of a worker share.
pub(crate) struct WorkerRuntime {
    pub(crate) name: Arc<str>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) topology: Topology,
    /// This worker's queues for broadcasts.
    pub(crate) broadcasts: HashSet<String>,
    /// `None` if outcomes are not stored.
    pub(crate) results: Option<ResultStore>,
    /// Decides whether a task is due or has expired, and writes the times of rows.
    pub(crate) clock: StoreClock,
    /// Limits for the bodies that it reads.
    pub(crate) limits: DecodeLimits,
    /// Memory for decoded bodies.
    pub(crate) decode_memory: DecodeMemory,
    /// Held while a large message is built.
    pub(crate) large_builds: Semaphore,
    /// The queues to which it sends replies.
    pub(crate) allowed_replies: AllowedQueues,
    /// Sends replies to callers that name a queue for them.
    pub(crate) replies: bool,
    pub(crate) slots: Arc<Slots>,
    pub(crate) rates: Arc<RateLimits>,
    /// Time limits that were changed while the worker runs.
    pub(crate) limits_at_run_time: LimitOverrides,
    /// Stamps whose tasks are revoked.
    pub(crate) revoked_stamps: RevokedStamps,
    /// Number of started attempts of each task.
    pub(crate) starts: StartCounts,
    /// The queues that it consumes.
    pub(crate) live: LiveQueues,
    /// Number of deliveries after which a task that seems to crash its worker is quarantined, if
    /// the task sets none.
    pub(crate) crash_limit: u32,
    /// Time that a task which this worker does not know stays on its queue.
    pub(crate) unknown_task_grace: Duration,
    /// RabbitMQ's `consumer_timeout`.
    pub(crate) consumer_timeout: Duration,
    pub(crate) suspects: SuspectTurns,
    /// Hooks around every attempt.
    pub(crate) hooks: HookList,
    pub(crate) threads: Threads,
    pub(crate) running: RunningTasks,
    /// Celery's monitors.
    pub(crate) monitors: Arc<dyn Monitors>,
    /// Number of attempts that have started.
    pub(crate) processed: Arc<AtomicU64>,
    /// Time that a terminated task has to end.
    pub(crate) terminate_grace: Duration,
    /// Cancelled when waits for broker and store must end. Each delivery then returns unchanged.
    pub(crate) abort: CancellationToken,
    /// The part of the worker that tasks can use.
    pub(crate) environment: Arc<TaskEnvironment>,
}

/// The store of outcomes.
pub(crate) struct ResultStore {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) recorder: Recorder,
    /// The states of a task that are written, unless the task sets others.
    pub(crate) track: TrackedStates,
    /// Most bytes of log lines that are kept of each attempt.
    pub(crate) logs: Option<ByteSize>,
    pub(crate) crashes: CrashTracker,
    /// Counts the members of chords.
    pub(crate) joins: JoinTracker,
}

impl WorkerRuntime {
    /// Returns `true` if the broker is known to be away, of which it logs itself.
    pub(crate) fn is_broker_away(&self) -> bool {
        self.broker.health().borrow().is_away()
    }

    /// Returns `true` if the store is known to be away or to take no writes, of which it logs
    /// itself.
    pub(crate) fn is_store_lost(&self) -> bool {
        self.results.as_ref().is_some_and(|results| results.backend.health().is_lost())
    }

    /// Returns the token that is cancelled when running tasks must end.
    pub(crate) fn interrupt(&self) -> &CancellationToken {
        &self.environment.interrupt
    }
}
