//! A worker without permission to declare, on queues that another program has declared.

use std::time::Duration;

use celeriac_tests::{Bed, Program};
use celeriac_topology::{Ladder, delivery_binding};
use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;

async fn stop(mut worker: Program) {
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn a_place_behind_the_delays_that_is_missing_is_found_at_the_start_by_a_worker_that_may_not_bind(bed: Bed) {
    let (management, vhost) = bed.management();
    let user = format!("u{vhost}");
    // Binding a queue requires write permission for it.
    management.create_user(&user, vhost, ["^$", "^(celery_delayed_.*|amq[.]default)$", ".*"]).await;
    let may_declare = bed.environment();
    let mut may_not = may_declare.clone();
    may_not[0].1 = bed.amqp_url().replace("guest:guest@", &format!("{user}:{user}@"));

    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &may_declare);
    worker.says("ready").await;
    stop(worker).await;
    let peer = bed.peer().await;
    let (exchange, key) = (Ladder::default().delivery_exchange(), delivery_binding("celeriac"));
    let none = FieldTable::default();
    let (queue, at) = ("celeriac", exchange.as_str());
    peer.channel().queue_unbind(queue.into(), at.into(), key.as_str().into(), none.clone()).await.unwrap();

    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &may_not);
    let code = worker.exit_code(Duration::from_secs(60)).await;
    let said = worker.rest().await;
    assert_eq!(code, 78, "{said}");
    let missing =
        format!("queue `celeriac` is not bound to exchange `celery_delayed_delivery` with routing key `{key}`");
    assert!(said.contains(&missing) && said.contains("help: "), "{said}");

    let options = QueueBindOptions::default();
    peer.channel().queue_bind(queue.into(), at.into(), key.as_str().into(), options, none).await.unwrap();
    let mut worker = Program::start(&["worker", "-l", "info,celeriac::worker=debug"], &may_not);
    worker.says("ready").await;
    // The probe for the binding is a task that does nothing and stores no result.
    worker.says("task succeeded task=celery.accumulate id=celeriac-probe-celeriac").await;
    stop(worker).await;
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM celeriac.tasks").fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!((rows, peer.ready("celeriac").await, peer.ready("celeriac.dead").await), (0, 0, 0));
    management.delete_user(&user).await;
}
