//! Runs tasks.
//!
//! In reading order:
//!
//! - `lifecycle`: the life of one delivery, step by step; read it first;
//! - `broadcast`: what is sent to every worker becomes this worker's own; `direct`: what is sent to it by its name;
//! - `intake`, `decode`, `execute`, `decide`, `record`, `after`, `follow_up`: the steps;
//! - `transactional`: the steps of a task that commits its effects and its outcome together;
//! - `limits`, `cancellation`: how long an attempt may take, and how it is told to come to an end;
//! - `revoked`: what was revoked does not begin, or comes to an end; `poison`: what brings workers down does not for ever;
//! - [`hooks`]: what runs around an attempt, and may change how it ends;
//! - [`relay`]: tasks that were sent in a transaction go to the broker;
//! - `rate`: how often tasks start, where that is limited; [`Controls`]: what can be changed while a worker runs;
//! - `slots`, `prefetch`, `tuning`: how much runs at once, and how much is held beside it;
//! - [`handler`] and [`registry`]: what a task is to a worker, and which it knows; `builtin`: those of Celery's own;
//! - [`context`] and [`outcome`]: what a task sees, and what it may say;
//! - [`worker`]: starts, runs and stops all of it.

mod lifecycle;

mod intake;

mod slots;

mod prefetch;

mod tuning;

mod broadcast;
mod direct;

mod decode;

mod cancellation;
mod execute;
mod limits;
mod rate;

mod transactional;

mod poison;
mod revoked;

pub mod relay;

mod decide;

pub mod hooks;

mod follow_up;

mod record;

mod after;

mod builtin;

pub mod handler;
pub mod registry;

pub mod context;
pub mod outcome;

pub mod worker;

mod banner;
mod controls;
mod error;
mod options;
mod shutdown;

pub use cancellation::Cancellation;
pub use celeriac_topology::Prefetch;
pub use context::TaskContext;
pub use controls::Controls;
pub use error::{Error, Result};
pub use handler::{AsyncTask, BlockingTask, Registered, TaskDefinition, TaskReturn, TransactionalTask};
pub use hooks::{HookList, Hooks};
pub use options::WorkerOptions;
pub use outcome::{TaskError, TaskResult};
pub use registry::Registry;
pub use relay::Relay;
pub use shutdown::{Shutdown, on_signals};
pub use worker::{Farewell, Worker, WorkerParts, default_name};
