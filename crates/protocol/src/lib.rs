//! Task messages: their form, and the ways to write and read them.
//!
//! Pure: no I/O, no clock, no runtime. In reading order:
//!
//! - [`value`]: a dynamic value, the common ground of JSON, MessagePack and AMQP field tables;
//! - [`headers`] and [`message`]: what travels through the broker;
//! - [`codec`] and [`compression`]: bytes to values and back; [`codec_error`]: why not;
//! - [`body`] and [`legacy`]: arguments and what they carry with them, in today's form and in that of protocol 1;
//! - [`signature`]: a task to be called later, such as the next step of a chain;
//! - [`incoming`]: a message to the task that it asks for;
//! - [`task`] and [`arguments`]: what a task is called, takes and returns;
//! - [`retry`]: when to try again;
//! - [`state`] and [`failure`]: how a task ended;
//! - [`meta`]: how that is told to Celery, and by it.
//! - [`repr`](mod@repr): how arguments are shown to people.

pub mod value;

pub mod headers;
pub mod message;

pub mod codec_error;

pub mod codec;
mod codecs;
pub mod compression;

pub mod body;
pub mod legacy;

pub mod signature;

pub mod incoming;

pub mod arguments;
pub mod task;

pub mod retry;

pub mod failure;
pub mod state;

pub mod meta;

pub mod repr;

mod time;

pub use celeriac_units::RateLimit;

pub use arguments::{ArgumentError, Arguments, Parameter};
pub use body::Body;
pub use codec::{Accept, Codec, DecodeLimits};
pub use codec_error::{DecodeError, EncodeError};
pub use compression::Compression;
pub use failure::Failure;
pub use headers::{Appearance, HeaderError, HeaderMap, TaskHeaders, TimeLimits};
pub use incoming::Unreadable;
pub use message::{Message, Properties};
pub use meta::{MetaError, ResultMeta};
pub use retry::{ErrorClass, RetryAnswer, RetryPolicy, RetryRule, RetryRules};
pub use signature::{Embed, Signature};
pub use state::TaskState;
pub use task::{Task, TaskOptions};
pub use time::sent_at;
pub use value::{BigInt, KombuValue, Map, Value};
