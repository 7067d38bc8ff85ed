//! Every verb of the command line, as a library for your own binary.
//!
//! In reading order:
//!
//! - [`application`]: what a program has to offer so that the verbs can work on it;
//! - [`args`]: verbs and flags;
//! - [`run()`]: from the process's arguments to its exit code;
//! - `verbs`: one file each;
//! - [`exit`]: what the exit codes mean;
//! - `ending`: how long a verb that was told to stop may take;
//! - `output`: the only place that prints.

pub mod application;

pub mod args;

mod run;

mod verbs;

pub mod exit;

mod ending;
mod error;
mod output;

pub use application::{Application, Override, Program};
pub use error::Error;
pub use run::{run, run_with};
