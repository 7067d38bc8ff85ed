//! Waits for an answer of the broker.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{interval, timeout};

/// Longest time that the broker may take to answer on an open connection.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// Time between two checks of a connection that has an answer outstanding.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for an answer, at most for `patience`, and only while `stands` confirms that the
/// connection is open.
///
/// When a connection ends, the client library fails every pending request except those made at that
/// moment. They never get an answer.
///
/// # Errors
/// Returns an error if no answer comes, or if the answer is an error.
pub(crate) async fn answer_while<T>(
    stands: impl Fn() -> bool,
    patience: Duration,
    answer: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    let mut answer = pin!(answer);
    let lost = async {
        let mut looks = interval(LOOK);
        // A pending request fails within one interval, so two failed checks mean that the client
        // library missed this one.
        let mut gone = 0;
        while gone < 2 {
            looks.tick().await;
            gone = if stands() { 0 } else { gone + 1 };
        }
    };
    let ended = tokio::select! {
        biased;
        answered = timeout(patience, &mut answer) => match answered {
            Ok(answered) => return answered,
            Err(_) => io::ErrorKind::TimedOut,
        },
        () = lost => io::ErrorKind::ConnectionReset,
    };
    Err(io::Error::from(ended).into())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_no_longer_than_its_connection_stands() {
        let began = Instant::now();
        let lost =
            answer_while(|| began.elapsed() < Duration::from_secs(1), ANSWER, pending::<lapin::Result<()>>()).await;
        assert!(lost.is_err());
        assert!(began.elapsed() <= Duration::from_millis(1_500), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_answer_times_out() {
        let began = Instant::now();
        assert!(answer_while(|| true, ANSWER, pending::<lapin::Result<()>>()).await.is_err());
        assert_eq!(began.elapsed(), ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_although_the_connection_has_ended() {
        assert_eq!(answer_while(|| false, ANSWER, async { Ok(1) }).await.unwrap(), 1);
    }
}
