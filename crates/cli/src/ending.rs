//! The bounded end of a verb that runs until a signal stops it.

use crate::exit::Exit;

/// Returns the output of `work`, or `None` if `time` ends first.
pub(crate) async fn before<T>(time: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = time => None,
    }
}

/// Ends the process. Dropping the runtime would wait for threads that block, without a bound.
#[expect(clippy::exit, reason = "threads that block cannot be ended otherwise")]
pub(crate) fn end_process(exit: Exit) -> ! {
    std::process::exit(exit.code().into())
}
