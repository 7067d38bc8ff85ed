//! Tasks as their authors write them and as a worker knows them. In reading order:
//!
//! - `definition`, `registry`: a name and a way to run it, and all that a worker knows; `builtin`: Celery's own;
//! - `context`, `received`: what a task sees of its message and of its worker;
//! - `error`, `result`: what it may return; `hooks`: what runs around its attempts;
//! - `time_limits`: how long an attempt may take, and how it is told to come to an end;
//! - `derived_id`: ids of the tasks that follow from a task.

pub(crate) mod builtin;
pub mod context;
pub(crate) mod definition;
pub(crate) mod derived_id;
pub(crate) mod error;
pub mod hooks;
pub(crate) mod received;
pub(crate) mod registry;
pub(crate) mod result;
pub(crate) mod time_limits;
