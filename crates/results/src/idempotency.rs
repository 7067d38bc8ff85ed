//! Keys under which a task is sent once, however often that is asked for.

#[cfg(feature = "postgres")]
pub use crate::backends::postgres::idempotency::Idempotency;

#[cfg(not(feature = "postgres"))]
pub use absent::Idempotency;

/// The wish to send a task under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Task name.
    pub task: String,
    /// The key, which is the task's own: another task may have the same.
    pub key: String,
    /// The id that the task will have, if this is the first to want it.
    pub id: String,
    /// Of the arguments.
    pub fingerprint: String,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing stood there: it is for the caller to send the task.
    First,
    /// Somebody set out to send it and did not come back: it is for the caller to send it once more, with the first id.
    Unsent(Former),
    /// Somebody is about to send it.
    Sending(Former),
    /// It was sent.
    Sent(Former),
}

/// Who came first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its task id.
    pub id: String,
    /// Of its arguments.
    pub fingerprint: String,
}

/// Stands in for Postgres in a program that is built without it: there are no such values.
#[cfg(not(feature = "postgres"))]
mod absent {
    use super::{Claim, Claimed};
    use crate::error::Result;
    use crate::transaction::PgConnection;

    /// Idempotency keys, which no store of this program has.
    #[derive(Debug)]
    pub enum Idempotency {}

    impl Idempotency {
        /// There are none.
        pub async fn claim(&self, _: &Claim) -> Result<Claimed> {
            match *self {}
        }

        /// There are none.
        pub async fn claim_in(&self, _: &mut PgConnection, _: &Claim) -> Result<Claimed> {
            match *self {}
        }

        /// There are none.
        pub async fn sent(&self, _: &Claim) -> Result<()> {
            match *self {}
        }

        /// There are none.
        pub async fn release(&self, _: &Claim) -> Result<()> {
            match *self {}
        }
    }
}
