//! Tasks, for their authors and for the worker that runs them. In reading order:
//!
//! - `definition`, `tasks`, `registry`: a task's name and function, the tasks of a module, and
//!   those of a worker; `builtin`: Celery's own tasks;
//! - `context`, `received`: the access of a task to its message and its worker; `progress`: the
//!   states that a running task gives itself;
//! - `error`, `retry_options`, `result`: the return values of a task; `hooks`: functions around its
//!   attempts;
//! - `time_limits`: the time limits of an attempt, and the notice to end; `limit_overrides`: those
//!   that were changed at run time;
//! - `derived_id`: ids of the tasks that follow from a task.

pub(crate) mod builtin;
pub mod context;
pub(crate) mod definition;
pub(crate) mod derived_id;
pub(crate) mod error;
pub mod hooks;
pub(crate) mod limit_overrides;
pub(crate) mod progress;
pub(crate) mod received;
pub(crate) mod registry;
pub(crate) mod result;
pub(crate) mod retry_options;
pub(crate) mod tasks;
pub(crate) mod time_limits;
