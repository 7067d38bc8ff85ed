//! A collector that is unavailable neither delays a program nor fills its log.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use celeriac_telemetry::events::client::TaskSent;
use celeriac_telemetry::{Event, Instance, PublishInfo, PublishSpan, Telemetry, TelemetryOptions};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::Error::other("a writer panicked"))?.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_with_its_own_subscriber_hears_once_of_a_refusing_collector() {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(tracing_subscriber::fmt().with_writer(lines.clone()).finish()).unwrap();
    // A port that was just free, so that nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = TelemetryOptions { otlp_endpoint: Some(format!("http://{address}")), ..TelemetryOptions::default() };
    let instance = Instance { name: "w".to_owned(), version: "1".to_owned() };
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    assert!(!telemetry.writes_logs(), "the program's subscriber stays");

    let begun = Instant::now();
    for _ in 0..100_000 {
        PublishSpan::start(&PublishInfo { task: "t", id: "1", exchange: "", routing_key: "q" }).end(Ok(()));
        TaskSent { task: "t", id: "1", exchange: "", routing_key: "q" }.emit();
    }
    // Generous for the slowest machine, and impossible if each span waited for the collector.
    assert!(begun.elapsed() < Duration::from_secs(60));
    let _ = telemetry.shutdown(Duration::from_secs(20)).await;

    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.matches("traces refused").count(), 1, "{lines}");
    assert!(lines.contains("spans lost") && lines.contains("100000"), "{lines}");
    assert_eq!(lines.matches("metrics refused").count(), 1, "{lines}");
    // OpenTelemetry itself logs that it was set up.
    let is_setup = |line: &&str| line.contains(" INFO") && line.contains("opentelemetry");
    assert_eq!(lines.lines().filter(|line| !is_setup(line)).count(), 3, "{lines}");
}
