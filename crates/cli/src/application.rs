//! What a program has to offer so that the verbs can work on it.

use std::path::PathBuf;
use std::sync::Arc;

use celeriac_broker::{Broker, BrokerOptions};
use celeriac_client::Client;
use celeriac_config::Problems;
use celeriac_telemetry::{Instance, TelemetryOptions};
use celeriac_topology::{RouteFunctions, RoutesOptions};
use celeriac_worker::{Registry, Worker};

use crate::error::Error;

/// A program whose configuration is not read yet. The façade's builder is one.
pub trait Application: Send {
    /// The program once its configuration is read.
    type Program: Program;

    /// Reads the configuration: from `directory`, or from where the program itself says, with `overrides` above all.
    ///
    /// # Errors
    /// With every problem of the configuration at once.
    fn load(self, directory: Option<PathBuf>, overrides: Vec<Override>) -> Result<Self::Program, Problems>;
}

/// A program that is configured and not connected.
pub trait Program: Send + Sync {
    /// The configuration in force, as YAML, secrets masked.
    fn configuration(&self) -> String;

    /// What it tells, and where to.
    fn telemetry(&self) -> &TelemetryOptions;

    /// Under which name it tells it.
    fn instance(&self) -> Instance;

    /// Exchanges, queues and routes.
    fn routes(&self) -> RoutesOptions;

    /// How to reach the broker.
    fn broker_options(&self) -> &BrokerOptions;

    /// The functions that routes may name.
    fn route_functions(&self) -> &RouteFunctions;

    /// Its tasks.
    fn registry(&self) -> &Registry;

    /// What a worker of it would say that the configuration alone does not: each a warning, on a line.
    ///
    /// # Errors
    /// When a worker could not be put together.
    fn check(&self) -> Result<Vec<String>, Error>;

    /// Whether what it sends stays inside this process.
    fn is_in_process(&self) -> bool;

    /// Its broker, to which it connects where it has to. The store of results is left alone.
    fn broker(&self) -> Result<Arc<dyn Broker>, Error>;

    /// Connects a client.
    fn client(&self) -> impl Future<Output = Result<Client, Error>> + Send;

    /// Puts a worker together.
    fn worker(&self, client: Client) -> Result<Worker, Error>;
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
