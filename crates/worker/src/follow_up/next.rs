//! The tasks that follow from one: callbacks and the next step after a success, errbacks after a failure.
//!
//! Each has an id that follows from the id of the task it follows from. When a worker dies while it sends them, the next
//! sends them all again, with the same ids and a header that says so: who runs one looks whether it has run already.

use celeriac_client::call::{Follow, Relations};
use celeriac_client::{PreparedTask, Request};
use celeriac_protocol::headers::names;
use celeriac_protocol::signature::Kind;
use celeriac_protocol::{Embed, Signature, TaskHeaders, Value};
use celeriac_results::outbox::Entry;
use celeriac_telemetry::events::client::TaskSent;
use celeriac_telemetry::trace::PublishSpan;
use uuid::Uuid;

use super::{Address, Unsent, publish};
use crate::lifecycle::Life;

/// Namespace of the ids of follow-ups that come without one.
const FOLLOW_UPS: Uuid = Uuid::from_u128(0x6365_6c65_7269_6163_8000_666f_6c6c_6f77);

/// The id of a task that follows from another, the same whenever it is made.
pub(crate) fn derived_id(id: &str, what: &str) -> String {
    Uuid::new_v5(&FOLLOW_UPS, format!("{id}/{what}").as_bytes()).to_string()
}

/// Why something that a task carries cannot be started after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unstartable {
    /// It is of a kind that is not served.
    #[error("`{task}` should follow from it, and {reason}")]
    Unsupported { task: String, reason: &'static str },
    /// It cannot be sent as it stands.
    #[error("`{task}` should follow from it, and cannot be sent: {reason}")]
    Invalid { task: String, reason: String },
}

/// What follows from a task.
#[derive(Debug)]
pub(crate) struct FollowUps {
    messages: Vec<PreparedTask>,
}

impl FollowUps {
    /// Looks whether everything that a task carries could be sent after it, before anything of it runs.
    pub(crate) fn check(life: &Life<'_>, embed: &Embed) -> Result<(), Unstartable> {
        if embed.is_empty() {
            return Ok(());
        }
        if let Some(chord) = &embed.chord {
            let reason = "it is the body of a chord, whose parts this version cannot count";
            return Err(Unstartable::Unsupported { task: chord.task.clone(), reason });
        }
        Self::after_success(life, embed, &Value::Null)?;
        Self::after_failure(life, embed).map(drop)
    }

    /// Callbacks, and then the next step, each called with the result.
    pub(crate) fn after_success(life: &Life<'_>, embed: &Embed, result: &Value) -> Result<Self, Unstartable> {
        let mut plan = Plan::new(life);
        let (groups, others): (Vec<_>, Vec<_>) =
            embed.callbacks.iter().enumerate().partition(|(_, callback)| callback.kind() == Kind::Group);
        // As Celery does: each group by itself, and the others as a group of their own when there are several.
        for (index, group) in groups {
            plan.add(group.clone(), Some(result), &format!("link/{index}"), None, Vec::new())?;
        }
        let group = (others.len() > 1).then(|| plan.id("link"));
        for (position, (index, callback)) in others.into_iter().enumerate() {
            let membership = group.clone().map(|group| (group, position));
            plan.add(callback.clone(), Some(result), &format!("link/{index}"), membership, Vec::new())?;
        }
        if let [next, rest @ ..] = embed.chain.as_slice() {
            plan.add(next.clone(), Some(result), "chain", None, rest.to_vec())?;
        }
        Ok(Self { messages: plan.messages })
    }

    /// Errbacks. Each is called with the id of the failed task: no more can be said across languages.
    pub(crate) fn after_failure(life: &Life<'_>, embed: &Embed) -> Result<Self, Unstartable> {
        let mut plan = Plan::new(life);
        let failed = Value::from(life.received.headers.id.as_str());
        let group = (!embed.errbacks.is_empty()).then(|| plan.id("link_error"));
        for (index, errback) in embed.errbacks.iter().enumerate() {
            let membership = group.clone().map(|group| (group, index));
            plan.add(errback.clone(), Some(&failed), &format!("link_error/{index}"), membership, Vec::new())?;
        }
        Ok(Self { messages: plan.messages })
    }

    /// Ids of the tasks that follow.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|message| message.id.as_str())
    }

    /// Them as they stand in the outbox, for a transaction to commit.
    pub(crate) async fn into_entries(self, life: &Life<'_>) -> Vec<Entry> {
        let replays = life.received.message.headers.replays();
        let entries = async {
            let entries = self.messages.into_iter().map(|mut prepared| {
                if replays > 0 {
                    prepared.outgoing.message.headers.insert(names::REPLAYED, replays);
                }
                prepared.into_entry()
            });
            entries.collect()
        };
        life.span.run(entries).await
    }

    /// Sends them, one after the other.
    ///
    /// # Errors
    /// When one can never be sent, with its name; or when the worker stops.
    pub(crate) async fn send(self, life: &Life<'_>, repeated: bool) -> Result<(), (Unsent, String)> {
        let replays = life.received.message.headers.replays();
        for prepared in self.messages {
            let PreparedTask { task, id, mut outgoing, destination, .. } = prepared;
            if repeated {
                outgoing.message.headers.insert(names::REPEATED, true);
            }
            if replays > 0 {
                // Its own row may stand already: that it will never run.
                outgoing.message.headers.insert(names::REPLAYED, replays);
            }
            let (exchange, routing_key) = (&destination.exchange, &destination.routing_key);
            let sending = async {
                let span = PublishSpan::start(&task, &id, exchange, routing_key);
                span.inject(&mut outgoing.message.headers);
                let sent = publish(life.core, outgoing, Address::Foreign).await;
                span.end(if sent.is_ok() { Ok(()) } else { Err(&"it was not sent") });
                sent
            };
            life.span.run(sending).await.map_err(|unsent| (unsent, task.clone()))?;
            life.span.emit(&TaskSent { task: &task, id: &id, exchange, routing_key });
        }
        Ok(())
    }
}

/// Messages in the making.
struct Plan<'a> {
    life: &'a Life<'a>,
    messages: Vec<PreparedTask>,
}

/// A group, and the position in it.
type Membership = Option<(String, usize)>;

impl<'a> Plan<'a> {
    fn new(life: &'a Life<'a>) -> Self {
        Self { life, messages: Vec::new() }
    }

    fn id(&self, what: &str) -> String {
        derived_id(&self.life.received.headers.id, what)
    }

    /// Adds what has to be sent for a signature.
    ///
    /// `first` goes before its arguments, `label` tells it from others that follow from the same task, `rest` runs after
    /// it.
    fn add(
        &mut self,
        signature: Signature,
        first: Option<&Value>,
        label: &str,
        membership: Membership,
        rest: Vec<Signature>,
    ) -> Result<(), Unstartable> {
        let task = signature.task.clone();
        let invalid = |reason: String| Unstartable::Invalid { task: task.clone(), reason };
        match signature.kind() {
            Kind::Task => self.add_task(signature.called_with(first.cloned()), label, membership, rest),
            Kind::Chain => {
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
            Kind::Group if !rest.is_empty() => {
                let reason =
                    "it is a group with a step behind it, which is a chord, and this version cannot count chords";
                Err(Unstartable::Unsupported { task, reason })
            }
            Kind::Group => {
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
            Kind::Chord => {
                let reason = "it is a chord, whose parts this version cannot count";
                Err(Unstartable::Unsupported { task, reason })
            }
        }
    }

    fn add_task(
        &mut self,
        signature: Signature,
        label: &str,
        membership: Membership,
        rest: Vec<Signature>,
    ) -> Result<(), Unstartable> {
        let task = signature.task.clone();
        let invalid = |error: &celeriac_client::Error| Unstartable::Invalid {
            task: task.clone(),
            reason: celeriac_telemetry::ErrorChain(error).to_string(),
        };
        let client = &self.life.core.world.client;
        let mut request = Request::from_signature(signature, client.topology()).map_err(|error| invalid(&error))?;
        let TaskHeaders { id, root_id, .. } = &self.life.received.headers;
        let options = &mut request.options;
        options.id.get_or_insert_with(|| self.id(label));
        options.follow = Follow { steps: rest, ..std::mem::take(&mut options.follow) };
        let relations = std::mem::take(&mut options.relations);
        let (group, group_index) = match membership {
            // What its own options say of a group holds: it belongs to one already.
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
        // As if it were called here: one that this worker knows may have a queue of its own.
        let declared = self.life.core.registry.get(&request.task).and_then(|task| task.options.queue);
        let prepared = client.prepare(request, declared).map_err(|error| invalid(&error))?;
        self.messages.push(prepared);
        Ok(())
    }
}

/// The steps of a chain and of the chains in it; what was asked of the chain as a whole is asked of them.
fn chain_steps(chain: &Signature) -> Result<Vec<Signature>, celeriac_protocol::signature::SignatureError> {
    let mut steps = Vec::new();
    for member in chain.members()? {
        match member.kind() {
            Kind::Chain => steps.extend(chain_steps(&member)?),
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
