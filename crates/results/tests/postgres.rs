//! temporary
use celeriac_config::Secret;
use celeriac_protocol::State;
use celeriac_results::conformance::CASES;
use celeriac_results::*;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
fn options() -> ResultsOptions {
    ResultsOptions { url: Secret::new("postgres://postgres@127.0.0.1:54871/c1"), ..ResultsOptions::default() }
}
#[tokio::test]
async fn pg() {
    let backend = connect(&options()).await.unwrap().unwrap();
    for case in CASES {
        let ns = format!("{}{}", case.name, std::process::id());
        let t = std::time::Instant::now();
        (case.run)(Arc::clone(&backend), &ns).await.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        eprintln!("{} {:?}", case.name, t.elapsed());
    }
    backend.close().await;
}
fn row(n: usize) -> TaskRecord {
    let t = |x: i64| Some(Timestamp::from_microsecond(1_780_000_000_000_000 + n as i64 * 20 + x).unwrap());
    let h = (n as u128).wrapping_mul(0x9E3779B97F4A7C15F39CC0605CEDC835) ^ (std::process::id() as u128) << 64;
    let id = format!(
        "0198{:04x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        (n >> 16) & 0xffff,
        n & 0xffff,
        h as u16 & 0xfff,
        (h >> 16) as u16,
        (h >> 32) as u64 & 0xffff_ffff_ffff
    );
    TaskRecord {
        root_id: Some(id.clone()),
        id,
        name: "orders.charge".into(),
        state: State::Success,
        args: Some(r#"["0198b2a4-5c3e-7000-8000-000000000001",1299]"#.into()),
        kwargs: Some("{}".into()),
        result: Some(r#"{"receipt":"r-123456","cents":1299}"#.into()),
        failure: None,
        queue: "billing".into(),
        exchange: "orders".into(),
        routing_key: "billing.charge".into(),
        worker: "worker@host-7f9c".into(),
        attempts: 1,
        parent_id: None,
        group_id: None,
        eta: None,
        expires: None,
        sent_at: t(0),
        received_at: t(5000),
        started_at: t(5100),
        finished_at: t(6000),
        runtime: Some(Duration::from_micros(900)),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
    }
}
fn ticks(pid: &str) -> u64 {
    let Ok(s) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    let r: Vec<_> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    r[11].parse::<u64>().unwrap() + r[12].parse::<u64>().unwrap()
}
fn me() -> u64 {
    ticks("self")
}
fn pgs() -> u64 {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|e| {
            let n = e.unwrap().file_name().into_string().unwrap();
            n.parse::<u32>().ok()?;
            let c = std::fs::read_to_string(format!("/proc/{n}/stat")).ok()?;
            let ppid: u32 = c.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
            let root: u32 =
                std::fs::read_to_string("/tmp/resultspg/data/postmaster.pid").ok()?.lines().next()?.parse().ok()?;
            (ppid == root || n.parse() == Ok(root)).then(|| ticks(&n))
        })
        .sum()
}
#[tokio::test]
async fn measure() {
    let mut o = options();
    let backend = connect(&o).await.unwrap().unwrap();
    let mut base = (Timestamp::from_second(0).unwrap(), 0usize);
    base.1 = std::process::id() as usize * 1000000;
    for round in 0..3 {
        for (size, flight) in [(256, 1), (256, 2), (64, 1), (16, 1), (1, 1)] {
            let total = if size == 1 {
                3000
            } else if size == 16 {
                20000
            } else {
                100_000
            };
            let start = base.1;
            base.1 += total;
            let rows: Vec<_> = (start..start + total).map(row).collect();
            let batches: Vec<_> = rows.chunks(size).collect();
            let (c, p, t) = (me(), pgs(), Instant::now());
            use futures::StreamExt;
            futures::stream::iter(batches.iter())
                .map(|b| backend.record(b))
                .buffer_unordered(flight)
                .for_each(|r| async move { assert!(r.unwrap().iter().all(|r| *r == Recorded::Stored)) })
                .await;
            let w = t.elapsed().as_secs_f64();
            let us = |x: u64| x as f64 * 10_000.0 / total as f64;
            eprintln!(
                "round {round} batch {size} x{flight}: {:.0}/s client {:.2}us pg {:.2}us",
                total as f64 / w,
                us(me() - c),
                us(pgs() - p)
            );
        }
    }
    // latency
    let mut lat = vec![];
    for i in 0..2000 {
        let r = row(base.1 + i);
        let w = backend.finished(&r.id);
        tokio::pin!(w);
        let _ = futures::poll!(&mut w);
        tokio::time::sleep(Duration::from_micros(600)).await;
        let t = Instant::now();
        let (a, b) = tokio::join!(w, async {
            let x = backend.record(std::slice::from_ref(&r)).await;
            (x, t.elapsed())
        });
        a.unwrap();
        b.0.unwrap();
        lat.push((t.elapsed(), b.1));
    }
    base.1 += 2000;
    lat.sort();
    eprintln!("record+told p50 {:?} p99 {:?}", lat[1000].0, lat[1980].0);
    let mut l: Vec<_> = lat.iter().map(|x| x.1).collect();
    l.sort();
    eprintln!("record alone p50 {:?} p99 {:?}", l[1000], l[1980]);
    // recorder
    for (callers, flight) in [(1, 1), (8, 1), (8, 2), (64, 1), (64, 2), (1000, 1), (1000, 2), (1000, 3)] {
        o.batch.in_flight = flight;
        let (recorder, service) = Recorder::new(backend.clone(), &o);
        let stop = CancellationToken::new();
        let total = if callers == 1 {
            3000
        } else if callers == 8 {
            16000
        } else {
            100_000
        };
        let start = base.1;
        base.1 += total;
        let next = std::sync::atomic::AtomicUsize::new(start);
        let (c, p, t) = (me(), pgs(), Instant::now());
        let work = async {
            futures::future::join_all((0..callers).map(|_| async {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= start + total {
                        break;
                    }
                    assert_eq!(recorder.record(row(n)).await.unwrap(), Recorded::Stored);
                }
            }))
            .await;
            stop.cancel();
        };
        tokio::join!(service.run(stop.clone()), work);
        let w = t.elapsed().as_secs_f64();
        let us = |x: u64| x as f64 * 10_000.0 / total as f64;
        eprintln!(
            "recorder {callers} callers x{flight}: {:.0}/s client {:.2}us pg {:.2}us",
            total as f64 / w,
            us(me() - c),
            us(pgs() - p)
        );
    }
    // 10000 waiters
    let rows: Vec<_> = (base.1..base.1 + 10000).map(row).collect();
    let t = Instant::now();
    let waits = futures::future::join_all(rows.iter().map(|r| backend.finished(&r.id)));
    let write = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let t = Instant::now();
        for b in rows.chunks(256) {
            backend.record(b).await.unwrap();
        }
        t.elapsed()
    };
    let (w, wr) = tokio::join!(waits, write);
    assert!(w.iter().all(Result::is_ok));
    eprintln!("10000 waiters {:?} (writes {:?})", t.elapsed() - Duration::from_millis(300), wr);
    backend.close().await;
}
