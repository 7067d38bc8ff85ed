//! Errors of a store of results, by what the program can do about them.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, was lost in the middle of something, or does not answer.
    ///
    /// A record that was being written may stand there or not. Writing it again does no harm.
    #[error("no connection to {url}")]
    Unreachable {
        /// The store, without password.
        url: String,
        /// The driver's report.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store does not let this user in, or not there.
    #[error("{url} refused access: {reason}")]
    Denied {
        /// The store, without password.
        url: String,
        /// The store's words.
        reason: String,
    },
    /// The tables could not be brought to the form that this version needs.
    #[error("cannot migrate {url} to version {version} ({name})")]
    Migration {
        /// The store, without password.
        url: String,
        /// The version that was to be reached.
        version: i64,
        /// The subject of that version.
        name: &'static str,
        /// The store's report.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is shared with a newer version of Celeriac, which has changed the tables beyond what this one knows.
    #[error("{url} has no table as this version expects it: {reason}")]
    Schema {
        /// The store, without password.
        url: String,
        /// The store's words.
        reason: String,
    },
    /// A setting that cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The setting.
        key: String,
        /// The mistake.
        reason: String,
    },
    /// The store was closed by this program, or the recorder ended before the outcome was written.
    #[error("the result store was closed by this program")]
    Closed,
    /// The store is there and busy, full or read-only for now.
    #[error("{doing} failed for now")]
    Busy {
        /// The operation.
        doing: &'static str,
        /// The store's report.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Anything else that the store reports.
    #[error("{doing} failed")]
    Sql {
        /// The operation.
        doing: &'static str,
        /// The store's report.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Reports whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// Reports whether the store could not be reached or was lost.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Returns advice for a person.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("is the database running, and is results.url right?"),
            Self::Denied { .. } => Some("check user, password, database and grants of results.url"),
            Self::Migration { .. } => {
                Some("the first start of a version needs a user who may create tables in schema `celeriac`")
            }
            Self::Schema { .. } => Some("update this program, or give it a database of its own"),
            Self::Busy { .. } => Some("look at the database: locks, disk space, whether it is a standby"),
            Self::Invalid { .. } | Self::Closed | Self::Sql { .. } => None,
        }
    }

    /// The error and its causes on one line, for the log.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }
}
