//! Submit tasks and await their results.
//!
//! In reading order:
//!
//! - [`call`]: a task with its arguments and options, not yet submitted;
//! - [`client`]: broker, routes and result store; `children`: the tasks and groups that a running
//!   task has sent;
//! - [`submit`]: makes a call a message on a queue, or a row in the caller's own transaction;
//! - [`canvas`] and [`partial`]: the types of tasks that belong together, and of their steps;
//!   [`chain`], [`group`] and [`chord`]: such tasks; `steps` and `signature`: as Celery's
//!   signatures;
//! - [`handle`]: awaits the outcome of a task; [`group_handle`]: those of a group;
//! - [`revoke`]: revokes tasks;
//! - [`control`]: remote control of workers;
//! - [`events`]: events for Celery's monitors;
//! - `replies`: outcomes that arrive as messages.

pub mod call;

mod children;
pub mod client;

pub mod submit;

pub mod canvas;
pub mod chain;
pub mod chord;
pub mod group;
pub mod group_handle;
pub mod partial;
mod signature;
mod steps;

pub mod handle;

pub mod revoke;

pub mod control;
pub mod events;

mod replies;

mod error;
mod member_end;
mod options;

pub use call::{Call, CallOptions, Expiry, Follow, Relations, When};
pub use canvas::{Canvas, Immutable, Member, Step};
pub use chain::Chain;
pub use children::Children;
pub use chord::{Chord, SettledGroup};
pub use client::{Client, Lineage};
pub use control::RemoteControl;
pub use error::{Awaited, ClientErrorKind, Error, Result};
pub use group::Group;
pub use group_handle::{ChordHandle, GroupCounts, GroupHandle};
pub use handle::TaskHandle;
pub use member_end::MemberEnd;
pub use options::{ClientOptions, HeaderStyle};
pub use partial::{MapOf, Partial, StarmapOf, TaskVerbs};
pub use revoke::Revoke;
pub use submit::{DynamicCall, PreparedTask, StoredCall};
