//! Warnings at the start that need the management API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use celeriac_broker::{BrokerOptions, StartupChecks};
use celeriac_telemetry::Event;
use celeriac_telemetry::events::broker::{OptionIgnored, PoliciesDiffer};
use celeriac_topology::{Existing, Ladder, SettingsLocation, Topology, differing_policies};
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::error::Result;
use crate::management::{Management, management};

/// Longest wait for the management API, which a program does not need.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the checks of the broker, or `None` without a management API.
pub fn startup_checks(options: &BrokerOptions) -> Option<Arc<dyn StartupChecks>> {
    Some(Arc::new(ManagementChecks {
        management: management(options)?,
        ladder: Ladder::new(&options.delay_prefix),
        policies: options.use_policies,
        version_checked: AtomicBool::new(false),
    }))
}

#[derive(Debug)]
struct ManagementChecks {
    management: Management,
    ladder: Ladder,
    /// True if policies hold the settings of queues.
    policies: bool,
    version_checked: AtomicBool,
}

impl StartupChecks for ManagementChecks {
    fn check<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.policies {
                self.check_policies(topology).await;
            }
            if topology.depends_on_version() && !self.version_checked.swap(true, Ordering::Relaxed) {
                self.check_version(topology).await;
            }
        })
    }
}

impl ManagementChecks {
    /// Logs missing policies. They are no error: queues work without them, but lose their dead
    /// letters.
    async fn check_policies(&self, topology: &Topology) {
        let Ok(Ok(Some(existing))) = timeout(PATIENCE, self.existing()).await else { return };
        let differing = differing_policies(&topology.objects(&self.ladder, SettingsLocation::Policies), &existing);
        if !differing.is_empty() {
            let named: Vec<_> = differing.iter().map(|found| found.object.as_str()).collect();
            PoliciesDiffer { policies: &named.join(", ") }.emit();
        }
    }

    /// Logs options that this version of the broker accepts and ignores.
    async fn check_version(&self, topology: &Topology) {
        let Ok(Ok(Some(overview))) = timeout(PATIENCE, self.management.overview()).await else { return };
        for (key, reason) in topology.unheeded(&overview.version) {
            OptionIgnored { key: &key, reason: &reason }.emit();
        }
    }

    async fn existing(&self) -> Result<Option<Existing>> {
        if self.management.overview().await?.is_none() {
            return Ok(None);
        }
        let (queues, policies) = futures::try_join!(self.management.queues(), self.management.policies())?;
        Ok(Some(Existing { queues, policies, ..Existing::default() }))
    }
}
