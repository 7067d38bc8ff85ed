//! The connection to the broker is cut during submit, consume and settle.

use std::time::Duration;

use celeriac::tasks;
use celeriac_tests::{Bed, Proxy, Running};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Ledger, is_long, note};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_drops_every_connection_again_and_again_loses_nothing() {
    let count = if is_long() { 200_000 } else { 20_000 };
    let bed = Bed::new().await;
    let broker = server_of(&bed.amqp_url());
    let proxy = Proxy::before(broker.clone()).await;
    let url = proxy.url(&bed.amqp_url(), &broker);
    let app = bed.program(tasks![note]).set("broker.url", url).build().unwrap();
    let running = Running::start(&app).await;
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
    assert_eq!((ledger.unconfirmed, ledger.issued()), (0, usize::try_from(count).unwrap()));
    assert!(cuts > 3, "the test has to cut to mean anything");
    running.stop().await;
    bed.clear().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_by_the_broker_come_back_and_nothing_is_lost() {
    let bed = Bed::new().await;
    let running = Running::start(&bed.program(tasks![note]).build().unwrap()).await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let close = async || {
        let (management, vhost) = bed.management();
        management.close_connections(vhost).await;
    };

    let (closings, recorded) = tokio::join!(keep_cutting(&done, close), async {
        let mut recorded = 0;
        // Until the broker, which lists connections with some delay, has closed a few in the middle of the traffic.
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
    bed.clear().await;
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
