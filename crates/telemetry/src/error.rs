//! Errors of the set-up of telemetry, and the format of errors in log lines.

use std::error::Error as StdError;
use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is invalid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The reason.
        reason: String,
    },
    /// This process exports its traces and metrics already.
    #[error("telemetry was started already in this process")]
    AlreadyStarted,
    /// The exporter could not be made.
    #[error("cannot make an exporter to {endpoint}")]
    Exporter {
        /// The address that it would have sent to.
        endpoint: String,
        /// The exporter's error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Some data could not be sent before the deadline.
    #[error("not all traces and metrics could be sent before the end")]
    Flush {
        /// The exporter's error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// An error with its causes on one line, for log lines.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
