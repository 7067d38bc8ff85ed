//! The audit row of a verb that changes something.

use std::sync::Arc;

use celeriac_results::{AuditEntry, Backend, LastError, Operator, OperatorAction, connect_watched};
use celeriac_telemetry::ErrorChain;

use crate::args::CommandName;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// Does `work` between the two writes of its audit row, in the store of the program. `work` returns
/// the number of objects that it changed.
///
/// # Errors
/// Returns an error if the row cannot be written. `work` does not begin then.
pub(crate) fn audited<T>(
    program: &Program,
    name: &CommandName,
    action: OperatorAction,
    work: impl Future<Output = (u64, Result<T, Error>)>,
) -> impl Future<Output = Result<T, Error>> {
    Box::pin(async move {
        let last_error = LastError::default();
        let store = connect_watched(&program.results, last_error.clone());
        let store = waiting::for_database(&program.results, &last_error, store).await;
        let store = store.map_err(|source| Error::NotAudited { action: action.name, source })?;
        let outcome = audited_in(store.as_ref(), name, action, work).await;
        if let Some(store) = store {
            store.close().await;
        }
        outcome
    })
}

/// Does the same as [`audited`], in a store that is open.
pub(crate) async fn audited_in<T>(
    store: Option<&Arc<dyn Backend>>,
    name: &CommandName,
    action: OperatorAction,
    work: impl Future<Output = (u64, Result<T, Error>)>,
) -> Result<T, Error> {
    let operator = Operator::of_process(name.with_version());
    let Some(store) = store else {
        let OperatorAction { name, target } = action;
        output::notice(&format!("no audit row, because there is no store: {name} by {operator}: {target}"));
        return work.await.1;
    };
    let begun = AuditEntry::begin(Arc::<dyn Backend>::clone(store), &operator, &action).await;
    let entry = begun.map_err(|source| Error::NotAudited { action: action.name, source })?;
    let (count, outcome) = work.await;
    let failure = outcome.as_ref().err().map(|error| ErrorChain(error).to_string());
    if let Err(error) = entry.end(count, failure.as_deref()).await {
        output::notice(&format!("warning: the audit row has no end: {}", ErrorChain(&error)));
    }
    outcome
}
