//! Poison: a task that brings its worker down is quarantined before it does so for ever.
//!
//! Nobody survives to tell which task it was. What is known is which attempts were begun and came to no end: each such start
//! is on record before the task runs, unless the message was never delivered before. Those that merely ran beside the
//! poison are on record as well. So who is suspected a second time runs alone among suspects, one at a time on a worker:
//! the innocent end, and are cleared; only the guilty goes on being counted.

use std::sync::Arc;
use std::time::Duration;

use celeriac_protocol::task::AckMode;
use celeriac_protocol::{Failure, TaskHeaders};
use celeriac_results::{AttemptKey, Cleared, Suspect, Suspicion};
use tokio::sync::OwnedSemaphorePermit;

use crate::after::Again;
use crate::follow_up;
use crate::handler::TaskDefinition;
use crate::lifecycle::{Ended, Ending, Life, Outcome, Results};

/// Celery's name of it.
const KIND: &str = "WorkerLostError";

/// From so many starts on, the first delivery not counted, a suspect runs alone.
const TOGETHER: u32 = 2;

/// After so long a suspect comes again whose turn it is not. The broker counts whole seconds.
const UNTIL_ITS_TURN: Duration = Duration::from_secs(1);

/// What is to be done with a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// It runs.
    Run,
    /// It runs when no other suspect of this worker does.
    RunAlone,
    /// It never runs again: it may have brought down its worker so often.
    Quarantine(u32),
}

/// How many starts on record let a suspect run beside others: with few deliveries to lose, none do.
fn together(most: u32) -> u32 {
    most.saturating_sub(1).clamp(1, TOGETHER) - 1
}

/// Judges by what was on record. The first delivery is not.
fn judge(Suspicion { starts, begins }: Suspicion, most: u32) -> Judgement {
    match begins {
        true => Judgement::Run,
        false if starts.saturating_add(1) >= most => Judgement::Quarantine(starts.saturating_add(1)),
        false => Judgement::RunAlone,
    }
}

/// An attempt that is on record. The record has to be cleared when it has ended.
pub(crate) struct Mark<'a> {
    results: &'a Results,
    attempt: AttemptKey,
    /// Held by one that runs alone.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Mark<'_> {
    /// Clears the record of an attempt that has ended, or was interrupted in order.
    pub(crate) async fn clear(self, ended: &Ended) {
        let interrupted = ended.ending() == Ending::Again;
        self.results.suspects.clear(Cleared { attempt: self.attempt, interrupted }).await;
    }
}

impl<'a> Life<'a> {
    /// Puts on record that a suspect begins, sends it back until it has its turn to run alone, or quarantines it.
    pub(crate) async fn suspect(&self, task: &TaskDefinition) -> Result<Option<Mark<'a>>, Ended> {
        let is_suspect = self.received.is_again() && task.options.acks == AckMode::Late;
        match self.core.results.as_ref().filter(|_| is_suspect) {
            Some(results) => Box::pin(self.mark(task, results)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn mark(&self, task: &TaskDefinition, results: &'a Results) -> Result<Mark<'a>, Ended> {
        let most = task.options.max_deliveries.unwrap_or(self.core.max_deliveries).max(2);
        let mark = |turn| Mark { results, attempt: self.attempt(), _turn: turn };
        match judge(self.put_on_record(results, together(most)).await?, most) {
            Judgement::Run => Ok(mark(None)),
            Judgement::Quarantine(times) => Err(self.quarantine(times).await),
            Judgement::RunAlone => {
                let Ok(turn) = Arc::clone(&self.core.alone).try_acquire_owned() else {
                    // It waits on the broker: held here, it would keep others from being delivered.
                    return Err(follow_up::hold_suspect(self, UNTIL_ITS_TURN).await.into());
                };
                match judge(self.put_on_record(results, most - 1).await?, most) {
                    Judgement::Quarantine(times) => Err(self.quarantine(times).await),
                    Judgement::Run | Judgement::RunAlone => Ok(mark(Some(turn))),
                }
            }
        }
    }

    async fn put_on_record(&self, results: &Results, below: u32) -> Result<Suspicion, Ended> {
        let suspect = Suspect { attempt: self.attempt(), worker: Arc::clone(&self.core.name), below };
        tokio::select! {
            biased;
            suspicion = results.suspects.begin(suspect) => suspicion.map_err(|_| Ending::Again.into()),
            () = self.core.world.interrupt.cancelled() => Err(Ending::Again.into()),
        }
    }

    async fn quarantine(&self, times: u32) -> Ended {
        let message = format!("its worker was lost {times} times while it ran");
        let failure = Failure::new(KIND, message);
        let outcome = Outcome { begun: true, ..Outcome::default() };
        let ended = self.bury("poison", failure.clone(), outcome).await;
        if let (Some(results), true) = (&self.core.results, ended.ending() != Ending::Again) {
            results.suspects.clear(Cleared { attempt: self.attempt(), interrupted: false }).await;
        }
        let embed = self.read_body().map(|(_, embed)| embed).unwrap_or_default();
        ended.and(self.after_failure(&embed, &failure, Again::No)).await
    }

    fn attempt(&self) -> AttemptKey {
        let TaskHeaders { id, retries, .. } = &self.received.headers;
        AttemptKey { id: id.clone(), retries: *retries, replays: self.received.message.headers.replays() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How it goes with a task that brings down its worker whenever it runs: what is done at each delivery after the first.
    fn poison(most: u32) -> Vec<Judgement> {
        let (mut starts, mut judgements) = (0, Vec::new());
        loop {
            let begins = starts < together(most);
            let judgement = judge(Suspicion { starts: starts + u32::from(begins), begins }, most);
            judgements.push(judgement);
            if matches!(judgement, Judgement::Quarantine(_)) {
                return judgements;
            }
            starts += 1;
        }
    }

    #[test]
    fn poison_runs_as_often_as_it_may_and_only_once_beside_other_suspects() {
        use Judgement::{Quarantine, Run, RunAlone};
        // Together with the first delivery, which is not judged: as many runs as allowed.
        assert_eq!(poison(2), [RunAlone, Quarantine(2)]);
        assert_eq!(poison(3), [Run, RunAlone, Quarantine(3)]);
        assert_eq!(poison(5), [Run, RunAlone, RunAlone, RunAlone, Quarantine(5)]);
    }
}
