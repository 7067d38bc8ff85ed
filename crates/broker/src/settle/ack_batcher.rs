//! Groups acknowledgements that can be sent in one frame. Pure.

use std::collections::VecDeque;

use super::{Settled, SettlementKind};

/// A settlement on the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Acknowledges `tag`; with `multiple`, every earlier unsettled delivery too.
    Ack {
        /// The delivery tag.
        tag: u64,
        /// True if the acknowledgement covers every earlier delivery.
        multiple: bool,
    },
    /// Rejects `tag`.
    Reject {
        /// The delivery tag.
        tag: u64,
    },
    /// Returns `tag` to its queue.
    Requeue {
        /// The delivery tag.
        tag: u64,
    },
}

/// The unsettled deliveries of one channel, and those with an acknowledgement to be sent.
///
/// A channel numbers its deliveries from 1 without a gap. Acknowledgements wait for
/// [`AckBatcher::flush`]. It covers the finished deliveries before the first unfinished one with a
/// single command, and sends one command for each of the others. Rejections and requeues are sent
/// at once and in order, so that they are settled before a later `multiple` command.
#[derive(Debug, Default)]
pub(crate) struct AckBatcher {
    epoch: u64,
    /// The tag of the first slot.
    first: u64,
    slots: VecDeque<TagState>,
    unfinished: usize,
    /// Tags with an acknowledgement to be sent.
    waiting: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TagState {
    Unfinished,
    Finished,
    Sent,
}

impl AckBatcher {
    /// Returns a batcher without deliveries, in the first epoch.
    pub(crate) fn new() -> Self {
        Self { first: 1, ..Self::default() }
    }

    /// Returns the present epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Starts a new epoch after the channel is lost. The broker requeues its deliveries.
    pub(crate) fn reset(&mut self) -> u64 {
        *self = Self { epoch: self.epoch + 1, ..Self::new() };
        self.epoch
    }

    /// Records the delivery of `tag`.
    pub(crate) fn delivered(&mut self, tag: u64) {
        let next = self.first + self.slots.len() as u64;
        if tag < next {
            return;
        }
        // A gap is a delivery that the client library lost. No command ever covers it, so the
        // broker requeues it when the channel ends.
        let length = self.slots.len();
        self.slots.extend((next..=tag).map(|_| TagState::Unfinished));
        self.unfinished += self.slots.len() - length;
    }

    /// Records a settlement. Ignores one of another epoch, and one of a settled tag.
    pub(crate) fn settle(&mut self, settled: Settled, commands: &mut Vec<Command>) {
        let tag = settled.tag;
        if settled.epoch != self.epoch || tag < self.first {
            return;
        }
        let index = usize::try_from(tag - self.first).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(index).filter(|slot| **slot == TagState::Unfinished) else { return };
        self.unfinished -= 1;
        *slot = TagState::Sent;
        match settled.verdict {
            SettlementKind::Ack => {
                *slot = TagState::Finished;
                self.waiting.push(tag);
            }
            SettlementKind::Reject => commands.push(Command::Reject { tag }),
            SettlementKind::Requeue => commands.push(Command::Requeue { tag }),
        }
    }

    /// Returns the number of acknowledgements that wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns `true` if every delivery is finished.
    pub(crate) fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Sends all waiting acknowledgements.
    pub(crate) fn flush(&mut self, commands: &mut Vec<Command>) {
        let (mut last, mut covered) = (0, 0_usize);
        while let Some(slot) = self.slots.front().filter(|slot| **slot != TagState::Unfinished) {
            if *slot == TagState::Finished {
                last = self.first;
                covered += 1;
            }
            self.slots.pop_front();
            self.first += 1;
        }
        if covered > 0 {
            commands.push(Command::Ack { tag: last, multiple: covered > 1 });
        }
        for tag in self.waiting.drain(..).filter(|tag| *tag >= self.first) {
            if let Some(slot) = usize::try_from(tag - self.first).ok().and_then(|index| self.slots.get_mut(index)) {
                *slot = TagState::Sent;
                commands.push(Command::Ack { tag, multiple: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ack(batcher: &mut AckBatcher, tags: impl IntoIterator<Item = u64>) -> Vec<Command> {
        settle(batcher, tags.into_iter().map(|tag| (tag, SettlementKind::Ack)))
    }

    fn settle(batcher: &mut AckBatcher, verdicts: impl IntoIterator<Item = (u64, SettlementKind)>) -> Vec<Command> {
        let mut commands = Vec::new();
        for (tag, verdict) in verdicts {
            batcher.settle(Settled { epoch: batcher.epoch(), tag, verdict }, &mut commands);
        }
        batcher.flush(&mut commands);
        commands
    }

    fn delivered(count: u64) -> AckBatcher {
        let mut batcher = AckBatcher::new();
        (1..=count).for_each(|tag| batcher.delivered(tag));
        batcher
    }

    #[test]
    fn finished_deliveries_go_together_up_to_the_first_unfinished_one() {
        let mut batcher = delivered(6);
        let commands = ack(&mut batcher, [3, 1, 5, 2]);
        assert_eq!(commands, [Command::Ack { tag: 3, multiple: true }, Command::Ack { tag: 5, multiple: false }]);
        assert_eq!(ack(&mut batcher, [4]), [Command::Ack { tag: 4, multiple: false }]);
        assert!(!batcher.is_finished());
        assert_eq!(ack(&mut batcher, [6]), [Command::Ack { tag: 6, multiple: false }]);
        assert!(batcher.is_finished());
    }

    #[test]
    fn a_rejection_is_sent_before_an_acknowledgement_that_covers_it() {
        let mut batcher = delivered(3);
        let commands =
            settle(&mut batcher, [(1, SettlementKind::Ack), (2, SettlementKind::Reject), (3, SettlementKind::Ack)]);
        assert_eq!(commands, [Command::Reject { tag: 2 }, Command::Ack { tag: 3, multiple: true }]);
    }

    #[test]
    fn a_delivery_that_never_came_out_is_never_acknowledged() {
        let mut batcher = delivered(1);
        batcher.delivered(3);
        let commands = ack(&mut batcher, [1, 3]);
        assert_eq!(commands, [Command::Ack { tag: 1, multiple: false }, Command::Ack { tag: 3, multiple: false }]);
    }

    #[test]
    fn a_settlement_of_a_lost_channel_has_no_effect() {
        let mut batcher = delivered(2);
        let old = batcher.epoch();
        batcher.reset();
        batcher.delivered(1);
        let mut commands = Vec::new();
        batcher.settle(Settled { epoch: old, tag: 1, verdict: SettlementKind::Reject }, &mut commands);
        batcher.flush(&mut commands);
        assert_eq!(commands, []);
        assert!(!batcher.is_finished());
    }

    #[derive(Debug, Clone)]
    enum Action {
        Deliver,
        /// Loses a delivery in the client.
        Mislay,
        /// Settles the held delivery at this position, modulo their number.
        Settle(usize, SettlementKind),
        Flush,
        LoseChannel,
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let verdict = prop_oneof![4 => Just(SettlementKind::Ack), 1 => Just(SettlementKind::Reject), 1 => Just(SettlementKind::Requeue)];
        let action = prop_oneof![
            12 => Just(Action::Deliver),
            1 => Just(Action::Mislay),
            12 => (any::<usize>(), verdict).prop_map(|(place, verdict)| Action::Settle(place, verdict)),
            4 => Just(Action::Flush),
            1 => Just(Action::LoseChannel),
        ];
        prop::collection::vec(action, 0..200)
    }

    /// The broker's side of one channel: the unsettled deliveries and the received settlements.
    #[derive(Default)]
    struct Server {
        last: u64,
        outstanding: BTreeMap<u64, ()>,
        told: BTreeMap<u64, SettlementKind>,
    }

    impl Server {
        fn obey(&mut self, command: Command) {
            let (tag, verdict) = match command {
                Command::Ack { tag, .. } => (tag, SettlementKind::Ack),
                Command::Reject { tag } => (tag, SettlementKind::Reject),
                Command::Requeue { tag } => (tag, SettlementKind::Requeue),
            };
            // RabbitMQ closes the channel for a tag that is unknown or settled.
            assert!(self.outstanding.contains_key(&tag), "{command:?} for an unknown tag");
            let covered: Vec<u64> = match command {
                Command::Ack { multiple: true, .. } => self.outstanding.range(..=tag).map(|(tag, ())| *tag).collect(),
                _ => vec![tag],
            };
            for tag in covered {
                self.outstanding.remove(&tag);
                assert_eq!(self.told.insert(tag, verdict), None, "settled twice");
            }
        }
    }

    proptest! {
        #[test]
        fn every_delivery_is_settled_once_as_requested(actions in actions()) {
            let mut batcher = AckBatcher::new();
            let mut server = Server::default();
            let mut held: Vec<(u64, u64)> = Vec::new();
            let mut said: BTreeMap<u64, SettlementKind> = BTreeMap::new();
            let mut commands = Vec::new();
            for action in actions.into_iter().chain([Action::Flush]) {
                match action {
                    Action::Deliver => {
                        server.last += 1;
                        server.outstanding.insert(server.last, ());
                        batcher.delivered(server.last);
                        held.push((batcher.epoch(), server.last));
                    }
                    Action::Mislay => {
                        server.last += 1;
                        server.outstanding.insert(server.last, ());
                    }
                    Action::Settle(place, verdict) => {
                        if held.is_empty() { continue }
                        let (epoch, tag) = held.remove(place % held.len());
                        if epoch == batcher.epoch() {
                            said.insert(tag, verdict);
                        }
                        batcher.settle(Settled { epoch, tag, verdict }, &mut commands);
                    }
                    Action::Flush => {
                        batcher.flush(&mut commands);
                        prop_assert_eq!(batcher.waiting(), 0);
                    }
                    Action::LoseChannel => {
                        batcher.reset();
                        server = Server::default();
                        said.clear();
                    }
                }
                commands.drain(..).for_each(|command| server.obey(command));
                for (tag, verdict) in &server.told {
                    prop_assert_eq!(said.get(tag), Some(verdict));
                }
            }
            prop_assert_eq!(&server.told, &said);
            prop_assert!(batcher.is_finished() || !server.outstanding.is_empty());
        }
    }
}
