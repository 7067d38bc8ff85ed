//! Topology as code: the difference between files and broker, and its end.
//!
//! Over the management API everything is seen; without it, what AMQP shows, and the rest is named as unseen.

use celeriac_broker::{AmqpBroker, Broker, BrokerOptions, Depth, Inspection, nodes};
use celeriac_topology::{
    Difference, Existing, Ladder, Leftover, QueueFacts, QueueKind, Remedy, SettingsLocation, Topology, TopologyObject,
    delay_ladder, differences,
};

use crate::error::{Error, Result};
use crate::management::{Management, management};

/// Compares a broker with files, and makes it what they say.
#[derive(Debug)]
pub struct Planner {
    broker: AmqpBroker,
    management: Option<Management>,
    settings: SettingsLocation,
    ladder: Ladder,
    ladder_kind: QueueKind,
    vhost: String,
}

/// A plan: every difference between files and broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Each difference.
    pub differences: Vec<Difference>,
    /// Parts of the broker that could not be looked into, with the reason.
    pub unseen: Vec<String>,
    /// Objects that may be missing, since nothing shows them: making them again changes nothing.
    blind: Vec<TopologyObject>,
}

/// The fate of objects that the files do not name any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It stays.
    Keep,
    /// It goes, but never a queue with messages or consumers.
    Delete,
}

/// The result of a plan that was applied.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Differences that are ended.
    pub done: Vec<Difference>,
    /// Differences that are left.
    pub left: Vec<Difference>,
    /// Number of bindings that were made and may have been there before.
    pub unseen_bindings: usize,
}

impl Plan {
    /// Returns true when applying it changes something, or may.
    pub fn is_to_be_done(&self, prune: Prune) -> bool {
        let is_done = |found: &Difference| match found.remedy {
            Remedy::Make(_) | Remedy::SetPolicy(_) => true,
            Remedy::Delete(_) => prune == Prune::Delete,
            Remedy::Migrate(_) | Remedy::ByHand(_) => false,
        };
        !self.blind.is_empty() || self.differences.iter().any(is_done)
    }
}

impl Planner {
    /// A planner for the broker that the options name. `name` is what the broker's lists show of this program.
    ///
    /// # Errors
    /// When the options do not make sense, or name a broker in this process.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        if options.url.expose().starts_with("memory://") {
            let reason = "a broker inside this process has nothing to compare with".to_owned();
            return Err(Error::Invalid { key: "broker.url".to_owned(), reason });
        }
        Ok(Self {
            broker: AmqpBroker::new(options, name)?,
            management: management(options),
            settings: options.settings_location(),
            ladder: Ladder::new(&options.delay_prefix),
            ladder_kind: options.delay_queue_type,
            vhost: nodes(options)?.into_iter().next().map(|node| node.vhost).unwrap_or_default(),
        })
    }

    /// Compares. Nothing is changed.
    ///
    /// # Errors
    /// When the broker cannot be asked.
    pub async fn plan(&self, topology: &Topology) -> Result<Plan> {
        match self.existing().await? {
            Some(existing) => {
                let objects = self.objects(topology, ladder_kind(&self.ladder, &existing).unwrap_or(self.ladder_kind));
                Ok(Plan { differences: differences(&objects, &existing), ..Plan::default() })
            }
            None => {
                let objects = self.objects(topology, self.ladder_kind);
                let Inspection { differences, unseen } = self.broker.inspect(&objects).await?;
                let blind = objects.into_iter().filter(|object| matches!(object, TopologyObject::Binding(_))).collect();
                Ok(Plan { differences, unseen, blind })
            }
        }
    }

    /// Puts an end to what differs, as far as that takes nothing away from anybody: makes what is missing, sets policies,
    /// and deletes leftovers if that is asked for. Doing it again changes nothing.
    ///
    /// # Errors
    /// At the first thing that does not work; what was done before stays.
    pub async fn apply(&self, plan: Plan, prune: Prune) -> Result<Applied> {
        if self.settings == SettingsLocation::Policies && !plan.unseen.is_empty() {
            return Err(no_policies());
        }
        let mut applied = Applied { unseen_bindings: plan.blind.len(), ..Applied::default() };
        // Policies first: a queue is kept as it should be from its first message on.
        for found in &plan.differences {
            if let Remedy::SetPolicy(policy) = &found.remedy {
                self.api()?.put_policy(policy).await?;
            }
        }
        let missing = plan.differences.iter().filter_map(|found| match &found.remedy {
            Remedy::Make(object) => Some(object.clone()),
            _ => None,
        });
        let mut missing: Vec<_> = missing.collect();
        missing.extend(plan.blind);
        if !missing.is_empty() {
            self.broker.make(&missing).await?;
        }
        for found in plan.differences {
            let done = match &found.remedy {
                Remedy::Make(_) | Remedy::SetPolicy(_) => true,
                Remedy::Delete(leftover) if prune == Prune::Delete => self.delete(leftover).await?,
                Remedy::Delete(_) | Remedy::Migrate(_) | Remedy::ByHand(_) => false,
            };
            if done { applied.done.push(found) } else { applied.left.push(found) }
        }
        Ok(applied)
    }

    /// Returns all objects that have to exist, policies and delay ladder included, without asking the broker.
    pub fn wanted(&self, topology: &Topology) -> Vec<TopologyObject> {
        self.objects(topology, self.ladder_kind)
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Ends its connections.
    pub async fn close(&self) {
        self.broker.close().await;
    }

    fn objects(&self, topology: &Topology, ladder_kind: QueueKind) -> Vec<TopologyObject> {
        let mut objects = delay_ladder(&self.ladder, ladder_kind);
        objects.extend(topology.objects(&self.ladder, self.settings));
        objects
    }

    /// Lists the objects that exist. `None` without the management API.
    async fn existing(&self) -> Result<Option<Existing>> {
        let Some(api) = &self.management else { return Ok(None) };
        if api.overview().await?.is_none() {
            return Ok(None);
        }
        let (queues, exchanges, bindings, policies) =
            futures::try_join!(api.queues(), api.exchanges(), api.bindings(), api.policies())?;
        Ok(Some(Existing { queues, exchanges, bindings, policies }))
    }

    fn api(&self) -> Result<&Management> {
        self.management.as_ref().ok_or_else(no_policies)
    }

    async fn delete(&self, leftover: &Leftover) -> Result<bool> {
        match leftover {
            Leftover::Binding(binding) => self.api()?.delete_binding(binding).await?,
            Leftover::Policy(name) => self.api()?.delete_policy(name).await?,
            Leftover::Queue(queue) => return self.delete_queue(queue).await,
        }
        Ok(true)
    }

    /// Deletes a queue that is empty and unused. The API is some seconds late, so AMQP is asked just before.
    async fn delete_queue(&self, queue: &QueueFacts) -> Result<bool> {
        match self.broker.depth(&queue.name).await? {
            Some(Depth { ready: 0, consumers: 0 }) => self.api()?.delete_queue(queue).await.map(|()| true),
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }
}

fn no_policies() -> Error {
    let reason = "policies are made over the management API, which does not answer, or not to this user: set broker.management_url";
    Error::Invalid { key: "broker.use_policies".to_owned(), reason: reason.to_owned() }
}

/// The kind of the delay levels that exist: the setting counts only where there are none.
fn ladder_kind(ladder: &Ladder, existing: &Existing) -> Option<QueueKind> {
    let lowest = ladder.level_name(0);
    let level = existing.queues.iter().find(|queue| queue.name == lowest)?;
    [QueueKind::Quorum, QueueKind::Classic].into_iter().find(|kind| kind.name() == level.kind)
}
