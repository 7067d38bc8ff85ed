//! The tasks that follow from another one: callbacks and the next step after a success, errbacks
//! after a failure.
//!
//! Each has an id that is derived from the id of the task before it. If a worker dies while it
//! sends them, the next worker sends all of them again, with the same ids and a header that marks
//! the repeat. The worker that runs one of them first reads the store.

use celeriac_client::call::{Follow, Relations};
use celeriac_client::{DynamicCall, PreparedTask};
use celeriac_protocol::headers::names;
use celeriac_protocol::signature::SignatureKind;
use celeriac_protocol::{Embed, Signature, TaskHeaders, Value};
use celeriac_results::outbox::OutboxMessage;
use celeriac_telemetry::events::client::TaskSent;
use celeriac_telemetry::trace::PublishSpan;

use crate::attempt::Attempt;
use crate::attempt::publish::{PublishFailure, Recipient, publish_until_confirmed};
use crate::task::derived_id::derived_id;

/// The reason why a signature of the embed cannot be started after its task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FollowUpError {
    /// Its kind is not supported.
    #[error("follow-up `{task}` cannot be sent: {reason}")]
    Unsupported { task: String, reason: &'static str },
    /// It is invalid and cannot be sent.
    #[error("follow-up `{task}` cannot be sent: {reason}")]
    Invalid { task: String, reason: String },
}

/// The tasks that follow from a task, as messages.
#[derive(Debug)]
pub(crate) struct FollowUps {
    messages: Vec<PreparedTask>,
}

impl FollowUps {
    /// Checks that the whole embed could be sent after the task, before any of it runs.
    pub(crate) fn check(attempt: &Attempt<'_>, embed: &Embed) -> Result<(), FollowUpError> {
        if embed.is_empty() {
            return Ok(());
        }
        if let Some(chord) = &embed.chord {
            let reason = "it is the body of a chord, and chords are not supported";
            return Err(FollowUpError::Unsupported { task: chord.task.clone(), reason });
        }
        Self::after_success(attempt, embed, &Value::Null)?;
        Self::after_failure(attempt, embed).map(drop)
    }

    /// Returns callbacks and then the next step, each with the result as its argument.
    pub(crate) fn after_success(attempt: &Attempt<'_>, embed: &Embed, result: &Value) -> Result<Self, FollowUpError> {
        let mut builder = FollowUpBuilder::new(attempt);
        let (groups, others): (Vec<_>, Vec<_>) =
            embed.callbacks.iter().enumerate().partition(|(_, callback)| callback.kind() == SignatureKind::Group);
        // As in Celery, each group is separate, and several other callbacks form a group of their
        // own.
        for (index, group) in groups {
            builder.add(group.clone(), Some(result), &format!("link/{index}"), None, Vec::new())?;
        }
        let group = (others.len() > 1).then(|| builder.id("link"));
        for (position, (index, callback)) in others.into_iter().enumerate() {
            let membership = group.clone().map(|group| (group, position));
            builder.add(callback.clone(), Some(result), &format!("link/{index}"), membership, Vec::new())?;
        }
        if let [next, rest @ ..] = embed.chain.as_slice() {
            builder.add(next.clone(), Some(result), "chain", None, rest.to_vec())?;
        }
        Ok(Self { messages: builder.messages })
    }

    /// Returns errbacks. Each gets only the id of the failed task, because its exception cannot be
    /// passed between languages.
    pub(crate) fn after_failure(attempt: &Attempt<'_>, embed: &Embed) -> Result<Self, FollowUpError> {
        let mut builder = FollowUpBuilder::new(attempt);
        let failed = Value::from(attempt.headers().id.as_str());
        let group = (!embed.errbacks.is_empty()).then(|| builder.id("link_error"));
        for (index, errback) in embed.errbacks.iter().enumerate() {
            let membership = group.clone().map(|group| (group, index));
            builder.add(errback.clone(), Some(&failed), &format!("link_error/{index}"), membership, Vec::new())?;
        }
        Ok(Self { messages: builder.messages })
    }

    /// Returns the ids of the tasks that follow.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|message| message.id.as_str())
    }

    /// Converts the messages to outbox rows for a transaction.
    pub(crate) async fn into_entries(self, attempt: &Attempt<'_>) -> Vec<OutboxMessage> {
        let replays = attempt.message_headers().replays();
        let entries = async {
            let entries = self.messages.into_iter().map(|mut prepared| {
                if replays > 0 {
                    prepared.outgoing.message.headers.insert(names::REPLAYED, replays);
                }
                prepared.into_outbox_message()
            });
            entries.collect()
        };
        attempt.span.run(entries).await
    }

    /// Sends the messages one after the other.
    ///
    /// # Errors
    /// Returns an error if the worker stops, or if one can never be sent; the error names it.
    pub(crate) async fn send(self, attempt: &Attempt<'_>, repeated: bool) -> Result<(), (PublishFailure, String)> {
        let replays = attempt.message_headers().replays();
        for prepared in self.messages {
            let PreparedTask { task, id, mut outgoing, destination, .. } = prepared;
            if repeated {
                outgoing.message.headers.insert(names::REPEATED, true);
            }
            if replays > 0 {
                // The store may have a row that says that this task will never run. A replay
                // replaces it.
                outgoing.message.headers.insert(names::REPLAYED, replays);
            }
            let (exchange, routing_key) = (&destination.exchange, &destination.routing_key);
            let sending = async {
                let span = PublishSpan::start(&task, &id, exchange, routing_key);
                span.inject(&mut outgoing.message.headers);
                let sent = publish_until_confirmed(attempt.runtime, outgoing, Recipient::External).await;
                span.end(if sent.is_ok() { Ok(()) } else { Err(&"it was not sent") });
                sent
            };
            attempt.span.run(sending).await.map_err(|unsent| (unsent, task.clone()))?;
            attempt.span.emit(&TaskSent { task: &task, id: &id, exchange, routing_key });
        }
        Ok(())
    }
}

/// Builds messages.
struct FollowUpBuilder<'a> {
    attempt: &'a Attempt<'a>,
    messages: Vec<PreparedTask>,
}

/// A group, and the position in it.
type Membership = Option<(String, usize)>;

impl<'a> FollowUpBuilder<'a> {
    fn new(attempt: &'a Attempt<'a>) -> Self {
        Self { attempt, messages: Vec::new() }
    }

    fn id(&self, what: &str) -> String {
        derived_id(&self.attempt.headers().id, what)
    }

    /// Adds the messages of a signature.
    ///
    /// `first` precedes its arguments, `label` distinguishes it from other follow-ups of the task,
    /// and `rest` runs after it.
    fn add(
        &mut self,
        signature: Signature,
        first: Option<&Value>,
        label: &str,
        membership: Membership,
        rest: Vec<Signature>,
    ) -> Result<(), FollowUpError> {
        let task = signature.task.clone();
        let invalid = |reason: String| FollowUpError::Invalid { task: task.clone(), reason };
        match signature.kind() {
            SignatureKind::Task => self.add_task(signature.called_with(first.cloned()), label, membership, rest),
            SignatureKind::Chain => {
                let mut steps = chain_steps(&signature).map_err(|error| invalid(error.to_string()))?;
                if steps.is_empty() {
                    return Err(invalid("it is a chain without steps".to_owned()));
                }
                for (index, step) in steps.iter_mut().enumerate() {
                    let id = self.id(&format!("{label}/{index}"));
                    step.options.entry("task_id".to_owned()).or_insert_with(|| id.into());
                }
                let head = steps.remove(0);
                steps.extend(rest);
                let first = first.filter(|_| !signature.immutable);
                self.add(head, first, label, membership, steps)
            }
            SignatureKind::Group if !rest.is_empty() => {
                let reason = "a group before a step is a chord, and chords are not supported";
                Err(FollowUpError::Unsupported { task, reason })
            }
            SignatureKind::Group => {
                let members = signature.members().map_err(|error| invalid(error.to_string()))?;
                let given = signature.options.get("task_id").and_then(Value::as_str).map(str::to_owned);
                let group = given.unwrap_or_else(|| self.id(label));
                let first = first.filter(|_| !signature.immutable);
                for (index, member) in members.into_iter().enumerate() {
                    let membership = Some((group.clone(), index));
                    self.add(member, first, &format!("{label}/{index}"), membership, Vec::new())?;
                }
                Ok(())
            }
            SignatureKind::Chord => {
                let reason = "it is a chord, and chords are not supported";
                Err(FollowUpError::Unsupported { task, reason })
            }
        }
    }

    fn add_task(
        &mut self,
        signature: Signature,
        label: &str,
        membership: Membership,
        rest: Vec<Signature>,
    ) -> Result<(), FollowUpError> {
        let task = signature.task.clone();
        let invalid = |error: &celeriac_client::Error| FollowUpError::Invalid {
            task: task.clone(),
            reason: celeriac_telemetry::ErrorChain(error).to_string(),
        };
        let client = &self.attempt.runtime.environment.client;
        let mut request = DynamicCall::from_signature(signature, client.topology()).map_err(|error| invalid(&error))?;
        let TaskHeaders { id, root_id, .. } = self.attempt.headers();
        let options = &mut request.options;
        options.id.get_or_insert_with(|| self.id(label));
        options.follow = Follow { steps: rest, ..std::mem::take(&mut options.follow) };
        let relations = std::mem::take(&mut options.relations);
        let (group, group_index) = match membership {
            // A group in the task's own options wins, because the task already belongs to it.
            Some((group, index)) if relations.group.is_none() => (Some(group), i64::try_from(index).ok()),
            _ => (relations.group, relations.group_index),
        };
        options.relations = Relations {
            root_id: Some(root_id.clone().unwrap_or_else(|| id.clone())),
            parent_id: Some(id.clone()),
            group,
            group_index,
            ..relations
        };
        // As with a call of a client: a task that this worker knows may declare a queue.
        let declared = self.attempt.runtime.registry.get(&request.task).and_then(|task| task.options.queue);
        let prepared = client.prepare(request, declared).map_err(|error| invalid(&error))?;
        self.messages.push(prepared);
        Ok(())
    }
}

/// Returns the steps of a chain and of the chains in it. The options of the whole chain apply to
/// each step.
fn chain_steps(chain: &Signature) -> Result<Vec<Signature>, celeriac_protocol::signature::SignatureError> {
    let mut steps = Vec::new();
    for member in chain.members()? {
        match member.kind() {
            SignatureKind::Chain => steps.extend(chain_steps(&member)?),
            _ => steps.push(member),
        }
    }
    if let (Some(last), Some(callbacks)) = (steps.last_mut(), chain.options.get("link")) {
        *last = std::mem::take(last).linked_all("link", callbacks)?;
    }
    if let Some(errbacks) = chain.options.get("link_error") {
        for step in &mut steps {
            *step = std::mem::take(step).linked_all("link_error", errbacks)?;
        }
    }
    Ok(steps)
}
