//! A client on its program's own pool of connections.

use celeriac::prelude::*;
use celeriac_tests::wait::eventually;
use celeriac_tests::{Bed, Running};
use deadpool_lapin::{Manager, Pool};
use lapin::ConnectionProperties;

#[task(name = "t.double")]
async fn double(number: i64) -> TaskResult<i64> {
    Ok(2 * number)
}

fn pool(bed: &Bed, size: usize) -> Pool {
    let runtime = lapin::runtime::default_runtime().unwrap();
    let manager = Manager::new(bed.amqp_url(), ConnectionProperties::default, runtime);
    Pool::builder(manager).max_size(size).build().unwrap()
}

#[celeriac_tests::test(real)]
async fn tasks_are_sent_and_run_on_a_pool_that_the_program_has(bed: Bed) {
    let pool = pool(&bed, 3);
    let app = bed.program(tasks![double]).broker_pool(pool.clone()).build().unwrap();
    let running = Running::start(&app).await;
    let handle = double(21).submit(&running.client).await.unwrap();
    assert_eq!(handle.get().await.unwrap(), 42);
    assert_eq!((pool.status().size, pool.status().available), (2, 0), "one publishes, one does everything else");
    // The program's own work continues beside it.
    let own = pool.get().await.unwrap();
    own.create_channel().await.unwrap();
    drop(own);

    let (management, vhost) = bed.management();
    management.close_connections(vhost).await;
    let ends = async || double(4).submit(&running.client).await.unwrap().get().await.ok();
    assert_eq!(eventually("a task runs again", ends, Option::is_some).await, Some(8));

    running.stop().await;
    assert_eq!(pool.status().available, pool.status().size, "they are back in the pool");
    let kept = pool.get().await.unwrap();
    assert!(kept.status().connected(), "and not closed with the client");
}

#[celeriac_tests::test(real)]
async fn a_pool_without_a_second_connection_says_so(bed: Bed) {
    let pool = pool(&bed, 1);
    let builder = bed.program(tasks![double]).broker_pool(pool.clone());
    let app = builder.set("broker.publish_timeout", "2s").set("broker.connect_timeout", "500ms").build().unwrap();
    let client = app.client().await.unwrap();
    let error = double(1).submit(&client).await.unwrap_err();
    let chain = celeriac_telemetry::ErrorChain(&error).to_string();
    assert!(chain.contains("the program's own pool") && chain.contains("connection"), "{chain}");
    client.close().await;
}
