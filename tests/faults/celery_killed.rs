//! The test of `transactional_killed.rs` with Celery, for the figures in `docs/faults.md`.

use std::time::Duration;

use celeriac_servers::PythonEnvironment;
use celeriac_tests::{Book, Effects, Program};
use tokio_util::sync::CancellationToken;

use crate::in_turn::{Crew, Ground, blocking, keep_killing};
use crate::ledger::is_long;
use crate::transactional_killed::{Plan, assert_all_killed};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/python");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures Celery, and proves nothing about this project: cargo xtask faults --peers"]
async fn celery_with_its_safest_settings_when_everything_is_killed() {
    let (tasks, a_second, pause) = if is_long() { (10_000, 100, 1_000..3_000) } else { (1_000, 100, 1_000..3_000) };
    let plan = Plan { tasks, a_second, pause };
    let ground = Ground::new().await;
    let python = blocking(|| PythonEnvironment::obtain().unwrap()).await.python().to_string_lossy().into_owned();
    let book = Book::open(&ground.database.url(), Effects::Written).await;
    let start = |arguments: &[&str]| {
        let variables = [
            ("PYTHONPATH", SOURCES.to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("EFFECTS_BROKER_URL", ground.broker.url()),
            ("EFFECTS_DATABASE_URL", ground.database.url()),
        ];
        Program::start_other(&python, arguments, &variables)
    };
    let worker = |number: usize| {
        let name = format!("w{number}@localhost");
        let quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"];
        let arguments =
            ["-m", "celery", "-A", "effects", "worker", "-P", "prefork", "-c", "4", "-l", "INFO", "-n", &name];
        start(&[&arguments[..], &quiet].concat())
    };
    let (mut workers, mut relays) = (Crew::start(2, worker), Crew::start(0, worker));
    let done = CancellationToken::new();
    let send = async {
        let (count, rate) = (plan.tasks.to_string(), plan.a_second.to_string());
        let mut sender = start(&[&format!("{SOURCES}/effects.py"), &count, &rate]);
        let said = sender.says_within(Duration::from_secs(1_800), "sent, unconfirmed ").await;
        done.cancel();
        said
    };
    let killing = keep_killing(&ground, &mut workers, &mut relays, plan.pause.clone(), &done);
    let (kills, said) = tokio::join!(killing, send);
    workers.tend();
    ground.empty().await;
    workers.stop(" ready.").await;
    let tally = book.tally().await;
    println!("celery; {kills}: {tally}, {}", said.trim_start_matches("sent, "));
    assert_all_killed(&kills);
}
