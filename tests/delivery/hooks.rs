//! What runs around the attempts of tasks, and what it may change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac::Task;
use celeriac::app::Builder;
use celeriac::hooks::{Decided, Start, TaskOutput};
use celeriac::prelude::*;
use celeriac_tests::{Bed, Running, eventually};

/// What happened, in order.
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

/// Notes all of it under its name, and changes nothing.
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

/// Does to the outcome what the task's name says.
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

struct Stage {
    bed: Bed,
    running: Running,
    journal: Arc<Journal>,
}

impl Stage {
    async fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let (bed, journal) = (Bed::new().await, Arc::new(Journal::default()));
        let tasks = tasks![
            add, block, flaky, cached, forbidden, panics, endless, doubled, late_panic, lingers, spoilt, doubted,
            rescued, renamed, buried, worse, stopped, hurried
        ];
        let program = bed.program(tasks).set("client.result_timeout", "40s").shared(Arc::clone(&journal));
        let running = Running::start(&more(program).build().unwrap()).await;
        Self { bed, running, journal }
    }

    /// How a call ended: its result or its error, and after how many attempts.
    async fn end<T: Task>(&self, call: Call<T>) -> (String, u32) {
        let row = call.submit(&self.running.client).await.unwrap().wait().await.unwrap();
        let end = match row.failure {
            Some(failure) => failure.to_string(),
            None => row.result.unwrap(),
        };
        (end, row.attempts)
    }

    async fn clear(self) {
        self.running.stop().await;
        self.bed.clear().await;
    }
}

#[tokio::test]
async fn hooks_of_the_program_wrap_those_of_the_task() {
    let stage = Stage::with(|program| program.hooks(Tells("outer")).hooks(Tells("inner"))).await;
    for (blocking, result) in [(false, 3), (true, 7)] {
        let end = if blocking { stage.end(block()).await } else { stage.end(add(1, 2)).await };
        assert_eq!(end, (result.to_string(), 1));
        let journal = stage.journal.take();
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
    stage.clear().await;
}

#[tokio::test]
async fn each_failed_attempt_is_a_retry_to_hooks_and_the_last_a_failure() {
    let stage = Stage::with(|program| program.hooks(Tells("all"))).await;
    assert_eq!(stage.end(flaky()).await, ("TaskError: no 2".to_owned(), 2));
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
    assert_eq!(stage.journal.take(), expected);
    stage.clear().await;
}

#[tokio::test]
async fn a_hook_may_end_an_attempt_before_it_has_begun() {
    let stage = Stage::with(|program| program).await;
    assert_eq!(stage.end(cached()).await, ("42".to_owned(), 1));
    assert_eq!(stage.end(forbidden()).await, ("PermissionError: not you".to_owned(), 1));
    assert_eq!(stage.journal.take(), Vec::<String>::new(), "neither has run");
    stage.clear().await;
}

#[tokio::test]
async fn a_hook_may_change_how_an_attempt_ends() {
    let stage = Stage::with(|program| program).await;
    assert_eq!(stage.end(doubled()).await, ("42".to_owned(), 1));
    assert_eq!(stage.end(doubted()).await, ("2".to_owned(), 2), "a success that is refused is tried again");
    assert_eq!(stage.end(renamed()).await, ("Sorry: luck".to_owned(), 1));
    assert_eq!(stage.end(stopped()).await, ("Enough: no more".to_owned(), 1));
    assert_eq!(stage.end(hurried()).await, ("2".to_owned(), 2));
    stage.journal.take();

    assert_eq!(stage.end(rescued()).await, ("-1".to_owned(), 1));
    let seen = ["outer before 1", "outer success -1", "outer after success -1, on record PENDING"];
    assert_eq!(stage.journal.take(), seen, "to those outside it is a success");
    let peer = stage.bed.peer().await;
    assert_eq!(peer.ready("celeriac.dead").await, 0);
    assert_eq!(stage.end(buried()).await, ("Reject: a person has to look".to_owned(), 1));
    let dead = peer.take_all("celeriac.dead").await;
    assert_eq!(dead[0].header("celeriac-dead-reason").as_deref(), Some("rejected"));
    stage.clear().await;
}

#[tokio::test]
async fn a_hook_that_panics_fails_its_attempt_and_nothing_else() {
    let stage = Stage::with(|program| program).await;
    assert_eq!(stage.end(panics()).await, ("Panic: in a hook".to_owned(), 1));
    assert_eq!(stage.end(spoilt()).await, ("Panic: in the hook of a success".to_owned(), 1));
    assert_eq!(stage.end(worse()).await, ("Bad: luck".to_owned(), 1), "what was decided stands");
    assert_eq!(stage.end(late_panic()).await, ("21".to_owned(), 1));
    assert_eq!(stage.end(add(1, 1)).await, ("2".to_owned(), 1), "the worker goes on");
    stage.clear().await;
}

#[tokio::test]
async fn a_hook_counts_towards_the_time_of_its_attempt() {
    let stage = Stage::with(|program| program).await;
    let endless = endless().time_limit(Duration::from_millis(300));
    assert_eq!(stage.end(endless).await, ("TimeLimitExceeded: 0.3".to_owned(), 1));
    // What comes after the decision cannot hold it up for longer than that either.
    let lingers = lingers().time_limit(Duration::from_millis(300));
    assert_eq!(stage.end(lingers).await, ("21".to_owned(), 1));
    stage.clear().await;
}

#[tokio::test]
async fn what_is_interrupted_in_a_hook_goes_back_and_is_no_attempt() {
    let stage = Stage::with(|program| program.set("worker.drain", "100ms")).await;
    let Stage { bed, running, journal } = stage;
    let handle = lingers().submit(&running.client).await.unwrap();
    let told = async || journal.0.lock().unwrap().iter().any(|line| line == "lingers");
    eventually("the hook has begun", told, |told| *told).await;
    running.stop().await;
    let peer = bed.peer().await;
    let back = eventually("it is back", async || peer.take_all("celeriac").await, |back| !back.is_empty()).await;
    assert_eq!(back[0].header("id").as_deref(), Some(handle.id()));
    assert!(back[0].headers.inner().get("retries").is_none(), "{:?}", back[0].headers);
    bed.clear().await;
}
