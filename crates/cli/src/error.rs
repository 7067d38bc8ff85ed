//! Errors of verbs, and their exit codes.

use celeriac_admin::Error as AdminError;
use celeriac_broker::Error as BrokerError;
use celeriac_config::Problems;
use celeriac_results::Error as ResultsError;
use celeriac_topology::Error as RouteError;

use crate::exit;

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
    /// A question that nobody answered.
    #[error("nobody answered the question: give --yes to go on without it")]
    Unanswered,
}

impl Error {
    /// The exit code that tells a supervisor what kind of error it is.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::InProcess | Self::Telemetry(_) => exit::CONFIG,
            Self::Broker(error) => broker_code(error),
            Self::Admin(error) => admin_code(error),
            Self::Results(error) => results_code(error),
            Self::Client(error) => client_code(error),
            Self::Worker(celeriac_worker::Error::Broker(error)) => broker_code(error),
            Self::Worker(_) => exit::CONFIG,
            Self::Data { .. } => exit::DATA,
            Self::Unanswered => exit::USAGE,
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
            Self::Config(_) | Self::Telemetry(_) | Self::Data { .. } | Self::Unanswered => None,
        }
    }
}

fn broker_code(error: &BrokerError) -> u8 {
    match error {
        BrokerError::Denied { .. } | BrokerError::Untrusted { .. } => exit::DENIED,
        BrokerError::Mismatch { .. }
        | BrokerError::Absent { .. }
        | BrokerError::Unsupported { .. }
        | BrokerError::Invalid { .. }
        | BrokerError::NotBound { .. }
        | BrokerError::NoSuchQueue { .. }
        | BrokerError::Route(RouteError::RoutedElsewhere { .. } | RouteError::Invalid { .. }) => exit::CONFIG,
        BrokerError::Unroutable { .. }
        | BrokerError::NoSuchExchange { .. }
        | BrokerError::TooLarge { .. }
        | BrokerError::HeadersTooLarge { .. } => exit::DATA,
        error if error.is_retryable() => exit::UNAVAILABLE,
        _ => exit::INTERNAL,
    }
}

fn admin_code(error: &AdminError) -> u8 {
    match error {
        AdminError::Broker(error) => broker_code(error),
        AdminError::Denied { .. } => exit::DENIED,
        AdminError::Invalid { .. } => exit::CONFIG,
        error if error.is_retryable() => exit::UNAVAILABLE,
        _ => exit::INTERNAL,
    }
}

fn results_code(error: &ResultsError) -> u8 {
    match error {
        ResultsError::Denied { .. } => exit::DENIED,
        error if error.is_retryable() => exit::UNAVAILABLE,
        _ => exit::CONFIG,
    }
}

fn client_code(error: &celeriac_client::Error) -> u8 {
    use celeriac_client::ClientErrorKind as Kind;
    match error.kind() {
        Kind::NotSent(source) => broker_code(source),
        // What is invalid for the store is what it was given, not how it is configured: it is connected.
        Kind::NotRevoked(ResultsError::Invalid { .. }) => exit::DATA,
        Kind::Results(source) | Kind::NotRevoked(source) | Kind::NotWritten(source) => results_code(source),
        Kind::TaskEnded | Kind::Timeout => exit::TASK_FAILED,
        Kind::NoStore => exit::CONFIG,
        Kind::NoOutcome | Kind::Data => exit::DATA,
        Kind::Closed => exit::INTERNAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_the_client_is_taken_for_one_that_should_not_happen() {
        use celeriac_client::Error as E;
        let id = || "t".to_owned();
        let lost = || ResultsError::Unreachable { url: id(), source: "gone".into() };
        for (error, code) in [
            (E::ToAll { id: id() }, exit::DATA),
            (E::Outbox { task: id(), source: lost() }, exit::UNAVAILABLE),
            (E::Key { task: id(), source: lost() }, exit::UNAVAILABLE),
            (E::NoOutbox { task: id() }, exit::CONFIG),
            (E::NoKeys { task: id() }, exit::CONFIG),
        ] {
            let error = Error::from(error);
            assert_eq!(error.exit_code(), code, "{error}");
        }
    }
}
