//! Makes messages of the calls that SQL wrote to the outbox.

use celeriac_client::{Client, DynamicCall};
use celeriac_results::outbox::{OutboxMessage, OutboxRow};
use celeriac_telemetry::ErrorChain;

use crate::task::registry::Registry;

/// Returns the message of a row: the stored one, or that of its call.
///
/// # Errors
/// Returns the reason if the call is not valid.
pub(super) fn message_of(client: &Client, tasks: &Registry, row: OutboxRow) -> Result<OutboxMessage, String> {
    let OutboxRow { message, call: Some(call), created_at, .. } = row else { return Ok(row.message) };
    let said = |error: celeriac_client::Error| ErrorChain(&error).to_string();
    let call = client.read_stored_call(&message, &call).map_err(said)?;
    check(client, tasks, &call.request)?;
    let declared = tasks.get(&call.request.task).map(|task| task.options.clone());
    client.prepare_stored_call(call, created_at, declared.unwrap_or_default()).map_err(said)
}

/// Refuses a call that the workers of this program would not run. Another program may have the
/// task, unless only the default queue would get it.
fn check(client: &Client, tasks: &Registry, request: &DynamicCall) -> Result<(), String> {
    match tasks.get(&request.task) {
        Some(task) => task.check_arguments(request.body.clone()).map_err(|error| {
            // The error of a decoder may repeat an argument.
            let (mut args, mut kwargs) = (request.body.args.clone(), request.body.kwargs.clone());
            task.redact(&mut args, &mut kwargs).remove_from(&error.to_string()).into_owned()
        }),
        None if !tasks.is_empty() && client.is_for_default_queue(request) => {
            Err(tasks.unknown(&request.task).to_string())
        }
        None => Ok(()),
    }
}
