//! How a running task is told to come to an end, and why.

use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Why a task is told to come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It has reached its soft time limit; or its hard one, where it cannot be ended from outside.
    SoftTimeLimit,
    /// It was terminated: nobody wants its outcome any more.
    Terminated,
    /// The worker stops, and its drain time is over.
    Stopping,
}

/// What one attempt is told. The first word counts.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    why: OnceLock<Cancellation>,
    given: CancellationToken,
}

impl Notice {
    /// Tells the attempt to come to an end.
    pub(crate) fn give(&self, why: Cancellation) {
        let _ = self.why.set(why);
        self.given.cancel();
    }

    /// Why, once it was told.
    pub(crate) fn why(&self) -> Option<Cancellation> {
        self.why.get().copied()
    }

    /// Completes when it is told.
    pub(crate) async fn given(&self) {
        self.given.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_word_counts() {
        let notice = Notice::default();
        assert_eq!(notice.why(), None);
        notice.give(Cancellation::SoftTimeLimit);
        notice.give(Cancellation::Stopping);
        notice.given().await;
        assert_eq!(notice.why(), Some(Cancellation::SoftTimeLimit));
    }
}
