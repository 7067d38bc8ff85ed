//! One error for everything, and the remedies for it.

use std::fmt;

use celeriac_config::Problems;
use celeriac_telemetry::ErrorChain;

/// A result of the façade.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of Celeriac, from any of its parts.
///
/// [`kind`](Error::kind) is its subject. [`is_retryable`](Error::is_retryable) is true if the same
/// call may succeed later, and [`may_have_been_sent`](Error::may_have_been_sent) if a task may run
/// nevertheless. [`help`](Error::help) is the remedy.
///
/// ```no_run
/// use celeriac::prelude::*;
/// use celeriac::{Error, ErrorKind};
///
/// #[task]
/// async fn charge(cents: i64) -> TaskResult<i64> {
///     Ok(cents)
/// }
///
/// async fn charge_now(client: &Client) -> Result<Option<i64>, Error> {
///     let charged = async { Ok(charge(1299).submit(client).await?.get().await?) };
///     match charged.await.map_err(|error: celeriac::ClientError| Error::from(error)) {
///         Ok(cents) => Ok(Some(cents)),
///         Err(error) if error.kind() == ErrorKind::Timeout => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
///
/// `Display` includes the reason on one line. `Debug`, which `fn main() -> celeriac::Result<()>`
/// prints, adds the causes from [`source`](std::error::Error::source), one in each line, and the
/// remedy.
pub struct Error(Box<ErrorSource>);

enum ErrorSource {
    Config(Problems),
    Broker(celeriac_broker::Error),
    Results(celeriac_results::Error),
    Client(celeriac_client::Error),
    Worker(celeriac_worker::Error),
}

/// The subject of an [`Error`], by the remedy of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration cannot be used.
    Config,
    /// The broker could not be reached, or refused a request.
    Broker,
    /// The result store could not be reached, or refused a request.
    Results,
    /// A task was not sent, or may not have been sent.
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
                Kind::Results(_)
                | Kind::NotRevoked(_)
                | Kind::NoStore
                | Kind::NoOutcome
                | Kind::WaitInTask
                | Kind::Unknown => ErrorKind::Results,
                Kind::Data => ErrorKind::Data,
                Kind::Closed => ErrorKind::Broker,
            },
        }
    }

    /// Returns true if the same call may succeed later without a change.
    ///
    /// It does not say that nothing was sent: see [`Error::may_have_been_sent`].
    pub fn is_retryable(&self) -> bool {
        match &*self.0 {
            ErrorSource::Config(_) => false,
            ErrorSource::Broker(error) => error.is_retryable(),
            ErrorSource::Results(error) => error.is_retryable(),
            ErrorSource::Client(error) => error.is_retryable(),
            ErrorSource::Worker(error) => error.broker().is_some_and(celeriac_broker::Error::is_retryable),
        }
    }

    /// Returns false if certainly no task was sent, true if one was or may have been.
    ///
    /// After `false` the program can submit again without a second task; see
    /// [`ClientError::may_have_been_sent`](celeriac_client::Error::may_have_been_sent).
    pub fn may_have_been_sent(&self) -> bool {
        match &*self.0 {
            ErrorSource::Config(_) | ErrorSource::Results(_) | ErrorSource::Worker(_) => false,
            ErrorSource::Broker(error) => error.may_have_been_sent(),
            ErrorSource::Client(error) => error.may_have_been_sent(),
        }
    }

    /// Returns true if the broker could not be reached, or was lost.
    pub fn is_connection_lost(&self) -> bool {
        use celeriac_client::ClientErrorKind as Kind;
        match &*self.0 {
            ErrorSource::Config(_) | ErrorSource::Results(_) => false,
            ErrorSource::Broker(error) => error.is_connection_lost(),
            ErrorSource::Worker(error) => error.broker().is_some_and(celeriac_broker::Error::is_connection_lost),
            ErrorSource::Client(error) => match error.kind() {
                Kind::NotSent(source) => source.is_connection_lost(),
                Kind::NotWritten(_)
                | Kind::NotRevoked(_)
                | Kind::Results(_)
                | Kind::NoStore
                | Kind::TaskEnded
                | Kind::Timeout
                | Kind::Unknown
                | Kind::NoOutcome
                | Kind::WaitInTask
                | Kind::Data
                | Kind::Closed => false,
            },
        }
    }

    /// Returns the remedy, for a person.
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

/// The whole chain, because `fn main() -> Result<()>` prints this.
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
            (E::Ignored { id: id() }, ErrorKind::Results),
            (E::Outbox { task: id(), source: lost() }, ErrorKind::Send),
            (E::Closed, ErrorKind::Broker),
            (E::Call { task: id(), reason: id() }, ErrorKind::Data),
        ] {
            let error = Error::from(error);
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
    #[test]
    fn an_error_says_whether_a_task_may_have_been_sent() {
        use celeriac_broker::Error as Broker;
        let unsent = || Broker::NoSuchQueue { queue: "q".to_owned() };
        let doubtful = || Broker::Unconfirmed { waited: std::time::Duration::ZERO };
        let client = |source| celeriac_client::Error::Send { task: "t".to_owned(), source };
        for (error, expected) in [
            (Error::from(Problems::from(Vec::new())), false),
            (unsent().into(), false),
            (doubtful().into(), true),
            (celeriac_results::Error::Closed.into(), false),
            (celeriac_worker::Error::NoOutbox.into(), false),
            (client(unsent()).into(), false),
            (client(doubtful()).into(), true),
        ] {
            assert_eq!(error.may_have_been_sent(), expected, "{error}");
        }
    }

    #[test]
    fn an_error_is_printed_with_each_reason_once() {
        let source = celeriac_broker::Error::Unreachable {
            url: "amqp://rabbit".to_owned(),
            waited: std::time::Duration::from_secs(5),
            source: Some("refused".into()),
        };
        let error = Error::from(celeriac_client::Error::Send { task: "mail".to_owned(), source });
        assert_eq!(
            format!("{error:?}"),
            "cannot send task `mail`: no connection to amqp://rabbit within 5s: refused\n  \
             help: check that the broker runs, and that broker.url is right"
        );
    }
}
