//! Tests of this broker alone: sharing by URL, delivery limits, long times, and that no message is
//! lost or duplicated.

use std::time::Duration;

use celeriac_config::Secret;
use celeriac_protocol::{Message, Properties, Value};
use celeriac_topology::{Ladder, QueueOptions, delay::LONGEST};

use super::*;
use crate::delivery::Delivery;

fn broker(url: &str) -> MemoryBroker {
    MemoryBroker::new(&BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() })
}

async fn declare(broker: &MemoryBroker, options: QueueOptions) {
    let topology = Topology { queues: [("queue".to_owned(), options)].into(), ..Topology::default() };
    broker.declare(&topology).await.unwrap();
}

async fn send(broker: &MemoryBroker, address: (String, String), properties: Properties) {
    let message = Message { properties, ..Message::default() };
    let outgoing = Outgoing { exchange: address.0.into(), routing_key: address.1, message, mandatory: true };
    broker.publish(outgoing).await.unwrap();
}

fn queue() -> (String, String) {
    (String::new(), "queue".to_owned())
}

async fn consume(broker: &MemoryBroker, queue: &str) -> Consumer {
    let subscription = Subscription { queue: queue.to_owned(), prefetch: 1, most: 1, priority: 0, tag: String::new() };
    broker.consume(subscription).await.unwrap()
}

/// Returns the next delivery. The clock is paused, so the wait for a missing one takes no time.
async fn next(consumer: &mut Consumer) -> Delivery {
    tokio::time::timeout(2 * LONGEST, consumer.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn brokers_of_one_url_share_their_content_until_the_last_is_dropped() {
    let (one, other) = (broker("memory://shared"), broker("memory://shared"));
    declare(&one, QueueOptions::default()).await;
    let mut consumer = consume(&other, "queue").await;
    send(&one, queue(), Properties::default()).await;
    next(&mut consumer).await.settlement.ack();

    let elsewhere = broker("memory://elsewhere");
    let missing =
        Outgoing { exchange: "".into(), routing_key: "queue".to_owned(), message: Message::default(), mandatory: true };
    assert!(matches!(elsewhere.publish(missing.clone()).await, Err(Error::Unroutable { .. })));

    one.close().await;
    drop(one);
    send(&other, queue(), Properties::default()).await;
    next(&mut consumer).await.settlement.ack();
    consumer.close().await;
    drop(other);
    assert!(matches!(broker("memory://shared").publish(missing).await, Err(Error::Unroutable { .. })));
}

#[tokio::test]
async fn a_closed_broker_requeues_unsettled_deliveries() {
    let (one, other) = (broker("memory://closing"), broker("memory://closing"));
    declare(&one, QueueOptions::default()).await;
    send(&one, queue(), Properties::default()).await;
    let mut consumer = consume(&one, "queue").await;
    let held = next(&mut consumer).await;
    one.close().await;
    assert!(held.settlement.is_void());
    held.settlement.ack();
    assert!(consumer.next().await.is_none());
    assert!(!*consumer.consuming().borrow());
    assert_eq!(*one.health().borrow(), BrokerHealth::Disconnected { reason: None });

    let again = next(&mut consume(&other, "queue").await).await;
    assert!(again.origin.redelivered);
    again.settlement.ack();
}

#[tokio::test]
async fn a_message_that_comes_back_too_often_is_dead_lettered() {
    let broker = broker("memory://poison");
    declare(&broker, QueueOptions { delivery_limit: Some(2), ..QueueOptions::default() }).await;
    send(&broker, queue(), Properties::default()).await;
    let mut consumer = consume(&broker, "queue").await;
    for expected in [None, Some(&Value::Int(1)), Some(&Value::Int(2))] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message.headers.get("x-delivery-count"), expected);
        delivery.settlement.requeue();
    }
    let dead = next(&mut consume(&broker, "queue.dead").await).await;
    assert_eq!(dead.message.headers.text("x-first-death-reason"), Some("delivery_limit"));
    dead.settlement.ack();
}

#[tokio::test(start_paused = true)]
async fn the_longest_delay_is_kept_to_the_second() {
    let broker = broker("memory://longest");
    declare(&broker, QueueOptions::default()).await;
    let mut consumer = consume(&broker, "queue").await;
    let sent = Instant::now();
    send(&broker, broker.ladder().address(LONGEST, "queue").unwrap(), Properties::default()).await;
    let delivery = next(&mut consumer).await;
    assert_eq!(sent.elapsed().as_secs(), LONGEST.as_secs());
    delivery.settlement.ack();
}

#[tokio::test]
async fn a_delay_to_no_queue_is_an_error_at_once() {
    let broker = broker("memory://delayed-nowhere");
    let (exchange, routing_key) = broker.ladder().address(Duration::from_secs(5), "queue").unwrap();
    let outgoing = Outgoing { exchange: exchange.into(), routing_key, message: Message::default(), mandatory: true };
    assert!(matches!(broker.publish(outgoing).await, Err(Error::Unroutable { .. })));
}

#[tokio::test(start_paused = true)]
async fn expiration_counts_from_arrival_and_not_while_delivered() {
    let broker = broker("memory://expiring");
    declare(&broker, QueueOptions::default()).await;
    let minute = Duration::from_secs(60);
    let properties = Properties { expiration: Some(minute), ..Properties::default() };
    let sent = Instant::now();
    send(&broker, broker.ladder().address(Duration::from_secs(300), "queue").unwrap(), properties).await;

    let mut consumer = consume(&broker, "queue").await;
    let delivery = next(&mut consumer).await;
    assert_eq!(sent.elapsed().as_secs(), 300);
    tokio::time::advance(2 * minute).await;
    delivery.settlement.requeue();
    let dead = next(&mut consume(&broker, "queue.dead").await).await;
    assert_eq!(dead.message.headers.text("x-first-death-reason"), Some("expired"));
    dead.settlement.ack();
}

#[test]
fn a_consumer_whose_runtime_has_ended_holds_no_messages() {
    let broker = broker("memory://runtimes");
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let consumer = first.block_on(async {
        declare(&broker, QueueOptions::default()).await;
        send(&broker, queue(), Properties::default()).await;
        consume(&broker, "queue").await
    });
    drop(first);
    runtime().block_on(async {
        next(&mut consume(&broker, "queue").await).await.settlement.ack();
    });
    drop(consumer);
}

mod model {
    //! Any actions on consumers and messages, in any order, leave each message in exactly one
    //! place.

    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::vhost::VirtualHost;
    use super::*;
    use crate::settle::{Settled, SettlementKind};

    #[derive(Debug, Clone)]
    enum Step {
        Publish { lifetime: Option<u8> },
        Subscribe { prefetch: u8 },
        Stop { consumer: usize },
        Lose { consumer: usize },
        Settle { consumer: usize, delivery: usize, verdict: SettlementKind },
        Wait { seconds: u8 },
    }

    fn step() -> impl Strategy<Value = Step> {
        let verdict = prop::sample::select(vec![SettlementKind::Ack, SettlementKind::Reject, SettlementKind::Requeue]);
        prop_oneof![
            4 => prop::option::of(0..5_u8).prop_map(|lifetime| Step::Publish { lifetime }),
            1 => (1..4_u8).prop_map(|prefetch| Step::Subscribe { prefetch }),
            1 => any::<usize>().prop_map(|consumer| Step::Stop { consumer }),
            1 => any::<usize>().prop_map(|consumer| Step::Lose { consumer }),
            4 => (any::<usize>(), any::<usize>(), verdict)
                .prop_map(|(consumer, delivery, verdict)| Step::Settle { consumer, delivery, verdict }),
            1 => (0..3_u8).prop_map(|seconds| Step::Wait { seconds }),
        ]
    }

    struct Taker {
        id: u64,
        prefetch: usize,
        stopped: bool,
        arriving: mpsc::Receiver<Delivery>,
        _settled: mpsc::UnboundedReceiver<Settled>,
        last_tag: u64,
        /// Unsettled tags, each with its message.
        held: BTreeMap<u64, Bytes>,
    }

    struct Run {
        vhost: VirtualHost,
        now: Instant,
        published: u32,
        acknowledged: Vec<Bytes>,
        takers: Vec<Taker>,
    }

    impl Run {
        fn new() -> Self {
            let mut vhost = VirtualHost::new();
            let options = QueueOptions { delivery_limit: Some(3), ..QueueOptions::default() };
            let topology = Topology { queues: [("queue".to_owned(), options)].into(), ..Topology::default() };
            vhost.declare(&topology).unwrap();
            Self { vhost, now: Instant::now(), published: 0, acknowledged: Vec::new(), takers: Vec::new() }
        }

        fn take(&mut self, step: &Step) {
            match *step {
                Step::Publish { lifetime } => self.publish(lifetime),
                Step::Subscribe { prefetch } => self.subscribe("queue", prefetch.into()),
                Step::Stop { consumer } => {
                    if let Some(index) = consumer.checked_rem(self.takers.len()) {
                        let taker = &mut self.takers[index];
                        assert_eq!(self.vhost.stop(taker.id), taker.held.len());
                        taker.stopped = true;
                    }
                }
                Step::Lose { consumer } => {
                    if let Some(index) = consumer.checked_rem(self.takers.len()) {
                        self.lose(index);
                    }
                }
                Step::Settle { consumer, delivery, verdict } => self.settle(consumer, delivery, verdict),
                Step::Wait { seconds } => {
                    self.now += Duration::from_secs(seconds.into());
                    self.vhost.advance(self.now);
                }
            }
            self.receive();
        }

        fn publish(&mut self, lifetime: Option<u8>) {
            let expiration = lifetime.map(|seconds| Duration::from_secs(seconds.into()));
            let properties = Properties { expiration, ..Properties::default() };
            let body = Bytes::from(self.published.to_string());
            let message = Message { properties, body, ..Message::default() };
            let outgoing = Outgoing { exchange: "".into(), routing_key: "queue".to_owned(), message, mandatory: true };
            self.vhost.publish(outgoing, &Ladder::default(), self.now).unwrap();
            self.published += 1;
        }

        fn subscribe(&mut self, queue: &str, prefetch: usize) {
            let (deliveries, arriving) = mpsc::channel(prefetch);
            let (verdicts, settled) = mpsc::unbounded_channel();
            let (id, _) =
                self.vhost.subscribe(queue, u16::try_from(prefetch).unwrap(), deliveries, verdicts, self.now).unwrap();
            let held = BTreeMap::new();
            let taker = Taker { id, prefetch, stopped: false, arriving, _settled: settled, last_tag: 0, held };
            self.takers.push(taker);
        }

        fn lose(&mut self, index: usize) {
            let taker = self.takers.swap_remove(index);
            self.vhost.unsubscribe(taker.id, self.now);
        }

        fn settle(&mut self, consumer: usize, delivery: usize, verdict: SettlementKind) {
            let Some(index) = consumer.checked_rem(self.takers.len()) else { return };
            let taker = &mut self.takers[index];
            let Some(nth) = delivery.checked_rem(taker.held.len()) else { return };
            let Some(tag) = taker.held.keys().copied().nth(nth) else { return };
            let body = taker.held.remove(&tag).unwrap();
            if verdict == SettlementKind::Ack {
                self.acknowledged.push(body);
            }
            self.vhost.settle(taker.id, [Settled { epoch: 0, tag, verdict }].into_iter(), self.now);
        }

        /// Records deliveries, with the tags that the host assigns in order.
        fn receive(&mut self) {
            for taker in &mut self.takers {
                while let Ok(delivery) = taker.arriving.try_recv() {
                    assert!(!taker.stopped, "a stopped consumer got a message");
                    taker.last_tag += 1;
                    taker.held.insert(taker.last_tag, delivery.message.body.clone());
                    delivery.settlement.requeue();
                }
                assert!(taker.held.len() <= taker.prefetch, "more than the prefetch was delivered");
            }
        }

        /// Returns all messages that are left on a queue.
        fn empty(&mut self, queue: &str) -> Vec<Bytes> {
            self.subscribe(queue, 1000);
            self.receive();
            self.takers.pop().unwrap().held.into_values().collect()
        }
    }

    proptest! {
        #[test]
        fn every_message_is_in_exactly_one_place(steps in prop::collection::vec(step(), 0..80)) {
            let mut run = Run::new();
            for step in &steps {
                run.take(step);
            }
            while !run.takers.is_empty() {
                run.lose(0);
                run.receive();
            }
            let mut found = run.acknowledged.clone();
            found.extend(run.empty("queue"));
            found.extend(run.empty("queue.dead"));
            found.sort_unstable();
            let mut expected: Vec<_> = (0..run.published).map(|number| Bytes::from(number.to_string())).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
