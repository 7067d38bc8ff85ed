//! Revoked tasks: one that has not begun never begins, one that runs comes to an end where that was asked for.

use celeriac_protocol::{Embed, Failure, State, TaskHeaders};
use celeriac_results::Begun;
use celeriac_telemetry::events::worker::{TaskRevoked, TaskTerminated};

use crate::lifecycle::{Ended, Ending, Life, Outcome};
use crate::record::{Arguments, Timing};

/// Celery's name of it.
const KIND: &str = "TaskRevokedError";

impl Life<'_> {
    /// Whether the task is known to be revoked. What is not known yet shows when it is to [`begin`](Self::begin).
    pub(crate) fn is_revoked(&self) -> bool {
        let results = self.core.results.as_ref();
        results.is_some_and(|results| results.backend.revocations().known(self.id()).is_some())
    }

    /// Lets the task begin, unless it is revoked. Without a store nothing can be.
    pub(crate) async fn begin(&self) -> Result<Option<Begun>, Ended> {
        let Some(results) = &self.core.results else { return Ok(None) };
        let begun = tokio::select! {
            biased;
            begun = results.backend.revocations().begin(self.id()) => begun,
            () = self.core.world.interrupt.cancelled() => return Err(Ending::Again.into()),
        };
        match begun {
            Ok(begun) => Ok(Some(begun)),
            Err(_) => Err(Box::pin(self.revoke()).await),
        }
    }

    /// Ends a task that has not begun.
    pub(crate) async fn revoke(&self) -> Ended {
        // What an earlier delivery has come to stands, and what follows from it is owed.
        if self.may_have_been_led()
            && let Some(ending) = self.already_led().await
        {
            return ending.into();
        }
        let embed = self.read_body().map(|(_, embed)| embed).unwrap_or_default();
        let TaskHeaders { task, id, .. } = &self.received.headers;
        self.span.emit(&TaskRevoked { task, id });
        self.end_revoked("revoked", Outcome::default(), &embed).await
    }

    /// Ends a task that ran.
    pub(crate) async fn terminate(&self, arguments: Option<Arguments>, timing: Timing, embed: &Embed) -> Ended {
        let outcome = Outcome { arguments, timing: Some(timing), ..Outcome::default() };
        let TaskHeaders { task, id, .. } = &self.received.headers;
        self.span.emit(&TaskTerminated { task, id });
        self.end_revoked("terminated", outcome, embed).await
    }

    async fn end_revoked(&self, how: &'static str, outcome: Outcome, embed: &Embed) -> Ended {
        let failure = Failure::new(KIND, how);
        let ended = self.end_with(State::Revoked, failure.clone(), outcome).await;
        ended.and(self.after_revoked(embed, &failure)).await
    }

    fn id(&self) -> &str {
        &self.received.headers.id
    }
}
