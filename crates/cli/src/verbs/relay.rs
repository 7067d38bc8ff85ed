//! `relay`: sends the messages of the outbox until a signal stops it, or shows depth and age.

use std::sync::Arc;
use std::time::Duration;

use celeriac_client::Client;
use celeriac_config::duration;
use celeriac_results::{Outbox, PostgresBackend};
use celeriac_telemetry::events::telemetry::FlushFailed;
use celeriac_telemetry::health::StartingProgram;
use celeriac_telemetry::{ErrorChain, Event, ServiceFailure, Supervisor, Telemetry};
use celeriac_worker::{Error as WorkerError, Relay, Shutdown, on_signals};
use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::CommandName;
use crate::args::RelayArgs;
use crate::ending::{StoppableProgram, before, end_process};
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// Time for sent messages to be confirmed and deleted. Others are sent again, marked as repeated.
const CONFIRMED: Duration = Duration::from_secs(5);

/// Times after that for the connections and the last traces to end. The process ends within a
/// second.
const CLOSED: Duration = Duration::from_millis(750);
const FLUSHED: Duration = Duration::from_millis(900);

/// Longest time for the last traces.
const FLUSH: Duration = Duration::from_secs(5);

/// The state of the outbox.
#[derive(Debug, Serialize)]
struct OutboxStatus {
    waiting: u64,
    failing: u64,
    oldest_at: Option<Timestamp>,
    oldest_seconds: Option<f64>,
    /// True if a process relays.
    relayed: bool,
}

pub(crate) async fn run(program: &Program, args: &RelayArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    if args.status {
        let client = waiting::for_client(program).await?;
        let status = status(&client, name, json).await;
        client.close().await;
        return status;
    }
    if program.is_in_process() {
        // The rows of the outbox would be deleted, and their messages lost with this process.
        return Err(Error::InProcess);
    }
    // Before anybody can ask whether the program is ready.
    let starting = StartingProgram::register();
    let telemetry = Telemetry::start(&program.telemetry, &program.instance).map_err(Error::Telemetry)?;
    let shutdown = on_signals();
    let _stoppable = StoppableProgram::register(&shutdown);
    let relayed: Result<bool, Error> = async {
        let client = tokio::select! {
            client = program.client() => client?,
            () = shutdown.requested() => return Ok(true),
        };
        drop(starting);
        let relay =
            Relay::new(client.clone())?.undeclared(program.relay_undeclared).tasks(Arc::new(program.registry.clone()));
        let failure = relay_until(relay, &client, &shutdown).await;
        let closed = before(shutdown.overdue(CONFIRMED, CLOSED), client.close()).await;
        match failure {
            Some(ServiceFailure { service, reason }) => Err(WorkerError::ServiceEnded { service, reason }.into()),
            None => Ok(closed.is_some()),
        }
    }
    .await;
    let flushed = before(shutdown.overdue(CONFIRMED, FLUSHED), telemetry.shutdown(FLUSH)).await;
    if let Some(Err(error)) = &flushed {
        FlushFailed { error: &ErrorChain(error).to_string() }.emit();
    }
    if !relayed? || flushed.is_none() {
        end_process(Exit::Done);
    }
    Ok(())
}

/// Relays until a request to stop. Returns the failure of a service, which stops it too.
async fn relay_until(relay: Relay, client: &Client, shutdown: &Shutdown) -> Option<ServiceFailure> {
    let (stop, supervisor) = (CancellationToken::new(), Supervisor::default());
    let mut relay = std::pin::pin!(supervisor.watch("relay", relay.run_until(stop.clone())));
    let failure = tokio::select! {
        biased;
        failure = client.service_failure() => {
            shutdown.request();
            Some(failure)
        }
        () = shutdown.requested() => None,
        ended = &mut relay => return if ended.is_some() { None } else { Some(supervisor.failure().await) },
    };
    stop.cancel();
    match before(shutdown.overdue(CONFIRMED, Duration::ZERO), relay).await {
        Some(None) => Some(supervisor.failure().await),
        _ => failure,
    }
}

fn outbox(client: &Client) -> Option<&Outbox> {
    client.results()?.postgres().map(PostgresBackend::outbox)
}

async fn status(client: &Client, name: &CommandName, json: bool) -> Result<(), Error> {
    let Some(outbox) = outbox(client) else {
        return Err(WorkerError::NoOutbox.into());
    };
    let lag = outbox.lag().await.map_err(Error::Results)?;
    let age =
        lag.oldest_at.map(|time| Duration::try_from(client.clock().now().duration_since(time)).unwrap_or_default());
    let shown = OutboxStatus {
        waiting: lag.waiting,
        failing: lag.failing,
        oldest_at: lag.oldest_at,
        oldest_seconds: age.map(|age| age.as_secs_f64()),
        relayed: lag.led,
    };
    output::answer(json, &shown, || {
        let oldest = age.map(|age| format!(", the oldest {}", duration::approximate(age)));
        let relayed = if shown.relayed { "" } else { "\nno process relays: start a worker, or `celeriac relay`" };
        let relayed = name.in_text(relayed);
        format!("{} waiting{}, {} failing{relayed}", shown.waiting, oldest.unwrap_or_default(), shown.failing)
    });
    Ok(())
}
