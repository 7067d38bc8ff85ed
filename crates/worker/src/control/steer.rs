//! The commands that change slots, limits and events.

use std::time::Duration;

use celeriac_protocol::control::{error, exception, ok};
use celeriac_protocol::{RateLimit, TimeLimits, Value};

use crate::control::arguments::{CommandArguments, Refusal};
use crate::control::node::ControlNode;
use crate::task::definition::TaskDefinition;

/// Most slots of a worker.
const MOST_SLOTS: usize = 100_000;

/// Adds slots.
pub(super) fn pool_grow(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    node.runtime.slots.grow(arguments.count("n")?.unwrap_or(1), MOST_SLOTS);
    Ok(ok("pool will grow"))
}

/// Removes slots, but the last one.
pub(super) fn pool_shrink(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    node.runtime.slots.shrink(arguments.count("n")?.unwrap_or(1));
    Ok(ok("pool will shrink"))
}

/// Sets the rate limit of a task, or removes it.
pub(super) fn rate_limit(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let task = arguments.required_text("task_name")?;
    let value = arguments.take("rate_limit").unwrap_or_default();
    let (rate, is_removed) = match &value {
        Value::Null => (None, true),
        Value::Text(text) if text.is_empty() => (None, true),
        Value::Int(0) => (None, true),
        // Flower and the command line send `0` as text, and get the other answer in Celery too.
        Value::Text(text) => (read_rate(text)?, false),
        number => (read_rate(&number.as_f64().map(|rate| rate.to_string()).unwrap_or_default())?, false),
    };
    let task = find(node, &task)?;
    node.runtime.rates.set(task.name, rate);
    Ok(ok(if is_removed { "rate limit disabled successfully" } else { "new rate limit set successfully" }))
}

fn read_rate(text: &str) -> Result<Option<RateLimit>, Refusal> {
    RateLimit::parse_optional(text).map_err(|problem| error(format!("Invalid rate limit string: {problem}")))
}

/// Sets the time limits of a task. Attempts that run keep theirs.
pub(super) fn time_limit(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let task = arguments.text("task_name")?.unwrap_or_default();
    let (hard, soft) = (read_limit(arguments, "hard")?, read_limit(arguments, "soft")?);
    let task = find(node, &task)?;
    if hard.is_some() && !task.can_be_ended() {
        return Err(error("a blocking task cannot be ended: set a soft limit alone"));
    }
    if let (Some(hard), Some(soft)) = (hard, soft)
        && soft >= hard
    {
        return Err(error("the soft limit is never reached: it should be shorter than the hard limit"));
    }
    node.runtime.limits_at_run_time.set(task.name, TimeLimits { hard, soft });
    Ok(ok("time limits set successfully"))
}

/// Reads a limit in seconds. Zero is none, as in Celery.
fn read_limit(arguments: &mut CommandArguments, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(seconds) = arguments.number(name)?.filter(|seconds| *seconds != 0.0) else { return Ok(None) };
    let limit = Duration::try_from_secs_f64(seconds);
    limit.map(Some).map_err(|problem| exception("ValueError", format!("{name}: {problem}")))
}

/// Sends the events of tasks to monitors.
pub(super) fn enable_events(node: &ControlNode) -> Value {
    let were_on = node.events.set_task_events(true);
    ok(if were_on { "task events already enabled" } else { "task events enabled" })
}

/// Sends no more events of tasks.
pub(super) fn disable_events(node: &ControlNode) -> Value {
    let were_on = node.events.set_task_events(false);
    ok(if were_on { "task events disabled" } else { "task events already disabled" })
}

fn find<'a>(node: &'a ControlNode, task: &str) -> Result<&'a TaskDefinition, Refusal> {
    node.runtime.registry.get(task).ok_or_else(|| error("unknown task"))
}
