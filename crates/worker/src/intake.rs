//! The way in: deliveries of each queue, as many at once as there are slots.
//!
//! - `consumer`: takes the deliveries of one queue, each when a slot is free;
//! - `prefetch`: how many messages are held of a queue, pure; `tuning`: measures the slots and applies it.

pub(crate) mod consumer;
pub(crate) mod prefetch;
pub(crate) mod tuning;
