//! The contents of `config/routes.yaml`.

use std::time::Duration;

use celeriac_config::duration;
use celeriac_protocol::{Codec, Compression, Map};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::exchange::ExchangeOptions;
use crate::queue::QueueOptions;
use crate::topology::Topology;

/// Exchanges, queues and routes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutesOptions {
    /// Exchanges by name.
    pub exchanges: IndexMap<String, ExchangeOptions>,
    /// Queues by name.
    pub queues: IndexMap<String, QueueOptions>,
    /// Routes of tasks. The first match decides.
    pub task_routes: Vec<TaskRoute>,
    /// The queue for tasks that match no route and declare no queue. It need not be listed.
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
    /// Returns the exchanges and queues that these routes need.
    pub fn topology(&self) -> Topology {
        let mut topology = Topology { exchanges: self.exchanges.clone(), queues: self.queues.clone() };
        topology.queues.entry(self.default_queue.clone()).or_default();
        topology
    }
}

/// A route of `task_routes`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRoute {
    /// The tasks: a whole name, a glob (`*` any text, `?` any character), or a
    /// `/regular expression/` for the whole name.
    pub task: String,
    /// The queue. Excludes `exchange` and `function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The exchange, which has to be declared. Excludes `queue` and `function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The routing key for the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// The function of the program that chooses the destination, or passes the call on to the next
    /// route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The priority of calls that set none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The serializer of calls that set none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serializer: Option<Codec>,
    /// The compression of calls that set none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// The time that a message may wait to start, for calls that set none.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Headers of every message, besides those of the call.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map,
}
