//! The commands that revoke tasks.

use std::sync::Arc;

use celeriac_protocol::control::{exception, ok};
use celeriac_protocol::repr::repr_kwargs;
use celeriac_protocol::{Map, Value};
use celeriac_results::RevokeOptions;

use crate::control::arguments::{CommandArguments, Refusal};
use crate::control::inspect::{MOST_REVOKED, revoked};
use crate::control::node::ControlNode;
use crate::remote_commands::RemoteCommand;
use crate::revoked_stamps::{stamp_text, stamp_values};
use crate::task::received::Received;

/// The signals that Celery knows. A task in Rust is told to end, whatever the signal.
const SIGNALS: [&str; 14] =
    ["ABRT", "ALRM", "CONT", "HUP", "INT", "KILL", "PIPE", "QUIT", "STOP", "TERM", "TSTP", "USR1", "USR2", "CHLD"];

/// Revokes tasks in the result store, so that no worker starts them.
pub(super) async fn revoke(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let terminate = arguments.flag("terminate")?;
    revoke_ids(node, arguments, terminate).await
}

/// Revokes tasks, and ends those that run.
pub(super) async fn terminate(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    arguments.need("signal")?;
    revoke_ids(node, arguments, true).await
}

async fn revoke_ids(node: &ControlNode, arguments: &mut CommandArguments, terminate: bool) -> Result<Value, Refusal> {
    check_signal(arguments.take("signal"))?;
    arguments.need("task_id")?;
    let ids = arguments.texts("task_id")?;
    if ids.is_empty() {
        return Ok(ok(if terminate { "terminate: tasks unknown" } else { "tasks set() flagged as revoked" }));
    }
    let here: Vec<_> =
        if terminate { running(node, |received| ids.contains(&received.headers.id)) } else { Vec::new() };
    store(node, &ids, terminate).await?;
    if !terminate {
        let ids: Vec<_> = ids.iter().map(|id| format!("'{id}'")).collect();
        return Ok(ok(format!("tasks {{{}}} flagged as revoked", ids.join(", "))));
    }
    Ok(ok(match here.is_empty() {
        true => "terminate: tasks unknown".to_owned(),
        false => format!("terminate: {}", here.join(", ")),
    }))
}

/// Revokes the tasks with one of these stamps, in the memory of this worker.
pub(super) async fn revoke_by_stamped_headers(
    node: &ControlNode,
    arguments: &mut CommandArguments,
) -> Result<Value, Refusal> {
    arguments.need("headers")?;
    let headers = match arguments.take("headers").unwrap_or_default() {
        Value::Map(headers) => headers,
        Value::List(pairs) => pairs.iter().map(read_pair).collect::<Result<Map, _>>()?,
        other => return Err(exception("TypeError", format!("headers should be an object, got {}", other.kind()))),
    };
    let terminate = arguments.flag("terminate")?;
    check_signal(arguments.take("signal"))?;
    for (name, value) in &headers {
        let values: Vec<_> = stamp_values(value).iter().map(stamp_text).collect();
        node.runtime.revoked_stamps.add(name, &values);
    }
    let shown = repr_kwargs(&headers);
    if !terminate {
        return Ok(ok(format!("headers {shown} flagged as revoked, but not terminated")));
    }
    let here = running(node, |received| node.runtime.revoked_stamps.include(&received.headers.stamps));
    if here.is_empty() {
        return Ok(ok(format!("headers {shown} were not terminated")));
    }
    store(node, &here, true).await?;
    Ok(ok(format!("headers {shown} revoked")))
}

fn read_pair(pair: &Value) -> Result<(String, Value), Refusal> {
    let pair = pair.as_str().and_then(|pair| pair.split_once('='));
    let (name, value) = pair.ok_or_else(|| exception("ValueError", "a header should be name=value"))?;
    Ok((name.to_owned(), value.into()))
}

/// Exchanges logical clocks and revoked tasks with a worker that starts.
pub(super) async fn hello(node: &ControlNode, arguments: &mut CommandArguments) -> Result<Value, Refusal> {
    let from = arguments.required_text("from_node")?;
    if from == node.name() {
        return Ok(Value::Null);
    }
    let ids = match arguments.take("revoked") {
        Some(Value::List(ids)) => ids.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Map(ids)) => ids.into_keys().collect(),
        _ => Vec::new(),
    };
    let own = revoked(node);
    merge_revoked(node, ids).await?;
    Ok([("revoked", Value::from(own)), ("clock", node.clock.tick().into())].into_iter().collect())
}

/// Revokes the tasks that another worker knows as revoked, if this one may revoke tasks.
pub(super) async fn merge_revoked(node: &ControlNode, ids: Vec<String>) -> Result<(), Refusal> {
    let Some(results) = &node.runtime.results else { return Ok(()) };
    let is_allowed = RemoteCommand::find("revoke").is_some_and(|revoke| node.options.control.allows(revoke));
    let cache = results.backend.revocation_cache();
    let new = ids.into_iter().take(MOST_REVOKED).filter(|id| cache.find_revoked(id).is_none());
    let new: Vec<_> = new.filter(|_| is_allowed).collect();
    if new.is_empty() { Ok(()) } else { store(node, &new, false).await }
}

/// Writes a revocation.
async fn store(node: &ControlNode, ids: &[String], terminate: bool) -> Result<(), Refusal> {
    let Some(results) = &node.runtime.results else {
        return Err(exception("RuntimeError", "revocations need a result store: set results.url"));
    };
    let revoked = results.backend.revoke(ids, RevokeOptions { terminate, lasts: None }).await;
    revoked.map_err(|error| exception("OperationalError", format!("not revoked: {error}")))
}

/// Returns the ids of tasks that run here.
fn running(node: &ControlNode, is_meant: impl Fn(&Received) -> bool) -> Vec<String> {
    let running = node.runtime.running.list();
    let meant =
        running.iter().map(Arc::as_ref).filter(|received| received.started_at().is_some() && is_meant(received));
    meant.map(|received| received.headers.id.clone()).collect()
}

fn check_signal(signal: Option<Value>) -> Result<(), Refusal> {
    let is_known = match &signal {
        None => true,
        Some(Value::Int(number)) => (1..=64).contains(number),
        Some(Value::Text(text)) => {
            let name = text.to_uppercase();
            let name = name.strip_prefix("SIG").unwrap_or(&name);
            SIGNALS.contains(&name) || name.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
        }
        Some(_) => false,
    };
    match signal {
        Some(signal) if !is_known => Err(exception("ValueError", format!("unknown signal {}", stamp_text(&signal)))),
        _ => Ok(()),
    }
}
