//! Lists, replays and purges dead letters.
//!
//! - `letter`: a dead letter as a value; pure
//! - `filter`: selects dead letters; pure
//! - `replay_options`: the message of a replay; pure
//! - [`search`]: searches a dead-letter queue, replays and purges

mod filter;
mod letter;
mod replay_options;
pub mod search;

pub use filter::{DeadLetterQuery, Filter};
pub use letter::{DeadLetter, REASONS, UNKNOWN};
pub use replay_options::ReplayOptions;
pub use search::{Removal, Replay, Search, Tally};
