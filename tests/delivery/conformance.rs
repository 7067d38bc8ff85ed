//! RabbitMQ and Postgres pass the suites that their in-process counterparts pass.

use std::sync::Arc;

use celeriac_broker::{BrokerOptions, Subscription, conformance};
use celeriac_config::Secret;
use celeriac_tests::Bed;
use celeriac_tests::wait::PATIENCE;
use celeriac_topology::{QueueOptions, Topology};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use tokio::time::timeout;

macro_rules! tests {
    ($($case:ident)*) => { $(
        #[celeriac_tests::test(real, threads = 2)]
        async fn $case(bed: Bed) {
            let options = BrokerOptions { url: Secret::new(bed.amqp_url()), ..BrokerOptions::default() };
            let broker = celeriac_broker::connect(&options, "conformance").unwrap();
            conformance::run(stringify!($case), Arc::clone(&broker), "case").await;
            broker.close().await;
        }
    )* };
}

celeriac_broker::for_each_broker_case!(tests);

#[celeriac_tests::test(real, threads = 2)]
async fn headers_of_another_client_arrive_as_large_as_a_frame_holds_them(bed: Bed) {
    let options = BrokerOptions { url: Secret::new(bed.amqp_url()), ..BrokerOptions::default() };
    let broker = celeriac_broker::connect(&options, "conformance").unwrap();
    let queues = [("work".to_owned(), QueueOptions::default())].into();
    broker.declare(&Topology { queues, ..Topology::default() }).await.unwrap();
    let subscription =
        Subscription { queue: "work".to_owned(), prefetch: 8, most: 8, priority: 0, tag: "large".to_owned() };
    let mut consumer = broker.consume(subscription).await.unwrap();
    let peer = bed.peer().await;
    for size in [50_000, 130_000] {
        let mut headers = FieldTable::default();
        headers.insert("pad".into(), AMQPValue::LongString(LongString::from("x".repeat(size))));
        peer.put("work", BasicProperties::default().with_headers(headers), b"large").await;
        let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        assert_eq!(delivery.message.headers.text("pad").map(str::len), Some(size));
        assert!(!delivery.origin.redelivered, "its connection was lost before");
        delivery.settlement.ack();
    }
    consumer.close().await;
    broker.close().await;
}

/// Postgres passes the suite of stores.
mod postgres {
    use celeriac_results::{ResultsOptions, conformance};

    use super::*;

    macro_rules! tests {
        ($($case:ident)*) => { $(
            #[celeriac_tests::test(real, threads = 2)]
            async fn $case(bed: Bed) {
                let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
                let store = celeriac_results::connect(&options).await.unwrap().unwrap();
                conformance::run(stringify!($case), store).await;
            }
        )* };
    }

    celeriac_results::for_each_store_case!(tests);
}
