//! RabbitMQ passes the suite that the broker in process passes.

use std::sync::Arc;

use celeriac_broker::{BrokerOptions, conformance};
use celeriac_config::Secret;
use celeriac_tests::Bed;

macro_rules! tests {
    ($($case:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let bed = Bed::new().await;
            let options = BrokerOptions { url: Secret::new(bed.amqp_url()), ..BrokerOptions::default() };
            let broker = celeriac_broker::connect(&options, "conformance").unwrap();
            conformance::run(stringify!($case), Arc::clone(&broker), "case").await;
            broker.close().await;
            bed.clear().await;
        }
    )* };
}

celeriac_broker::for_each_broker_case!(tests);
