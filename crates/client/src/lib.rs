//! Submit tasks and await their results.
//!
//! In reading order:
//!
//! - [`call`]: a task with its arguments and options, not yet sent;
//! - [`client`]: who sends it;
//! - [`submit`]: how a call becomes a message on a queue;
//! - [`handle`]: how its outcome is awaited;
//! - `replies`: how outcomes come that are not stored.

pub mod call;

pub mod client;

pub mod submit;

pub mod handle;

mod replies;

mod error;
mod options;

pub use call::{Call, CallOptions};
pub use client::Client;
pub use error::{Awaited, Error, Result};
pub use handle::TaskHandle;
pub use options::ClientOptions;
pub use submit::Request;
