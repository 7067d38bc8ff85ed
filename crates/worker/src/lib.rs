//! Runs tasks.
//!
//! In reading order:
//!
//! - `lifecycle`: the life of one delivery, step by step; read it first;
//! - `broadcast`: what is sent to every worker becomes this worker's own; `direct`: what is sent to it by its name;
//! - `intake`, `decode`, `execute`, `decide`, `record`, `after`, `follow_up`: the steps;
//! - `revoked`: what was revoked does not begin, or comes to an end; `poison`: what brings workers down does not for ever;
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

mod execute;

mod poison;
mod revoked;

mod decide;

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
mod error;
mod options;
mod shutdown;

pub use celeriac_broker::Prefetch;
pub use context::TaskContext;
pub use error::{Error, Result};
pub use handler::{AsyncTask, BlockingTask, Registered, TaskDefinition, TaskReturn};
pub use options::WorkerOptions;
pub use outcome::{TaskError, TaskResult};
pub use registry::Registry;
pub use shutdown::{Shutdown, on_signals};
pub use worker::{Farewell, Worker, WorkerParts, default_name};
