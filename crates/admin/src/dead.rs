//! What stands in dead-letter queues: found, told, put back, thrown away.
//!
//! - `letter`: a dead letter as a value, whether a worker or the broker wrote down its reason; pure;
//! - `filter`: which of them are meant; pure;
//! - `again`: what a message looks like that is to run again; pure;
//! - [`search`]: walks a dead-letter queue and does what is asked.

mod again;
mod filter;
mod letter;
pub mod search;

pub use again::Again;
pub use filter::{Filter, Wanted};
pub use letter::{DeadLetter, UNKNOWN};
pub use search::{Removal, Replay, Search, Tally};
