//! The intake: takes deliveries of each queue, as many at once as there are slots.
//!
//! - `consumer`: takes the deliveries of one queue, each when a slot is free;
//! - `prefetch`: chooses the number of messages held of a queue, pure; `tuning`: measures the slots
//!   and applies the choice.

pub(crate) mod consumer;
pub(crate) mod prefetch;
pub(crate) mod tuning;
