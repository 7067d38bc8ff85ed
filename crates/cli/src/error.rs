//! Errors of verbs, and their exit codes.

use celeriac_admin::Error as AdminError;
use celeriac_broker::Error as BrokerError;
use celeriac_config::Problems;
use celeriac_results::Error as ResultsError;
use celeriac_topology::Error as RouteError;

use crate::exit::Exit;

/// An error of a verb.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot start.
    #[error("the configuration cannot start:\n{0}")]
    Config(Problems),
    /// The broker.
    #[error("cannot use the broker")]
    Broker(#[source] BrokerError),
    /// The broker, looked at from outside.
    #[error("cannot use the broker")]
    Admin(#[source] AdminError),
    /// The store of results.
    #[error("cannot use the store of results")]
    Results(#[source] ResultsError),
    /// Sending or awaiting.
    #[error(transparent)]
    Client(#[from] celeriac_client::Error),
    /// The worker.
    #[error(transparent)]
    Worker(#[from] celeriac_worker::Error),
    /// Telemetry.
    #[error("cannot set up telemetry")]
    Telemetry(#[source] celeriac_telemetry::Error),
    /// Invalid input of the verb.
    #[error("{what}: {reason}")]
    Data {
        /// Its name.
        what: String,
        /// Problem.
        reason: String,
    },
    /// A verb that would reach nobody.
    #[error("broker.url is memory://, a broker inside this process: nothing outside of it can be reached")]
    InProcess,
    /// The question was answered with no.
    #[error("declined: nothing was changed")]
    Declined,
    /// The question could not be asked.
    #[error("confirmation required: stdin is not a terminal")]
    NoTerminal,
}

impl Error {
    /// Returns the exit code, by which a supervisor tells kinds of errors apart.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::InProcess | Self::Telemetry(_) => Exit::Config,
            Self::Broker(error) => broker_code(error),
            Self::Admin(error) => admin_code(error),
            Self::Results(error) => results_code(error),
            Self::Client(error) => client_code(error),
            Self::Worker(celeriac_worker::Error::Broker(error)) => broker_code(error),
            Self::Worker(_) => Exit::Config,
            Self::Data { .. } => Exit::Data,
            Self::Declined | Self::NoTerminal => Exit::NotConfirmed,
        }
    }

    /// Advice for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Broker(error) => error.help(),
            Self::Admin(error) => error.help(),
            Self::Results(error) => error.help(),
            Self::Client(error) => error.help(),
            Self::Worker(error) => error.help(),
            Self::InProcess => Some("give --broker amqp://…, or set broker.url or CELERIAC__BROKER__URL"),
            Self::NoTerminal => Some("give --yes to go ahead without a question"),
            Self::Config(_) | Self::Telemetry(_) | Self::Data { .. } | Self::Declined => None,
        }
    }
}

fn broker_code(error: &BrokerError) -> Exit {
    match error {
        BrokerError::Denied { .. } | BrokerError::Untrusted { .. } => Exit::Denied,
        BrokerError::Mismatch { .. }
        | BrokerError::Absent { .. }
        | BrokerError::Unsupported { .. }
        | BrokerError::Invalid { .. }
        | BrokerError::NotBound { .. }
        | BrokerError::NoSuchQueue { .. }
        | BrokerError::Route(RouteError::RoutedElsewhere { .. } | RouteError::Invalid { .. }) => Exit::Config,
        BrokerError::Unroutable { .. }
        | BrokerError::NoSuchExchange { .. }
        | BrokerError::TooLarge { .. }
        | BrokerError::HeadersTooLarge { .. } => Exit::Data,
        error if error.is_retryable() => Exit::Unavailable,
        _ => Exit::Internal,
    }
}

fn admin_code(error: &AdminError) -> Exit {
    match error {
        AdminError::Broker(error) => broker_code(error),
        AdminError::Denied { .. } => Exit::Denied,
        AdminError::Invalid { .. } => Exit::Config,
        error if error.is_retryable() => Exit::Unavailable,
        _ => Exit::Internal,
    }
}

fn results_code(error: &ResultsError) -> Exit {
    match error {
        ResultsError::Denied { .. } => Exit::Denied,
        error if error.is_retryable() => Exit::Unavailable,
        _ => Exit::Config,
    }
}

fn client_code(error: &celeriac_client::Error) -> Exit {
    use celeriac_client::ClientErrorKind as Kind;
    match error.kind() {
        Kind::NotSent(source) => broker_code(source),
        // What is invalid for the store is what it was given, not how it is configured: it is connected.
        Kind::NotRevoked(ResultsError::Invalid { .. }) => Exit::Data,
        Kind::Results(source) | Kind::NotRevoked(source) | Kind::NotWritten(source) => results_code(source),
        Kind::TaskEnded => Exit::TaskFailed,
        Kind::Timeout => Exit::TimedOut,
        Kind::NoStore => Exit::Config,
        Kind::NoOutcome | Kind::Data => Exit::Data,
        Kind::Closed => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use celeriac_client::Awaited;

    use super::*;

    #[test]
    fn every_error_of_the_client_has_the_exit_code_of_its_kind() {
        use celeriac_client::Error as E;
        let id = || "t".to_owned();
        let lost = || ResultsError::Unreachable { url: id(), source: "gone".into() };
        for (error, exit) in [
            (E::ToAll { id: id() }, Exit::Data),
            (E::Outbox { task: id(), source: lost() }, Exit::Unavailable),
            (E::Key { task: id(), source: lost() }, Exit::Unavailable),
            (E::NoOutbox { task: id() }, Exit::Config),
            (E::NoKeys { task: id() }, Exit::Config),
            (E::Revoked { id: id(), terminated: false }, Exit::TaskFailed),
            (
                E::Timeout { id: id(), waited: std::time::Duration::from_secs(1), awaited: Awaited::Store },
                Exit::TimedOut,
            ),
        ] {
            let error = Error::from(error);
            assert_eq!(error.exit(), exit, "{error}");
        }
    }
}
