//! cost
use celeriac_protocol::{HeaderMap, State};
use celeriac_telemetry::occurrences::client::TaskSent;
use celeriac_telemetry::occurrences::worker::*;
use celeriac_telemetry::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn task(queue: &Arc<str>, worker: &Arc<str>, id: &str, parts: u8) {
    let mut headers = HeaderMap::new();
    if parts & 1 != 0 {
        let publish = PublishSpan::start("orders.charge", id, "orders", "billing.charge");
        publish.inject(&mut headers);
        publish.end(Ok(()));
        TaskSent { task: "orders.charge", id, exchange: "orders", routing_key: "billing.charge" }.tell();
    }
    if parts & 2 != 0 {
        let info = ProcessInfo {
            task: "orders.charge",
            id,
            queue,
            exchange: "orders",
            routing_key: "billing.charge",
            attempt: 1,
            redelivered: false,
            worker,
        };
        let process = ProcessSpan::start(&headers, &info);
        process.tell(&TaskReceived { task: "orders.charge", id, queue, redelivered: false });
        process.tell(&TaskStarted { task: "orders.charge", id, attempt: 1 });
        block_on(process.run(async { std::hint::black_box(()) }));
        process.tell(&TaskSucceeded { task: "orders.charge", id, runtime: Duration::from_millis(1) });
        if parts & 4 != 0 {
            process.settled("ack");
        }
        std::hint::black_box(process.trace_id());
        process.end(State::Success, None);
    }
}

fn measure(name: &str, rounds: u32, parts: u8) {
    let (queue, worker): (Arc<str>, Arc<str>) = ("billing".into(), "worker-1".into());
    let id = "0192f7c0-1111-7222-8333-444455556666";
    let mut best = f64::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        for _ in 0..rounds {
            task(&queue, &worker, std::hint::black_box(id), parts);
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    println!("{name}: {best:.0} ns");
}

fn all(label: &str, rounds: u32) {
    measure(&format!("{label} publish"), rounds, 1);
    measure(&format!("{label} process"), rounds, 2);
    measure(&format!("{label} process+settle"), rounds, 6);
    measure(&format!("{label} all"), rounds, 7);
}

fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let url = std::env::args().nth(2);
    let instance = Instance { name: "w".into(), version: "1".into() };
    if mode == "none" {
        all("no subscriber", 1_000_000);
        return;
    }
    let mut options = TelemetryOptions::default();
    options.log.level = mode.clone();
    options.otlp = url.filter(|u| u != "-");
    let telemetry = Telemetry::start(&options, &instance).unwrap();
    if let Some(count) = std::env::args().nth(3) {
        let parts = std::env::args().nth(4).unwrap().parse().unwrap();
        let (queue, worker): (Arc<str>, Arc<str>) = ("billing".into(), "worker-1".into());
        for _ in 0..count.parse::<u32>().unwrap() {
            task(&queue, &worker, "0192f7c0-1111-7222-8333-444455556666", parts);
        }
        println!("shutdown {:?}", block_on(telemetry.shutdown(Duration::from_secs(100))));
        return;
    }
    let telemetry = telemetry;
    all(&format!("log {mode} otlp {:?}", options.otlp), 200_000);
    if options.otlp.is_some() {
        // paced: 50,000 tasks a second for 3 seconds
        let (queue, worker): (Arc<str>, Arc<str>) = ("billing".into(), "worker-1".into());
        let before = metrics::snapshot();
        let begun = Instant::now();
        let cpu = cputime();
        let mut n = 0u32;
        while begun.elapsed() < Duration::from_secs(4) {
            let due = (begun.elapsed().as_secs_f64() * 40_000.0) as u32;
            while n < due {
                task(&queue, &worker, "x", 2);
                n += 1;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        println!("paced {n} tasks, cpu {:.2} us/task", (cputime() - cpu) * 1e6 / f64::from(n));
        let _ = before;
    }
    let t = Instant::now();
    println!("shutdown {:?}", block_on(telemetry.shutdown(Duration::from_secs(10))));
    println!("took {:?}; lost {}", t.elapsed(), metrics::snapshot().count("celeriac.spans.lost", &[]));
}
fn cputime() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

fn block_on<F: Future>(f: F) -> F::Output {
    let mut f = std::pin::pin!(f);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(v) = f.as_mut().poll(&mut cx) {
            return v;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
