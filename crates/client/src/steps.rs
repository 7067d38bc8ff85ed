//! The steps of chains: taken apart, given ids, and submitted.

use celeriac_protocol::Signature;
use celeriac_protocol::signature::SignatureKind;

use crate::call::Follow;
use crate::canvas::PartOrigin;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;
use crate::submit::{DynamicCall, ResolvedCall, new_id};

/// Returns the steps of a chain and of the chains in it, or another signature.
pub(crate) fn steps_of(step: Signature) -> Result<Vec<Signature>> {
    let task = step.task.clone();
    step.into_steps().map_err(|error| Error::Call { task, reason: error.to_string() })
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
            let mut behind = steps_of(members.remove(0))?;
            behind.extend(rest);
            done.extend(with_chords(behind)?);
            return Ok(done);
        }
        done.push(Signature::chord(Signature::group(members), Signature::of_steps(with_chords(rest)?)));
        return Ok(done);
    }
    Ok(done)
}

/// Gives every task an id, and the last one the queue for its reply. Returns the id of the last
/// one, which alone is awaited: it fails when an earlier one fails.
pub(crate) fn freeze(steps: &mut [Signature], reply_to: Option<&str>) -> Result<String> {
    let refused = |task: &str, reason: &str| Error::Call { task: task.to_owned(), reason: reason.to_owned() };
    let Some(last) = steps.last() else { return Err(refused("celery.chain", "a chain has no steps")) };
    let task = last.task.clone();
    for step in steps.iter_mut().filter(|step| step.kind() == SignatureKind::Task) {
        step.options.entry("task_id".to_owned()).or_insert_with(|| new_id().into());
    }
    let mut id = String::new();
    let mut awaited = |end: &mut Signature| {
        end.options.entry("task_id".to_owned()).or_insert_with(|| new_id().into());
        id = end.task_id().unwrap_or_default().to_owned();
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

/// Returns the call of the first step, which the others follow.
pub(crate) fn call_of_steps(client: &Client, steps: Vec<Signature>, origin: &PartOrigin) -> Result<ResolvedCall> {
    let mut steps = steps.into_iter();
    let first = steps.next().unwrap_or_default();
    let mut request = DynamicCall::from_signature(first, client.topology())?;
    request.options.follow = Follow { steps: steps.collect(), ..request.options.follow };
    let (declared, parameters) = origin.declaration(&request.task);
    Ok(ResolvedCall { parameters, ..client.resolve(request, declared) })
}

/// Submits the first step, which the others follow. Returns a handle to the last one, of this id.
/// Every step has an id.
pub(crate) async fn submit_steps<T>(
    client: &Client,
    steps: Vec<Signature>,
    id: String,
    origin: &PartOrigin,
) -> Result<TaskHandle<T>> {
    client.submit_for(call_of_steps(client, steps, origin)?, id).await
}
