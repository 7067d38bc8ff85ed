//! Messages that are published on one channel and whose outcome is not told yet.
//!
//! # Which message came back
//!
//! RabbitMQ returns an unroutable message before it acknowledges it. The client library keeps returned messages in a list
//! and hands the oldest to whichever acknowledgement comes next, be it that of another message: so an acknowledgement
//! alone tells nothing of its own message, with or without a returned one in it. Two things do hold:
//!
//! - An acknowledgement without a returned message found the list empty. If its own message had come back, it was handed
//!   out before. So nobody is told of a success until everything that was acknowledged before it has been looked at.
//! - An acknowledgement with somebody else's message may have left its own in the list. The list is handed out by the
//!   time all messages are acknowledged that were in the air at that moment, so it waits for them.
//!
//! Whatever is handed out is looked up among all that are in the air, by its content.

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

/// A message to be published, with its place in the window.
#[derive(Debug)]
pub(super) struct PendingPublish {
    pub(super) outgoing: Box<Outgoing>,
    /// Free again when the message is gone.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum PublishOutcome {
    /// It stands on a queue. The message goes back to where it came from, whose thread frees it best.
    Stored(#[expect(dead_code, reason = "nobody has a use for it")] Box<Outgoing>),
    /// It came back: no queue takes it.
    Returned(Box<Outgoing>),
    /// The broker said no.
    Refused(Box<Outgoing>),
    /// The broker closed the channel, because of this message or of one beside it.
    Suspect(Box<Outgoing>, lapin::Error),
    /// The channel was lost, and with it what the broker would have said.
    Lost(Box<Outgoing>),
}

/// The broker's word on a message, once it comes.
pub(super) type ConfirmFuture = BoxFuture<'static, Result<Confirmation, lapin::Error>>;

/// One message in the air.
pub(super) struct PendingConfirm {
    attempt: ConfirmFuture,
    waker: Waker,
    state: ConfirmState,
    returned: bool,
    /// Its place in the window is free again when its outcome is told.
    message: PendingPublish,
    answer: oneshot::Sender<PublishOutcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConfirmState {
    /// Not yet.
    Awaited,
    Acked,
    Nacked,
    /// As the first says, once everything before the second has settled.
    Behind(bool, u64),
    Failed,
}

impl PendingConfirm {
    /// A message whose `attempt` wakes `waker`.
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
        // Whoever has given up waiting is not there to be told.
        let _ = self.answer.send(outcome);
    }
}

/// All messages in the air on one channel, numbered in the order in which they were published.
#[derive(Default)]
pub(super) struct PendingConfirms {
    first: u64,
    pending: VecDeque<Option<PendingConfirm>>,
    /// Landed in this round.
    settled: Vec<u64>,
    /// Landed in the round before.
    earlier: Vec<u64>,
    /// Landed with somebody else's message.
    behind: Vec<u64>,
    broken: Option<lapin::Error>,
}

impl PendingConfirms {
    /// The number that the next confirm has.
    pub(super) fn next_id(&self) -> u64 {
        self.first + self.pending.len() as u64
    }

    /// Whether nothing is in the air.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the channel has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether another round would tell somebody something.
    pub(super) fn has_untold(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Publishes a message.
    pub(super) fn publish(&mut self, confirm: PendingConfirm) {
        let id = self.next_id();
        self.pending.push_back(Some(confirm));
        self.look(id);
    }

    /// Looks at those that were woken, and then tells what settled in the round before.
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

    /// The channel has ended: tells everybody.
    pub(super) fn lose(mut self) {
        // Twice, since what lands in the second look need not have been the last to land.
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

    /// Keeps the broker's reason, rather than what the client library says of a channel that has ended.
    fn fail(&mut self, error: lapin::Error) {
        if self.broken.as_ref().is_none_or(|known| !known.is_amqp_error()) {
            self.broken = Some(error);
        }
    }

    fn came_back(&mut self, message: &BasicReturnMessage) {
        let mut candidates = self.pending.iter_mut().flatten().filter(|confirm| !confirm.returned);
        let by_content = candidates.find(|confirm| is_same(&confirm.message.outgoing, message));
        // Only a header that the broker keeps to itself (BCC) can make the content differ.
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
