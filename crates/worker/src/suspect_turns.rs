//! The turns of suspects, which run alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Longest wait of a suspect in its slot while another one runs. Most tasks end sooner. A message
/// that returns to the broker costs more, and a crash at that moment leaves two of them.
const WAIT_IN_SLOT: Duration = Duration::from_millis(500);

/// Part of the slots in which suspects wait: a quarter. The others are for ordinary tasks.
const WAITING_PART: usize = 4;

/// Lets one suspect of a worker run at a time.
#[derive(Debug)]
pub(crate) struct SuspectTurns {
    turn: Arc<Semaphore>,
    waiting: Semaphore,
}

impl SuspectTurns {
    /// Returns the turns of a worker with this many slots.
    pub(crate) fn new(slots: usize) -> Self {
        let waiting = (slots / WAITING_PART).clamp(1, Semaphore::MAX_PERMITS);
        Self { turn: Arc::new(Semaphore::new(1)), waiting: Semaphore::new(waiting) }
    }

    /// Returns the right to run, or `None` if others keep it for too long, or if too many wait.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let _place = self.waiting.try_acquire().ok()?;
        timeout(WAIT_IN_SLOT, Arc::clone(&self.turn).acquire_owned()).await.ok()?.ok()
    }

    /// Returns the number of suspects that may begin to wait.
    #[cfg(test)]
    pub(crate) fn free_places(&self) -> usize {
        self.waiting.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspect_waits_for_its_turn_for_a_while_and_most_slots_are_left_to_others() {
        let turns = SuspectTurns::new(8);
        let first = turns.take().await;
        assert!(first.is_some());
        let began = Instant::now();
        let (one, two, third) = tokio::join!(turns.take(), turns.take(), async {
            assert!(turns.take().await.is_none(), "two of eight slots may wait");
            began.elapsed()
        });
        assert!(one.is_none() && two.is_none());
        assert_eq!((third, began.elapsed()), (Duration::ZERO, WAIT_IN_SLOT));
        let (next, ()) = tokio::join!(turns.take(), async { drop(first) });
        assert!(next.is_some());
    }
}
