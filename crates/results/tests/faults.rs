//! temporary
use celeriac_config::Secret;
use celeriac_protocol::State;
use celeriac_results::*;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
fn options() -> ResultsOptions {
    ResultsOptions { url: Secret::new("postgres://postgres@127.0.0.1:54871/c1"), ..ResultsOptions::default() }
}
fn row(id: String) -> TaskRecord {
    TaskRecord {
        root_id: None,
        id,
        name: "f".into(),
        state: State::Success,
        args: None,
        kwargs: None,
        result: None,
        failure: None,
        queue: "q".into(),
        exchange: "".into(),
        routing_key: "q".into(),
        worker: "w".into(),
        attempts: 1,
        parent_id: None,
        group_id: None,
        eta: None,
        expires: None,
        sent_at: None,
        received_at: None,
        started_at: None,
        finished_at: Some(Timestamp::from_second(1_780_000_000).unwrap()),
        runtime: None,
        trace_id: None,
    }
}
fn sh(c: &str) {
    let o = std::process::Command::new("bash").arg("-c").arg(c).output().unwrap();
    eprintln!("$ {c}: {} {}", String::from_utf8_lossy(&o.stdout).trim(), String::from_utf8_lossy(&o.stderr).trim());
}
async fn async_sh(c: &'static str) {
    tokio::task::spawn_blocking(move || sh(c)).await.unwrap()
}
#[tokio::test]
async fn faults() {
    let backend = connect(&options()).await.unwrap().unwrap();
    let (recorder, service) = Recorder::new(backend.clone(), &options());
    let stop = CancellationToken::new();
    let base = std::process::id();
    let n = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::atomic::AtomicBool::new(false);
    let worst = std::sync::Mutex::new(Duration::ZERO);
    let callers = async {
        futures::future::join_all((0..100).map(|_| async {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let i = n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let id = format!("fault-{base}-{i}");
                let t = Instant::now();
                let (told, recorded) = tokio::join!(backend.finished(&id), recorder.record(row(id.clone())));
                assert_eq!(recorded.unwrap(), Recorded::Stored);
                assert_eq!(told.unwrap().id, id);
                let mut w = worst.lock().unwrap();
                *w = (*w).max(t.elapsed());
            }
        }))
        .await;
        stop.cancel();
    };
    let psql = "psql -h 127.0.0.1 -p 54871 -U postgres c1 -qtAc";
    let _ = psql;
    let chaos = async {
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            async_sh("psql -h 127.0.0.1 -p 54871 -U postgres c1 -qtAc \"select count(pg_terminate_backend(pid)), string_agg(query, ' | ' ) from pg_stat_activity where application_name='celeriac' and query like '%LISTEN%' or query like '%ended%'\" | cut -c1-100").await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            async_sh("psql -h 127.0.0.1 -p 54871 -U postgres c1 -qtAc \"select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name='celeriac'\"").await;
        }
        for mode in ["immediate", "fast"] {
            let before = n.load(std::sync::atomic::Ordering::Relaxed);
            let c: &'static str = Box::leak(
                format!(
                    "runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D /tmp/resultspg/data -m {mode} -w stop"
                )
                .into_boxed_str(),
            );
            async_sh(c).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            async_sh("runuser -u postgres -- /usr/lib/postgresql/15/bin/pg_ctl -D /tmp/resultspg/data -l /tmp/resultspg/log -o '-c listen_addresses=127.0.0.1 -c port=54871 -c unix_socket_directories=/tmp/resultspg' -w start >/dev/null").await;
            let t = Instant::now();
            let at = n.load(std::sync::atomic::Ordering::Relaxed);
            while n.load(std::sync::atomic::Ordering::Relaxed) < at + 200 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            eprintln!("{mode}: before {before}, 200 more {:?} after the start", t.elapsed());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(service.run(stop.clone()), callers, chaos);
    let n = n.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{n} tasks, worst {:?}", worst.lock().unwrap());
    let mut found = 0;
    for i in 0..n {
        found += usize::from(backend.find(&format!("fault-{base}-{i}")).await.unwrap().is_some());
    }
    assert_eq!(found, n);
    backend.close().await;
    let error = {
        let mut o = options();
        o.url = Secret::new("postgres://postgres:secret@127.0.0.1:54871/nothere");
        connect(&o).await.unwrap_err()
    };
    eprintln!("{error} {error:?}");
    let error = {
        let mut o = options();
        o.connect_timeout = Duration::from_millis(300);
        o.url = Secret::new("postgres://postgres:secret@127.0.0.1:1/nothere");
        connect(&o).await.unwrap_err()
    };
    eprintln!("{error} {error:?}");
    // several at once on a new database
    sh("psql -h 127.0.0.1 -p 54871 -U postgres -qc 'drop database if exists fresh' -c 'create database fresh'");
    let mut o = options();
    o.url = Secret::new("postgres://postgres@127.0.0.1:54871/fresh");
    let t = Instant::now();
    let all = futures::future::join_all((0..12).map(|_| connect(&o))).await;
    for b in all {
        b.unwrap().unwrap().close().await;
    }
    eprintln!("12 migrated in {:?}", t.elapsed());
    sh(
        "psql -h 127.0.0.1 -p 54871 -U postgres fresh -qc \"create role app login; grant usage on schema celeriac to app; grant select on all tables in schema celeriac to app; grant insert, update, delete on celeriac.tasks to app\"",
    );
    o.url = Secret::new("postgres://app@127.0.0.1:54871/fresh");
    let b: Arc<dyn Backend> = connect(&o).await.unwrap().unwrap();
    assert_eq!(b.record(&[row("x".into())]).await.unwrap(), [Recorded::Stored]);
    assert_eq!(b.finished("x").await.unwrap().id, "x");
    sh("psql -h 127.0.0.1 -p 54871 -U postgres fresh -qc \"revoke insert on celeriac.tasks from app\"");
    let e = b.record(&[row("y".into())]).await.unwrap_err();
    eprintln!("{e}");
    let b = b;
    b.close().await;
    sh("psql -h 127.0.0.1 -p 54871 -U postgres -qc 'drop database fresh' -c 'drop role app'");
}
