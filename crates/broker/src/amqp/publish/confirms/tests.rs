//! Tests of outcomes in every order of events, against a model of RabbitMQ and the client library.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use celeriac_protocol::Message;
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::protocol::{AMQPError, AMQPSoftError};
use lapin::{ChannelState, ErrorKind};
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

/// The model: the broker, the connection, and the client library.
#[derive(Default)]
struct World {
    letters: Vec<Letter>,
    /// Returned messages that the client library has not attached yet.
    list: VecDeque<usize>,
    woken: Vec<u64>,
    /// Acknowledgements that arrive during polls: one number for each poll.
    meanwhile: VecDeque<usize>,
}

#[derive(Default)]
struct Letter {
    routable: bool,
    refused: bool,
    written: bool,
    returned: bool,
    /// True if it was polled since it was published, so that its acknowledgement wakes it.
    armed: bool,
    word: Option<Result<Confirmation, lapin::Error>>,
    acked: bool,
}

fn outgoing(index: usize) -> Outgoing {
    let message = Message { body: index.to_string().into(), ..Message::default() };
    // Some have the same address, but each has its own content.
    Outgoing { exchange: "x".into(), routing_key: format!("k{}", index % 3), message, mandatory: true }
}

fn returned(index: usize) -> BasicReturnMessage {
    let Outgoing { exchange, routing_key, message, .. } = outgoing(index);
    let (exchange, key) = (exchange.as_ref().into(), routing_key.as_str().into());
    let mut delivery = Delivery::mock(0, exchange, key, false, message.body.to_vec());
    delivery.properties = lapin::BasicProperties::default().with_delivery_mode(2);
    BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
}

impl World {
    fn pick(&self, place: usize, fits: impl Fn(&Letter) -> bool) -> Option<usize> {
        let fitting: Vec<_> = (0..self.letters.len()).filter(|index| fits(&self.letters[*index])).collect();
        fitting.get(place % fitting.len().max(1)).copied()
    }

    fn write(&mut self, place: usize) {
        if let Some(index) = self.pick(place, |letter| !letter.written) {
            self.letters[index].written = true;
            self.woken.push(index as u64);
        }
    }

    fn come_back(&mut self, place: usize) {
        if let Some(index) = self.pick(place, |letter| letter.written && !letter.routable && !letter.returned) {
            self.letters[index].returned = true;
            self.list.push_back(index);
        }
    }

    fn acknowledge(&mut self, place: usize) {
        let Some(index) = self.pick(place, |letter| letter.written && !letter.acked) else { return };
        let letter = &mut self.letters[index];
        letter.acked = true;
        if !letter.routable && !letter.returned {
            letter.returned = true;
            self.list.push_back(index);
        }
        let handed_out = self.list.pop_front().map(returned);
        letter.word = Some(Ok(match letter.refused {
            true => Confirmation::Nack(handed_out),
            false => Confirmation::Ack(handed_out),
        }));
        if letter.armed {
            self.woken.push(index as u64);
        }
    }

    fn look(&mut self, index: usize) -> Poll<Result<Confirmation, lapin::Error>> {
        if let Some(place) = self.meanwhile.pop_front().filter(|place| place % 2 == 0) {
            self.acknowledge(place / 2);
        }
        let letter = &mut self.letters[index];
        letter.armed |= letter.written;
        letter.word.take().map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Default)]
struct Air {
    world: Arc<Mutex<World>>,
    pending: PendingConfirms,
    fates: Vec<oneshot::Receiver<PublishOutcome>>,
}

impl Air {
    fn publish(&mut self, routable: bool, refused: bool) {
        let index = self.fates.len();
        self.world.lock().unwrap().letters.push(Letter { routable, refused, ..Letter::default() });
        let world = Arc::clone(&self.world);
        let attempt = Box::pin(std::future::poll_fn(move |_| world.lock().unwrap().look(index)));
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let message = PendingPublish { outgoing: Box::new(outgoing(index)), _permit: place };
        let (answer, outcome) = oneshot::channel();
        self.pending.publish(PendingConfirm::new(attempt, Waker::noop().clone(), message, answer));
        self.fates.push(outcome);
    }

    fn round(&mut self) {
        let woken = std::mem::take(&mut self.world.lock().unwrap().woken);
        self.pending.round(woken.into_iter());
    }

    fn rounds(&mut self) {
        while !self.world.lock().unwrap().woken.is_empty() || self.pending.has_untold() {
            self.round();
        }
    }

    fn told(&mut self, index: usize) -> Option<PublishOutcome> {
        self.fates[index].try_recv().ok()
    }
}

#[derive(Debug, Clone)]
enum Action {
    Launch { routable: bool, refused: bool },
    Write(usize),
    ComeBack(usize),
    Acknowledge(usize),
    Round,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        3 => (any::<bool>(), prop::bool::weighted(0.1)).prop_map(|(routable, refused)| Action::Launch { routable, refused }),
        3 => any::<usize>().prop_map(Action::Write),
        1 => any::<usize>().prop_map(Action::ComeBack),
        3 => any::<usize>().prop_map(Action::Acknowledge),
        2 => Just(Action::Round),
    ];
    prop::collection::vec(action, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_sender_gets_the_outcome_of_its_own_message(
        actions in actions(),
        meanwhile in prop::collection::vec(any::<usize>(), 0..60),
    ) {
        let mut air = Air::default();
        air.world.lock().unwrap().meanwhile = meanwhile.into();
        for action in actions {
            match action {
                Action::Launch { routable, refused } => air.publish(routable, refused),
                Action::Write(place) => air.world.lock().unwrap().write(place),
                Action::ComeBack(place) => air.world.lock().unwrap().come_back(place),
                Action::Acknowledge(place) => air.world.lock().unwrap().acknowledge(place),
                Action::Round => air.round(),
            }
        }
        {
            let mut world = air.world.lock().unwrap();
            for _ in 0..world.letters.len() {
                world.write(0);
                world.acknowledge(0);
            }
        }
        air.rounds();
        prop_assert!(air.pending.is_empty());
        for index in 0..air.fates.len() {
            let (routable, refused) = {
                let letter = &air.world.lock().unwrap().letters[index];
                (letter.routable, letter.refused)
            };
            let outcome = air.told(index);
            let right = match &outcome {
                Some(PublishOutcome::Stored(_)) => routable && !refused,
                Some(PublishOutcome::Refused(_)) => routable && refused,
                Some(PublishOutcome::Returned(outgoing)) => !routable && outgoing.message.body == index.to_string(),
                _ => false,
            };
            prop_assert!(right, "{index} (routable: {routable}, refused: {refused}) was told {outcome:?}");
        }
    }
}

#[test]
fn no_outcome_is_sent_before_earlier_acknowledgements_are_examined() {
    let mut air = Air::default();
    air.publish(true, false);
    air.publish(false, false);
    {
        let mut world = air.world.lock().unwrap();
        world.write(0);
        world.write(0);
        world.woken.clear();
        // The first acknowledgement takes the second's message.
        world.come_back(0);
        world.acknowledge(0);
        world.acknowledge(0);
    }
    air.pending.round([1].into_iter());
    assert!(air.told(1).is_none());
    air.pending.round([0].into_iter());
    assert!(matches!(air.told(1), Some(PublishOutcome::Returned(_))));
    assert!(air.told(0).is_none());
    air.rounds();
    assert!(matches!(air.told(0), Some(PublishOutcome::Stored(_))));
}

fn lost_by(error: ErrorKind) -> Vec<Option<PublishOutcome>> {
    let mut air = Air::default();
    for routable in [true, true, false, true] {
        air.publish(routable, false);
    }
    {
        let mut world = air.world.lock().unwrap();
        (0..4).for_each(|_| world.write(0));
        // The first is stored. The third is returned, which only the acknowledgement of the second
        // shows.
        world.acknowledge(0);
        world.come_back(0);
        world.letters[1].word = Some(Ok(Confirmation::Ack(Some(returned(2)))));
        world.letters[3].word = Some(Err(error.into()));
    }
    air.pending.round([3].into_iter());
    assert!(air.pending.is_broken());
    std::mem::take(&mut air.pending).lose();
    (0..4).map(|index| air.told(index)).collect()
}

#[test]
fn known_outcomes_are_sent_when_a_channel_ends_and_the_rest_is_lost() {
    let fates = lost_by(ErrorKind::InvalidChannelState(ChannelState::Closed, "test"));
    // It is unknown if the second was returned too.
    let expected = ["Stored", "Lost", "Returned", "Lost"];
    for (outcome, expected) in fates.iter().zip(expected) {
        assert!(format!("{outcome:?}").starts_with(&format!("Some({expected}")), "{outcome:?}");
    }
}

#[test]
fn when_the_broker_closes_a_channel_every_unconfirmed_message_is_a_suspect() {
    let said = AMQPError::new(AMQPSoftError::NOTFOUND.into(), "NOT_FOUND - no exchange 'x' in vhost '/'".into());
    let fates = lost_by(ErrorKind::ProtocolError(said));
    for (outcome, expected) in fates.iter().zip(["Stored", "Suspect", "Returned", "Suspect"]) {
        assert!(format!("{outcome:?}").starts_with(&format!("Some({expected}")), "{outcome:?}");
    }
}
