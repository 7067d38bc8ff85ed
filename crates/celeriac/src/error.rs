//! One error for everything, with what can be done about it.

use std::fmt;

use celeriac_config::Problems;
use celeriac_telemetry::ErrorChain;

/// A result of the façade.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the façade. Opaque: ask [`Error::kind`], or walk its causes.
pub struct Error(Box<ErrorSource>);

enum ErrorSource {
    Config(Problems),
    Broker(celeriac_broker::Error),
    Results(celeriac_results::Error),
    Client(celeriac_client::Error),
    Worker(celeriac_worker::Error),
}

/// Kinds of errors, by what a program can do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration cannot start.
    Config,
    /// The broker could not be reached or did not do what was asked.
    Broker,
    /// The store of results could not be reached or did not do what was asked.
    Results,
    /// A task was not sent, or that cannot be known.
    Send,
    /// A task ended without a result, or with an error of its own.
    Task,
    /// A task did not end in time.
    Timeout,
    /// A worker cannot run.
    Worker,
    /// A call or its result does not have the expected shape.
    Data,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        use celeriac_client::ClientErrorKind as Kind;
        match &*self.0 {
            ErrorSource::Config(_) => ErrorKind::Config,
            ErrorSource::Broker(_) => ErrorKind::Broker,
            ErrorSource::Results(_) => ErrorKind::Results,
            ErrorSource::Worker(_) => ErrorKind::Worker,
            ErrorSource::Client(error) => match error.kind() {
                Kind::NotSent(_) | Kind::NotWritten(_) => ErrorKind::Send,
                Kind::TaskEnded => ErrorKind::Task,
                Kind::Timeout => ErrorKind::Timeout,
                Kind::Results(_) | Kind::NotRevoked(_) | Kind::NoStore | Kind::NoOutcome => ErrorKind::Results,
                Kind::Data => ErrorKind::Data,
                Kind::Closed => ErrorKind::Broker,
            },
        }
    }

    /// Returns true if the same may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match &*self.0 {
            ErrorSource::Config(_) => false,
            ErrorSource::Broker(error) | ErrorSource::Worker(celeriac_worker::Error::Broker(error)) => {
                error.is_retryable()
            }
            ErrorSource::Results(error) => error.is_retryable(),
            ErrorSource::Client(error) => error.is_retryable(),
            ErrorSource::Worker(_) => false,
        }
    }

    /// Returns true if the broker could not be reached, or was lost.
    pub fn is_connection_lost(&self) -> bool {
        match &*self.0 {
            ErrorSource::Broker(error)
            | ErrorSource::Worker(celeriac_worker::Error::Broker(error))
            | ErrorSource::Client(celeriac_client::Error::Send { source: error, .. }) => error.is_connection_lost(),
            _ => false,
        }
    }

    /// Advice for a person.
    pub fn help(&self) -> Option<&'static str> {
        match &*self.0 {
            ErrorSource::Config(_) => None,
            ErrorSource::Broker(error) => error.help(),
            ErrorSource::Results(error) => error.help(),
            ErrorSource::Client(error) => error.help(),
            ErrorSource::Worker(error) => error.help(),
        }
    }

    fn inner(&self) -> &(dyn std::error::Error + 'static) {
        match &*self.0 {
            ErrorSource::Config(problems) => problems,
            ErrorSource::Broker(error) => error,
            ErrorSource::Results(error) => error,
            ErrorSource::Client(error) => error,
            ErrorSource::Worker(error) => error,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.inner(), formatter)
    }
}

/// The whole chain, since this is what `fn main() -> Result<()>` prints.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&ErrorChain(self.inner()).texts().join("\n  caused by: "))?;
        if let Some(help) = self.help() {
            write!(formatter, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner().source()
    }
}

macro_rules! from {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self(Box::new(ErrorSource::$variant(error)))
            }
        })*
    };
}

from!(
    Config(Problems),
    Broker(celeriac_broker::Error),
    Results(celeriac_results::Error),
    Client(celeriac_client::Error),
    Worker(celeriac_worker::Error),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_client_has_the_kind_of_what_went_wrong() {
        use celeriac_client::Error as E;
        let id = || "t".to_owned();
        let lost = || celeriac_results::Error::Closed;
        for (error, kind) in [
            (E::Revoked { id: id(), terminated: false }, ErrorKind::Task),
            (E::Revoke(lost()), ErrorKind::Results),
            (E::NoRevocations, ErrorKind::Results),
            (E::NoReply { id: id() }, ErrorKind::Results),
            (E::Outbox { task: id(), source: lost() }, ErrorKind::Send),
            (E::Closed, ErrorKind::Broker),
            (E::Call { task: id(), reason: id() }, ErrorKind::Data),
        ] {
            let error = Error::from(error);
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
