//! The broker in this process passes the suite of all brokers.

use std::sync::Arc;

use celeriac_broker::memory::MemoryBroker;
use celeriac_broker::{BrokerOptions, conformance};
use celeriac_config::Secret;

macro_rules! tests {
    ($($case:ident)*) => { $(
        #[tokio::test(start_paused = true)]
        async fn $case() {
            let url = Secret::new(concat!("memory://", stringify!($case)));
            let broker = MemoryBroker::new(&BrokerOptions { url, ..BrokerOptions::default() });
            conformance::run(stringify!($case), Arc::new(broker), "case").await;
        }
    )* };
}

celeriac_broker::for_each_broker_case!(tests);
