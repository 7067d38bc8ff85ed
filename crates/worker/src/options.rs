//! The `worker` section of the configuration.

use std::time::Duration;

use celeriac_client::events::EventLevel;
use celeriac_config::{ByteSize, duration, text};
use celeriac_protocol::{Codec, DecodeLimits};
use celeriac_topology::Prefetch;
use celeriac_topology::pattern::Pattern;
use serde::{Deserialize, Serialize};

use crate::follow_up_size::FollowUpLimits;
use crate::name;
use crate::remote_commands::ControlAccess;

/// Celery's task that sends a chord.
pub(crate) const CHORD: &str = "celery.chord";

/// Celery's task that waits for the members of a chord.
pub(crate) const CHORD_UNLOCK: &str = "celery.chord_unlock";

/// The names of Celery's own tasks that are supported.
pub(crate) const BUILTIN_TASKS: [&str; 9] = [
    "celery.ping",
    "celery.backend_cleanup",
    "celery.accumulate",
    "celery.map",
    "celery.starmap",
    "celery.chunks",
    "celery.group",
    CHORD,
    CHORD_UNLOCK,
];

/// Shortest time between two heartbeats.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(100);

/// Options of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerOptions {
    /// Name of the worker, unique among all workers. `%h`, `%n` and `%d` are the name of the
    /// machine, its first part and its domain. Default: `celeriac@%h`.
    pub name: Option<String>,
    /// Queues that it consumes. Default: all declared queues.
    pub queues: Vec<String>,
    /// Number of tasks that run at once.
    pub concurrency: usize,
    /// Most unacknowledged messages of each queue without a setting of its own, or `auto`.
    pub prefetch: Prefetch,
    /// Priority of its consumers. RabbitMQ delivers to those of the highest while their prefetch
    /// allows more.
    pub consumer_priority: i32,
    /// Content types of the bodies that it reads. Others go to the dead-letter queue.
    pub accept_content: Vec<Codec>,
    /// Number of values in a body: numbers, texts, lists, objects and the keys of objects. A body
    /// of more goes to the dead-letter queue.
    pub max_body_values: usize,
    /// Memory of decoded bodies over all running tasks, as estimated from their sizes and their
    /// numbers of values. A task that would exceed it waits.
    #[serde(with = "text")]
    pub max_decoded_size: ByteSize,
    /// Number of tasks that one task may send by its message.
    pub max_follow_ups: usize,
    /// Size of the bodies of these tasks together.
    #[serde(with = "text")]
    pub max_follow_up_size: ByteSize,
    /// Patterns of the queues to which messages may make it send tasks. Default: all queues.
    pub allow_follow_ups_to: Option<Vec<String>>,
    /// Patterns of the queues to which messages may make it send replies. Default: all queues.
    pub allow_replies_to: Option<Vec<String>>,
    /// Celery's own tasks that it runs. Others go to the dead-letter queue. Default: all but
    /// `celery.chord_unlock`.
    pub builtin_tasks: Vec<String>,
    /// Consumes a queue of its own too, for tasks that are sent to the worker's name.
    pub direct_queue: bool,
    /// The remote commands that it obeys.
    pub control: ControlAccess,
    /// Relays the outbox while no other worker does. Requires a Postgres result store.
    pub run_relay: bool,
    /// Relays messages to exchanges and queues that the configuration does not declare, too.
    pub relay_undeclared: bool,
    /// Sends replies to callers that name a queue for them.
    pub send_replies: bool,
    /// The events that it sends to Celery's monitors. Monitors can switch those of tasks at run
    /// time.
    pub events: EventLevel,
    /// Time between its heartbeats for monitors.
    #[serde(with = "duration")]
    pub heartbeat_interval: Duration,
    /// Time after which an attempt is ended, if neither its call nor its task sets one.
    #[serde(with = "duration::option")]
    pub time_limit: Option<Duration>,
    /// Time after which an attempt is signalled to end, if neither its call nor its task sets one.
    #[serde(with = "duration::option")]
    pub soft_time_limit: Option<Duration>,
    /// Time that running tasks have to finish after a request to stop.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// Number of deliveries after which a task that seems to crash its worker is quarantined, if
    /// the task sets none.
    pub crash_limit: u32,
    /// Time that a task which the worker does not know stays on its queue, for a worker that does.
    /// `0s` dead-letters it at once.
    #[serde(with = "duration")]
    pub unknown_task_grace: Duration,
    /// Time that a task has to end after it was terminated.
    #[serde(with = "duration")]
    pub terminate_grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: None,
            queues: Vec::new(),
            concurrency: 64,
            prefetch: Prefetch::Auto,
            consumer_priority: 0,
            accept_content: vec![Codec::Json, Codec::Msgpack],
            max_body_values: DecodeLimits::default().values,
            max_decoded_size: ByteSize::mib(512),
            max_follow_ups: 10_000,
            max_follow_up_size: ByteSize::mib(64),
            allow_follow_ups_to: None,
            allow_replies_to: None,
            // A chord that Celery's own backend counts would never end.
            builtin_tasks: BUILTIN_TASKS
                .iter()
                .filter(|name| **name != CHORD_UNLOCK)
                .map(|&name| name.into())
                .collect(),
            direct_queue: false,
            control: ControlAccess::All,
            run_relay: true,
            relay_undeclared: true,
            send_replies: true,
            events: EventLevel::None,
            heartbeat_interval: Duration::from_secs(2),
            time_limit: None,
            soft_time_limit: None,
            drain_timeout: Duration::from_secs(30),
            crash_limit: 5,
            unknown_task_grace: Duration::ZERO,
            terminate_grace: Duration::from_secs(5),
        }
    }
}

impl WorkerOptions {
    /// Returns the limits for the tasks that one task may send, with bodies of at most this size.
    pub(crate) fn follow_up_limits(&self, message_size: usize) -> FollowUpLimits {
        let bytes = usize::try_from(self.max_follow_up_size.bytes()).unwrap_or(usize::MAX);
        FollowUpLimits { messages: self.max_follow_ups, bytes, message_size }
    }

    /// Returns the faults in these options, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.concurrency == 0 {
            problems.push(("concurrency".to_owned(), "should be at least 1".to_owned()));
        }
        if self.crash_limit < 2 {
            let reason = "should be at least 2; a message that is delivered again may not have run before";
            problems.push(("crash_limit".to_owned(), reason.to_owned()));
        }
        if self.accept_content.is_empty() {
            problems.push(("accept_content".to_owned(), "should list json, msgpack or both".to_owned()));
        }
        if let Some(reason) = self.name.as_deref().and_then(name::problem) {
            problems.push(("name".to_owned(), reason));
        }
        let counts = [("max_body_values", self.max_body_values), ("max_follow_ups", self.max_follow_ups)];
        for (key, _) in counts.into_iter().filter(|(_, count)| *count == 0) {
            problems.push((key.to_owned(), "should be at least 1".to_owned()));
        }
        let sizes = [("max_decoded_size", self.max_decoded_size), ("max_follow_up_size", self.max_follow_up_size)];
        for (key, _) in sizes.into_iter().filter(|(_, size)| size.bytes() < 1 << 10) {
            problems.push((key.to_owned(), "should be at least 1KiB".to_owned()));
        }
        let lists = [("allow_follow_ups_to", &self.allow_follow_ups_to), ("allow_replies_to", &self.allow_replies_to)];
        for (key, patterns) in lists {
            for (index, pattern) in patterns.iter().flatten().enumerate() {
                if let Err(reason) = Pattern::read(pattern) {
                    problems.push((format!("{key}[{index}]"), reason));
                }
            }
        }
        for (index, problem) in self.control.problems() {
            problems.push((format!("control[{index}]"), problem));
        }
        for (index, name) in self.builtin_tasks.iter().enumerate() {
            if !BUILTIN_TASKS.contains(&name.as_str()) {
                let reason = format!("`{name}` is not one of {}", BUILTIN_TASKS.join(", "));
                problems.push((format!("builtin_tasks[{index}]"), reason));
            }
        }
        if self.heartbeat_interval < SHORTEST_HEARTBEAT {
            problems.push(("heartbeat_interval".to_owned(), "should be at least 100ms".to_owned()));
        }
        for (key, limit) in [("time_limit", self.time_limit), ("soft_time_limit", self.soft_time_limit)] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                problems.push((key.to_owned(), "should be more than 0s; null sets no limit".to_owned()));
            }
        }
        if let (Some(hard), Some(soft)) = (self.time_limit, self.soft_time_limit)
            && soft >= hard
        {
            problems.push(("soft_time_limit".to_owned(), "should be shorter than worker.time_limit".to_owned()));
        }
        problems
    }
}
