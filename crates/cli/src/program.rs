//! The program that the verbs work on.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use celeriac_broker::{Broker, BrokerOptions};
use celeriac_client::Client;
use celeriac_results::ResultsOptions;
use celeriac_telemetry::{Instance, TelemetryOptions};
use celeriac_topology::{RouteFunctions, RoutesOptions};
use celeriac_worker::{Error as WorkerError, Registry, Worker};

use crate::error::Error;

/// A program that is configured and not connected. The façade fills it.
pub struct Program {
    /// The configuration in force, as YAML, secrets masked.
    pub configuration: String,
    /// Section `telemetry` of the configuration.
    pub telemetry: TelemetryOptions,
    /// Identity in telemetry.
    pub instance: Instance,
    /// Section `broker` of the configuration.
    pub broker: BrokerOptions,
    /// Name of its connections to the broker.
    pub connection_name: String,
    /// Section `results` of the configuration.
    pub results: ResultsOptions,
    /// Exchanges, queues and routes.
    pub routes: RoutesOptions,
    /// Functions that routes may name.
    pub route_functions: RouteFunctions,
    /// Tasks.
    pub registry: Registry,
    /// Warnings that a worker of it logs at its start.
    pub warnings: Vec<String>,
    /// Connects a client.
    pub connect_client: ConnectClient,
    /// Puts a worker together.
    pub assemble_worker: AssembleWorker,
}

/// Connects a client to the database and the broker of a program.
pub type ConnectClient = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Client, Error>> + Send>> + Send + Sync>;

/// Puts a worker of a program together.
pub type AssembleWorker = Box<dyn Fn(Client) -> Result<Worker, WorkerError> + Send + Sync>;

impl Program {
    /// Returns true if tasks that it sends stay inside this process.
    pub(crate) fn is_in_process(&self) -> bool {
        self.broker.url.expose().starts_with("memory://")
    }

    /// Opens its broker, which connects where it has to. The result store is left alone.
    pub(crate) fn open_broker(&self) -> Result<Arc<dyn Broker>, Error> {
        let checks = celeriac_admin::startup_checks(&self.broker);
        celeriac_broker::connect_with_checks(&self.broker, &self.connection_name, checks).map_err(Error::Broker)
    }

    /// Connects a client.
    pub(crate) async fn client(&self) -> Result<Client, Error> {
        (self.connect_client)().await
    }

    /// Puts a worker together.
    pub(crate) fn worker(&self, client: Client) -> Result<Worker, Error> {
        Ok((self.assemble_worker)(client)?)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Program").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The key, such as `worker.concurrency`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The flag, as it was written.
    pub flag: &'static str,
}
