//! Background work for teams that run RabbitMQ and Postgres, on Celery's wire protocol.
//!
//! ```no_run
//! use celeriac::prelude::*;
//!
//! #[task(name = "orders.charge", max_retries = 5, retry_backoff = "1s..10m")]
//! async fn charge(ctx: TaskContext, order: String, cents: i64) -> TaskResult<i64> {
//!     tracing::info!(attempt = ctx.attempt(), order, "charging");
//!     Ok(cents)
//! }
//!
//! # async fn example() -> celeriac::Result<()> {
//! let app = Celeriac::from_config("config").tasks(tasks![charge]).build()?;
//! let client = app.client().await?;
//! let handle = charge("A-17".to_owned(), 1299).delay(minutes(5)).submit(&client).await?;
//! let charged: i64 = handle.get().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A worker is the same program, started with the verb `worker`; see [`cli::run`].
//!
//! - [`prelude`]: what a program that defines and sends tasks needs;
//! - [`app`]: from a configuration and some tasks to a client or a worker;
//! - [`settings`]: the configuration as a whole;
//! - [`Error`]: what can go wrong, and what to do about it.

pub mod app;
pub mod prelude;
pub mod settings;

mod error;

pub use app::{Builder, Celeriac};
pub use error::{Error, ErrorKind, Result};
pub use settings::Settings;

pub use celeriac_macros::{task, tasks};

pub use celeriac_broker::{Broker, BrokerHealth};
pub use celeriac_client::Error as ClientError;
pub use celeriac_client::{Call, Chain, Client, ClientOptions, DynamicCall, HeaderStyle, TaskHandle};
pub use celeriac_protocol::compression::Compression;
pub use celeriac_protocol::signature::Signature;
pub use celeriac_protocol::task::{AckMode, TimeLimit};
pub use celeriac_protocol::value::{BigInt, KombuValue};
pub use celeriac_protocol::{
    Arguments, Body, Codec, ErrorClass, Failure, Map, Parameter, RateLimit, RetryAnswer, RetryPolicy, RetryRule,
    RetryRules, Task, TaskOptions, TaskState, Value,
};
pub use celeriac_results::sqlx;
pub use celeriac_results::{AttemptRecord, PgConnection, TaskRecord};
pub use celeriac_topology::{RouteDecision, RouteRequest};
pub use celeriac_worker::hooks;
pub use celeriac_worker::{
    AsyncTask, BlockingTask, Cancellation, Controls, Hooks, IntoTaskDefinition, Shutdown, TaskContext, TaskDefinition,
    TaskError, TaskResult, TaskReturn, TransactionalTask, Worker,
};

/// The command line: every verb, for your own binary.
#[cfg(feature = "cli")]
pub mod cli {
    use std::ffi::OsString;

    pub use celeriac_cli::Exit;

    use crate::app::Builder;

    /// Runs the verb in the process's arguments.
    pub async fn run(app: Builder) -> Exit {
        run_with(app, std::env::args_os()).await
    }

    /// Runs the verb in these arguments; the first is the program's name.
    pub async fn run_with(app: Builder, arguments: impl IntoIterator<Item = OsString>) -> Exit {
        celeriac_cli::run(|directory, overrides| app.load(directory.as_deref(), overrides), arguments).await
    }
}
