//! Errors of a result store, by the remedy of the program.

use celeriac_telemetry::ErrorChain;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, was lost during an operation, or does not answer.
    ///
    /// A record in that operation may be stored or not. Writing it again is safe.
    #[error("no connection to {url}: {}", ErrorChain(&**source))]
    Unreachable {
        /// The store, without password.
        url: String,
        /// The driver's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store denies this user access, to itself or to an object.
    #[error("{url} refused access: {reason}")]
    Denied {
        /// The store, without password.
        url: String,
        /// The store's message.
        reason: String,
    },
    /// The store does not use TLS, or its certificate is not trusted, and `sslmode` requires it.
    #[error("no TLS connection to {url}: {reason}")]
    Untrusted {
        /// The store, without password.
        url: String,
        /// The fault.
        reason: String,
    },
    /// The tables could not be migrated to the version that this program needs.
    #[error("cannot migrate {url} to version {version} ({name}): {}", ErrorChain(&**source))]
    Migration {
        /// The store, without password.
        url: String,
        /// The target version.
        version: i64,
        /// The name of that version.
        name: &'static str,
        /// The store's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The table of migrations is not that of Celeriac, or rows of it are missing.
    #[error("celeriac.migrations of {url} is not valid: {reason}")]
    Migrations {
        /// The store, without password.
        url: String,
        /// The first difference.
        reason: String,
    },
    /// A connection pooler gives each transaction another session of the server, and the operation
    /// needs one session.
    #[error("{doing} failed: {url} is a connection pooler in transaction mode")]
    Pooled {
        /// The operation.
        doing: &'static str,
        /// The store, without password.
        url: String,
    },
    /// A newer version of Celeriac shares the store, and has changed the tables beyond the support
    /// of this one.
    #[error("{url} has tables of another version: {reason}")]
    Schema {
        /// The store, without password.
        url: String,
        /// The store's message.
        reason: String,
    },
    /// A setting is invalid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The reason.
        reason: String,
    },
    /// This program closed the store, or the recorder ended before the outcome was written.
    #[error("the result store was closed by this program")]
    Closed,
    /// The store is busy, full or read-only for now.
    #[error("{doing} failed for now: {}", ErrorChain(&**source))]
    Busy {
        /// The operation.
        doing: &'static str,
        /// The store's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Any other error of the store.
    #[error("{doing} failed: {}", ErrorChain(&**source))]
    Sql {
        /// The operation.
        doing: &'static str,
        /// The store's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Returns `true` if the same call may succeed later without a change by anyone.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// Returns `true` if the store could not be reached or was lost.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns a remedy for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("check that the database runs, and that results.url is right"),
            Self::Denied { .. } => Some(
                "check user, password, database and grants of results.url; if its tables are missing, run `celeriac setup` \
                 as a user who may create them",
            ),
            Self::Untrusted { .. } => Some(
                "add sslrootcert=/path/to/ca.pem to results.url for an authority that this machine does not know, or another \
                 sslmode: require encrypts without verification, disable does not encrypt",
            ),
            Self::Migration { .. } => Some("run `celeriac setup` as a user who may create tables in schema `celeriac`"),
            Self::Migrations { .. } => {
                Some("restore the table celeriac.migrations, or set results.url to another database")
            }
            Self::Pooled { .. } => Some("set results.url to the server itself, or the pooler to session mode"),
            Self::Schema { .. } => Some("update this program, or set results.url to another database"),
            Self::Busy { .. } => Some("check the database: locks, disk space, and whether it is a standby"),
            Self::Invalid { .. } | Self::Closed | Self::Sql { .. } => None,
        }
    }
}
