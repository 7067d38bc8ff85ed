//! Hooks: their order, and the changes that they may make.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac::Builder;
use celeriac::hooks::{Decided, Start, TaskOutput};
use celeriac::prelude::*;
use celeriac::{Task, TaskRecord};
use celeriac_tests::{Bed, Running, assert_outcome, eventually};

/// Events, in order.
#[derive(Default)]
struct Journal(Mutex<Vec<String>>);

impl Journal {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn note(ctx: &TaskContext, line: String) -> TaskResult<()> {
    ctx.state::<Journal>()?.0.lock().unwrap().push(line);
    Ok(())
}

/// Records every call under its name, and changes nothing.
struct Tells(&'static str);

impl Hooks for Tells {
    async fn before_start(&self, ctx: &TaskContext) -> TaskResult<Start> {
        note(ctx, format!("{} before {}", self.0, ctx.attempt()))?;
        Ok(Start::Run)
    }

    async fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> TaskResult<TaskOutput> {
        note(ctx, format!("{} success {}", self.0, result.as_json()))?;
        Ok(result)
    }

    async fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> TaskResult<TaskOutput> {
        note(ctx, format!("{} failure {}", self.0, error.failure().message))?;
        Err(error)
    }

    async fn on_retry(&self, ctx: &TaskContext, error: &TaskError, wait: Duration) -> TaskResult<Duration> {
        note(ctx, format!("{} retry {}", self.0, error.failure().message))?;
        Ok(wait)
    }

    async fn after_return(&self, ctx: &TaskContext, decided: &Decided) {
        let known = ctx.client().handle::<i64>(ctx.id()).status().await.unwrap();
        let word = match decided {
            Decided::Success(result) => format!("success {}", result.as_json()),
            Decided::Retry { failure, .. } => format!("retry {}", failure.message),
            Decided::Failure(failure) => format!("failure {}", failure.message),
            Decided::Ignored => "ignored".to_owned(),
        };
        let _ = note(ctx, format!("{} after {word}, on record {known}", self.0));
    }
}

#[task(name = "t.add", hooks = Tells("own"))]
async fn add(ctx: TaskContext, a: i64, b: i64) -> TaskResult<i64> {
    note(&ctx, "runs".to_owned())?;
    Ok(a + b)
}

#[task(name = "t.block", hooks = Tells("own"))]
fn block(ctx: TaskContext) -> TaskResult<i64> {
    note(&ctx, "runs".to_owned())?;
    Ok(7)
}

#[task(name = "t.flaky", max_retries = 1, retry_backoff = "10ms", hooks = Tells("own"))]
async fn flaky(ctx: TaskContext) -> TaskResult<i64> {
    Err(TaskError::new(format!("no {}", ctx.attempt())))
}

/// Changes the outcome as the task's name says.
struct Meddles;

impl Hooks for Meddles {
    async fn before_start(&self, ctx: &TaskContext) -> TaskResult<Start> {
        match ctx.name() {
            "m.cached" => Ok(Start::Return(TaskOutput::new(&42)?)),
            "m.forbidden" => Err(TaskError::of_kind("PermissionError", "not you")),
            "m.panics" => panic!("in a hook"),
            "m.endless" => std::future::pending().await,
            _ => Ok(Start::Run),
        }
    }

    async fn on_success(&self, ctx: &TaskContext, result: TaskOutput) -> TaskResult<TaskOutput> {
        match ctx.name() {
            "m.doubled" => TaskOutput::new(&(result.read::<i64>()? * 2)),
            "m.spoilt" => panic!("in the hook of a success"),
            "m.doubted" if ctx.attempt() == 1 => Err(TaskError::new("too good to be true")),
            _ => Ok(result),
        }
    }

    async fn on_failure(&self, ctx: &TaskContext, error: TaskError) -> TaskResult<TaskOutput> {
        match ctx.name() {
            "m.rescued" => TaskOutput::new(&-1),
            "m.renamed" => Err(TaskError::of_kind("Sorry", error.failure().message.clone())),
            "m.buried" => Err(TaskError::reject("a person has to look")),
            "m.worse" => panic!("in the last hook"),
            _ => Err(error),
        }
    }

    async fn on_retry(&self, ctx: &TaskContext, _error: &TaskError, wait: Duration) -> TaskResult<Duration> {
        match ctx.name() {
            "m.stopped" => Err(TaskError::of_kind("Enough", "no more")),
            "m.hurried" => Ok(Duration::ZERO),
            _ => Ok(wait),
        }
    }

    async fn after_return(&self, ctx: &TaskContext, _decided: &Decided) {
        assert_ne!(ctx.name(), "m.late_panic", "nobody minds");
        if ctx.name() == "m.lingers" {
            let _ = note(ctx, "lingers".to_owned());
            std::future::pending::<()>().await;
        }
    }
}

macro_rules! tasks_of_one {
    ($($ident:ident $name:literal)*) => { $(
        #[task(name = $name, hooks = Meddles)]
        async fn $ident(ctx: TaskContext) -> TaskResult<i64> {
            note(&ctx, "runs".to_owned())?;
            Ok(21)
        }
    )* };
}

tasks_of_one! {
    cached "m.cached" forbidden "m.forbidden" panics "m.panics" endless "m.endless" doubled "m.doubled"
    late_panic "m.late_panic" lingers "m.lingers" spoilt "m.spoilt"
}

#[task(name = "m.doubted", hooks = Meddles, max_retries = 1, retry_backoff = "10ms")]
async fn doubted(ctx: TaskContext) -> TaskResult<i64> {
    Ok(ctx.attempt().into())
}

macro_rules! tasks_that_fail {
    ($($ident:ident $name:literal)*) => { $(
        #[task(name = $name, hooks = [Tells("outer"), Meddles])]
        async fn $ident() -> TaskResult<i64> {
            Err(TaskError::of_kind("Bad", "luck"))
        }
    )* };
}

tasks_that_fail! { rescued "m.rescued" renamed "m.renamed" buried "m.buried" worse "m.worse" }

#[task(name = "m.stopped", hooks = Meddles, max_retries = 3, retry_backoff = "1h")]
async fn stopped() -> TaskResult<i64> {
    Err(TaskError::new("no"))
}

#[task(name = "m.hurried", hooks = Meddles, max_retries = 1, retry_backoff = "1h")]
async fn hurried(ctx: TaskContext) -> TaskResult<i64> {
    if ctx.attempt() == 1 { Err(TaskError::new("no")) } else { Ok(2) }
}

/// A worker of these tasks, and its events.
struct Observed {
    running: Running,
    journal: Arc<Journal>,
}

impl Observed {
    async fn start(bed: &Bed) -> Self {
        Self::with(bed, |program| program).await
    }

    async fn with(bed: &Bed, more: impl FnOnce(Builder) -> Builder) -> Self {
        let journal = Arc::new(Journal::default());
        let tasks = tasks![
            add, block, flaky, cached, forbidden, panics, endless, doubled, late_panic, lingers, spoilt, doubted,
            rescued, renamed, buried, worse, stopped, hurried
        ];
        let program = bed.program(tasks).set("client.result_timeout", "40s").shared(Arc::clone(&journal));
        Self { running: bed.start(more(program)).await, journal }
    }

    /// Returns the row of a call, after its end.
    async fn row<T: Task>(&self, call: Call<T>) -> TaskRecord {
        call.submit(&self.running.client).await.unwrap().wait().await.unwrap()
    }
}

#[celeriac_tests::test]
async fn hooks_of_the_program_wrap_those_of_the_task(bed: Bed) {
    let worker = Observed::with(&bed, |program| program.hooks(Tells("outer")).hooks(Tells("inner"))).await;
    for (blocking, result) in [(false, 3), (true, 7)] {
        let row = if blocking { worker.row(block()).await } else { worker.row(add(1, 2)).await };
        assert_outcome!(row, Success, attempts: 1, result: result);
        let journal = worker.journal.take();
        let expected = [
            "outer before 1".to_owned(),
            "inner before 1".to_owned(),
            "own before 1".to_owned(),
            "runs".to_owned(),
            format!("own success {result}"),
            format!("inner success {result}"),
            format!("outer success {result}"),
            format!("own after success {result}, on record PENDING"),
            format!("inner after success {result}, on record PENDING"),
            format!("outer after success {result}, on record PENDING"),
        ];
        assert_eq!(journal, expected);
    }
}

#[celeriac_tests::test]
async fn each_failed_attempt_is_a_retry_to_hooks_and_the_last_a_failure(bed: Bed) {
    let worker = Observed::with(&bed, |program| program.hooks(Tells("all"))).await;
    assert_outcome!(worker.row(flaky()).await, Failure, attempts: 2, kind: "TaskError", message: "no 2");
    let expected = [
        "all before 1",
        "own before 1",
        "own retry no 1",
        "all retry no 1",
        "own after retry no 1, on record PENDING",
        "all after retry no 1, on record PENDING",
        "all before 2",
        "own before 2",
        "own failure no 2",
        "all failure no 2",
        "own after failure no 2, on record RETRY",
        "all after failure no 2, on record RETRY",
    ];
    assert_eq!(worker.journal.take(), expected);
}

#[celeriac_tests::test]
async fn a_hook_may_end_an_attempt_before_it_has_begun(bed: Bed) {
    let worker = Observed::start(&bed).await;
    assert_outcome!(worker.row(cached()).await, Success, attempts: 1, result: 42);
    assert_outcome!(worker.row(forbidden()).await, Failure, attempts: 1, kind: "PermissionError", message: "not you");
    assert_eq!(worker.journal.take(), Vec::<String>::new(), "neither has run");
}

#[celeriac_tests::test]
async fn a_hook_may_change_how_an_attempt_ends(bed: Bed) {
    let worker = Observed::start(&bed).await;
    assert_outcome!(worker.row(doubled()).await, Success, attempts: 1, result: 42);
    // a refused success is retried
    assert_outcome!(worker.row(doubted()).await, Success, attempts: 2, result: 2);
    assert_outcome!(worker.row(renamed()).await, Failure, attempts: 1, kind: "Sorry", message: "luck");
    assert_outcome!(worker.row(stopped()).await, Failure, attempts: 1, kind: "Enough", message: "no more");
    assert_outcome!(worker.row(hurried()).await, Success, attempts: 2, result: 2);
    worker.journal.take();

    assert_outcome!(worker.row(rescued()).await, Success, attempts: 1, result: -1);
    let seen = ["outer before 1", "outer success -1", "outer after success -1, on record PENDING"];
    assert_eq!(worker.journal.take(), seen, "to those outside it is a success");
    let peer = bed.peer().await;
    assert_eq!(peer.ready("celeriac.dead").await, 0);
    assert_outcome!(worker.row(buried()).await, Failure, attempts: 1, kind: "Reject", message: "a person has to look");
    let dead = peer.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("rejected"));
}

#[celeriac_tests::test]
async fn a_hook_that_panics_fails_its_attempt_and_nothing_else(bed: Bed) {
    let worker = Observed::start(&bed).await;
    assert_outcome!(worker.row(panics()).await, Failure, attempts: 1, kind: "Panic", message: "in a hook");
    assert_outcome!(worker.row(spoilt()).await, Failure, attempts: 1, kind: "Panic", message: "in the hook of a success");
    // the decision stands
    assert_outcome!(worker.row(worse()).await, Failure, attempts: 1, kind: "Bad", message: "luck");
    assert_outcome!(worker.row(late_panic()).await, Success, attempts: 1, result: 21);
    // the worker continues
    assert_outcome!(worker.row(add(1, 1)).await, Success, attempts: 1, result: 2);
}

#[celeriac_tests::test]
async fn a_hook_counts_towards_the_time_of_its_attempt(bed: Bed) {
    let worker = Observed::start(&bed).await;
    let endless = endless().time_limit(Duration::from_millis(300));
    assert_outcome!(worker.row(endless).await, Failure, attempts: 1, kind: "TimeLimitExceeded", message: "0.3");
    // The hooks after the decision have the same limit.
    let lingers = lingers().time_limit(Duration::from_millis(300));
    assert_outcome!(worker.row(lingers).await, Success, attempts: 1, result: 21);
}

#[celeriac_tests::test]
async fn what_is_interrupted_in_a_hook_goes_back_and_is_no_attempt(bed: Bed) {
    let worker = Observed::with(&bed, |program| program.set("worker.drain_timeout", "100ms")).await;
    let Observed { running, journal } = worker;
    let handle = lingers().submit(&running.client).await.unwrap();
    let told = async || journal.0.lock().unwrap().iter().any(|line| line == "lingers");
    eventually("the hook has begun", told, |told| *told).await;
    running.stop().await;
    let peer = bed.peer().await;
    let back = eventually("it is back", async || peer.take_all("celeriac").await, |back| !back.is_empty()).await;
    assert_eq!(back[0].header("id").as_deref(), Some(handle.id()));
    assert!(!back[0].has_header("retries"), "{:?}", back[0].headers);
}
