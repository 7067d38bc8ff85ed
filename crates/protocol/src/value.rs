//! A value of any shape: an argument, a result, a header.
//!
//! One type serves JSON, MessagePack and AMQP field tables, so that a value from one of them passes
//! through another unchanged.

mod error;
mod marker;

mod kombu;
mod number;

mod dynamic;

mod access;
mod convert;
mod into_typed;
mod key;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use access::ValueIndex;
pub use dynamic::{Map, Value};
pub use error::ValueError;
pub use kombu::KombuValue;
pub use number::BigInt;
pub(crate) use number::MOST_DIGITS;
