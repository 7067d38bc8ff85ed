//! The steps of chains: taken apart, given ids, and submitted.

use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Signature, Value};

use crate::call::Follow;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::handle::TaskHandle;
use crate::submit::{DynamicCall, new_id};

/// Adds the steps of a chain to `steps`, or a task.
pub(crate) fn flatten(step: Signature, steps: &mut Vec<Signature>) -> Result<()> {
    let refused = |reason: String| Error::Call { task: step.task.clone(), reason };
    match step.kind() {
        SignatureKind::Task => steps.push(step),
        SignatureKind::Chain => {
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
        }
        SignatureKind::Group | SignatureKind::Chord => {
            return Err(refused("groups and chords cannot be steps of a chain yet".to_owned()));
        }
    }
    Ok(())
}

fn link_all(step: &mut Signature, option: &str, signatures: &Value) -> Result<(), String> {
    *step = std::mem::take(step).linked_all(option, signatures).map_err(|error| error.to_string())?;
    Ok(())
}

/// Gives every step an id, and the last one the queue for its reply. Only the last step is awaited:
/// it fails when an earlier step fails.
pub(crate) async fn freeze(client: &Client, steps: &mut [Signature]) -> Result<()> {
    for step in &mut *steps {
        step.options.entry("task_id".to_owned()).or_insert_with(|| new_id().into());
    }
    if let Some(last) = steps.last_mut()
        && let Some(reply_to) = client.reply_queue(&last.task).await?
    {
        last.options.insert("reply_to".to_owned(), reply_to.into());
    }
    Ok(())
}

/// Submits the first step, which the others follow. Returns a handle to the last one. Every step
/// has an id.
pub(crate) async fn submit_steps(client: &Client, steps: Vec<Signature>) -> Result<TaskHandle<serde_json::Value>> {
    let id = steps.last().map(task_id).unwrap_or_default();
    let mut steps = steps.into_iter();
    let first = steps.next().unwrap_or_default();
    let mut request = DynamicCall::from_signature(first, client.topology())?;
    request.options.follow = Follow { steps: steps.collect(), ..request.options.follow };
    client.submit_for(request, id).await
}

/// Returns the id that a signature was given.
pub(crate) fn task_id(signature: &Signature) -> String {
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
