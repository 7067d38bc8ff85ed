//! Cases of revoked tasks, which do not start.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::stage::DEADLINE;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::revocations::{RevocationCache, RevokeOptions, Revoked, RunningTask};

pub(super) async fn a_revoked_task_never_starts(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let revocations = backend.revocation_cache();
    let ids: Vec<_> = (0..3_000).map(|number| format!("{ns}/{number}")).collect();
    // One at a time, many at once, and one id twice in a call.
    let again = [&ids[1..], &ids[1..2]].concat();
    tokio::try_join!(backend.revoke(&ids[..1], WHOLLY), backend.revoke(&again, WHOLLY), backend.revoke(&[], WHOLLY))?;
    for id in &ids {
        assert_eq!(begin(revocations, id).await.err(), Some(Revoked { terminate: false }), "{id}");
    }
    assert!(begin(revocations, &format!("{ns}/other")).await.is_ok());
    Ok(())
}

pub(super) async fn only_a_termination_ends_a_running_task(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let (revocations, id) = (backend.revocation_cache(), format!("{ns}/runs"));
    let begun = begin(revocations, &id).await.ok();
    assert!(begun.is_some());
    let Some(begun) = begun else { return Ok(()) };
    backend.revoke(std::slice::from_ref(&id), WHOLLY).await?;
    assert!(!begun.terminated().is_cancelled());
    backend.revoke(std::slice::from_ref(&id), RevokeOptions { terminate: true, lasts: None }).await?;
    let told = timeout(DEADLINE, begun.terminated().cancelled()).await;
    assert!(told.is_ok(), "it was not told within {DEADLINE:?}");
    // A later revocation without termination does not undo the termination.
    backend.revoke(std::slice::from_ref(&id), WHOLLY).await?;
    assert_eq!(begin(revocations, &id).await.err(), Some(Revoked { terminate: true }));
    Ok(())
}

pub(super) async fn a_revocation_holds_for_the_longer_of_two_times_and_ends(
    backend: Arc<dyn Backend>,
    ns: &str,
) -> Result<()> {
    let ids = ["long", "short"].map(|name| format!("{ns}/{name}"));
    let lasting = |lasts| RevokeOptions { terminate: false, lasts: Some(lasts) };
    backend.revoke(&ids[..1], lasting(Duration::from_secs(3_600))).await?;
    backend.revoke(&ids, lasting(Duration::from_millis(1))).await?;
    let revocations = backend.revocation_cache();
    assert!(begin(revocations, &ids[0]).await.is_err());
    assert!(begin(revocations, &ids[1]).await.is_ok());
    // Longer than any timestamp.
    backend.revoke(&ids[1..], lasting(Duration::MAX)).await?;
    assert!(begin(revocations, &ids[1]).await.is_err());
    Ok(())
}

pub(super) async fn only_revocations_that_no_longer_hold_are_swept(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    let gone: Vec<_> = (0..5).map(|number| format!("{ns}/gone/{number}")).collect();
    let held = [format!("{ns}/held")];
    backend.revoke(&gone, RevokeOptions { terminate: false, lasts: Some(Duration::from_millis(1)) }).await?;
    backend.revoke(&held, WHOLLY).await?;
    assert_eq!(backend.sweep_revocations(2).await?, 2);
    while backend.sweep_revocations(100).await? > 0 {}
    assert!(begin(backend.revocation_cache(), &held[0]).await.is_err());
    Ok(())
}

pub(super) async fn what_can_be_no_id_is_not_revoked(backend: Arc<dyn Backend>, ns: &str) -> Result<()> {
    for wrong in ["", "a\0b", &"x".repeat(256)] {
        let ids = [format!("{ns}/good"), wrong.to_owned()];
        let refused = backend.revoke(&ids, WHOLLY).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    assert!(begin(backend.revocation_cache(), &format!("{ns}/good")).await.is_ok());
    Ok(())
}

/// Lasts as long as rows are kept.
const WHOLLY: RevokeOptions = RevokeOptions { terminate: false, lasts: None };

async fn begin(revocations: &Arc<RevocationCache>, id: &str) -> Result<RunningTask, Revoked> {
    let begun = timeout(DEADLINE, revocations.start_task(id)).await;
    assert!(begun.is_ok(), "nobody looked at the store within {DEADLINE:?}");
    begun.unwrap_or(Err(Revoked { terminate: false }))
}
