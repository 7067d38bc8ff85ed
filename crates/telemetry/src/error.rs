//! Errors of the set-up of telemetry, and the format of errors in log lines.

use std::error::Error as StdError;
use std::fmt;
use std::io;

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
    /// This process already exports traces and metrics.
    #[error("cannot start telemetry: this process has started it already")]
    AlreadyStarted,
    /// The exporter could not be made.
    #[error("cannot export telemetry to {url}: {}", ErrorChain(&**source))]
    Exporter {
        /// The collector, without password.
        url: String,
        /// The exporter's error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The health server cannot listen.
    #[error("cannot listen on {address} (telemetry.listen): {source}{}", remedy(source))]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// There is no thread that notifies the service manager.
    #[error("cannot notify the service manager (NOTIFY_SOCKET): {source}")]
    Notify {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Some data could not be sent before the deadline.
    #[error("cannot send the last traces and metrics: {}", ErrorChain(&**source))]
    Flush {
        /// The exporter's error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Returns a way out of an error of a listener.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: give each process an address of its own, such as by \
             CELERIAC__TELEMETRY__LISTEN"
        }
        io::ErrorKind::AddrNotAvailable => "; name an address of this machine, or 0.0.0.0 for all of them",
        io::ErrorKind::PermissionDenied => "; ports below 1024 and foreign folders need rights: choose another",
        _ => "",
    }
}

/// An error with its causes on one line, for log lines.
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn StdError + 'static));

impl ErrorChain<'_> {
    /// Returns the texts of the error and its causes. An error may end with the text of its cause:
    /// the cause is then left out.
    pub fn texts(&self) -> Vec<String> {
        let mut texts = vec![self.0.to_string()];
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !texts.iter().any(|known| known.ends_with(&text)) {
                texts.push(text);
            }
            cause = error.source();
        }
        texts
    }
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.texts().join(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_written_once() {
        let cause = io::Error::other("refused");
        let error = Error::Exporter { url: "http://c".to_owned(), source: Box::new(cause) };
        assert_eq!(error.to_string(), "cannot export telemetry to http://c: refused");
        assert_eq!(ErrorChain(&error).texts(), [error.to_string()]);

        let outer = io::Error::other(Error::AlreadyStarted);
        assert_eq!(ErrorChain(&outer).to_string(), Error::AlreadyStarted.to_string());
    }
}
