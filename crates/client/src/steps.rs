//! The steps of chains: taken apart, given ids, and submitted.

use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Map, Signature, Value};

use crate::call::Follow;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;
use crate::submit::{DynamicCall, new_id};

/// Adds the steps of a chain to `steps`, or another signature.
pub(crate) fn flatten(step: Signature, steps: &mut Vec<Signature>) -> Result<()> {
    if step.kind() != SignatureKind::Chain {
        steps.push(step);
        return Ok(());
    }
    let refused = |reason: String| Error::Call { task: step.task.clone(), reason };
    let (callbacks, errbacks) = (step.options.get("link"), step.options.get("link_error"));
    let first = steps.len();
    for member in step.members().map_err(|error| refused(error.to_string()))? {
        flatten(member, steps)?;
    }
    let added = steps.get_mut(first..).unwrap_or_default();
    if let (Some(last), Some(callbacks)) = (added.last_mut(), callbacks) {
        link_all(last, "link", callbacks).map_err(refused)?;
    }
    for step in added {
        if let Some(errbacks) = errbacks {
            link_all(step, "link_error", errbacks).map_err(refused)?;
        }
    }
    Ok(())
}

fn link_all(step: &mut Signature, option: &str, signatures: &Value) -> Result<(), String> {
    *step = std::mem::take(step).linked_all(option, signatures).map_err(|error| error.to_string())?;
    Ok(())
}

/// Makes a chord of the first group and the steps behind it. As in Celery, a group of one is its
/// member, unless it is the first step.
pub(crate) fn with_chords(steps: Vec<Signature>) -> Result<Vec<Signature>> {
    let mut done = Vec::with_capacity(steps.len());
    let mut steps = steps.into_iter();
    while let Some(step) = steps.next() {
        if step.kind() != SignatureKind::Group {
            done.push(step);
            continue;
        }
        let task = step.task.clone();
        let refused = |reason: &str| Error::Call { task: task.clone(), reason: reason.to_owned() };
        let mut members = step.into_members().map_err(|error| refused(&error.to_string()))?;
        let rest: Vec<_> = steps.collect();
        if rest.is_empty() {
            return Err(refused("a group cannot be the last step of a chain yet: it has no single result"));
        }
        if !done.is_empty() && members.len() == 1 {
            let mut behind = Vec::with_capacity(rest.len() + 1);
            flatten(members.remove(0), &mut behind)?;
            behind.extend(rest);
            done.extend(with_chords(behind)?);
            return Ok(done);
        }
        done.push(chord_of(group_of(members), chain_of(with_chords(rest)?)));
        return Ok(done);
    }
    Ok(done)
}

/// Gives every task an id, and the last one the queue for its reply. Returns the id of the last
/// one, which alone is awaited: it fails when an earlier one fails.
pub(crate) async fn freeze(client: &Client, steps: &mut [Signature]) -> Result<String> {
    let refused = |task: &str, reason: &str| Error::Call { task: task.to_owned(), reason: reason.to_owned() };
    let Some(last) = steps.last() else { return Err(refused("celery.chain", "a chain has no steps")) };
    let task = last.task.clone();
    let reply_to = client.reply_queue(&task).await?;
    for step in steps.iter_mut().filter(|step| step.kind() == SignatureKind::Task) {
        step.options.entry("task_id".to_owned()).or_insert_with(|| new_id().into());
    }
    let mut id = String::new();
    let mut awaited = |end: &mut Signature| {
        end.options.entry("task_id".to_owned()).or_insert_with(|| new_id().into());
        id = task_id(end);
        if let Some(reply_to) = reply_to {
            end.options.insert("reply_to".to_owned(), reply_to.into());
        }
    };
    let is_awaited = steps.last_mut().is_some_and(|last| last.change_end(&mut awaited));
    match is_awaited {
        true => Ok(id),
        false => Err(refused(&task, "its last step is a group, or is not a task")),
    }
}

/// Submits the first step, which the others follow. Returns a handle to the last one, of this id.
/// Every step has an id.
pub(crate) async fn submit_steps(
    client: &Client,
    steps: Vec<Signature>,
    id: String,
) -> Result<TaskHandle<serde_json::Value>> {
    let mut steps = steps.into_iter();
    let first = steps.next().unwrap_or_default();
    let mut request = DynamicCall::from_signature(first, client.topology())?;
    request.options.follow = Follow { steps: steps.collect(), ..request.options.follow };
    client.submit_for(request, id).await
}

/// Returns the id that a signature was given.
fn task_id(signature: &Signature) -> String {
    signature.options.get("task_id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns one signature of these steps.
pub(crate) fn chain_of(mut steps: Vec<Signature>) -> Signature {
    if steps.len() == 1 {
        return steps.remove(0);
    }
    let tasks = steps.into_iter().map(Value::from).collect();
    let mut chain = Signature::new("celery.chain").kwarg("tasks", Value::List(tasks));
    chain.subtask_type = Some("chain".to_owned());
    chain
}

/// Returns the signature of a group, as Celery writes it.
pub(crate) fn group_of(members: Vec<Signature>) -> Signature {
    let tasks = members.into_iter().map(Value::from).collect();
    let mut group = Signature::new("celery.group").kwarg("tasks", Value::List(tasks));
    group.subtask_type = Some("group".to_owned());
    group
}

/// Returns the signature of a chord, as Celery writes it.
pub(crate) fn chord_of(header: Signature, body: Signature) -> Signature {
    let mut chord = Signature::new("celery.chord")
        .kwarg("kwargs", Value::Map(Map::new()))
        .kwarg("header", Value::from(header))
        .kwarg("body", Value::from(body));
    chord.subtask_type = Some("chord".to_owned());
    chord
}
