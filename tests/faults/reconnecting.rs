//! A broker that was down is used again soon after its return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use celeriac_broker::{BrokerOptions, Outgoing, Subscription};
use celeriac_config::Secret;
use celeriac_protocol::Message;
use celeriac_servers::RabbitNode;
use celeriac_tests::wait::PATIENCE;
use celeriac_tests::{Proxy, eventually};
use celeriac_topology::{QueueKind, QueueOptions, Topology};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::in_turn::blocking;

/// Time that the broker is down, long enough for the longest wait between attempts.
const AWAY: Duration = Duration::from_secs(15);

/// Longest wait between two attempts, and the time of a connection on a busy machine.
const SOON: Duration = Duration::from_millis(3_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_away_is_used_again_within_two_seconds_and_a_later_loss_begins_anew() {
    let node = Arc::new(blocking(|| RabbitNode::start().unwrap()).await);
    let server = format!("127.0.0.1:{}", node.port());
    let proxy = Proxy::before(server.clone()).await;
    let url = Secret::new(proxy.url(&node.url(), &server));
    let options = BrokerOptions { url, publish_timeout: Duration::from_secs(120), ..BrokerOptions::default() };
    let broker = celeriac_broker::connect(&options, "reconnecting").unwrap();
    let classic = QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() };
    broker.declare(&Topology { queues: [("work".to_owned(), classic)].into(), ..Topology::default() }).await.unwrap();
    let subscription =
        Subscription { queue: "work".to_owned(), prefetch: 8, most: 8, priority: 0, tag: "work".to_owned() };
    let mut consumer = broker.consume(subscription).await.unwrap();
    let mut consuming = consumer.consuming();
    let message = || Outgoing {
        exchange: "".into(),
        routing_key: "work".to_owned(),
        message: Message { body: "x".into(), ..Message::default() },
        mandatory: true,
    };

    node.kill().unwrap();
    timeout(PATIENCE, consuming.wait_for(|consuming| !consuming)).await.unwrap().unwrap();
    let publishing = broker.publish(message());
    let coming_back = async {
        tokio::time::sleep(AWAY).await;
        node.launch().unwrap();
        let open = async || TcpStream::connect(&server).await.is_ok();
        eventually("the port is open", open, |open| *open).await;
        let opened = Instant::now();
        timeout(PATIENCE, consuming.wait_for(|consuming| *consuming)).await.unwrap().unwrap();
        (opened, opened.elapsed())
    };
    let (published, (opened, consumed)) = tokio::join!(
        async {
            publishing.await.unwrap();
            Instant::now()
        },
        coming_back
    );
    let published = published.saturating_duration_since(opened);
    println!("after {AWAY:?}: consuming {consumed:.1?} after the port was open, published {published:.1?} after it");
    assert!(consumed < SOON && published < SOON, "consuming after {consumed:?}, published after {published:?}");

    proxy.cut();
    timeout(PATIENCE, consuming.wait_for(|consuming| !consuming)).await.unwrap().unwrap();
    let lost = Instant::now();
    timeout(PATIENCE, consuming.wait_for(|consuming| *consuming)).await.unwrap().unwrap();
    println!("a loss soon after: consuming again after {:.1?}", lost.elapsed());
    assert!(lost.elapsed() < Duration::from_millis(1_500), "{:?}", lost.elapsed());

    timeout(PATIENCE, consumer.next()).await.unwrap().unwrap().settlement.ack();
    consumer.close().await;
    broker.close().await;
}
