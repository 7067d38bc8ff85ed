//! The commands that show the tasks of a worker.

use std::time::Duration;

use celeriac_protocol::{Map, TaskHeaders, Value};
use futures::future::join_all;
use tokio::time::timeout;

use crate::control::arguments::{CommandArguments, Refusal};
use crate::control::node::ControlNode;
use crate::control::task_info::TaskInfoWriter;
use crate::live_queues::HeldMessage;
use crate::options::BUILTIN_TASKS;
use crate::task::definition::TaskDefinition;

/// Longest wait for the consumer of a queue to show its messages.
const LOOK: Duration = Duration::from_millis(80);

/// Most revoked ids in a reply, the number that a Python worker remembers.
pub(super) const MOST_REVOKED: usize = 50_000;

/// Lists the tasks that run.
pub(super) fn active(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let mut writer = TaskInfoWriter::new(node, arguments.flag("safe")?);
    let running = node.runtime.running.list();
    Ok(running
        .iter()
        .filter(|received| received.started_at().is_some())
        .map(|received| writer.attempt(received))
        .collect())
}

/// Lists the tasks that are received and have not started.
pub(super) async fn reserved(node: &ControlNode) -> Value {
    let held = held(node).await;
    let mut writer = TaskInfoWriter::new(node, false);
    let waiting = node.runtime.running.list();
    let mut tasks: Vec<_> = waiting
        .iter()
        .filter(|received| received.started_at().is_none())
        .map(|received| writer.attempt(received))
        .collect();
    tasks.extend(held.iter().map(|(headers, held)| writer.held(headers, &held.message, &held.origin)));
    tasks.into()
}

/// Finds tasks by their ids.
pub(super) async fn query_task(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    arguments.need("ids")?;
    let ids = arguments.texts("ids")?;
    let is_wanted = |headers: &TaskHeaders| ids.contains(&headers.id);
    let held = held(node).await;
    let mut writer = TaskInfoWriter::new(node, false);
    let mut found = Map::new();
    for received in node.runtime.running.list().iter().filter(|received| is_wanted(&received.headers)) {
        let state = if received.started_at().is_some() { "active" } else { "reserved" };
        let entry = Value::List(vec![state.into(), writer.attempt(received)]);
        found.insert(received.headers.id.clone(), entry);
    }
    for (headers, held) in held.iter().filter(|(headers, _)| is_wanted(headers)) {
        let entry = Value::List(vec!["reserved".into(), writer.held(headers, &held.message, &held.origin)]);
        found.entry(headers.id.clone()).or_insert(entry);
    }
    Ok(found.into())
}

/// Returns the messages that wait for a slot, of all queues.
async fn held(node: &ControlNode) -> Vec<(TaskHeaders, HeldMessage)> {
    let queues = node.runtime.live.list();
    let looks = queues.iter().map(|queue| timeout(LOOK, queue.held()));
    let held = join_all(looks).await.into_iter().filter_map(|look| look.ok().flatten()).flatten();
    held.filter_map(|held| Some((TaskHeaders::read(&held.message.headers).ok()?, held))).collect()
}

/// Lists the ids of revoked tasks.
pub(super) fn revoked(node: &ControlNode) -> Vec<String> {
    let results = node.runtime.results.as_ref();
    results.map(|results| results.backend.revocation_cache().revoked_ids(MOST_REVOKED)).unwrap_or_default()
}

/// Lists the tasks of the worker, each with some of its options.
pub(super) fn registered(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let items = arguments.texts("taskinfoitems")?;
    let items = if items.is_empty() { vec!["rate_limit".to_owned()] } else { items };
    let with_builtins = arguments.flag("builtins")?;
    let builtins = BUILTIN_TASKS.iter().filter(|_| with_builtins).filter_map(|name| node.runtime.registry.get(name));
    let own = node.runtime.registry.iter();
    let is_shown = |task: &&TaskDefinition| with_builtins || !task.name.starts_with("celery.");
    let mut tasks: Vec<_> = own.filter(is_shown).chain(builtins).map(|task| described(node, task, &items)).collect();
    tasks.sort_unstable();
    tasks.dedup();
    Ok(tasks.into())
}

/// Returns the name of a task with the options that are asked for and set.
fn described(node: &ControlNode, task: &TaskDefinition, items: &[String]) -> String {
    let settings = task.options.settings();
    let item = |name: &String| {
        let value = match name.as_str() {
            "name" => task.name.to_owned(),
            "rate_limit" => node.runtime.rates.find(task.name)?.rate().to_string(),
            other => settings.iter().find(|setting| setting.key == other && !setting.is_default)?.value.to_string(),
        };
        Some(format!("{name}={value}"))
    };
    let items: Vec<_> = items.iter().filter_map(item).collect();
    if items.is_empty() { task.name.to_owned() } else { format!("{} [{}]", task.name, items.join(" ")) }
}
