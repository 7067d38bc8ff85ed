//! Task messages: their format, and functions that write and read them.
//!
//! Pure: no I/O, no clock, no runtime. In reading order:
//!
//! - [`value`]: a dynamic value, common to JSON, MessagePack and AMQP field tables;
//! - [`headers`] and [`message`]: the parts of a message on the broker;
//! - [`codec`] and [`compression`]: convert bytes to values and back; [`codec_error`]: their
//!   errors;
//! - [`body`] and [`legacy`]: arguments and embed, in protocol 2 and in protocol 1;
//! - [`signature`]: a task to be called later, such as the next step of a chain;
//! - [`incoming`]: turns a message into its task;
//! - [`task`] and [`arguments`]: a task's name, arguments and result;
//! - [`retry`]: the attempts after a failure;
//! - [`state`] and [`failure`]: the outcome of a task;
//! - [`meta`]: Celery's format of an outcome;
//! - [`control`]: requests to workers, and their replies;
//! - [`lamport`]: the logical clock of Celery's events and control messages;
//! - [`repr`](mod@repr): arguments as text for people;
//! - [`redact`](mod@redact): arguments for people, without some of their values;
//! - [`shorten`]: texts that are cut, with a mark that says so.

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

pub mod control;
pub mod lamport;

pub mod repr;

pub mod redact;

mod shorten;
mod time;

pub use celeriac_units::{DurationRange, Error as UnitError, RateLimit, RateUnit};

pub use arguments::{ArgumentError, Arguments, Parameter, Rest, TaskValue};
pub use body::Body;
pub use codec::{Accept, Codec, DecodeLimits};
pub use codec_error::{DecodeError, EncodeError};
pub use compression::Compression;
pub use control::{ControlError, ControlReply, ControlRequest};
pub use failure::Failure;
pub use headers::{Appearance, HeaderError, HeaderMap, TaskHeaders, TimeLimits};
pub use incoming::{PlainBody, Unreadable};
pub use lamport::LamportClock;
pub use message::{Message, Properties};
pub use meta::{MetaError, ResultMeta};
pub use retry::{ErrorClass, RetryAnswer, RetryPolicy, RetryRule, RetryRules};
pub use shorten::shorten;
pub use signature::{Embed, Signature};
pub use state::TaskState;
pub use task::{Task, TaskOptions};
pub use time::sent_at;
pub use value::{BigInt, KombuValue, Map, Value};
