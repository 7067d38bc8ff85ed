//! Cases of attempts that run while the broker has their message.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::crash_log::AttemptKey;
use crate::error::Result;

const LONG: Duration = Duration::from_secs(600);

pub(super) async fn a_run_is_found_until_it_ends(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let attempt = attempt(ns, 0);
    assert_eq!(backend.find_run(&attempt).await?, None);
    backend.renew_run(&attempt, "one", LONG).await?;
    backend.renew_run(&attempt, "one", LONG).await?;
    assert_eq!(backend.find_run(&attempt).await?.as_deref(), Some("one"));
    // Another worker ends a run of its own only.
    backend.end_run(&attempt, "two").await?;
    assert_eq!(backend.find_run(&attempt).await?.as_deref(), Some("one"));
    backend.end_run(&attempt, "one").await?;
    assert_eq!(backend.find_run(&attempt).await?, None);
    Ok(())
}

pub(super) async fn a_run_is_one_of_its_attempt_only(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (first, second) = (attempt(ns, 0), attempt(ns, 1));
    backend.renew_run(&first, "one", LONG).await?;
    assert_eq!(backend.find_run(&second).await?, None);
    backend.renew_run(&second, "two", LONG).await?;
    backend.end_run(&first, "one").await?;
    assert_eq!(backend.find_run(&second).await?.as_deref(), Some("two"));
    let unusual = AttemptKey { id: "\0".to_owned(), ..first };
    assert_eq!(backend.find_run(&unusual).await?, None, "no store has it");
    Ok(())
}

pub(super) async fn a_run_whose_lease_has_ended_is_not_found_and_swept(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let (dead, alive) = (attempt(ns, 0), AttemptKey { id: format!("{ns}/alive"), retries: 0, replays: 0 });
    backend.renew_run(&dead, "one", Duration::ZERO).await?;
    backend.renew_run(&alive, "one", LONG).await?;
    assert_eq!(backend.find_run(&dead).await?, None);
    while backend.sweep_runs(10).await? == 10 {}
    assert_eq!(backend.find_run(&alive).await?.as_deref(), Some("one"));
    Ok(())
}

fn attempt(ns: &str, retries: u32) -> AttemptKey {
    AttemptKey { id: format!("{ns}/a"), retries, replays: 0 }
}
