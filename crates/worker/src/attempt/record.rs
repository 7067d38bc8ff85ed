//! Writes the row of a task, and returns the result.

use celeriac_protocol::{TaskHeaders, TaskState};
use celeriac_results::{Recorded, TaskRecord};
use celeriac_telemetry::ErrorChain;
use celeriac_telemetry::events::worker::task::OutcomeRecorded;

use crate::attempt::Attempt;
use crate::runtime::ResultStore;

/// The result of writing a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    /// The row is durable, and the member of a chord is counted. Its follow-ups have to be sent.
    Stored,
    /// Another delivery has recorded the same outcome. Its follow-ups have to be sent.
    Repeated,
    /// Another delivery has recorded an outcome, which stays.
    Superseded,
    /// The store can never accept this row.
    Refused {
        /// The reason.
        reason: String,
    },
    /// The worker stops before the row is written.
    Unwritten {
        /// The reason.
        error: String,
    },
}

/// Records a row. Waits for an unavailable store until the worker stops.
pub(crate) async fn record_row(results: &ResultStore, row: Box<TaskRecord>) -> Recording {
    let state = row.state;
    match results.recorder.record(row).await {
        Ok(Recorded::Kept(kept)) if kept.is_final() && kept != state => Recording::Superseded,
        Ok(Recorded::Kept(TaskState::Retry)) if state == TaskState::Retry => Recording::Superseded,
        Ok(Recorded::Stored) => Recording::Stored,
        Ok(Recorded::Kept(_)) => Recording::Repeated,
        Ok(Recorded::Refused { reason }) => Recording::Refused { reason },
        Err(error) => Recording::Unwritten { error: ErrorChain(&error).to_string() },
    }
}

/// Tells that a row is durable, if it is.
pub(crate) fn tell_recorded(attempt: &Attempt<'_>, state: TaskState, recording: &Recording) {
    if matches!(recording, Recording::Stored | Recording::Repeated) {
        let TaskHeaders { task, id, .. } = attempt.headers();
        attempt.span.emit(&OutcomeRecorded { task, id, state });
    }
}
