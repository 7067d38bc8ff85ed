//! The end of a verb that runs until it is told to stop: nothing keeps it for long.

/// Returns the output of `work` if it ends before `time` does.
pub(crate) async fn before<T>(time: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = time => None,
    }
}

/// Everything that could be is settled, recorded and flushed; the runtime would wait for its threads, for as long as they
/// like.
#[expect(clippy::exit, reason = "threads that block cannot be ended otherwise")]
pub(crate) fn end_process() -> ! {
    std::process::exit(0)
}
