//! A collector that accepts connections and never answers does not delay the end of a program.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use celeriac_telemetry::{Error, Instance, PublishInfo, PublishSpan, Telemetry, TelemetryOptions};

#[tokio::test(flavor = "current_thread")]
async fn shutdown_ends_when_patience_does() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let options = TelemetryOptions { otlp_endpoint: Some(url), ..TelemetryOptions::default() };
    let instance = Instance { name: "w".to_owned(), version: "1".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    PublishSpan::start(&PublishInfo { task: "t", id: "1", exchange: "", routing_key: "q" }).end(Ok(()));

    let begun = Instant::now();
    let ended = telemetry.shutdown(Duration::from_millis(100)).await;
    assert!(matches!(ended, Err(Error::Flush { .. })), "{ended:?}");
    // The exporter itself would wait for five seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
