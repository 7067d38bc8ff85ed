//! Every verb of the command line, as a library for your own binary.
//!
//! In reading order:
//!
//! - [`program`]: the program that the verbs work on
//! - [`args`]: verbs and flags
//! - [`run()`]: from the process's arguments to its exit code
//! - `verbs`: one file for each verb
//! - [`Exit`]: exit codes
//! - `ending`: the bounded end of verbs that signals stop
//! - `output`: the only place that prints
//! - `audit`: the audit row of a verb that changes something
//! - `waiting`: notices of verbs that wait for a server

pub mod program;

pub mod args;

mod run;

mod verbs;

mod exit;

mod audit;
mod ending;
mod error;
mod output;
mod table;
mod waiting;

pub use error::Error;
pub use exit::Exit;
pub use program::{Override, Program};
pub use run::run;
