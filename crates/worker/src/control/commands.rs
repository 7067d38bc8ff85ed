//! The function of each remote command.

use celeriac_protocol::Value;
use celeriac_protocol::control::{exception, ok};

use crate::control::arguments::{CommandArguments, Refusal};
use crate::control::node::ControlNode;
use crate::control::{inspect, queues, resources, revoke, stats, steer};

/// Runs a command of the table. Returns the answer, or `None` if it has none.
pub(super) async fn run(
    name: &'static str,
    node: &ControlNode,
    mut arguments: CommandArguments,
) -> Result<Option<Value>, Refusal> {
    let arguments = &mut arguments;
    let value = match name {
        "active" => inspect::active(node, arguments)?,
        "active_queues" => queues::active_queues(node),
        "clock" => [("clock", node.clock.now())].into_iter().collect(),
        "conf" => stats::conf(node, arguments.flag("with_defaults")?),
        "hello" => revoke::hello(node, arguments).await?,
        "memdump" | "memsample" => resources::memory().ok_or_else(|| not_available("the memory in use"))?.into(),
        "ping" => ok("pong"),
        "query_task" => inspect::query_task(node, arguments).await?,
        "registered" => inspect::registered(node, arguments)?,
        "report" => stats::report(node),
        "reserved" => inspect::reserved(node).await,
        "revoked" => inspect::revoked(node).into(),
        // Delayed tasks wait at the broker, and no worker holds one for longer than a second.
        "scheduled" => Value::List(Vec::new()),
        "stats" => stats::stats(node),
        "add_consumer" => queues::add_consumer(node, arguments).await?,
        "cancel_consumer" => queues::cancel_consumer(node, arguments)?,
        "pool_grow" => steer::pool_grow(node, arguments)?,
        "pool_shrink" => steer::pool_shrink(node, arguments)?,
        "rate_limit" => steer::rate_limit(node, arguments)?,
        "time_limit" => steer::time_limit(node, arguments)?,
        "revoke" => revoke::revoke(node, arguments).await?,
        "revoke_by_stamped_headers" => revoke::revoke_by_stamped_headers(node, arguments).await?,
        "terminate" => revoke::terminate(node, arguments).await?,
        "autoscale" => return Err(exception("ValueError", "Autoscale not enabled")),
        "pool_restart" => return Err(exception("ValueError", "Pool restarts not enabled")),
        "enable_events" => steer::enable_events(node),
        "disable_events" => steer::disable_events(node),
        "heartbeat" => {
            node.events.beat();
            Value::Null
        }
        // Elections are among Python workers.
        "election" => Value::Null,
        "shutdown" => {
            node.shutdown.request();
            return Ok(None);
        }
        _ => return Err(not_available("this command")),
    };
    Ok(Some(value))
}

/// Returns the refusal of a command that a worker in Rust has no use for.
fn not_available(what: &str) -> Refusal {
    exception("NotImplementedError", format!("{what} is not available in a worker of Celeriac"))
}
