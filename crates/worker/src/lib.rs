//! Runs tasks.
//!
//! In reading order:
//!
//! - `attempt`: the steps of one delivery, from its arrival to its settlement; read
//!   `attempt/process.rs` first;
//! - `intake`: takes deliveries of each queue, as many at once as there are slots; `slots`,
//!   `threads`: the slots and threads in which tasks run; `suspect_turns`: the turns of tasks that
//!   may have crashed a worker; `running_tasks`: the attempts in progress, which it reports if they
//!   do not yield;
//! - `own_queues`: the queues of one worker alone;
//! - `live_queues`: the queues that are consumed at present; `start_counts`: the number of starts
//!   of each task; `revoked_stamps`: stamps whose tasks are revoked;
//! - `rate_limits`: the limits for starts of tasks; [`Controls`]: settings that can change while a
//!   worker runs;
//! - `task`: what authors of tasks use: definition, registry, context, errors, [`hooks`], limits;
//!   and Celery's own tasks;
//! - `runtime`: the state that attempts share; `hold`: waits of messages; `panics`: turns those of
//!   users' code into errors;
//! - `reply_message`: the message of a reply;
//! - `follow_up_size`, `memory`: budgets for what a message makes the worker build; `allowed`: the
//!   queues that it may make the worker publish to;
//! - `control`: Celery's remote control; `remote_commands`: the table of its commands;
//! - [`relay`]: sends tasks of committed transactions to the broker;
//! - [`worker`]: starts, runs and stops all of these; `name`: its name; `shutdown`: the requests to
//!   stop.

mod attempt;

mod intake;
mod live_queues;
mod overdue_chords;
mod own_queues;
mod panics;
mod revoked_stamps;
mod running_tasks;
mod slots;
mod start_counts;
mod suspect_turns;
mod threads;

mod hold;
mod rate_limits;
mod runtime;

mod allowed;
mod follow_up_size;
mod memory;

mod reply_message;

mod task;

mod control;
mod remote_commands;

pub mod relay;

pub mod worker;

mod controls;
mod error;
mod name;
mod options;
mod shutdown;

pub use celeriac_topology::Prefetch;
pub use control::node::ShownSettings;
pub use controls::Controls;
pub use error::{Error, Result};
pub use name::worker_name;
pub use options::WorkerOptions;
pub use relay::Relay;
pub use remote_commands::ControlAccess;
pub use running_tasks::RunningTasks;
pub use shutdown::{Shutdown, on_signals};
pub use task::context::TaskContext;
pub use task::definition::{
    AsyncTask, BlockingTask, IntoTaskDefinition, TaskDefinition, TaskFunction, TaskReturn, TransactionalTask,
};
pub use task::error::{TaskError, TaskResult};
pub use task::hooks::{HookList, Hooks};
pub use task::registry::Registry;
pub use task::retry_options::RetryOptions;
pub use task::tasks::Tasks;
pub use task::time_limits::Cancellation;
pub use task::{context, hooks};
pub use worker::{ShutdownReport, Worker, WorkerParts};
