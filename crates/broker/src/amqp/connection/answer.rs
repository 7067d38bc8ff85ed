//! Waiting for an answer of the broker.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{interval, timeout};

/// The longest time that the broker may take over one answer on a connection that stands.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// The time between two looks at a connection that owes an answer.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for an answer for so long at most, and no longer than what it comes on `stands`.
///
/// The client library tells everybody who waits when a connection ends, but for those who ask at that very moment: their answer
/// never comes.
///
/// # Errors
/// When there is none, or it is an error.
pub(crate) async fn answer_while<T>(
    stands: impl Fn() -> bool,
    patience: Duration,
    answer: impl Future<Output = lapin::Result<T>>,
) -> lapin::Result<T> {
    let mut answer = pin!(answer);
    let lost = async {
        let mut looks = interval(LOOK);
        // Two looks: who is told of the end is told within one.
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
    async fn an_answer_that_does_not_come_is_given_up() {
        let began = Instant::now();
        assert!(answer_while(|| true, ANSWER, pending::<lapin::Result<()>>()).await.is_err());
        assert_eq!(began.elapsed(), ANSWER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_although_the_connection_has_ended() {
        assert_eq!(answer_while(|| false, ANSWER, async { Ok(1) }).await.unwrap(), 1);
    }
}
