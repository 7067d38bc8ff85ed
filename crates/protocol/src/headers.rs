//! The headers of a message: the raw map, and the headers of a task.

mod limits;
mod map;
pub mod names;
mod read;
mod task;

pub use limits::TimeLimits;
pub use map::HeaderMap;
pub use read::HeaderError;
pub use task::{Appearance, TaskHeaders};
