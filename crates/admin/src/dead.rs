//! What stands in dead-letter queues: found, told, put back, thrown away.
//!
//! - `letter`: a dead letter as a value, whether a worker or the broker wrote down its reason; pure;
//! - `filter`: which of them are meant; pure;
//! - `replay_options`: what a message looks like that is to run again; pure;
//! - [`search`]: walks a dead-letter queue and does what is asked.

mod filter;
mod letter;
mod replay_options;
pub mod search;

pub use filter::{DeadLetterQuery, Filter};
pub use letter::{DeadLetter, UNKNOWN};
pub use replay_options::ReplayOptions;
pub use search::{Removal, Replay, Search, Tally};
