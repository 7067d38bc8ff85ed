//! What is done once the outcome of a task is safe: what follows from it is sent, and who awaits it is answered.
//!
//! All of it can be done a second time. When a worker dies in the middle, the next finds the outcome in the store and does
//! it all again.

use celeriac_protocol::{Embed, Failure, Signature, State, Value};
use celeriac_results::TaskRecord;

use crate::follow_up::{self, Answer, FollowUps, Unsent};
use crate::handler::{self, TaskDefinition};
use crate::lifecycle::{Ending, Life};
use crate::record;

/// Whether this is done for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    No,
    Yes,
    /// What follows was committed together with the outcome: it stands in the outbox, or was sent from there.
    Committed,
}

impl Life<'_> {
    /// After a success: callbacks, the next step of the chain, the answer.
    pub(crate) async fn after_success(&self, embed: &Embed, result: &str, again: Again) -> Ending {
        if embed.is_empty() && !self.is_awaited() {
            return Ending::Done;
        }
        let result = match handler::read(result) {
            Ok(result) => result,
            Err(error) => return self.give_up(&error.to_string()).await,
        };
        let mut children = self.children();
        let sent = match FollowUps::after_success(self, embed, &result) {
            Ok(follow_ups) => {
                children.extend(follow_ups.ids().map(str::to_owned));
                match again {
                    Again::Committed => Ending::Done,
                    Again::No | Again::Yes => self.send(follow_ups, again).await,
                }
            }
            Err(error) => self.give_up(&error.to_string()).await,
        };
        if sent == Ending::Again {
            return sent;
        }
        // The result is there, whatever became of what should follow from it.
        let answer = Answer { state: State::Success, result: Some(&result), failure: None, children };
        match self.answer(&answer).await {
            Ending::Done => sent,
            ending => ending,
        }
    }

    /// After a failure: the steps that will never run have failed too, errbacks are called, the answer is given.
    pub(crate) async fn after_failure(&self, embed: &Embed, failure: &Failure, again: Again) -> Ending {
        if embed.is_empty() && !self.is_awaited() {
            return Ending::Done;
        }
        for step in &embed.chain {
            if self.end_step(step, State::Failure, failure).await == Ending::Again {
                return Ending::Again;
            }
        }
        let sent = match FollowUps::after_failure(self, embed) {
            Ok(follow_ups) => self.send(follow_ups, again).await,
            Err(error) => self.give_up(&error.to_string()).await,
        };
        if sent == Ending::Again {
            return sent;
        }
        match self.answer_failure(State::Failure, failure).await {
            Ending::Done => sent,
            ending => ending,
        }
    }

    /// After a task that was revoked or has expired: the steps that will never run are revoked too, the answer is given.
    /// Errbacks are not called, as with Celery: nothing has failed.
    pub(crate) async fn after_revoked(&self, embed: &Embed, failure: &Failure) -> Ending {
        for step in &embed.chain {
            if self.end_step(step, State::Revoked, failure).await == Ending::Again {
                return Ending::Again;
            }
        }
        self.answer_failure(State::Revoked, failure).await
    }

    /// Does again what follows from an outcome that stands, since nobody knows how far the worker came that recorded it.
    pub(crate) async fn finish(&self, row: TaskRecord) -> Ending {
        let embed = match self.read_body() {
            Ok((_, embed)) => embed,
            // It was refused, or what it needs has gone since: a person has to look at it either way.
            Err(unusable) => return self.give_up(&unusable.to_string()).await,
        };
        match (row.state, row.failure) {
            (State::Success, _) => {
                let transactional = self.registered().is_ok_and(TaskDefinition::is_transactional);
                let again = if transactional { Again::Committed } else { Again::Yes };
                self.after_success(&embed, row.result.as_deref().unwrap_or("null"), again).await
            }
            (State::Failure, Some(failure)) => self.after_failure(&embed, &failure, Again::Yes).await,
            (State::Revoked, Some(failure)) => self.after_revoked(&embed, &failure).await,
            (state, Some(failure)) => self.answer_failure(state, &failure).await,
            (_, None) => Ending::Done,
        }
    }

    /// Tells whoever awaits it that it did not succeed: that it failed, was revoked, or is tried again.
    pub(crate) async fn answer_failure(&self, state: State, failure: &Failure) -> Ending {
        self.answer(&Answer { state, result: None, failure: Some(failure), children: self.children() }).await
    }

    /// Whether anybody awaits an answer.
    pub(crate) fn is_awaited(&self) -> bool {
        let awaited = self.received.message.properties.reply_to.as_deref().is_some_and(|queue| !queue.is_empty());
        awaited && self.core.replies && !self.ignores_result()
    }

    async fn answer(&self, answer: &Answer<'_>) -> Ending {
        if !self.is_awaited() {
            return Ending::Done;
        }
        follow_up::answer(self, answer).await.into()
    }

    async fn send(&self, follow_ups: FollowUps, again: Again) -> Ending {
        match follow_ups.send(self, again == Again::Yes).await {
            Ok(()) => Ending::Done,
            Err((Unsent::Interrupted, _)) => Ending::Again,
            Err((Unsent::Impossible, task)) => {
                self.give_up(&format!("`{task}` should follow from it, and there is no queue where it was to go")).await
            }
        }
    }

    /// The task is done and stays so, but not what follows from it: its message is kept where a person finds it, and
    /// does that much when it is replayed.
    async fn give_up(&self, error: &str) -> Ending {
        follow_up::dead_letter_after(self, error).await
    }

    /// A step of the chain that will never run, since one before it has not succeeded: it ends as that one did, with the
    /// same error.
    async fn end_step(&self, step: &Signature, state: State, failure: &Failure) -> Ending {
        let text = |option| step.options.get(option).and_then(Value::as_str);
        let Some(id) = text("task_id") else { return Ending::Done };
        if let Some(results) = &self.core.results {
            let row = record::step_row(self, id.to_owned(), step.task.clone(), state, failure.clone());
            match results.record(Box::new(row)).await {
                Ok(Ending::Again) => return Ending::Again,
                Ok(_) => {}
                Err(reason) => tracing::warn!(id, reason, "the end of a later step cannot be recorded"),
            }
        }
        match text("reply_to") {
            Some(reply_to) => follow_up::answer_step(self, reply_to, id, state, failure).await.into(),
            None => Ending::Done,
        }
    }

    /// Ids of the tasks that this one has sent.
    fn children(&self) -> Vec<String> {
        self.received.client.get().and_then(|client| client.lineage()).map(|own| own.children()).unwrap_or_default()
    }
}
