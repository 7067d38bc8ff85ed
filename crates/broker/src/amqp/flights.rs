//! Messages that are published on one channel and whose fate is not told yet.
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
use tokio::sync::oneshot;

use super::convert::{is_same, is_same_address};
use super::line::Parcel;
use crate::broker::Outgoing;

/// What became of a message.
#[derive(Debug)]
pub(super) enum Fate {
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
pub(super) type Attempt = BoxFuture<'static, Result<Confirmation, lapin::Error>>;

/// One message in the air.
pub(super) struct Flight {
    attempt: Attempt,
    waker: Waker,
    landing: Landing,
    returned: bool,
    /// Its place in the window is free again when its fate is told.
    parcel: Parcel,
    answer: oneshot::Sender<Fate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Landing {
    /// Not yet.
    Awaited,
    Acked,
    Nacked,
    /// As the first says, once everything before the second has landed.
    Behind(bool, u64),
    Failed,
}

impl Flight {
    /// A message whose `attempt` wakes `waker`.
    pub(super) fn new(attempt: Attempt, waker: Waker, parcel: Parcel, answer: oneshot::Sender<Fate>) -> Self {
        Self { attempt, waker, landing: Landing::Awaited, returned: false, parcel, answer }
    }

    fn tell(self, fate: impl FnOnce(Box<Outgoing>) -> Fate) {
        let fate = fate(self.parcel.outgoing);
        if let Fate::Returned(outgoing) = &fate {
            MessageReturned { exchange: &outgoing.exchange, routing_key: &outgoing.routing_key }.emit();
        }
        // Whoever has given up waiting is not there to be told.
        let _ = self.answer.send(fate);
    }
}

/// All messages in the air on one channel, numbered in the order in which they were published.
#[derive(Default)]
pub(super) struct Flights {
    first: u64,
    flights: VecDeque<Option<Flight>>,
    /// Landed in this round.
    landed: Vec<u64>,
    /// Landed in the round before.
    earlier: Vec<u64>,
    /// Landed with somebody else's message.
    behind: Vec<u64>,
    broken: Option<lapin::Error>,
}

impl Flights {
    /// The number that the next flight has.
    pub(super) fn next_id(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    /// Whether nothing is in the air.
    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether the channel has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether another round would tell somebody something.
    pub(super) fn has_untold(&self) -> bool {
        !self.landed.is_empty()
    }

    /// Publishes a message.
    pub(super) fn launch(&mut self, flight: Flight) {
        let id = self.next_id();
        self.flights.push_back(Some(flight));
        self.look(id);
    }

    /// Looks at those that were woken, and then tells what landed in the round before.
    pub(super) fn round(&mut self, woken: impl Iterator<Item = u64>) {
        std::mem::swap(&mut self.landed, &mut self.earlier);
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
        while let Some(None) = self.flights.front() {
            self.flights.pop_front();
            self.first += 1;
        }
    }

    /// The channel has ended: tells everybody.
    pub(super) fn lose(mut self) {
        // Twice, since what lands in the second look need not have been the last to land.
        self.look_at_all();
        let landed: Vec<bool> =
            self.flights.iter().flatten().map(|flight| flight.landing != Landing::Awaited).collect();
        self.look_at_all();
        let error = self.broken.filter(lapin::Error::is_amqp_soft_error);
        for (flight, landed) in self.flights.into_iter().flatten().zip(landed) {
            match flight.landing {
                _ if flight.returned => flight.tell(Fate::Returned),
                Landing::Acked if landed => flight.tell(Fate::Stored),
                Landing::Nacked if landed => flight.tell(Fate::Refused),
                _ => match &error {
                    Some(error) => flight.tell(|outgoing| Fate::Suspect(outgoing, error.clone())),
                    None => flight.tell(Fate::Lost),
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
        let Some(flight) = self.get_mut(id).filter(|flight| flight.landing == Landing::Awaited) else { return };
        let Poll::Ready(result) = flight.attempt.as_mut().poll(&mut Context::from_waker(&flight.waker)) else { return };
        let (acked, returned) = match result {
            Ok(Confirmation::Ack(returned)) => (true, returned),
            Ok(Confirmation::Nack(returned)) => (false, returned),
            Ok(Confirmation::NotRequested) => {
                flight.landing = Landing::Failed;
                return self.fail(std::io::Error::other("the channel is not in confirm mode").into());
            }
            Err(error) => {
                flight.landing = Landing::Failed;
                return self.fail(error);
            }
        };
        flight.landing = match (&returned, acked) {
            (Some(_), _) => Landing::Behind(acked, next),
            (None, true) => Landing::Acked,
            (None, false) => Landing::Nacked,
        };
        self.landed.push(id);
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
        let mut candidates = self.flights.iter_mut().flatten().filter(|flight| !flight.returned);
        let by_content = candidates.find(|flight| is_same(&flight.parcel.outgoing, message));
        // Only a header that the broker keeps to itself (BCC) can make the content differ.
        let found = match by_content {
            Some(flight) => Some(flight),
            None => {
                let mut candidates = self.flights.iter_mut().flatten().filter(|flight| !flight.returned);
                candidates.find(|flight| is_same_address(&flight.parcel.outgoing, message))
            }
        };
        if let Some(flight) = found {
            flight.returned = true;
        }
    }

    fn tell(&mut self, id: u64) {
        let Some(slot) = self.slot(id) else { return };
        match slot.as_ref().map(|flight| (flight.landing, flight.returned)) {
            Some((_, true)) => tell(slot, Fate::Returned),
            Some((Landing::Acked, false)) => tell(slot, Fate::Stored),
            Some((Landing::Nacked, false)) => tell(slot, Fate::Refused),
            Some((Landing::Behind(..), false)) => self.behind.push(id),
            Some((Landing::Awaited | Landing::Failed, false)) | None => {}
        }
    }

    fn tell_behind(&mut self) {
        let up = |flight: &Option<Flight>| flight.as_ref().is_some_and(|flight| flight.landing == Landing::Awaited);
        let lowest = self.first + self.flights.iter().position(up).unwrap_or(self.flights.len()) as u64;
        let mut behind = std::mem::take(&mut self.behind);
        behind.retain(|id| {
            let Some(slot) = self.slot(*id) else { return false };
            match slot.as_ref().map(|flight| (flight.landing, flight.returned)) {
                Some((_, true)) => tell(slot, Fate::Returned),
                Some((Landing::Behind(acked, until), false)) if lowest >= until => match acked {
                    true => tell(slot, Fate::Stored),
                    false => tell(slot, Fate::Refused),
                },
                Some(_) => return true,
                None => {}
            }
            false
        });
        self.behind = behind;
    }

    fn slot(&mut self, id: u64) -> Option<&mut Option<Flight>> {
        self.flights.get_mut(usize::try_from(id.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, id: u64) -> Option<&mut Flight> {
        self.slot(id)?.as_mut()
    }
}

fn tell(slot: &mut Option<Flight>, fate: impl FnOnce(Box<Outgoing>) -> Fate) {
    if let Some(flight) = slot.take() {
        flight.tell(fate);
    }
}

#[cfg(test)]
mod tests;
