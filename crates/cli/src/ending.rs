//! The bounded end of a verb that runs until a signal stops it.

use std::sync::Arc;

use celeriac_telemetry::health::{HealthSource, UnreadyPart, register};
use celeriac_worker::Shutdown;

use crate::exit::Exit;

/// A program that a signal may stop. It is not ready from then until its end, also after its parts
/// are gone.
#[derive(Debug)]
pub(crate) struct StoppableProgram(Shutdown);

impl StoppableProgram {
    #[must_use = "the program is ready again once this is dropped"]
    pub(crate) fn register(shutdown: &Shutdown) -> Arc<Self> {
        let program = Arc::new(Self(shutdown.clone()));
        register(&program);
        program
    }
}

impl HealthSource for StoppableProgram {
    fn unready(&self) -> Vec<UnreadyPart> {
        if self.0.is_requested() { vec![UnreadyPart::new("program", "it stops")] } else { Vec::new() }
    }
}

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
