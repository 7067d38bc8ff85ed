//! The operator's tools: they inspect and change a broker. Workers do without them.
//!
//! In reading order:
//!
//! - [`mod@management`]: client of RabbitMQ's management API
//! - [`plan`]: topology as code: compares a broker with files, and applies the differences
//! - [`migrate`]: moves bindings and messages of a queue to another queue
//! - [`dead`]: lists, replays and purges dead letters
//! - `startup_checks`: warnings at the start that need the management API

pub mod management;

pub mod plan;

pub mod migrate;

pub mod dead;

mod startup_checks;

mod error;

pub use dead::{DeadLetter, Filter};
pub use error::{Error, Result};
pub use management::{Management, management};
pub use migrate::QueueMigration;
pub use startup_checks::startup_checks;
