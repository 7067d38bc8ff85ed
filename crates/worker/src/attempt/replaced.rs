//! The row of the run of a task that was replaced, beside the row of its replacement.

use celeriac_protocol::{TaskHeaders, TaskState};
use celeriac_telemetry::events::worker::completion::OutcomeNotRecorded;
use celeriac_telemetry::events::worker::task::TaskSkipped;

use crate::attempt::record::{Recording, record_row};
use crate::attempt::row::{RowDetails, row};
use crate::attempt::stored::find_row_of;
use crate::attempt::{Attempt, AttemptStep, Disposition, Interrupted};
use crate::task::derived_id::derived_id;

/// Records the run of a task whose replacement is on its queue.
pub(crate) async fn record_replaced(attempt: &mut Attempt<'_>) -> AttemptStep<()> {
    // Of a task whose result is ignored it is left out, unless another delivery needs it.
    let is_needed = attempt.keeps_outcome() || attempt.is_taken_back();
    if attempt.runtime.results.is_none() || !is_needed {
        return Ok(());
    }
    let mut row = row(attempt, TaskState::Ignored, RowDetails::default());
    row.id = id_of_replaced(attempt);
    row.parent_id = Some(attempt.headers().id.clone());
    (row.group_id, row.member) = (None, None);
    let Some(results) = &attempt.runtime.results else { return Ok(()) };
    match record_row(results, Box::new(row)).await {
        Recording::Stored | Recording::Repeated | Recording::Superseded => Ok(()),
        Recording::Unwritten { error } | Recording::Refused { reason: error } => {
            let TaskHeaders { task, id, .. } = attempt.headers();
            attempt.span.emit(&OutcomeNotRecorded { task, id, error: &error });
            Err(Disposition::Requeue.into())
        }
    }
}

/// Ends a delivery of a task that an earlier delivery has replaced.
pub(crate) async fn find_replaced(attempt: &Attempt<'_>) -> Result<Option<Disposition>, Interrupted> {
    let Some(row) = find_row_of(attempt, &id_of_replaced(attempt)).await? else { return Ok(None) };
    let TaskHeaders { task, id, .. } = attempt.headers();
    if row.name != *task || row.replays < attempt.message_headers().replays() {
        return Ok(None);
    }
    attempt.span.emit(&TaskSkipped { task, id, state: row.state });
    Ok(Some(Disposition::Done))
}

/// Returns the id of the row. A task that replaces itself has one for each time.
fn id_of_replaced(attempt: &Attempt<'_>) -> String {
    let TaskHeaders { id, replaced_task_nesting, .. } = attempt.headers();
    derived_id(id, &format!("replaced/{replaced_task_nesting}"))
}
