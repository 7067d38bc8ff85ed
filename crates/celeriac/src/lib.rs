//! Background tasks for Rust on RabbitMQ and Postgres, in Celery's wire protocol.
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
//! The same program runs as a worker with the verb `worker`; see [`cli::run`].
//!
//! Every type has one path:
//!
//! - the crate's root: programs, tasks, calls, clients, workers and outcomes;
//! - [`prelude`]: the imports of a program that defines and submits tasks. No name in it clashes
//!   with a name of `axum`, `serde_json`, `anyhow` or the standard prelude;
//! - [`hooks`]: code around attempts;
//! - [`events`]: events of workers and tasks;
//! - [`protocol`]: the values and bodies of messages;
//! - [`settings`]: the configuration as a whole;
//! - [`Error`] and [`errors`]: errors, and the causes in them;
//! - [`cli`]: the command line for your own binary.

pub mod prelude;
pub mod settings;

mod app;
mod error;
mod run_worker;
mod value;

pub use app::{Builder, Celeriac};
pub use error::{Error, ErrorKind, Result};
pub use run_worker::RunOptions;

pub use celeriac_macros::{task, tasks};

pub use celeriac_client::Error as ClientError;
pub use celeriac_client::{
    Call, CallOptions, Canvas, Chain, Chord, ChordHandle, Client, DynamicCall, Expiry, Follow, Group, GroupCounts,
    GroupHandle, Immutable, MapOf, Member, MemberEnd, Partial, Relations, RemoteControl, Revoke, SettledGroup,
    StarmapOf, Step, TaskHandle, TaskVerbs, When,
};
pub use celeriac_topology::{CallRoute, RouteDecision, RouteRequest, RouteTarget, SendOptions};

pub use celeriac_protocol::task::{AckMode, FieldPaths, TimeLimit};
pub use celeriac_protocol::{
    ErrorClass, RateLimit, RateUnit, RetryAnswer, RetryPolicy, RetryRule, RetryRules, Task, TaskOptions, TaskValue,
    TimeLimits,
};
pub use celeriac_worker::{
    AsyncTask, BlockingTask, Cancellation, IntoTaskDefinition, RetryOptions, TaskContext, TaskDefinition, TaskError,
    TaskFunction, TaskResult, TaskReturn, Tasks, TransactionalTask,
};

pub use celeriac_protocol::{ControlReply, Failure, TaskState};
pub use celeriac_results::{AttemptRecord, TaskRecord};

pub use celeriac_broker::{AmqpPool, BrokerHealth};
pub use celeriac_worker::{Controls, Shutdown, ShutdownReport, Worker};

pub use celeriac_results::PgConnection;
pub use celeriac_results::sqlx;
pub use jiff;

/// Code that runs around the attempts of tasks.
pub mod hooks {
    pub use celeriac_worker::hooks::{Decided, Hooks, Start, TaskOutput};
}

/// Events for Celery's monitors, and a monitor of one's own.
pub mod events {
    pub use celeriac_client::events::{EventLevel, EventStream, FleetState, FleetTask, FleetWorker, MonitorEvent};
}

/// Wire types: values, bodies and signatures as messages carry them.
pub mod protocol {
    pub use celeriac_protocol::failure::RevokeReason;
    pub use celeriac_protocol::signature::{SignatureError, SignatureKind};
    pub use celeriac_protocol::state::UnknownState;
    #[doc(hidden)]
    pub use celeriac_protocol::task::{joined_name, task_name};
    pub use celeriac_protocol::value::{ValueError, ValueIndex};
    pub use celeriac_protocol::{
        Accept, ArgumentError, Arguments, BigInt, Body, Codec, Compression, DecodeError, DecodeLimits, Embed,
        EncodeError, HeaderMap, KombuValue, Map, Parameter, Properties, Rest, Signature, Value,
    };
}

/// The errors of each part, as causes of an [`Error`].
pub mod errors {
    pub use celeriac_broker::{Error as BrokerError, PublishFault, TlsFault};
    pub use celeriac_client::{Awaited, ClientErrorKind};
    pub use celeriac_config::{Problem, Problems};
    pub use celeriac_protocol::UnitError;
    pub use celeriac_results::Error as ResultsError;
    pub use celeriac_topology::Error as RouteError;
    pub use celeriac_worker::Error as WorkerError;
}

/// The command line: every verb, for your own binary.
#[cfg(feature = "cli")]
pub mod cli {
    use std::ffi::OsString;

    pub use celeriac_cli::Exit;

    use crate::app::Builder;

    /// Runs the verb in the process's arguments.
    ///
    /// ```no_run
    /// use celeriac::cli::Exit;
    /// use celeriac::prelude::*;
    ///
    /// #[task]
    /// async fn email(to: String) -> TaskResult<()> {
    ///     tracing::info!(to, "sending");
    ///     Ok(())
    /// }
    ///
    /// #[tokio::main]
    /// async fn main() -> Exit {
    ///     celeriac::cli::run(Celeriac::from_config("config").tasks(tasks![email])).await
    /// }
    /// ```
    pub async fn run(app: Builder) -> Exit {
        run_with(app, std::env::args_os()).await
    }

    /// Runs the verb in these arguments. The first argument is the program's name.
    pub async fn run_with(app: Builder, arguments: impl IntoIterator<Item = OsString>) -> Exit {
        celeriac_cli::run(|directory, overrides| app.load(directory.as_deref(), overrides), arguments).await
    }
}
