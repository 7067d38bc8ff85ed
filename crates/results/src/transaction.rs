//! A task's own work and its outcome in one commit.

use crate::error::Error;

#[cfg(feature = "postgres")]
pub use crate::backends::postgres::{Session, Transaction, Transactions};
#[cfg(feature = "postgres")]
pub use sqlx::PgConnection;

#[cfg(not(feature = "postgres"))]
pub use absent::{PgConnection, Session, Transaction, Transactions};

/// What became of a transaction that was to be committed together with the outcome of its task.
#[derive(Debug)]
pub enum Committed {
    /// Outcome and effects stand.
    Stored,
    /// The task had come to an end already. Nothing of this run stands.
    Superseded,
    /// The store cannot hold the outcome, now or ever. Nothing stands.
    Refused {
        /// Why.
        reason: String,
    },
    /// What the task did in its transaction cannot be committed. Nothing stands, unless the task committed it itself.
    Spoilt {
        /// Why.
        reason: String,
    },
    /// The store could not take it for now. Nothing stands.
    Failed(Error),
    /// The store was lost while it committed: everything stands, or nothing does.
    Unknown(Error),
}

/// Stands in for Postgres in a program that is built without it: there are no such values.
#[cfg(not(feature = "postgres"))]
mod absent {
    use super::Committed;
    use crate::error::Result;
    use crate::outbox::Entry;
    use crate::record::TaskRecord;

    /// A connection to Postgres, which this program is built without.
    #[derive(Debug)]
    pub enum PgConnection {}

    /// Transactions, which no store of this program has.
    #[derive(Debug)]
    pub enum Transactions {}

    /// A connection for a transaction, which no store of this program has.
    #[derive(Debug)]
    pub enum Session {}

    /// A transaction, which no store of this program has.
    #[derive(Debug)]
    pub struct Transaction<'a>(&'a mut Session);

    impl Transactions {
        /// There are none.
        ///
        /// # Errors
        /// Never.
        pub async fn session(&self) -> Result<Session> {
            match *self {}
        }
    }

    impl Session {
        /// There is none.
        ///
        /// # Errors
        /// Never.
        pub async fn begin(&mut self) -> Result<Transaction<'_>> {
            match *self {}
        }

        /// There is none.
        pub fn end(self) {
            match self {}
        }
    }

    impl Transaction<'_> {
        /// There is none.
        pub async fn commit(self, _: &TaskRecord, _: &[Entry]) -> Committed {
            match *self.0 {}
        }

        /// There is none.
        pub async fn rollback(self) {
            match *self.0 {}
        }
    }

    impl std::ops::Deref for Transaction<'_> {
        type Target = PgConnection;
        fn deref(&self) -> &PgConnection {
            match *self.0 {}
        }
    }

    impl std::ops::DerefMut for Transaction<'_> {
        fn deref_mut(&mut self) -> &mut PgConnection {
            match *self.0 {}
        }
    }
}
