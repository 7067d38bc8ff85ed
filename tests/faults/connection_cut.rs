//! The connection to the broker is cut during submit, consume and settle.

use std::collections::HashMap;
use std::time::Duration;

use celeriac::tasks;
use celeriac_broker::{BrokerOptions, Outgoing, Subscription};
use celeriac_config::Secret;
use celeriac_protocol::Message;
use celeriac_tests::wait::PATIENCE;
use celeriac_tests::{Bed, Proxy, eventually};
use celeriac_topology::{QueueKind, QueueOptions, Topology};
use futures::{StreamExt, stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, is_long, note};

#[celeriac_tests::test(real, threads = 2)]
async fn a_network_that_drops_every_connection_again_and_again_loses_nothing(bed: Bed) {
    let count = if is_long() { 200_000 } else { 8_000 };
    let broker = server_of(&bed.amqp_url());
    let proxy = Proxy::before(broker.clone()).await;
    let url = proxy.url(&bed.amqp_url(), &broker);
    let running = bed.start(bed.program(tasks![note]).set("broker.url", url)).await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();

    let (cuts, recorded) = tokio::join!(keep_cutting(&done, async || proxy.cut()), async {
        ledger.issue(&running.client, count).await;
        let recorded = ledger.settle(&bed, Duration::from_secs(300)).await;
        done.cancel();
        recorded
    });
    println!(
        "connections cut {cuts} times, made {}: issued {}, recorded {recorded}, unconfirmed {}",
        proxy.connections(),
        ledger.issued(),
        ledger.unconfirmed
    );
    let confirmed = (ledger.unconfirmed, ledger.issued());
    assert_eq!(confirmed, (0, usize::try_from(count).unwrap()), "{:?}", ledger.trouble);
    assert!(cuts > 3, "the test has to cut to mean anything");
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn connections_closed_by_the_broker_come_back_and_nothing_is_lost(bed: Bed) {
    let running = bed.worker(tasks![note]).await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let close = async || {
        let (management, vhost) = bed.management();
        management.close_connections(vhost).await;
    };

    let (closings, recorded) = tokio::join!(keep_cutting(&done, close), async {
        let mut recorded = 0;
        // Runs until the broker has closed several connections during the traffic. RabbitMQ lists
        // them with a delay.
        while recorded < 20_000 {
            ledger.issue(&running.client, 5_000).await;
            recorded = ledger.settle(&bed, Duration::from_secs(120)).await;
        }
        done.cancel();
        recorded
    });
    println!("connections closed {closings} times: issued {}, recorded {recorded}", ledger.issued());
    assert_eq!(ledger.unconfirmed, 0);
    running.stop().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_declaration_begins_anew_when_its_connection_is_lost(bed: Bed) {
    // So many that the broker is busy with them when the first one is seen.
    const QUEUES: usize = 500;
    let server = server_of(&bed.amqp_url());
    let proxy = Proxy::before(server.clone()).await;
    let url = Secret::new(proxy.url(&bed.amqp_url(), &server));
    let broker = celeriac_broker::connect(&BrokerOptions { url, ..BrokerOptions::default() }, "declaring").unwrap();
    let name = |number: usize| format!("queue-{number:03}");
    let classic = QueueOptions { kind: QueueKind::Classic, ..QueueOptions::default() };
    let queues = (0..QUEUES).map(|number| (name(number), classic.clone())).collect();
    let topology = Topology { queues, ..Topology::default() };
    let peer = bed.peer().await;

    let cutting = async {
        eventually("the first queue", async || peer.has_queue(&name(0)).await, |there| *there).await;
        proxy.cut();
    };
    let (declared, ()) = tokio::join!(broker.declare(&topology), cutting);
    declared.unwrap();
    assert!(proxy.connections() > 1, "the test has to cut before the end to mean anything");
    assert!(peer.has_queue(&name(QUEUES - 1)).await);
    broker.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn what_is_published_again_because_its_confirm_was_lost_says_so(bed: Bed) {
    let server = server_of(&bed.amqp_url());
    let proxy = Proxy::before(server.clone()).await;
    let url = Secret::new(proxy.url(&bed.amqp_url(), &server));
    // One channel, so that it is open when the answers stop.
    let options = BrokerOptions { url, publish_channels: 1, ..BrokerOptions::default() };
    let broker = celeriac_broker::connect(&options, "sending").unwrap();
    let topology = Topology { queues: [("work".to_owned(), QueueOptions::default())].into(), ..Topology::default() };
    broker.declare(&topology).await.unwrap();
    let send = |body: &'static str| {
        let message = Message { body: body.into(), ..Message::default() };
        broker.publish(Outgoing { exchange: "".into(), routing_key: "work".to_owned(), message, mandatory: true })
    };
    send("before").await.unwrap();
    let peer = bed.peer().await;

    proxy.mute(true);
    let cutting = async {
        eventually("both are queued", async || peer.ready("work").await, |ready| *ready == 2).await;
        proxy.cut();
        proxy.mute(false);
    };
    let (sent, ()) = tokio::join!(send("unconfirmed"), cutting);
    sent.unwrap();
    send("after").await.unwrap();

    let found = peer.take_all("work").await.into_iter();
    let found: Vec<_> = found
        .map(|found| (String::from_utf8(found.body).unwrap(), found.headers.inner().contains_key("celeriac-repeated")))
        .collect();
    let expected = [("before", false), ("unconfirmed", false), ("unconfirmed", true), ("after", false)];
    assert_eq!(found, expected.map(|(body, repeated)| (body.to_owned(), repeated)));
    broker.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_prefetch_that_changes_while_connections_are_cut_loses_nothing(bed: Bed) {
    const MESSAGES: u64 = 3_000;
    let server = server_of(&bed.amqp_url());
    let proxy = Proxy::before(server.clone()).await;
    let broker = |url: String, name| {
        let options = BrokerOptions { url: Secret::new(url), ..BrokerOptions::default() };
        celeriac_broker::connect(&options, name).unwrap()
    };
    let sending = broker(bed.amqp_url(), "sending");
    let taking = broker(proxy.url(&bed.amqp_url(), &server), "taking");
    let topology = Topology { queues: [("work".to_owned(), QueueOptions::default())].into(), ..Topology::default() };
    sending.declare(&topology).await.unwrap();
    let send = |number: u64| {
        let message = Message { body: number.to_string().into(), ..Message::default() };
        sending.publish(Outgoing { exchange: "".into(), routing_key: "work".to_owned(), message, mandatory: true })
    };
    let mut sent = stream::iter(0..MESSAGES).map(send).buffered(256);
    while let Some(sent) = sent.next().await {
        sent.unwrap();
    }

    let subscription =
        Subscription { queue: "work".to_owned(), prefetch: 8, most: 64, priority: 0, tag: "changing".to_owned() };
    let mut consumer = taking.consume(subscription).await.unwrap();
    let (mut seen, mut changes, mut cuts) = (HashMap::<u64, u32>::new(), 0, 0);
    while seen.len() < usize::try_from(MESSAGES).unwrap() {
        let delivery = timeout(PATIENCE, consumer.next()).await.expect("a delivery").expect("a consumer");
        let number = std::str::from_utf8(&delivery.message.body).unwrap().parse().unwrap();
        let times = seen.entry(number).or_default();
        *times += 1;
        assert!(*times == 1 || delivery.origin.redelivered, "{number} came again, and does not say so");
        let is_new = *times == 1;
        delivery.settlement.ack();
        // Sometimes this changes the prefetch while the previous change is in progress.
        if fastrand::u32(..20) == 0 {
            consumer.set_prefetch(fastrand::u16(1..=64));
            consumer.give_back(fastrand::usize(..64));
            changes += 1;
            // The connection is cut while the change is in progress.
            if is_new && seen.len() / 400 > cuts {
                proxy.cut();
                cuts += 1;
            }
        }
    }
    println!("connections cut {cuts} times, prefetch changed {changes} times");
    assert!(cuts > 2 && changes > 20, "the test has to cut and change to mean anything: {cuts}, {changes}");
    consumer.close().await;
    let peer = bed.peer().await;
    eventually("all is acknowledged", async || peer.ready("work").await, |ready| *ready == 0).await;
    taking.close().await;
    sending.close().await;
}

async fn keep_cutting(done: &CancellationToken, cut: impl AsyncFn()) -> u32 {
    let mut cuts = 0;
    loop {
        let pause = Duration::from_millis(fastrand::u64(200..900));
        if done.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return cuts;
        }
        cut().await;
        cuts += 1;
    }
}

/// `host:port` of a URL.
pub(crate) fn server_of(url: &str) -> String {
    let after = url.rsplit_once('@').map_or(url, |(_, after)| after);
    after.split('/').next().unwrap_or_default().to_owned()
}
