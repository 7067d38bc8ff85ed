//! A program's configuration and tasks, and the clients and workers made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use celeriac_broker::{AmqpPool, Broker};
use celeriac_client::Client;
use celeriac_client::client::SendLimits;
use celeriac_config::{Environment, Loaded, Problem, Problems, did_you_mean, nearest};
use celeriac_protocol::{Accept, DecodeLimits};
use celeriac_results::LastError;
use celeriac_telemetry::Event;
use celeriac_telemetry::events::config::OverrideUnmatched;
use celeriac_topology::{RouteDecision, RouteFunction, RouteFunctions, RouteRequest, Router};
use celeriac_worker::context::SharedState;
use celeriac_worker::{HookList, Hooks, Registry, ShownSettings, TaskDefinition, Worker, WorkerParts};

use crate::error::Result;
use crate::settings::{DeclaredRoutes, ExchangeOptions, Origins, QueueOptions, Settings, TaskRoute};

/// A program: its configuration and its tasks. It connects when it makes a client.
///
/// ```no_run
/// use celeriac::prelude::*;
///
/// #[task]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
///
/// # async fn example() -> celeriac::Result<()> {
/// let app = Celeriac::from_config("config").tasks(tasks![charge]).build()?;
/// let client = app.client().await?;
/// let worker = app.worker(client.clone())?;
/// # let _ = worker;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Celeriac {
    settings: Loaded<Settings>,
    registry: Registry,
    state: SharedState,
    hooks: HookList,
    functions: RouteFunctions,
    pool: Option<AmqpPool>,
}

/// The parts of a program, before its configuration is read.
///
/// ```
/// use celeriac::prelude::*;
///
/// struct Mailer {
///     sender: &'static str,
/// }
///
/// #[task]
/// async fn email(ctx: TaskContext, to: String) -> TaskResult<()> {
///     println!("from {} to {to}", ctx.state::<Mailer>()?.sender);
///     Ok(())
/// }
///
/// let builder = Celeriac::builder()
///     .config_if_present("config")
///     .tasks(tasks![email])
///     .state(Mailer { sender: "shop@example.org" })
///     .set("broker.url", "memory://example");
/// # let _ = builder;
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until `build`, or until `celeriac::cli::run` takes it"]
pub struct Builder {
    directory: Directory,
    environment: Environment,
    tasks: Vec<TaskDefinition>,
    state: SharedState,
    hooks: HookList,
    functions: RouteFunctions,
    pool: Option<AmqpPool>,
    declared: DeclaredRoutes,
    flags: Vec<(&'static str, String, &'static str)>,
}

#[derive(Debug)]
enum Directory {
    None,
    Required(PathBuf),
    IfPresent(PathBuf),
}

/// An error of connecting a client.
enum ConnectError {
    Broker(celeriac_broker::Error),
    Results(celeriac_results::Error),
}

impl From<ConnectError> for crate::Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Broker(error) => error.into(),
            ConnectError::Results(error) => error.into(),
        }
    }
}

impl Celeriac {
    /// Starts a program that reads its configuration from the files of a directory and from the
    /// environment.
    ///
    /// A directory that does not exist is an error of [`Builder::build`].
    pub fn from_config(directory: impl Into<PathBuf>) -> Builder {
        Builder { directory: Directory::Required(directory.into()), ..Self::builder() }
    }

    /// Starts a program that reads its configuration from the environment alone.
    pub fn builder() -> Builder {
        Builder {
            directory: Directory::None,
            environment: Environment::from_process(),
            tasks: Vec::new(),
            state: SharedState::default(),
            hooks: HookList::default(),
            functions: RouteFunctions::default(),
            pool: None,
            declared: DeclaredRoutes::default(),
            flags: Vec::new(),
        }
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings.options
    }

    /// Iterates over the tasks of the program, by name, with the options in force.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskDefinition> {
        self.registry.iter()
    }

    /// Makes a client. It connects to the database now, and to the broker with the first task.
    ///
    /// # Errors
    /// Returns an error if the database cannot be used, or if the settings contradict each other.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.connect(LastError::default()).await?)
    }

    /// Connects a client. `last_error` keeps the error of each failed attempt to reach the
    /// database.
    async fn connect(&self, last_error: LastError) -> Result<Client, ConnectError> {
        let settings = self.settings();
        let broker = self.open_broker().map_err(ConnectError::Broker)?;
        let router = Router::new(&settings.routes()).and_then(|router| router.with_functions(&self.functions));
        let router = router.map_err(|error| ConnectError::Broker(error.into()))?;
        let results = celeriac_results::connect_watched(&settings.results, last_error).await;
        let results = results.map_err(ConnectError::Results)?;
        let limits = SendLimits { message_size: self.limits().size, window: settings.broker.confirm_window };
        let mut options = settings.client.clone();
        options.request_replies |= settings.results.are_replies();
        let results = (results, settings.results.track);
        Ok(Client::new(broker, Arc::new(router), results, options, Arc::new(settings.task_overrides()), limits))
    }

    fn open_broker(&self) -> celeriac_broker::Result<Arc<dyn Broker>> {
        let options = &self.settings().broker;
        #[cfg(feature = "cli")]
        let checks = celeriac_admin::startup_checks(options);
        // Without the command line there is no client of the management API.
        #[cfg(not(feature = "cli"))]
        let checks = None;
        match &self.pool {
            Some(pool) => celeriac_broker::connect_on_pool(pool.clone(), options, checks),
            None => celeriac_broker::connect_with_checks(options, &self.connection_name(), checks),
        }
    }

    fn connection_name(&self) -> String {
        let settings = self.settings();
        match settings.worker.name {
            Some(ref name) => celeriac_worker::worker_name(Some(name)),
            None => settings.telemetry.service_name.clone(),
        }
    }

    /// Makes a worker, which shares the client's connections to the database and its broker.
    ///
    /// # Errors
    /// Returns an error if a configured queue is not declared, or if a transactional task is
    /// registered and the result store is not Postgres.
    pub fn worker(&self, client: Client) -> Result<Worker> {
        Ok(self.assemble(client)?)
    }

    fn assemble(&self, client: Client) -> celeriac_worker::Result<Worker> {
        let settings = self.settings();
        self.warn_of_unmatched_overrides();
        Worker::new(WorkerParts {
            options: settings.worker.clone(),
            results: settings.results.clone(),
            registry: self.registry.clone(),
            topology: settings.routes().topology(),
            client,
            state: self.state.clone(),
            hooks: self.hooks.clone(),
            consumer_timeout: settings.broker.consumer_timeout,
            limits: DecodeLimits {
                accept: Accept::only(&settings.worker.accept_content),
                values: settings.worker.max_body_values,
                ..self.limits()
            },
            broker_url: settings.broker.url.masked(),
            results_url: settings.results.url.masked(),
            settings: shown_settings(settings),
        })
    }

    /// Warns of overrides that match none of the program's tasks. They may be for another program,
    /// so they are no error.
    fn warn_of_unmatched_overrides(&self) {
        for (key, problem) in self.unmatched_overrides() {
            OverrideUnmatched { key: &key, error: &problem }.emit();
        }
    }

    fn unmatched_overrides(&self) -> Vec<(String, String)> {
        let tasks: Vec<_> = self.registry.iter().map(|task| task.name).collect();
        if tasks.is_empty() {
            return Vec::new();
        }
        self.settings().task_overrides().unmatched(&tasks)
    }

    fn limits(&self) -> DecodeLimits {
        let size = usize::try_from(self.settings().broker.max_message_size.bytes()).unwrap_or(usize::MAX);
        DecodeLimits { size, ..DecodeLimits::default() }
    }
}

/// Returns the settings as remote control shows them. Secrets mask themselves.
fn shown_settings(settings: &Settings) -> ShownSettings {
    let json = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    ShownSettings { in_force: json(settings), defaults: json(&Settings::default()) }
}

impl Builder {
    /// Reads the files of a directory if it exists.
    pub fn config_if_present(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Directory::IfPresent(directory.into());
        self
    }

    /// Adds tasks, such as `tasks![charge, email]` or those of a module: `orders::tasks()`.
    pub fn tasks(mut self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Self {
        self.tasks.extend(tasks);
        self
    }

    /// Adds a value for [`TaskContext::state`](crate::TaskContext::state). It replaces a value of
    /// the same type.
    pub fn state<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.shared(Arc::new(value))
    }

    /// Adds a value as [`Builder::state`] does, one that the rest of the program shares.
    pub fn shared<T: Send + Sync + 'static>(mut self, value: Arc<T>) -> Self {
        self.state.insert(value);
        self
    }

    /// Adds hooks around every attempt of every task, inside those added before.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks.add(hooks);
        self
    }

    /// Declares a queue, as `queues.<name>` of the configuration does.
    ///
    /// ```
    /// use celeriac::prelude::*;
    /// use celeriac::settings::{Binding, ExchangeKind, ExchangeOptions, QueueKind, QueueOptions, TaskRoute};
    ///
    /// # fn main() -> celeriac::Result<()> {
    /// let orders = ExchangeOptions { kind: ExchangeKind::Topic, ..ExchangeOptions::default() };
    /// let urgent = QueueOptions {
    ///     kind: QueueKind::Classic,
    ///     max_priority: Some(9),
    ///     bindings: vec![Binding::new("orders", "*.urgent")],
    ///     ..QueueOptions::default()
    /// };
    /// let app = Celeriac::builder()
    ///     .set("broker.url", "memory://example")
    ///     .exchange("orders", orders)
    ///     .queue("urgent", urgent)
    ///     .task_route(TaskRoute { task: "orders.*".into(), queue: Some("urgent".into()), ..TaskRoute::default() })
    ///     .build()?;
    /// assert!(app.settings().queues.contains_key("urgent"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It is checked with the configuration, whose files and variables win over it, key by key. A
    /// second declaration of a name replaces the first.
    pub fn queue(mut self, name: impl Into<String>, options: QueueOptions) -> Self {
        self.declared.queues.insert(name.into(), options);
        self
    }

    /// Declares an exchange, as `exchanges.<name>` of the configuration does: see
    /// [`Builder::queue`].
    pub fn exchange(mut self, name: impl Into<String>, options: ExchangeOptions) -> Self {
        self.declared.exchanges.insert(name.into(), options);
        self
    }

    /// Adds a route of tasks behind those that were added before. The first that matches a call
    /// decides. `task_routes` of the configuration replaces all of them.
    pub fn task_route(mut self, route: TaskRoute) -> Self {
        self.declared.task_routes.push(route);
        self
    }

    /// Adds a route function. An entry of `task_routes` names it:
    /// `- { task: "orders.*", function: by_region }`.
    ///
    /// The function runs for every call that matches its entry. It returns where the call goes, or
    /// `None` for the next entry to decide. It should be quick, and return the same for the same
    /// call. It replaces a function of the same name.
    ///
    /// ```
    /// # use celeriac::prelude::*;
    /// use celeriac::{RouteDecision, RouteRequest};
    ///
    /// let app = Celeriac::builder().route("by_region", |call: &RouteRequest<'_>| {
    ///     let region = call.kwargs.get("region")?.as_str()?;
    ///     Some(RouteDecision::queue(format!("billing-{region}")))
    /// });
    /// ```
    pub fn route(
        mut self,
        name: impl Into<String>,
        function: impl Fn(&RouteRequest<'_>) -> Option<RouteDecision> + Send + Sync + 'static,
    ) -> Self {
        let function: RouteFunction = Arc::new(function);
        self.functions = self.functions.with(name, function);
        self
    }

    /// Accepts routes that name functions which this program does not have, as operators' tools do.
    /// A call that such a function would route is an error.
    pub fn functions_elsewhere(mut self) -> Self {
        self.functions = RouteFunctions::Elsewhere;
        self
    }

    /// Takes the connections to the broker from a pool of the program: a `deadpool_lapin::Pool` of
    /// version 0.14. Default: connections of the client's own.
    ///
    /// The pool needs two connections for each client. One publishes, and the broker may block it.
    /// The other does everything else. Both return to the pool when the client is closed. Of the
    /// section `broker`, `url`, `tls` and `heartbeat` have no effect.
    pub fn broker_pool(mut self, pool: impl Into<AmqpPool>) -> Self {
        self.pool = Some(pool.into());
        self
    }

    /// Sets a key, above files and environment: `.set("broker.url", "memory://test")`.
    pub fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.flags.push((key, value.into(), "set by the program"));
        self
    }

    /// Reads these variables instead of those of the process.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// Returns an error with all problems of the configuration. Problems between the tasks and the
    /// configuration, and two tasks of one name, are reported once the configuration itself is in
    /// order.
    pub fn build(self) -> Result<Celeriac> {
        Ok(self.read(None)?)
    }

    fn read(self, directory: Option<&Path>) -> Result<Celeriac, Problems> {
        let directory = match (directory, self.directory) {
            (Some(given), _) => Some(given.to_owned()),
            (None, Directory::Required(own)) => Some(own),
            (None, Directory::IfPresent(own)) => Some(own).filter(|own| own.is_dir()),
            (None, Directory::None) => None,
        };
        let functions = self.functions;
        let Self { environment, flags, declared, .. } = self;
        let origins = Origins { directory, environment, flags, functions, declared };
        let settings = Settings::load(&origins)?;
        let registry = Registry::new(self.tasks).map_err(|error| {
            let help = error.help().map_or_else(String::new, |help| format!("; {help}"));
            Problems::from(vec![Problem::of_source("the program", format!("{error}{help}"))])
        })?;
        let strays = stray_queues(&registry, &settings.options);
        if !strays.is_empty() {
            return Err(Problems::from(strays));
        }
        let overrides = settings.options.task_overrides();
        let registry = registry
            .in_force(&overrides, &settings.options.worker)
            .map_err(|found| problems_of_tasks(&settings, found))?;
        Ok(Celeriac {
            settings,
            registry,
            state: self.state,
            hooks: self.hooks,
            functions: origins.functions,
            pool: self.pool,
        })
    }
}

/// Returns the problems of tasks, each with its key or as the program's own.
fn problems_of_tasks(settings: &Loaded<Settings>, found: Vec<(Option<String>, String)>) -> Problems {
    let (keyed, own): (Vec<_>, Vec<_>) = found.into_iter().partition(|(key, _)| key.is_some());
    let keyed = keyed.into_iter().map(|(key, message)| (key.unwrap_or_default(), message));
    let own = own.into_iter().map(|(_, message)| Problem::of_source("the program", message));
    Problems::from(settings.problems(keyed).into_iter().chain(own).collect::<Vec<_>>())
}

/// Returns the problems of tasks whose own queue is not declared.
fn stray_queues(registry: &Registry, settings: &Settings) -> Vec<Problem> {
    let topology = settings.routes().topology();
    let known = || topology.queues.keys().map(String::as_str);
    let named = registry.iter().filter_map(|task| Some((task.name, task.options.queue?)));
    let strays = named.filter(|(_, queue)| !topology.queues.contains_key(*queue)).map(|(task, queue)| {
        let near = did_you_mean(nearest(queue, known()));
        Problem::of_source("the program", format!("task `{task}`: queue `{queue}` is not declared{near}"))
    });
    strays.collect()
}

#[cfg(feature = "cli")]
mod command_line {
    use celeriac_cli::{Error, Override, Program};
    use celeriac_telemetry::Instance;

    use super::*;

    impl Builder {
        /// Reads the configuration, from `directory` if given, with `overrides` above all.
        pub(crate) fn load(mut self, directory: Option<&Path>, overrides: Vec<Override>) -> Result<Program, Problems> {
            self.flags.extend(overrides.into_iter().map(|given| (given.key, given.value, given.flag)));
            Ok(self.read(directory)?.into_program())
        }
    }

    impl Celeriac {
        fn into_program(self) -> Program {
            let name = celeriac_worker::worker_name(self.settings().worker.name.as_deref());
            let app = Arc::new(self);
            let (connecting, assembling) = (Arc::clone(&app), Arc::clone(&app));
            let settings = app.settings();
            Program {
                configuration: app.settings.show(),
                telemetry: settings.telemetry.clone(),
                instance: Instance { name, version: env!("CARGO_PKG_VERSION").to_owned() },
                broker: settings.broker.clone(),
                connection_name: app.connection_name(),
                results: settings.results.clone(),
                relay_undeclared: settings.worker.relay_undeclared,
                routes: settings.routes(),
                route_functions: app.functions.clone(),
                registry: app.registry.clone(),
                overrides: settings.task_overrides(),
                warnings: app
                    .unmatched_overrides()
                    .into_iter()
                    .map(|(key, problem)| format!("{key}: {problem}"))
                    .collect(),
                connect_client: Box::new(move |last_error| {
                    let app = Arc::clone(&connecting);
                    Box::pin(async move {
                        app.connect(last_error).await.map_err(|error| match error {
                            ConnectError::Broker(error) => Error::Broker(error),
                            ConnectError::Results(error) => Error::Results(error),
                        })
                    })
                }),
                assemble_worker: Box::new(move |client| assembling.assemble(client)),
            }
        }
    }
}
