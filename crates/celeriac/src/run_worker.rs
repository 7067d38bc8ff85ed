//! A worker without the command line.

use std::sync::Arc;
use std::time::Duration;

use celeriac_config::{Problem, Problems};
use celeriac_telemetry::events::telemetry::FlushFailed;
use celeriac_telemetry::health::StartingProgram;
use celeriac_telemetry::{ErrorChain, Event, Instance, Telemetry};
use celeriac_worker::{Shutdown, ShutdownReport, on_signals};

use crate::app::Celeriac;
use crate::error::Result;

/// Time after the drain timeout for the connections to close.
const CLOSED: Duration = Duration::from_millis(750);

/// Longest time for the last traces and metrics.
const FLUSH: Duration = Duration::from_secs(5);

/// The parts of a process that [`Celeriac::run_worker`] takes care of.
#[derive(Debug, Clone)]
#[must_use = "it does nothing until `run_worker` takes it"]
pub struct RunOptions {
    shutdown: Option<Shutdown>,
    telemetry: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { shutdown: None, telemetry: true }
    }
}

impl RunOptions {
    /// Stops on signals, and sets up logs, traces, metrics and the health server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops at the request of the program, and not on signals.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Leaves logs, traces, metrics and the health server to the program.
    pub fn without_telemetry(mut self) -> Self {
        self.telemetry = false;
        self
    }
}

impl Celeriac {
    /// Connects, and runs tasks until a signal or the program stops the worker, as the verb
    /// `worker` does without its command line.
    ///
    /// SIGTERM and SIGINT stop it in order, a second one at once; SIGQUIT stops it at once. The
    /// section `telemetry` of the configuration holds.
    ///
    /// ```no_run
    /// use celeriac::RunOptions;
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn charge(cents: i64) -> TaskResult<i64> {
    ///     Ok(cents)
    /// }
    ///
    /// #[tokio::main]
    /// async fn main() -> celeriac::Result<()> {
    ///     let app = Celeriac::from_config("config").tasks(tasks![charge]).build()?;
    ///     let report = app.run_worker(RunOptions::new()).await?;
    ///     println!("{} tasks do not yield", report.tasks_abandoned);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Unlike the verb, it does not end the process. Threads that tasks occupy then keep the
    /// process alive: the report has their numbers.
    ///
    /// # Errors
    /// Returns an error if broker or database cannot be used, if telemetry cannot start, or if a
    /// part of the worker ends before the stop.
    pub async fn run_worker(&self, options: RunOptions) -> Result<ShutdownReport> {
        // Before anybody can ask whether the program is ready.
        let starting = StartingProgram::register();
        let telemetry = options.telemetry.then(|| self.start_telemetry()).transpose()?;
        // Listening before the start, because a signal during a slow start must not be lost.
        let shutdown = options.shutdown.unwrap_or_else(on_signals);
        let ended = self.run_until(starting, &shutdown).await;
        if let Some(telemetry) = telemetry
            && let Err(error) = telemetry.shutdown(FLUSH).await
        {
            FlushFailed { error: &ErrorChain(&error).to_string() }.emit();
        }
        ended
    }

    fn start_telemetry(&self) -> Result<Telemetry> {
        let settings = self.settings();
        let name = celeriac_worker::worker_name(settings.worker.name.as_deref());
        let instance = Instance { name, version: env!("CARGO_PKG_VERSION").to_owned() };
        let started = Telemetry::start(&settings.telemetry, &instance);
        let told = |error| Problem::of_source("telemetry", ErrorChain(&error).to_string());
        Ok(started.map_err(|error| Problems::from(vec![told(error)]))?)
    }

    async fn run_until(&self, starting: Arc<StartingProgram>, shutdown: &Shutdown) -> Result<ShutdownReport> {
        let client = tokio::select! {
            client = self.client() => client?,
            () = shutdown.requested() => {
                return Ok(ShutdownReport { blocking_tasks_left: 0, tasks_abandoned: 0 });
            }
        };
        let worker = self.worker(client.clone())?;
        drop(starting);
        worker.log_banner();
        let drain = worker.drain();
        let report = worker.run_until(shutdown.clone()).await?;
        tokio::select! {
            () = client.close() => {}
            () = shutdown.overdue(drain, CLOSED) => {}
        }
        Ok(report)
    }
}
