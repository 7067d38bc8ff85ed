//! A pod whose broker is away for minutes is not restarted, and is ready again by itself.

use std::time::Duration;

use celeriac::prelude::*;
use celeriac_servers::RabbitNode;
use celeriac_tests::Bed;
use celeriac_tests::probe::readyz;
use celeriac_tests::wait::PATIENCE;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::kubelet::{PodTemplate, overlay, set_up};
use crate::ledger::is_long;

/// Is known to the test program.
#[task(name = "test.note")]
async fn note(number: u64) -> u64;

#[celeriac_tests::test(real, threads = 2)]
async fn a_pod_outlives_the_absence_of_its_broker_and_is_ready_again_by_itself(bed: Bed) {
    // Longer than the failures of a probe that restart a pod.
    let away = Duration::from_secs(if is_long() { 300 } else { 6 });
    let node = spawn_blocking(RabbitNode::start).await.unwrap().unwrap();
    let own = [("CELERIAC__BROKER__URL", node.url())];
    let objects = overlay("production").await;
    set_up(&objects, &bed, &own).await;
    let template = PodTemplate::read(&objects, "worker-default", &bed, &own);
    assert!(template.killed() < away, "{:?}", template.killed());
    let pod = template.start("w1");
    pod.sees(PATIENCE, |seen| seen.ready.is_some()).await;

    let node = spawn_blocking(move || node.stop().map(|()| node)).await.unwrap().unwrap();
    pod.sees(template.shown(), |seen| seen.ready.is_none()).await;
    let changes = pod.sees(away * 2, |seen| seen.ready.is_some() || seen.unlive > 0);
    let changed = timeout(away, changes).await;
    assert!(changed.is_err(), "the broker is away: {changed:?}");
    let (status, answer) = readyz(&pod.socket).await.unwrap();
    let reason = |part| answer.not_ready.iter().find(|unready| unready.part == part).map(|unready| &*unready.reason);
    assert_eq!((status, reason("queue `celeriac`")), (503, Some("the broker does not deliver")));
    assert!(reason("broker").is_some_and(|reason| reason.contains("refused")), "{answer:?}");

    let node = spawn_blocking(move || node.restart().map(|()| node)).await.unwrap().unwrap();
    let back = std::time::Instant::now();
    let seen = pod.sees(PATIENCE, |seen| seen.ready.is_some()).await;
    println!("broker away for {away:?}: ready again {:.2} s after its return", back.elapsed().as_secs_f64());
    assert_eq!((seen.unready, seen.unlive), (1, 0));
    let client = bed.client(bed.program([]).set("broker.url", node.url())).await;
    assert_eq!(note(7).submit(&client).await.unwrap().get().await.unwrap(), 7);
    client.close().await;
    pod.stop();
    let end = pod.end().await;
    assert!(end.took.is_some() && !end.was_killed, "{}", end.output);
}
