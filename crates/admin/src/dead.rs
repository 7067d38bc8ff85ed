//! Dead letters: found, shown, replayed, purged.
//!
//! - `letter`: a dead letter as a value, whether a worker or the broker wrote down its reason; pure;
//! - `filter`: the choice of some of them; pure;
//! - `replay_options`: the message of a replay; pure;
//! - [`search`]: walks a dead-letter queue and does what is asked.

mod filter;
mod letter;
mod replay_options;
pub mod search;

pub use filter::{DeadLetterQuery, Filter};
pub use letter::{DeadLetter, UNKNOWN};
pub use replay_options::ReplayOptions;
pub use search::{Removal, Replay, Search, Tally};
