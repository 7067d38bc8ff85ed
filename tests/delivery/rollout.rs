//! Workers of an older and a newer program on one queue.

use celeriac::prelude::*;
use celeriac_tests::{Bed, Program, eventually};

/// Is unknown to the test program.
#[task(name = "t.newer")]
async fn newer(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// Starts the older program: workers that leave unknown tasks on their queue for a time.
fn older(bed: &Bed, grace: &str) -> Program {
    let grace = [("CELERIAC__WORKER__UNKNOWN_TASK_GRACE", grace.to_owned())];
    bed.process_with(&["worker", "-l", "info", "-n", "older"], &grace)
}

#[celeriac_tests::test(real)]
async fn tasks_of_a_newer_program_wait_for_its_worker(bed: Bed) {
    let mut worker = older(&bed, "1m");
    worker.says("ready").await;
    let client = bed.client(bed.program(tasks![newer])).await;
    let handle = newer(1).submit(&client).await.unwrap();
    let line = worker.says("unknown task held").await;
    assert!(line.contains("t.newer") && line.contains(handle.id()), "{line}");
    assert!(handle.record().await.unwrap().is_none_or(|row| !row.state.is_final()), "it has no outcome");

    // The older worker consumes on, and takes its share.
    bed.start(bed.program(tasks![newer])).await;
    let mut handles = vec![handle];
    for number in 2..20 {
        handles.push(newer(number).submit(&client).await.unwrap());
    }
    for (handle, number) in handles.iter().zip(1..) {
        assert_eq!(handle.get().await.unwrap(), number);
        let row = handle.record().await.unwrap().unwrap();
        assert_eq!((row.attempts, &*row.worker == "older"), (1, false), "{row:?}");
    }
    assert_eq!(bed.peer().await.ready("celeriac.dead").await, 0);
}

#[celeriac_tests::test(real)]
async fn a_task_that_no_worker_knows_is_dead_lettered_after_the_grace(bed: Bed) {
    let mut worker = older(&bed, "2s");
    worker.says("ready").await;
    let client = bed.client(bed.program(tasks![newer])).await;
    let handle = newer(1).submit(&client).await.unwrap();
    worker.says("unknown task held").await;
    let error = handle.get().await.unwrap_err();
    assert!(error.to_string().contains("no task has the name `t.newer`"), "{error}");
    let peer = bed.peer().await;
    eventually("its dead letter", async || peer.ready("celeriac.dead").await, |ready| *ready == 1).await;
}

#[celeriac_tests::test(real)]
async fn a_worker_of_higher_priority_gets_each_task_that_it_has_a_slot_for(bed: Bed) {
    let program = |name, priority: &str| {
        let program = bed.program(tasks![newer]).set("worker.name", name);
        program.set("worker.prefetch", "2").set("worker.consumer_priority", priority)
    };
    let other = bed.start(program("other", "0")).await;
    let _canary = bed.start(program("canary", "10")).await;
    let peer = bed.peer().await;
    eventually("both consume", async || peer.consumers("celeriac").await, |count| *count == Some(2)).await;
    for number in 0..20 {
        let handle = newer(number).submit(&other.client).await.unwrap();
        handle.get().await.unwrap();
        assert_eq!(&*handle.record().await.unwrap().unwrap().worker, "canary");
    }
}
