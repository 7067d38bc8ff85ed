//! The program that the verbs work on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use celeriac_broker::{Broker, BrokerOptions};
use celeriac_client::Client;
use celeriac_results::{LastError, ResultsOptions};
use celeriac_telemetry::{Instance, TelemetryOptions};
use celeriac_topology::{RouteFunctions, RoutesOptions, TaskOverrides};
use celeriac_worker::{Error as WorkerError, Registry, Worker};

use crate::error::Error;

/// A configured program that is not connected. The façade builds it.
pub struct Program {
    /// Effective configuration as YAML, secrets masked.
    pub configuration: String,
    /// Section `telemetry` of the configuration.
    pub telemetry: TelemetryOptions,
    /// Identity in telemetry.
    pub instance: Instance,
    /// Section `broker` of the configuration.
    pub broker: BrokerOptions,
    /// Connection name at the broker.
    pub connection_name: String,
    /// Section `results` of the configuration.
    pub results: ResultsOptions,
    /// Key `worker.relay_undeclared` of the configuration.
    pub relay_undeclared: bool,
    /// Exchanges, queues and routes.
    pub routes: RoutesOptions,
    /// Route functions.
    pub route_functions: RouteFunctions,
    /// Tasks.
    pub registry: Registry,
    /// Overrides of task options, for tasks of other programs.
    pub overrides: TaskOverrides,
    /// Warnings that a worker logs at its start.
    pub warnings: Vec<String>,
    /// Connects a client.
    pub connect_client: ConnectClient,
    /// Assembles a worker.
    pub assemble_worker: AssembleWorker,
}

/// Connects a client to the database and the broker of a program. The error of each failed attempt
/// to reach the database is in [`LastError`] while further attempts follow.
pub type ConnectClient =
    Box<dyn Fn(LastError) -> Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>> + Send + Sync>;

/// Assembles a worker of a program.
pub type AssembleWorker = Box<dyn Fn(Client) -> Result<Worker, WorkerError> + Send + Sync>;

impl Program {
    /// Returns true if the broker is inside this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.broker.url.expose().starts_with("memory://")
    }

    /// Opens the broker, which connects with its first use.
    pub(crate) fn open_broker(&self) -> Result<Arc<dyn Broker>, Error> {
        let checks = celeriac_admin::startup_checks(&self.broker);
        celeriac_broker::connect_with_checks(&self.broker, &self.connection_name, checks).map_err(Error::Broker)
    }

    /// Connects a client.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        (self.connect_client)(LastError::default()).await
    }

    /// Assembles a worker.
    pub(crate) fn worker(&self, client: Client) -> Result<Worker, Error> {
        Ok((self.assemble_worker)(client)?)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Program").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// A setting of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Key, such as `worker.concurrency`.
    pub key: &'static str,
    /// Value.
    pub value: String,
    /// Flag, such as `--concurrency`.
    pub flag: &'static str,
}
