//! The contents of `config/routes.yaml`.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::{Codec, Compression, Map};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::exchange::ExchangeOptions;
use crate::queue::QueueOptions;
use crate::topology::Topology;

/// Exchanges, queues, and which task goes where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutesOptions {
    /// Exchanges by name.
    pub exchanges: IndexMap<String, ExchangeOptions>,
    /// Queues by name.
    pub queues: IndexMap<String, QueueOptions>,
    /// Routes of tasks; the first that matches decides.
    pub task_routes: Vec<TaskRoute>,
    /// The queue for tasks that match no route and declare no queue. It exists even if it is not listed.
    pub default_queue: String,
}

impl Default for RoutesOptions {
    fn default() -> Self {
        Self {
            exchanges: IndexMap::new(),
            queues: IndexMap::new(),
            task_routes: Vec::new(),
            default_queue: "celeriac".to_owned(),
        }
    }
}

impl RoutesOptions {
    /// Everything that these routes need to exist.
    pub fn topology(&self) -> Topology {
        let mut topology = Topology { exchanges: self.exchanges.clone(), queues: self.queues.clone() };
        topology.queues.entry(self.default_queue.clone()).or_default();
        topology
    }
}

/// One line of `task_routes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRoute {
    /// The whole name of the task, a glob (`*` any text, `?` any character), or a `/regular expression/` for the whole
    /// name.
    pub task: String,
    /// The queue. Excludes `exchange` and `function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The exchange, one of those declared. Excludes `queue` and `function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The routing key at the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// The function of the program that says where a call goes, or passes it on to the next line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The priority of calls that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The serialiser of calls that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serializer: Option<Codec>,
    /// The compression of calls that do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The time that calls may wait that do not say, before they must not start any more.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Headers of every message, beside the caller's own.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map,
}
