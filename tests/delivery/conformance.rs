//! RabbitMQ and Postgres pass the suites that their stand-ins pass.

use std::sync::Arc;

use celeriac_broker::{BrokerOptions, conformance};
use celeriac_config::Secret;
use celeriac_results::ResultsOptions;
use celeriac_results::conformance::CASES;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_passes_the_suite_of_stores() {
    let bed = Bed::new().await;
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = celeriac_results::connect(&options).await.unwrap().unwrap();
    for case in CASES {
        let passed = (case.run)(Arc::clone(&store), case.name).await;
        assert!(passed.is_ok(), "{}: {passed:?}", case.name);
    }
    store.close().await;
    bed.clear().await;
}
