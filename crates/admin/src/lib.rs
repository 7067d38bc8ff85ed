//! The operator's tools: they look at a broker from outside and change what stands on it. Workers do without them.
//!
//! In reading order:
//!
//! - [`mod@management`]: RabbitMQ's own view, over its HTTP API;
//! - [`plan`]: topology as code: the difference between files and broker, and its end;
//! - [`migrate`]: moves a queue to another;
//! - [`dead`]: dead letters as values, put back or thrown away;
//! - `startup_checks`: warnings of what only the management API shows, when a program starts.

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
