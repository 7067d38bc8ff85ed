//! `worker`: runs tasks until a signal stops it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use celeriac_telemetry::events::telemetry::FlushFailed;
use celeriac_telemetry::events::worker::BlockingTasksLeft;
use celeriac_telemetry::health::StartingProgram;
use celeriac_telemetry::{ErrorChain, Event, LogFormat, Telemetry};
use celeriac_worker::{Error as WorkerError, RunningTasks, Shutdown, ShutdownReport, on_signals};
use tokio::time::{sleep, timeout};

use crate::args::CommandName;
use crate::ending::{StoppableProgram, before, end_process};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;

/// Time after the drain timeout for the connections to close.
const CLOSED: Duration = Duration::from_millis(750);

/// Time after the drain timeout after which the process ends without its runtime.
const STUCK: Duration = Duration::from_millis(800);

/// Time after the drain timeout for the last traces. The process ends within a second.
const FLUSHED: Duration = Duration::from_millis(900);

/// Longest time for the last traces, even if the drain timeout leaves more.
const FLUSH: Duration = Duration::from_secs(5);

/// Warning of a program whose broker is inside its process.
pub(super) const IN_PROCESS: &str =
    "warning: broker.url is memory://, so only this process can send tasks to this worker; set broker.url";

pub(crate) async fn run(program: &Program, name: &CommandName) -> Result<(), Error> {
    // Before anybody can ask whether the program is ready.
    let starting = StartingProgram::register();
    let telemetry = Telemetry::start(&program.telemetry, &program.instance).map_err(Error::Telemetry)?;
    let telemetry = LastFlush(Arc::new(Mutex::new(Some(telemetry))));
    // Listening before the start, because a signal during a slow start must not be lost.
    let shutdown = on_signals();
    let _stoppable = StoppableProgram::register(&shutdown);
    let mut drain = Duration::ZERO;
    let left_behind: Result<bool, Error> = async {
        let client = tokio::select! {
            client = program.client() => client?,
            () = shutdown.requested() => return Ok(false),
        };
        let worker = program.worker(client.clone())?;
        drop(starting);
        drain = worker.drain();
        shutdown.when_overdue(
            drain,
            STUCK,
            end_without_runtime(worker.running_tasks(), telemetry.clone(), shutdown.clone()),
        );
        match program.telemetry.log.format {
            LogFormat::Text => {
                output::notice(&worker.banner());
                if program.is_in_process() {
                    output::notice(IN_PROCESS);
                }
            }
            LogFormat::Json => worker.log_banner(),
        }
        let ShutdownReport { blocking_tasks_left, tasks_abandoned } = worker.run_until(shutdown.clone()).await?;
        if blocking_tasks_left > 0 {
            BlockingTasksLeft { tasks: blocking_tasks_left }.emit();
        }
        let closed = before(shutdown.overdue(drain, CLOSED), client.close()).await;
        Ok(blocking_tasks_left > 0 || tasks_abandoned > 0 || closed.is_none())
    }
    .await;
    let flushed = flush(&shutdown, drain, &telemetry).await;
    match left_behind {
        // Tasks may be left behind here too.
        Err(error @ Error::Worker(WorkerError::ServiceEnded { .. })) => {
            output::failure(&error, name);
            end_process(error.exit())
        }
        Err(error) => Err(error),
        Ok(left_behind) if left_behind || !flushed => end_process(Exit::Done),
        Ok(_) => Ok(()),
    }
}

/// Sends the last traces. Returns `false` if they could not be sent in time.
async fn flush(shutdown: &Shutdown, drain: Duration, telemetry: &LastFlush) -> bool {
    // Without it, the other thread sends them and ends the process.
    let Some(telemetry) = telemetry.take() else { return std::future::pending().await };
    let flushed = before(shutdown.overdue(drain, FLUSHED), telemetry.shutdown(FLUSH)).await;
    if let Some(Err(error)) = &flushed {
        // The worker did its work. Lost traces are no reason for another exit code.
        FlushFailed { error: &ErrorChain(error).to_string() }.emit();
    }
    flushed.is_some()
}

/// The telemetry, for the one that flushes it.
#[derive(Clone)]
struct LastFlush(Arc<Mutex<Option<Telemetry>>>);

impl LastFlush {
    fn take(&self) -> Option<Telemetry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends the process when its end is overdue, because tasks that do not yield occupy the threads of
/// its runtime. Runs on a thread of its own.
async fn end_without_runtime(running: RunningTasks, telemetry: LastFlush, shutdown: Shutdown) {
    let time = FLUSHED.saturating_sub(STUCK);
    match telemetry.take() {
        Some(telemetry) => {
            running.abandon();
            if let Ok(Err(error)) = timeout(time, telemetry.shutdown(time)).await {
                FlushFailed { error: &ErrorChain(&error).to_string() }.emit();
            }
        }
        // The runtime works, and flushes within this time.
        None => sleep(time).await,
    }
    end_process(if shutdown.is_failure() { Exit::Internal } else { Exit::Done });
}
