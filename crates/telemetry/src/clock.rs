//! The only reader of wall time.

use jiff::Timestamp;

/// Returns the present time.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads wall time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
