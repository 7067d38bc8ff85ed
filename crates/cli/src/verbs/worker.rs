//! `worker`: runs tasks until a signal stops it.

use std::time::Duration;

use celeriac_telemetry::events::telemetry::FlushFailed;
use celeriac_telemetry::events::worker::BlockingTasksLeft;
use celeriac_telemetry::{ErrorChain, Event, LogFormat, Telemetry};
use celeriac_worker::{ShutdownReport, on_signals};
use tokio_util::task::TaskTracker;

use crate::ending::{before, end_process};
use crate::error::Error;
use crate::output;
use crate::program::Program;

/// Time after the drain timeout for the connections to close.
const CLOSED: Duration = Duration::from_millis(750);

/// Time after the drain timeout for the last traces. The process ends within a second.
const FLUSHED: Duration = Duration::from_millis(900);

/// Longest time for the last traces, even if the drain timeout leaves more.
const FLUSH: Duration = Duration::from_secs(5);

/// Warning of a worker whose broker is inside its process.
const IN_PROCESS: &str =
    "warning: broker.url is memory://, so only this process can send tasks to this worker; set broker.url";

pub(crate) async fn run(program: &Program) -> Result<(), Error> {
    let telemetry = Telemetry::start(&program.telemetry, &program.instance).map_err(Error::Telemetry)?;
    let listeners = TaskTracker::new();
    // Listening before the start, because a signal during a slow start must not be lost.
    let shutdown = on_signals(&listeners);
    let mut drain = Duration::ZERO;
    let left_behind: Result<bool, Error> = async {
        let client = tokio::select! {
            client = program.client() => client?,
            () = shutdown.requested() => return Ok(false),
        };
        let worker = program.worker(client.clone())?;
        drain = worker.drain();
        match program.telemetry.log.format {
            LogFormat::Text => {
                output::notice(&worker.banner());
                if program.is_in_process() {
                    output::notice(IN_PROCESS);
                }
            }
            LogFormat::Json => worker.log_banner(),
        }
        let ShutdownReport { blocking_tasks_left } = worker.run_until(shutdown.clone()).await?;
        if blocking_tasks_left > 0 {
            BlockingTasksLeft { tasks: blocking_tasks_left }.emit();
        }
        let closed = before(shutdown.overdue(drain, CLOSED), client.close()).await;
        Ok(blocking_tasks_left > 0 || closed.is_none())
    }
    .await;
    let flushed = before(shutdown.overdue(drain, FLUSHED), telemetry.shutdown(FLUSH)).await;
    if let Some(Err(error)) = &flushed {
        // The worker did its work. Lost traces are no reason for another exit code.
        FlushFailed { error: &ErrorChain(error).to_string() }.emit();
    }
    if left_behind? || flushed.is_none() {
        end_process();
    }
    Ok(())
}
