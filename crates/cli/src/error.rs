//! Errors of verbs, and their exit codes.

use celeriac_admin::Error as AdminError;
use celeriac_broker::Error as BrokerError;
use celeriac_config::Problems;
use celeriac_protocol::ArgumentError;
use celeriac_results::Error as ResultsError;
use celeriac_topology::Error as RouteError;

use crate::exit::Exit;

/// An error of a verb.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid.
    #[error("invalid configuration:\n{0}")]
    Config(Problems),
    /// An error of the broker.
    #[error(transparent)]
    Broker(BrokerError),
    /// An error of the operator's tools.
    #[error(transparent)]
    Admin(AdminError),
    /// An error of the result store.
    #[error(transparent)]
    Results(ResultsError),
    /// An error of the client, which sends and waits.
    #[error(transparent)]
    Client(#[from] celeriac_client::Error),
    /// An error of the worker.
    #[error(transparent)]
    Worker(#[from] celeriac_worker::Error),
    /// Telemetry cannot start.
    #[error("cannot set up telemetry")]
    Telemetry(#[source] celeriac_telemetry::Error),
    /// Invalid input of a verb.
    #[error("{what}: {reason}")]
    Data {
        /// The input, such as a flag.
        what: String,
        /// The problem.
        reason: String,
    },
    /// The program has no such task, and the call goes to its own workers.
    #[error(transparent)]
    UnknownTask(celeriac_worker::Error),
    /// The arguments of a call do not fit the task.
    #[error("task `{task}`: {reason}; it takes {parameters}")]
    Arguments {
        /// The task.
        task: &'static str,
        /// The problem.
        reason: ArgumentError,
        /// The parameters of the task.
        parameters: String,
    },
    /// The broker is in this process, so no other process reaches it.
    #[error("broker.url is memory://, a broker inside this process that no other process reaches")]
    InProcess,
    /// The audit row of an action cannot be written, so the action did not begin.
    #[error("`{action}` changed nothing: its audit row cannot be written")]
    NotAudited {
        /// The action.
        action: &'static str,
        /// The error of the store.
        source: ResultsError,
    },
    /// The verb needs Postgres, and the store is another one.
    #[error("the result store is {url}, and this command needs Postgres")]
    NeedsPostgres {
        /// The store, without password.
        url: String,
    },
    /// The worker has no address to ask.
    #[error("cannot ask the worker: telemetry.listen is not set")]
    NotListening,
    /// No worker answers.
    #[error("no worker answers at {address}: {source}")]
    NoAnswer {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// No worker has replied to a remote command.
    #[error("no worker replied within {waited}")]
    NoReplies {
        /// Time spent waiting.
        waited: String,
    },
    /// Another worker answers.
    #[error("at {address} answers `{found}`, not `{wanted}`")]
    OtherWorker {
        /// The address.
        address: String,
        /// The worker of the configuration.
        wanted: String,
        /// The worker that answers.
        found: String,
    },
    /// The question was not answered with yes.
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
            Self::Config(_)
            | Self::InProcess
            | Self::NeedsPostgres { .. }
            | Self::Telemetry(_)
            | Self::NotListening => Exit::Config,
            Self::NoAnswer { .. } | Self::NoReplies { .. } | Self::OtherWorker { .. } => Exit::NotReady,
            Self::Broker(error) => broker_code(error),
            Self::Admin(error) => admin_code(error),
            Self::Results(error) | Self::NotAudited { source: error, .. } => results_code(error),
            Self::Client(error) => client_code(error),
            Self::Worker(celeriac_worker::Error::Broker(error)) => broker_code(error),
            Self::Worker(celeriac_worker::Error::ServiceEnded { .. }) => Exit::Internal,
            Self::Worker(_) => Exit::Config,
            Self::Data { .. } | Self::UnknownTask(_) | Self::Arguments { .. } => Exit::Data,
            Self::Declined | Self::NoTerminal => Exit::NotConfirmed,
        }
    }

    /// Returns the remedy.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Broker(error) => error.help(),
            Self::Admin(error) => error.help(),
            Self::Results(error) => error.help(),
            Self::Client(error) => error.help(),
            Self::Worker(error) => error.help(),
            Self::UnknownTask(_) => {
                Some("`celeriac list` shows the tasks of this program; add --external for a task of another program")
            }
            Self::Arguments { .. } => Some("correct the arguments, or add --external to send them unchecked"),
            Self::NotAudited { .. } => {
                Some("mend the store of results.url, or give --results none to act without an audit row")
            }
            Self::InProcess => Some("give --broker amqp://…, or set broker.url or CELERIAC__BROKER__URL"),
            Self::NeedsPostgres { .. } => Some("give --results postgres://…, or set results.url"),
            Self::NotListening => {
                Some("set telemetry.listen for the worker and for this command, such as to 127.0.0.1:9464")
            }
            Self::NoAnswer { .. } => Some("start the worker, and give it the same telemetry.listen as this command"),
            Self::NoReplies { .. } => Some(
                "check the names of the workers, their broker.url and their worker.control, or wait longer with --timeout",
            ),
            Self::OtherWorker { .. } => Some("give --name, or give each worker a telemetry.listen of its own"),
            Self::NoTerminal => Some("give --yes to go ahead without a question"),
            Self::Config(_) | Self::Telemetry(_) | Self::Data { .. } | Self::Declined => None,
        }
    }
}

fn broker_code(error: &BrokerError) -> Exit {
    match error {
        BrokerError::Denied { .. } | BrokerError::Untrusted { .. } | BrokerError::AccessRefused { .. } => Exit::Denied,
        BrokerError::Mismatch { .. }
        | BrokerError::Absent { .. }
        | BrokerError::Unsupported { .. }
        | BrokerError::Invalid { .. }
        | BrokerError::NotBound { .. }
        | BrokerError::NoSuchQueue { .. }
        | BrokerError::Route(RouteError::RoutedElsewhere { .. } | RouteError::Invalid { .. }) => Exit::Config,
        BrokerError::Unroutable { .. }
        | BrokerError::NoSuchExchange { .. }
        | BrokerError::Route(RouteError::NoRoute { .. } | RouteError::Undelayable { .. })
        | BrokerError::NotAccepted { .. }
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
        ResultsError::Denied { .. } | ResultsError::Untrusted { .. } => Exit::Denied,
        error if error.is_retryable() => Exit::Unavailable,
        _ => Exit::Config,
    }
}

fn client_code(error: &celeriac_client::Error) -> Exit {
    use celeriac_client::ClientErrorKind as Kind;
    match error.kind() {
        Kind::NotSent(source) => broker_code(source),
        // The store is connected, so its input is invalid and not its configuration.
        Kind::NotRevoked(ResultsError::Invalid { .. }) => Exit::Data,
        Kind::Results(source) | Kind::NotRevoked(source) | Kind::NotWritten(source) => results_code(source),
        Kind::TaskEnded => Exit::TaskFailed,
        // Of a wait: the task may end later.
        Kind::Timeout | Kind::Unknown => Exit::TimedOut,
        Kind::NoStore => Exit::Config,
        Kind::NoOutcome | Kind::WaitInTask | Kind::Data => Exit::Data,
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
