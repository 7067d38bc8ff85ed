//! Servers, a worker, a sender and an operator, whose traces are shown.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use celeriac::prelude::*;
use celeriac::{Chain, ClientError, TaskRecord};
use celeriac_servers::{Ending, Guard, Process, Servers, Signal};
use celeriac_telemetry::{Instance, LogOptions, OtlpProtocol, Telemetry, TelemetryOptions};

use crate::jaeger::Jaeger;
use crate::shop;

const PATIENCE: Duration = Duration::from_secs(60);

/// The ids of the shown traces.
#[derive(Debug)]
pub(crate) struct Traces {
    pub(crate) chain: String,
    pub(crate) dead: String,
    pub(crate) replay: String,
}

/// The programs of the shop, which share servers and the receiver of spans.
struct Stage<'a> {
    servers: &'a Servers,
    jaeger: &'a Jaeger,
    folder: &'a Path,
}

/// Runs the tasks. At the end of all programs, Jaeger has all their spans.
pub(crate) async fn perform(servers: &Servers, jaeger: &Jaeger) -> Result<Traces> {
    let folder = tempfile::tempdir()?;
    let stage = Stage { servers, jaeger, folder: folder.path() };
    let performed = stage.perform().await;
    // The folder with the logs goes away with the error.
    performed.with_context(|| stage.logs())
}

impl Stage<'_> {
    async fn perform(&self) -> Result<Traces> {
        let options = TelemetryOptions {
            service_name: "web".to_owned(),
            otlp_endpoint: Some(self.jaeger.endpoint()),
            otlp_protocol: OtlpProtocol::Grpc,
            // The receiver refuses metrics, which is a warning.
            log: LogOptions { level: "error".to_owned(), ..LogOptions::default() },
            ..TelemetryOptions::default()
        };
        let telemetry = Telemetry::start(&options, &Instance { name: "web".to_owned(), version: "0".to_owned() })?;
        let app = shop::app().set("broker.url", self.servers.amqp_url());
        let client = app.set("results.url", self.servers.database_url()).build()?.client().await?;

        let worker = Program::start(self.command("billing", &["worker"])?)?;
        let traces = self.send(&client).await;
        worker.end()?;
        client.close().await;
        telemetry.shutdown(PATIENCE).await?;
        traces
    }

    async fn send(&self, client: &Client) -> Result<Traces> {
        let opened = shop::open().submit(client).await?;
        within(opened.get()).await??;

        let chain = Chain::new(Signature::new("shop.charge").arg(17_i64)).then(Signature::new("shop.receipt"));
        let chain = chain.submit(client).await?;
        within(chain.get()).await??;
        let chain = trace_of(chain.record().await?)?;

        let address = self.folder.join("address");
        let shipped = shop::ship(17, address.display().to_string()).submit(client).await?;
        let failed = within(shipped.get()).await?;
        ensure!(matches!(failed, Err(ClientError::Failed { .. })), "the task did not fail: {failed:?}");
        let dead = trace_of(shipped.record().await?)?;

        std::fs::write(&address, "")?;
        Program::start(self.command("operator", &["dead", "replay", "--yes"])?)?.succeed()?;
        within(shipped.get()).await??;
        let replay = trace_of(shipped.record().await?)?;
        Ok(Traces { chain, dead, replay })
    }

    /// Returns the command for a verb of the shop's program, as a service of this name.
    fn command(&self, service: &str, words: &[&str]) -> Result<Command> {
        let log = std::fs::File::create(self.folder.join(format!("{service}.log")))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.env("CELERIAC__BROKER__URL", self.servers.amqp_url());
        command.env("CELERIAC__RESULTS__URL", self.servers.database_url());
        command.env("CELERIAC__TELEMETRY__SERVICE_NAME", service);
        command.env("CELERIAC__TELEMETRY__OTLP_ENDPOINT", self.jaeger.endpoint());
        command.env("CELERIAC__TELEMETRY__OTLP_PROTOCOL", "grpc");
        command.env("CELERIAC__WORKER__NAME", format!("{service}@here"));
        Ok(command)
    }

    fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        format!("{}{}the traces could not be made", read("billing.log"), read("operator.log"))
    }
}

async fn within<T>(awaited: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, awaited).await.context("a task did not end within a minute")
}

fn trace_of(row: Option<TaskRecord>) -> Result<String> {
    row.and_then(|row| row.trace_id).context("the row of a task has no trace")
}

/// A program in a process of its own, which does not outlive this one.
pub(crate) struct Program {
    process: Process,
    guard: Guard,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let process = Process::spawn(&mut command)?;
        let mut guard = Guard::start(&Ending::Terminate, None)?;
        guard.watch(process.id());
        Ok(Self { process, guard })
    }

    /// Requests its end, and waits for it.
    fn end(mut self) -> Result<()> {
        self.process.signal_group(Signal::TERM)?;
        self.succeed()
    }

    /// Waits for its end.
    pub(crate) fn succeed(mut self) -> Result<()> {
        let ended = tokio::task::block_in_place(|| self.process.wait(PATIENCE))?;
        let status = ended.context("a program did not end within a minute")?;
        self.guard.release();
        ensure!(status.success(), "a program failed: {status}");
        Ok(())
    }
}
