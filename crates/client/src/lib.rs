//! Submit tasks and await their results.
//!
//! In reading order:
//!
//! - [`call`]: a task with its arguments and options, not yet sent;
//! - [`client`]: the broker, routes and store that it is sent with;
//! - [`submit`]: how a call becomes a message on a queue, or a row in the caller's own transaction;
//! - [`chain`] and `signature`: what is sent when others have ended;
//! - [`handle`]: how its outcome is awaited;
//! - [`revoke`]: how it is called back;
//! - `replies`: how outcomes come that are not stored.

pub mod call;

pub mod client;

pub mod submit;

pub mod chain;
mod signature;

pub mod handle;

pub mod revoke;

mod replies;

mod error;
mod options;

pub use call::{Call, CallOptions, Expiry, Follow, Relations, When};
pub use chain::Chain;
pub use client::{Client, Lineage};
pub use error::{Awaited, ClientErrorKind, Error, Result};
pub use handle::TaskHandle;
pub use options::{ClientOptions, HeaderStyle};
pub use revoke::Revoke;
pub use submit::{DynamicCall, PreparedTask};
