//! One file for each verb, and `arguments` for those that call.

pub(crate) mod arguments;
pub(crate) mod audit;
pub(crate) mod call;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod db;
pub(crate) mod dead;
pub(crate) mod events;
pub(crate) mod failures;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod query;
pub(crate) mod queues;
pub(crate) mod relay;
pub(crate) mod remote;
pub(crate) mod result;
pub(crate) mod retries;
pub(crate) mod retry;
pub(crate) mod revoke;
pub(crate) mod routes;
pub(crate) mod setup;
pub(crate) mod top;
pub(crate) mod topology;
pub(crate) mod worker;
pub(crate) mod workflow;

use celeriac_config::{did_you_mean, nearest};
use celeriac_topology::Topology;

/// Returns the error about a queue that is not declared, with the closest one or all that are.
fn not_declared(topology: &Topology, name: &str) -> String {
    let declared = || topology.queues.keys().map(String::as_str);
    let meant = match nearest(name, declared()) {
        Some(nearest) => did_you_mean(Some(nearest)),
        None => format!("; declared are {}", declared().collect::<Vec<_>>().join(", ")),
    };
    format!("queue `{name}` is not declared{meant}")
}
