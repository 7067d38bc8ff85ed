//! The configuration as a whole: the options of each part under its key.
//!
//! The types here are the sections of `config/celeriac.yaml`. [`REFERENCE`] is that file, which
//! describes every key.

mod foreign_names;

use std::path::PathBuf;

use celeriac_config::{Loaded, Problem, Problems, Sources, did_you_mean, nearest};
use celeriac_topology::{Ladder, RouteFunctions, RoutesOptions, TaskOverrides, overrides};
use serde::{Deserialize, Serialize};

pub use celeriac_broker::{BrokerOptions, TlsOptions};
pub use celeriac_client::{ClientOptions, HeaderStyle};
pub use celeriac_config::{ByteSize, ConfigValue, Environment, Parsed, Secret};
pub use celeriac_protocol::DurationRange;
pub use celeriac_results::{BatchOptions, PoolOptions, ResultsOptions, RetentionRule, StatsOptions, TrackedStates};
pub use celeriac_telemetry::{LogFormat, LogOptions, OtlpProtocol, TelemetryOptions, TraceOptions, TraceRelation};
pub use celeriac_topology::overrides::{AttributeOnly, RedactedPaths};
pub use celeriac_topology::{
    Binding, ExchangeKind, ExchangeOptions, HeaderMatch, Overflow, Prefetch, QueueKind, QueueOptions, TaskOverride,
    TaskRoute,
};
pub use celeriac_worker::{ControlAccess, WorkerOptions};

/// The reference of all keys, with their defaults: the text of `config/celeriac.yaml`.
pub const REFERENCE: &str = include_str!("../config/celeriac.yaml");

/// Every option of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Connections to the broker.
    pub broker: BrokerOptions,
    /// The result store.
    pub results: ResultsOptions,
    /// Sending and awaiting tasks.
    pub client: ClientOptions,
    /// Workers.
    pub worker: WorkerOptions,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryOptions,
    /// The queue for tasks that match no route and declare no queue.
    pub default_queue: String,
    /// Exchanges by name.
    pub exchanges: indexmap::IndexMap<String, ExchangeOptions>,
    /// Queues by name.
    pub queues: indexmap::IndexMap<String, QueueOptions>,
    /// Routes of tasks. The first match decides.
    pub task_routes: Vec<TaskRoute>,
    /// Overrides of task options. For each key, the first matching entry that sets it wins.
    pub task_options: Vec<TaskOverride>,
}

impl Default for Settings {
    fn default() -> Self {
        let RoutesOptions { exchanges, queues, task_routes, default_queue } = RoutesOptions::default();
        Self {
            broker: BrokerOptions::default(),
            results: ResultsOptions::default(),
            client: ClientOptions::default(),
            worker: WorkerOptions::default(),
            telemetry: TelemetryOptions::default(),
            default_queue,
            exchanges,
            queues,
            task_routes,
            task_options: Vec::new(),
        }
    }
}

/// Sources of settings.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The directory with `celeriac.yaml` and `routes.yaml`.
    pub directory: Option<PathBuf>,
    /// The variables of the process.
    pub environment: Environment,
    /// Key, value and flag of command-line options.
    pub flags: Vec<(&'static str, String, &'static str)>,
    /// The functions that routes may name.
    pub functions: RouteFunctions,
    /// Exchanges, queues and routes that the program declares.
    pub declared: DeclaredRoutes,
}

/// Exchanges, queues and routes that a program declares in code.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct DeclaredRoutes {
    /// Exchanges by name.
    #[serde(skip_serializing_if = "indexmap::IndexMap::is_empty")]
    pub exchanges: indexmap::IndexMap<String, ExchangeOptions>,
    /// Queues by name.
    #[serde(skip_serializing_if = "indexmap::IndexMap::is_empty")]
    pub queues: indexmap::IndexMap<String, QueueOptions>,
    /// Routes of tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_routes: Vec<TaskRoute>,
}

impl DeclaredRoutes {
    /// Returns the declarations as YAML, of which JSON is a part.
    fn to_yaml(&self) -> Result<Option<String>, Problems> {
        if *self == Self::default() {
            return Ok(None);
        }
        let text = serde_json::to_string(self);
        text.map(Some).map_err(|error| Problems::from(vec![Problem::of_source(DECLARED, error.to_string())]))
    }
}

/// The name of declarations in code, in messages.
const DECLARED: &str = "the program";

impl Settings {
    /// Reads the settings.
    ///
    /// `CELERIAC_ENV` names a further file over the others, which has to exist: `production` is
    /// `production.yaml`.
    ///
    /// # Errors
    /// Returns all keys and values that cannot be read. If every source and every list entry could
    /// be read, also the contradictions between them.
    #[doc(hidden)]
    pub fn load(origins: &Origins) -> Result<Loaded<Self>, Problems> {
        let mut sources = Sources::new()
            .defaults("built-in defaults", REFERENCE)
            .file("routes.yaml")
            .environment_name(origins.environment.get("CELERIAC_ENV"))
            .environment(origins.environment.clone())
            .explain_unknown(foreign_names::explain);
        if let Some(declared) = origins.declared.to_yaml()? {
            sources = sources.declarations(DECLARED, declared);
        }
        if let Some(directory) = &origins.directory {
            sources = sources.directory(directory);
        }
        for (key, value, flag) in &origins.flags {
            sources = sources.flag(key, value.as_str(), *flag);
        }
        celeriac_config::load_with(&sources, |settings: &Self| {
            let functions = settings.routes().validate_functions(&origins.functions);
            settings.validate().into_iter().chain(functions).collect()
        })
    }

    /// Returns the problems of these settings, each with its full key.
    #[doc(hidden)]
    pub fn validate(&self) -> Vec<(String, String)> {
        let sections = [
            ("broker.", self.broker.validate()),
            ("results.", self.results.validate()),
            ("worker.", self.worker.validate()),
            ("telemetry.", self.telemetry.validate()),
            ("", overrides::problems(&self.task_options)),
            ("", self.routes().validate()),
            ("", self.routes().taken_from(&Ladder::new(&self.broker.delay_prefix))),
        ];
        let mut problems: Vec<_> = sections
            .into_iter()
            .flat_map(|(section, found)| {
                found.into_iter().map(move |(key, message)| (format!("{section}{key}"), message))
            })
            .collect();
        let topology = self.routes().topology();
        for (index, queue) in self.worker.queues.iter().enumerate() {
            if !topology.queues.contains_key(queue) {
                let near = did_you_mean(nearest(queue, topology.queues.keys().map(String::as_str)));
                let message = format!("queue `{queue}` is not declared{near}");
                problems.push((format!("worker.queues[{index}]"), message));
            } else if !topology.work_queues().any(|name| name == queue) {
                let message = format!("queue `{queue}` is a stream; workers consume no streams");
                problems.push((format!("worker.queues[{index}]"), message));
            }
        }
        problems
    }

    /// Returns the compiled overrides of task options. Empty if [`Settings::validate`] finds a
    /// problem.
    #[doc(hidden)]
    pub fn task_overrides(&self) -> TaskOverrides {
        TaskOverrides::new(&self.task_options).unwrap_or_default()
    }

    /// Returns exchanges, queues and routes.
    #[doc(hidden)]
    pub fn routes(&self) -> RoutesOptions {
        RoutesOptions {
            exchanges: self.exchanges.clone(),
            queues: self.queues.clone(),
            task_routes: self.task_routes.clone(),
            default_queue: self.default_queue.clone(),
        }
    }
}
