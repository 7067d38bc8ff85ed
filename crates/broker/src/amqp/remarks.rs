//! Tells at start what the broker does not do as it should, where that can be seen.

use std::time::Duration;

use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::{OptionIgnored, PolicyMissing};
use celeriac_topology::{Existing, Keeping, Ladder, Topology, differing_policies};
use tokio::time::timeout;

use crate::error::Result;
use crate::management::Management;

/// How long a start may wait for the management API, which it can do without.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queues without their policies work, and lose what should be dead-lettered: that is told, and no error.
pub(super) async fn policies(management: &Management, topology: &Topology, ladder: &Ladder) {
    let Ok(Ok(Some(existing))) = timeout(PATIENCE, look(management)).await else { return };
    let differing = differing_policies(&topology.parts(ladder, Keeping::Policies), &existing);
    if !differing.is_empty() {
        let named: Vec<_> = differing.iter().map(|found| found.object.as_str()).collect();
        PolicyMissing { policies: &named.join(", ") }.emit();
    }
}

/// Options that the broker takes and does not heed.
pub(super) async fn version(management: &Management, topology: &Topology) {
    let Ok(Ok(Some(overview))) = timeout(PATIENCE, management.overview()).await else { return };
    for (key, reason) in topology.unheeded(&overview.version) {
        OptionIgnored { key: &key, reason: &reason }.emit();
    }
}

async fn look(management: &Management) -> Result<Option<Existing>> {
    if management.overview().await?.is_none() {
        return Ok(None);
    }
    let (queues, policies) = futures::try_join!(management.queues(), management.policies())?;
    Ok(Some(Existing { queues, policies, ..Existing::default() }))
}
