//! Messages that were published on one channel and have no outcome yet.
//!
//! # Matching returned messages
//!
//! RabbitMQ returns an unroutable message before it acknowledges it. The client library keeps
//! returned messages in a list, and attaches the oldest of them to the next acknowledgement, even
//! to that of another message. So an acknowledgement alone does not tell if its own message was
//! returned. Two statements do hold:
//!
//! - An acknowledgement without a returned message found the list empty. If its own message was
//!   returned, it was attached to an earlier acknowledgement. So no sender gets a success before
//!   all earlier acknowledgements have been examined.
//! - An acknowledgement with another sender's message may have left its own message in the list.
//!   The list is empty when all messages that are unconfirmed at that moment are acknowledged, so
//!   the outcome waits for them.
//!
//! A returned message is found by its content among all unconfirmed messages.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::MessageReturned;
use futures::future::BoxFuture;
use lapin::Confirmation;
use lapin::message::BasicReturnMessage;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::amqp::convert::{is_same, is_same_address};
use crate::broker::Outgoing;

/// A message to be published, with its permit from the window.
#[derive(Debug)]
pub(super) struct PendingPublish {
    pub(super) outgoing: Box<Outgoing>,
    /// Returned to the window when this is dropped.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// Outcome of a publish.
#[derive(Debug)]
pub(super) enum PublishOutcome {
    /// The message is on a queue. It is sent back to the sending thread, which can free its memory
    /// at the least cost.
    Stored(#[expect(dead_code, reason = "nobody has a use for it")] Box<Outgoing>),
    /// The broker returned the message: no queue takes it.
    Returned(Box<Outgoing>),
    /// The broker refused the message.
    Refused(Box<Outgoing>),
    /// The broker closed the channel, because of this message or of another one on it.
    Suspect(Box<Outgoing>, lapin::Error),
    /// The channel was lost before the broker answered.
    Lost(Box<Outgoing>),
}

/// The broker's answer to a message.
pub(super) type ConfirmFuture = BoxFuture<'static, Result<Confirmation, lapin::Error>>;

/// One message in flight.
pub(super) struct PendingConfirm {
    attempt: ConfirmFuture,
    waker: Waker,
    state: ConfirmState,
    returned: bool,
    /// Returns its permit to the window with the outcome.
    message: PendingPublish,
    answer: oneshot::Sender<PublishOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConfirmState {
    /// No answer yet.
    Awaited,
    Acked,
    Nacked,
    /// The answer (`true` for an ack). Its outcome waits until everything before this number is
    /// settled.
    Behind(bool, u64),
    Failed,
}

impl PendingConfirm {
    /// Returns a message in flight whose `attempt` wakes `waker`.
    pub(super) fn new(
        attempt: ConfirmFuture,
        waker: Waker,
        message: PendingPublish,
        answer: oneshot::Sender<PublishOutcome>,
    ) -> Self {
        Self { attempt, waker, state: ConfirmState::Awaited, returned: false, message, answer }
    }

    fn tell(self, outcome: impl FnOnce(Box<Outgoing>) -> PublishOutcome) {
        let outcome = outcome(self.message.outgoing);
        if let PublishOutcome::Returned(outgoing) = &outcome {
            MessageReturned { exchange: &outgoing.exchange, routing_key: &outgoing.routing_key }.emit();
        }
        // The sender may no longer wait.
        let _ = self.answer.send(outcome);
    }
}

/// All messages in flight on one channel, numbered in the order of publishing.
#[derive(Default)]
pub(super) struct PendingConfirms {
    first: u64,
    pending: VecDeque<Option<PendingConfirm>>,
    /// Settled in this round.
    settled: Vec<u64>,
    /// Settled in the round before.
    earlier: Vec<u64>,
    /// Acknowledged with another sender's message attached.
    behind: Vec<u64>,
    broken: Option<lapin::Error>,
}

impl PendingConfirms {
    /// Returns the number of the next message.
    pub(super) fn next_id(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    /// Returns `true` if nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Returns `true` if the channel has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Returns `true` if another round would send an outcome.
    pub(super) fn has_untold(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Adds a message in flight.
    pub(super) fn publish(&mut self, confirm: PendingConfirm) {
        let id = self.next_id();
        self.pending.push_back(Some(confirm));
        self.look(id);
    }

    /// Polls the woken messages. Then sends the outcomes of those that settled in the round before.
    pub(super) fn round(&mut self, woken: impl Iterator<Item = u64>) {
        std::mem::swap(&mut self.settled, &mut self.earlier);
        for id in woken {
            self.look(id);
        }
        let mut earlier = std::mem::take(&mut self.earlier);
        for id in earlier.drain(..) {
            self.tell(id);
        }
        self.earlier = earlier;
        if !self.behind.is_empty() {
            self.tell_behind();
        }
        while let Some(None) = self.pending.front() {
            self.pending.pop_front();
            self.first += 1;
        }
    }

    /// Sends all outcomes, after the channel has ended.
    pub(super) fn lose(mut self) {
        // Two passes. A message that settles only in the second is no success, because its returned
        // message may come with a later acknowledgement.
        self.look_at_all();
        let settled: Vec<bool> =
            self.pending.iter().flatten().map(|confirm| confirm.state != ConfirmState::Awaited).collect();
        self.look_at_all();
        let error = self.broken.filter(lapin::Error::is_amqp_soft_error);
        for (confirm, settled) in self.pending.into_iter().flatten().zip(settled) {
            match confirm.state {
                _ if confirm.returned => confirm.tell(PublishOutcome::Returned),
                ConfirmState::Acked if settled => confirm.tell(PublishOutcome::Stored),
                ConfirmState::Nacked if settled => confirm.tell(PublishOutcome::Refused),
                _ => match &error {
                    Some(error) => confirm.tell(|outgoing| PublishOutcome::Suspect(outgoing, error.clone())),
                    None => confirm.tell(PublishOutcome::Lost),
                },
            }
        }
    }

    fn look_at_all(&mut self) {
        for id in self.first..self.next_id() {
            self.look(id);
        }
    }

    fn look(&mut self, id: u64) {
        let next = self.next_id();
        let Some(confirm) = self.get_mut(id).filter(|confirm| confirm.state == ConfirmState::Awaited) else { return };
        let Poll::Ready(result) = confirm.attempt.as_mut().poll(&mut Context::from_waker(&confirm.waker)) else {
            return;
        };
        let (acked, returned) = match result {
            Ok(Confirmation::Ack(returned)) => (true, returned),
            Ok(Confirmation::Nack(returned)) => (false, returned),
            Ok(Confirmation::NotRequested) => {
                confirm.state = ConfirmState::Failed;
                return self.fail(std::io::Error::other("the channel is not in confirm mode").into());
            }
            Err(error) => {
                confirm.state = ConfirmState::Failed;
                return self.fail(error);
            }
        };
        confirm.state = match (&returned, acked) {
            (Some(_), _) => ConfirmState::Behind(acked, next),
            (None, true) => ConfirmState::Acked,
            (None, false) => ConfirmState::Nacked,
        };
        self.settled.push(id);
        if let Some(message) = returned {
            self.came_back(&message);
        }
    }

    /// Records the reason. The broker's reason wins over the client library's error for an ended
    /// channel.
    fn fail(&mut self, error: lapin::Error) {
        if self.broken.as_ref().is_none_or(|known| !known.is_amqp_error()) {
            self.broken = Some(error);
        }
    }

    fn came_back(&mut self, message: &BasicReturnMessage) {
        let mut candidates = self.pending.iter_mut().flatten().filter(|confirm| !confirm.returned);
        let by_content = candidates.find(|confirm| is_same(&confirm.message.outgoing, message));
        // The content can differ only by a header that the broker removes (`BCC`).
        let found = match by_content {
            Some(confirm) => Some(confirm),
            None => {
                let mut candidates = self.pending.iter_mut().flatten().filter(|confirm| !confirm.returned);
                candidates.find(|confirm| is_same_address(&confirm.message.outgoing, message))
            }
        };
        if let Some(confirm) = found {
            confirm.returned = true;
        }
    }

    fn tell(&mut self, id: u64) {
        let Some(slot) = self.slot(id) else { return };
        match slot.as_ref().map(|confirm| (confirm.state, confirm.returned)) {
            Some((_, true)) => tell(slot, PublishOutcome::Returned),
            Some((ConfirmState::Acked, false)) => tell(slot, PublishOutcome::Stored),
            Some((ConfirmState::Nacked, false)) => tell(slot, PublishOutcome::Refused),
            Some((ConfirmState::Behind(..), false)) => self.behind.push(id),
            Some((ConfirmState::Awaited | ConfirmState::Failed, false)) | None => {}
        }
    }

    fn tell_behind(&mut self) {
        let up = |confirm: &Option<PendingConfirm>| {
            confirm.as_ref().is_some_and(|confirm| confirm.state == ConfirmState::Awaited)
        };
        let lowest = self.first + self.pending.iter().position(up).unwrap_or(self.pending.len()) as u64;
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain(|id| {
            let Some(slot) = self.slot(*id) else { return false };
            match slot.as_ref().map(|confirm| (confirm.state, confirm.returned)) {
                Some((_, true)) => tell(slot, PublishOutcome::Returned),
                Some((ConfirmState::Behind(acked, until), false)) if lowest >= until => match acked {
                    true => tell(slot, PublishOutcome::Stored),
                    false => tell(slot, PublishOutcome::Refused),
                },
                Some(_) => return true,
                None => {}
            }
            false
        });
        self.behind = behind;
    }

    fn slot(&mut self, id: u64) -> Option<&mut Option<PendingConfirm>> {
        self.pending.get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut PendingConfirm> {
        self.slot(id)?.as_mut()
    }
}

fn tell(slot: &mut Option<PendingConfirm>, outcome: impl FnOnce(Box<Outgoing>) -> PublishOutcome) {
    if let Some(confirm) = slot.take() {
        confirm.tell(outcome);
    }
}

#[cfg(test)]
mod tests;
