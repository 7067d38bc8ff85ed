//! Errors of setting telemetry up, and errors as log lines show them.

use std::error::Error as StdError;
use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// Problem.
        reason: String,
    },
    /// Traces and metrics belong to the process, and it exports them already.
    #[error("telemetry was started already in this process")]
    AlreadyStarted,
    /// The exporter could not be made.
    #[error("cannot make an exporter to {endpoint}")]
    Exporter {
        /// Address it would have sent to.
        endpoint: String,
        /// Cause that the exporter reports.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Not everything could be sent before the deadline.
    #[error("not all traces and metrics could be sent before the end")]
    Flush {
        /// Cause that the exporter reports.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// An error with its causes in one line, the way log lines show it.
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
