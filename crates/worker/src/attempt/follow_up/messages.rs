//! The tasks that follow from another one: callbacks and the next step after a success, errbacks
//! after a failure.
//!
//! Each has an id that is derived from the id of the task before it. If a worker dies while it
//! sends them, the next worker sends all of them again, with the same ids and a header that marks
//! the repeat. The worker that runs one of them first reads the store.

use std::borrow::Cow;

use celeriac_client::call::{Follow, Relations};
use celeriac_client::{Children, DynamicCall, PreparedTask};
use celeriac_protocol::headers::names;
use celeriac_protocol::signature::{SignatureKind, SignatureOptions};
use celeriac_protocol::{Embed, Signature, TaskHeaders, TaskOptions, TaskState, Value};
use celeriac_results::outbox::OutboxMessage;
use celeriac_results::{NewJoin, TaskRecord};
use celeriac_telemetry::events::client::TaskSent;
use celeriac_telemetry::trace::{PublishInfo, PublishSpan};

use crate::attempt::follow_up::canvas::JoinedParts;
use crate::attempt::follow_up::error::{FollowUpError, NotSent};
use crate::attempt::joins::add_join;
use crate::attempt::publish::{PublishFailure, Recipient, end_publish, publish_until_confirmed};
use crate::attempt::{Attempt, Interrupted};
use crate::follow_up_size::{FollowUpLimits, FollowUpSize, least_size, signature_size};
use crate::task::derived_id::derived_id;

/// The tasks that follow from a task. Each is built when it is sent, so that only one is in memory
/// at a time.
pub(crate) struct FollowUps<'a> {
    attempt: &'a Attempt<'a>,
    /// The argument before those of each signature.
    first: Cow<'a, Value>,
    /// The signatures that are left. The next one is the last.
    pending: Vec<Pending<'a>>,
    size: FollowUpSize,
}

/// A signature that is not built yet.
struct Pending<'a> {
    signature: Cow<'a, Signature>,
    takes_first: bool,
    /// Distinguishes it from other follow-ups of the task.
    label: String,
    membership: Membership,
    /// The group that is a child of the task in place of this signature.
    child_of: Option<String>,
    /// The steps behind it.
    rest: Cow<'a, [Signature]>,
    /// The joins of which it is the first member.
    joins: Vec<NewJoin>,
}

/// A group, and the position in it.
type Membership = Option<(String, usize)>;

impl<'a> FollowUps<'a> {
    /// Checks that the whole embed could be sent after the task, before any of it runs.
    pub(crate) async fn check(attempt: &Attempt<'_>, embed: &Embed) -> Result<(), FollowUpError> {
        Self::check_within(attempt, embed, &attempt.runtime.environment.follow_up_limits).await
    }

    /// As [`check`](Self::check), within other limits.
    pub(crate) async fn check_within(
        attempt: &Attempt<'_>,
        embed: &Embed,
        limits: &FollowUpLimits,
    ) -> Result<(), FollowUpError> {
        if embed.is_empty() {
            return Ok(());
        }
        if let Some(chord) = &embed.chord
            && let Some(reason) = why_unsupported(attempt)
        {
            return Err(FollowUpError::Unsupported { task: chord.task.clone(), reason });
        }
        limits.check_steps(embed.chain.len())?;
        if let Some(chord) = &embed.chord {
            Self::check_body(attempt, chord).await?;
        }
        for mut follow_ups in
            [FollowUps::after_success(attempt, embed, &Value::Null)?, FollowUps::after_failure(attempt, embed)?]
        {
            follow_ups.size.check(limits)?;
            while let Some(pending) = follow_ups.next_task()? {
                follow_ups.build(pending).await?;
            }
        }
        Ok(())
    }

    /// Checks that this worker may send the body of a chord. Without a list of allowed queues it
    /// may: the sender has checked the rest.
    async fn check_body(attempt: &Attempt<'_>, body: &Signature) -> Result<(), FollowUpError> {
        if !attempt.runtime.environment.allowed_follow_ups.is_limited() {
            return Ok(());
        }
        let mut follow_ups = FollowUps::body_of_chord(attempt, body, &Value::Null)?;
        while let Some(pending) = follow_ups.next_task()? {
            follow_ups.build(pending).await?;
        }
        Ok(())
    }

    /// Returns callbacks and then the next step, each with the result as its argument.
    pub(crate) fn after_success(
        attempt: &'a Attempt<'a>,
        embed: &'a Embed,
        result: &'a Value,
    ) -> Result<Self, FollowUpError> {
        let mut size = FollowUpSize::default();
        let first = least_size(result);
        embed.callbacks.iter().for_each(|callback| size.add_signature(callback, first, 0));
        if let [next, rest @ ..] = embed.chain.as_slice() {
            size.add_signature(next, first, rest.iter().map(signature_size).sum());
        }
        let mut follow_ups = Self::within_limits(attempt, Cow::Borrowed(result), size)?;
        let (groups, others): (Vec<_>, Vec<_>) =
            embed.callbacks.iter().enumerate().partition(|(_, callback)| callback.kind() == SignatureKind::Group);
        // As in Celery, each group is separate, and several other callbacks form a group of their
        // own.
        for (index, group) in groups {
            follow_ups.push(Cow::Borrowed(group), format!("link/{index}"), None, &[]);
        }
        let group = (others.len() > 1).then(|| follow_ups.derived_id("link"));
        for (position, (index, callback)) in others.into_iter().enumerate() {
            let membership = group.clone().map(|group| (group, position));
            follow_ups.push(Cow::Borrowed(callback), format!("link/{index}"), membership, &[]);
        }
        if let [next, rest @ ..] = embed.chain.as_slice() {
            follow_ups.push(Cow::Borrowed(next), "chain".to_owned(), None, rest);
        }
        follow_ups.pending.reverse();
        Ok(follow_ups)
    }

    /// Returns errbacks. Each gets only the id of the failed task, because its exception cannot be
    /// passed between languages.
    pub(crate) fn after_failure(attempt: &'a Attempt<'a>, embed: &'a Embed) -> Result<Self, FollowUpError> {
        Self::errbacks(attempt, &attempt.headers().id, Cow::Borrowed(&embed.errbacks), "link_error")
    }

    /// Checks that a replacement of the task could be sent, before any of it is.
    pub(crate) async fn check_replacement(attempt: &Attempt<'_>, replacement: &Signature) -> Result<(), FollowUpError> {
        let mut follow_ups = FollowUps::replacement(attempt, replacement)?;
        while let Some(pending) = follow_ups.next_task()? {
            follow_ups.build(pending).await?;
        }
        Ok(())
    }

    /// Returns the task or canvas in place of the task, with the steps behind it.
    pub(crate) fn replacement(attempt: &'a Attempt<'a>, replacement: &'a Signature) -> Result<Self, FollowUpError> {
        let rest = attempt.embed.chain.as_slice();
        let mut size = FollowUpSize::default();
        size.add_signature(replacement, 0, rest.iter().map(signature_size).sum());
        let mut follow_ups = Self::within_limits(attempt, Cow::Owned(Value::Null), size)?;
        let label = format!("replacement/{}", attempt.headers().replaced_task_nesting);
        follow_ups.push(Cow::Borrowed(replacement), label, None, rest);
        if let Some(pending) = follow_ups.pending.last_mut() {
            pending.takes_first = false;
        }
        Ok(follow_ups)
    }

    /// Returns the body of a chord, with the results of its members as its argument.
    pub(crate) fn body_of_chord(
        attempt: &'a Attempt<'a>,
        body: &'a Signature,
        results: &'a Value,
    ) -> Result<Self, FollowUpError> {
        let mut size = FollowUpSize::default();
        size.add_signature(body, least_size(results), 0);
        let mut follow_ups = Self::within_limits(attempt, Cow::Borrowed(results), size)?;
        follow_ups.push(Cow::Borrowed(body), "chord".to_owned(), None, &[]);
        Ok(follow_ups)
    }

    /// Returns the errbacks of the body of a chord that has failed. Each gets the id of the body.
    pub(crate) fn after_failed_body(
        attempt: &'a Attempt<'a>,
        id: &str,
        body: &Signature,
    ) -> Result<Self, FollowUpError> {
        let errbacks = SignatureOptions::read(&body.options)
            .map_err(|error| FollowUpError::Invalid { task: body.task.clone(), reason: error.to_string() })?;
        Self::errbacks(attempt, id, Cow::Owned(errbacks.link_error), "chord_error")
    }

    fn errbacks(
        attempt: &'a Attempt<'a>,
        failed: &str,
        errbacks: Cow<'a, [Signature]>,
        label: &str,
    ) -> Result<Self, FollowUpError> {
        let failed = Value::from(failed);
        let mut size = FollowUpSize::default();
        let first = least_size(&failed);
        errbacks.iter().for_each(|errback| size.add_signature(errback, first, 0));
        let mut follow_ups = Self::within_limits(attempt, Cow::Owned(failed), size)?;
        let group = (!errbacks.is_empty()).then(|| follow_ups.derived_id(label));
        let errbacks: Vec<_> = match errbacks {
            Cow::Borrowed(errbacks) => errbacks.iter().map(Cow::Borrowed).collect(),
            Cow::Owned(errbacks) => errbacks.into_iter().map(Cow::Owned).collect(),
        };
        for (index, errback) in errbacks.into_iter().enumerate() {
            let membership = group.clone().map(|group| (group, index));
            follow_ups.push(errback, format!("{label}/{index}"), membership, &[]);
        }
        follow_ups.pending.reverse();
        Ok(follow_ups)
    }

    /// Returns an empty list for follow-ups of this size. Nothing is copied before their size is
    /// checked.
    fn within_limits(
        attempt: &'a Attempt<'a>,
        first: Cow<'a, Value>,
        size: FollowUpSize,
    ) -> Result<Self, FollowUpError> {
        size.check(&attempt.runtime.environment.follow_up_limits)?;
        Ok(Self { attempt, first, pending: Vec::new(), size })
    }

    fn push(&mut self, signature: Cow<'a, Signature>, label: String, membership: Membership, rest: &'a [Signature]) {
        let (rest, joins) = (Cow::Borrowed(rest), Vec::new());
        let child_of = membership.as_ref().map(|(group, _)| group.clone());
        self.pending.push(Pending { signature, takes_first: true, label, membership, child_of, rest, joins });
    }

    fn derived_id(&self, what: &str) -> String {
        derived_id(&self.attempt.headers().id, what)
    }

    /// Returns the tasks that follow.
    pub(crate) fn into_children(mut self) -> Result<Children, FollowUpError> {
        let mut children = Children::default();
        while let Some(pending) = self.next_task()? {
            let id = self.id(&pending);
            add_child(&mut children, id, &pending);
        }
        Ok(children)
    }

    /// Returns `true` if the store has an outcome of each of the tasks that follow.
    pub(crate) async fn have_run(mut self) -> bool {
        loop {
            match self.next_task() {
                Ok(Some(pending)) if self.has_run(&self.id(&pending), &pending.signature.task).await => {}
                Ok(None) => return true,
                Ok(Some(_)) | Err(_) => return false,
            }
        }
    }

    fn id(&self, pending: &Pending<'_>) -> String {
        pending.signature.task_id().map_or_else(|| self.derived_id(&pending.label), str::to_owned)
    }

    /// Converts the messages to outbox rows for a transaction, with the joins of their chords.
    pub(crate) async fn into_entries(mut self) -> Result<(Vec<OutboxMessage>, Vec<NewJoin>), FollowUpError> {
        let attempt = self.attempt;
        let replays = attempt.message_headers().replays();
        let entries = async {
            let (mut entries, mut joins) = (Vec::new(), Vec::new());
            while let Some(mut pending) = self.next_task()? {
                joins.append(&mut pending.joins);
                let mut prepared = self.build(pending).await?;
                if replays > 0 {
                    prepared.outgoing.message.headers.insert(names::REPLAYED, replays);
                }
                entries.push(prepared.into_outbox_message());
            }
            Ok((entries, joins))
        };
        attempt.span.run(entries).await
    }

    /// Sends the messages one after the other. Returns their tasks.
    ///
    /// # Errors
    /// Returns an error if the worker stops, or if one can never be sent; the error names it.
    pub(crate) async fn send(mut self, repeated: bool) -> Result<Children, NotSent> {
        let mut children = Children::default();
        let impossible = |error: FollowUpError| NotSent::Impossible(error.to_string());
        while let Some(mut pending) = self.next_task().map_err(impossible)? {
            for join in std::mem::take(&mut pending.joins) {
                add_join(self.attempt, &join).await.map_err(|Interrupted| NotSent::Interrupted)?;
            }
            let id = self.id(&pending);
            add_child(&mut children, id, &pending);
            let prepared = self.build(pending).await.map_err(impossible)?;
            if !(repeated && self.has_run(&prepared.id, &prepared.task).await) {
                self.send_one(prepared, repeated).await?;
            }
        }
        Ok(children)
    }

    /// Returns `true` if the store has an outcome of this task, so that its message was sent and
    /// delivered. Its worker sends what follows from it.
    ///
    /// Without this, each crash would leave more copies of the messages behind it: a copy of a
    /// message sends the follow-ups again, and those theirs. If the store gives no answer, the
    /// message is sent, and its worker reads the store.
    async fn has_run(&self, id: &str, task: &str) -> bool {
        let Some(results) = &self.attempt.runtime.results else { return false };
        let replays = self.attempt.message_headers().replays();
        let is_outcome = |row: TaskRecord| {
            let has_run = row.state.is_final() || row.state == TaskState::Retry;
            has_run && row.name == task && row.replays >= replays
        };
        results.backend.find(id).await.ok().flatten().is_some_and(is_outcome)
    }

    async fn send_one(&self, prepared: PreparedTask, repeated: bool) -> Result<(), NotSent> {
        let attempt = self.attempt;
        let replays = attempt.message_headers().replays();
        let client = &attempt.runtime.environment.client;
        let row = client.sent_task(&prepared);
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
        let is_same = outgoing.exchange.is_empty() && *outgoing.routing_key == *attempt.received.origin.queue;
        let recipient = if is_same { Recipient::SameQueue } else { Recipient::External };
        let sending = async {
            let span = PublishSpan::start(&PublishInfo { task: &task, id: &id, exchange, routing_key });
            span.inject(&mut outgoing.message.headers);
            let sent = publish_until_confirmed(attempt.runtime, outgoing, recipient).await;
            end_publish(span, &sent);
            sent
        };
        attempt.span.run(sending).await.map_err(|unsent| match unsent {
            PublishFailure::Interrupted => NotSent::Interrupted,
            PublishFailure::Impossible(reason) => {
                NotSent::Impossible(FollowUpError::Invalid { task: task.clone(), reason }.to_string())
            }
        })?;
        attempt.span.emit(&TaskSent { task: &task, id: &id, exchange, routing_key });
        client.record_sent(row).await;
        Ok(())
    }

    /// Returns the next task. Resolves chains and groups before it.
    fn next_task(&mut self) -> Result<Option<Pending<'a>>, FollowUpError> {
        while let Some(pending) = self.pending.pop() {
            let unsupported = |reason| {
                let task = pending.signature.task.clone();
                Err(FollowUpError::Unsupported { task, reason })
            };
            match pending.signature.kind() {
                SignatureKind::Task => return Ok(Some(pending)),
                SignatureKind::Chain => self.resolve_chain(pending)?,
                SignatureKind::Group if pending.rest.is_empty() => self.resolve_group(pending)?,
                SignatureKind::Group | SignatureKind::Chord if self.attempt.runtime.results.is_some() => {
                    self.resolve_chord(pending)?;
                }
                SignatureKind::Group | SignatureKind::Chord => {
                    return unsupported("it is a chord, and this worker has no result store that counts its members");
                }
            }
        }
        Ok(None)
    }

    /// Adds the first step of a chain, with the others behind it.
    fn resolve_chain(&mut self, pending: Pending<'a>) -> Result<(), FollowUpError> {
        let Pending { signature, takes_first, label, membership, child_of, rest, joins } = pending;
        let signature = signature.into_owned();
        let (task, immutable) = (signature.task.clone(), signature.immutable);
        let invalid = |reason: String| FollowUpError::Invalid { task: task.clone(), reason };
        let steps = signature.into_steps().map_err(|error| invalid(error.to_string()))?;
        let mut steps: Vec<_> = steps
            .into_iter()
            .enumerate()
            .map(|(index, mut step)| {
                let id = || self.derived_id(&format!("{label}/{index}")).into();
                step.options.entry("task_id".to_owned()).or_insert_with(id);
                step
            })
            .collect();
        if steps.is_empty() {
            return Err(invalid("it is a chain without steps".to_owned()));
        }
        let head = steps.remove(0);
        steps.extend(rest.into_owned());
        self.pending.push(Pending {
            signature: Cow::Owned(head),
            takes_first: takes_first && !immutable,
            label,
            membership,
            child_of,
            rest: Cow::Owned(steps),
            joins,
        });
        Ok(())
    }

    /// Adds the members of a chord, or of a group with steps behind it. The first one brings the
    /// join that counts them. Without members, the body is called with an empty list.
    fn resolve_chord(&mut self, pending: Pending<'a>) -> Result<(), FollowUpError> {
        let Pending { signature, takes_first, label, rest, mut joins, .. } = pending;
        let takes_first = takes_first && !signature.immutable;
        let derive = |what: &str| self.derived_id(&format!("{label}/{what}"));
        let rules_of = |rules| self.attempt.runtime.environment.client.rules_of_chord(rules);
        let JoinedParts { members, mut body, join } =
            JoinedParts::of(signature.into_owned(), rest.into_owned(), derive, rules_of)?;
        if members.is_empty() {
            let head = body.remove(0).called_with([Value::List(Vec::new())]);
            self.pending.push(Pending {
                signature: Cow::Owned(head),
                takes_first: false,
                label: format!("{label}/body"),
                membership: None,
                child_of: None,
                rest: Cow::Owned(body),
                joins,
            });
            return Ok(());
        }
        let group = join.id.clone();
        joins.push(join);
        let mut members: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(index, mut steps)| Pending {
                signature: Cow::Owned(steps.remove(0)),
                takes_first,
                label: format!("{label}/{index}"),
                membership: None,
                child_of: Some(group.clone()),
                rest: Cow::Owned(steps),
                joins: std::mem::take(&mut joins),
            })
            .collect();
        members.reverse();
        self.pending.extend(members);
        Ok(())
    }

    /// Adds the members of a group.
    fn resolve_group(&mut self, pending: Pending<'a>) -> Result<(), FollowUpError> {
        let Pending { signature, takes_first, label, .. } = pending;
        let signature = signature.into_owned();
        let (task, immutable) = (signature.task.clone(), signature.immutable);
        let given = signature.task_id().map(str::to_owned);
        let group = given.unwrap_or_else(|| self.derived_id(&label));
        let members = signature.into_flat_members();
        let members = members.map_err(|error| FollowUpError::Invalid { task, reason: error.to_string() })?;
        self.pending.extend(members.into_iter().enumerate().rev().map(|(index, member)| Pending {
            signature: Cow::Owned(member),
            takes_first: takes_first && !immutable,
            label: format!("{label}/{index}"),
            membership: Some((group.clone(), index)),
            child_of: Some(group.clone()),
            rest: Cow::Borrowed(&[]),
            joins: Vec::new(),
        }));
        Ok(())
    }

    /// Builds the message of a task. Large messages are built one at a time, because a message
    /// takes many times its size while it is built.
    async fn build(&self, pending: Pending<'a>) -> Result<PreparedTask, FollowUpError> {
        let _turn = match self.size.has_large() {
            // It is never closed.
            true => self.attempt.runtime.large_builds.acquire().await.ok(),
            false => None,
        };
        self.prepare(pending)
    }

    fn prepare(&self, pending: Pending<'a>) -> Result<PreparedTask, FollowUpError> {
        let id = self.id(&pending);
        let Pending { signature, takes_first, membership, rest, .. } = pending;
        let signature = signature.into_owned().called_with(takes_first.then(|| self.first.as_ref().clone()));
        let task = signature.task.clone();
        let invalid = |error: &celeriac_client::Error| FollowUpError::Invalid {
            task: task.clone(),
            reason: celeriac_telemetry::ErrorChain(error).to_string(),
        };
        let runtime = self.attempt.runtime;
        let client = &runtime.environment.client;
        let mut request = DynamicCall::from_signature(signature, client.topology()).map_err(|error| invalid(&error))?;
        let options = &mut request.options;
        options.id = Some(id);
        options.follow = Follow { steps: rest.into_owned(), ..std::mem::take(&mut options.follow) };
        let relations = std::mem::take(&mut options.relations);
        let (group, group_index) = match membership {
            // A group in the task's own options wins, because the task already belongs to it.
            Some((group, index)) if relations.group.is_none() => (Some(group), i64::try_from(index).ok()),
            _ => (relations.group, relations.group_index),
        };
        let TaskHeaders { id, root_id, .. } = self.attempt.headers();
        options.relations = Relations {
            root_id: Some(root_id.clone().unwrap_or_else(|| id.clone())),
            parent_id: Some(id.clone()),
            group,
            group_index,
            ..relations
        };
        // As with a call of a client: a task that this worker knows may declare a queue, the
        // states that are written and arguments that are not shown.
        let declared = runtime.registry.get(request.routed_as()).map(|task| {
            let TaskOptions { queue, track, redact, .. } = &task.options;
            TaskOptions { queue: *queue, track: *track, redact: redact.clone(), ..TaskOptions::default() }
        });
        let declared = declared.unwrap_or_default();
        let prepared = client.prepare(request, declared).map_err(|error| invalid(&error))?;
        match runtime.environment.allowed_follow_ups.check(&prepared.destination) {
            Ok(()) => Ok(prepared),
            Err(error) => Err(FollowUpError::NotAllowed { task: prepared.task, error }),
        }
    }
}

/// Adds a task that follows to the children. A member of a group has the ids of its steps.
fn add_child(children: &mut Children, id: String, pending: &Pending<'_>) {
    match &pending.child_of {
        None => children.add_task(id),
        Some(group) => {
            let later = pending.rest.iter().filter_map(Signature::task_id).map(str::to_owned);
            children.add_member(group, std::iter::once(id).chain(later).collect());
        }
    }
}

/// Returns the reason why a member of a chord cannot run here.
fn why_unsupported(attempt: &Attempt<'_>) -> Option<&'static str> {
    let runtime = attempt.runtime;
    match (attempt.member(), attempt.message_headers().text(names::JOIN)) {
        (Some(_), _) => None,
        (None, Some(_)) => {
            Some("it is the body of a chord, and this worker has no result store that counts its members")
        }
        (None, None) if runtime.results.is_some() && runtime.registry.unlocks_chords() => None,
        (None, None) => Some(
            "it is the body of a chord that a Celery client has sent, and worker.builtin_tasks does not list \
             celery.chord_unlock, which waits for its members",
        ),
    }
}
