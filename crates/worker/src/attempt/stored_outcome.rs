//! Counts, for its chord, the outcome that another delivery of a task may have recorded.

use celeriac_protocol::{Failure, TaskState};
use celeriac_results::TaskRecord;

use crate::attempt::follow_up::arrive;
use crate::attempt::stored::find_row;
use crate::attempt::{Attempt, Disposition, Interrupted};

/// Counts the end of a member of a chord whose message is dead-lettered, although another delivery
/// has recorded an outcome. Its row tells how it ended. Without one, it ends with `failure`.
pub(crate) async fn arrive_superseded(attempt: &Attempt<'_>, failure: &Failure) -> Disposition {
    if attempt.member().is_none() {
        return Disposition::Done;
    }
    match find_row(attempt).await {
        Ok(Some(row)) if row.name == attempt.headers().task => arrive_recorded(attempt, &row).await,
        Ok(_) => arrive(attempt, Err(failure)).await,
        Err(Interrupted) => Disposition::Requeue,
    }
}

/// Counts the end of a member of a chord by its row. A row without an outcome counts nothing.
pub(crate) async fn arrive_recorded(attempt: &Attempt<'_>, row: &TaskRecord) -> Disposition {
    match (row.state, &row.failure) {
        (state, _) if !state.is_final() => Disposition::Done,
        (TaskState::Success, _) => arrive(attempt, Ok(row.result.as_deref().unwrap_or("null"))).await,
        (_, Some(failure)) => arrive(attempt, Err(failure)).await,
        (_, None) => arrive(attempt, Err(&Failure::ignored())).await,
    }
}
