//! The `worker` section of the configuration.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::Codec;
use celeriac_topology::Prefetch;
use serde::{Deserialize, Serialize};

/// Options of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerOptions {
    /// Name of the worker, unique among all workers. Default: `celeriac@<hostname>`.
    pub name: Option<String>,
    /// Queues that it consumes. Default: all declared queues.
    pub queues: Vec<String>,
    /// Number of tasks that run at once.
    pub concurrency: usize,
    /// Most unacknowledged messages of each queue without a setting of its own, or `auto`.
    pub prefetch: Prefetch,
    /// Content types of the bodies that it reads. Others go to the dead-letter queue.
    pub accept_content: Vec<Codec>,
    /// Consumes a queue of its own too, for tasks that are sent to the worker's name.
    pub direct_queue: bool,
    /// Relays the outbox while no other worker does. Requires a Postgres result store.
    pub run_relay: bool,
    /// Sends replies to callers that name a queue for them.
    pub send_replies: bool,
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
            accept_content: vec![Codec::Json, Codec::Msgpack],
            direct_queue: false,
            run_relay: true,
            send_replies: true,
            time_limit: None,
            soft_time_limit: None,
            drain_timeout: Duration::from_secs(30),
            crash_limit: 5,
            terminate_grace: Duration::from_secs(5),
        }
    }
}

impl WorkerOptions {
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
        if self.name.as_deref().is_some_and(|name| name.is_empty() || name.len() > 200) {
            problems.push(("name".to_owned(), "should have 1 to 200 bytes".to_owned()));
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
