//! Topology as code: compares a broker with files, and applies the differences.
//!
//! The management API shows everything. Without it, only the objects that AMQP shows are compared,
//! and the others are named as unseen.

use celeriac_broker::{AmqpBroker, Broker, BrokerHealth, BrokerOptions, Depth, Inspection, nodes};
use celeriac_topology::{
    Difference, Existing, Ladder, Leftover, QueueFacts, QueueKind, Remedy, SettingsLocation, Topology, TopologyObject,
    delay_ladder, differences, policies, policy_object,
};

use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::management::{Management, management};

/// Compares a broker with files, and applies the differences.
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
    /// The differences.
    pub differences: Vec<Difference>,
    /// Parts of the broker that could not be read, with the reason.
    pub unseen: Vec<String>,
    /// Bindings that nothing shows. They are declared again, which changes nothing if they exist.
    blind: Vec<TopologyObject>,
}

/// The treatment of leftovers: objects of earlier files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Leftovers stay.
    Keep,
    /// Leftovers are deleted, except queues with messages or consumers.
    Delete,
}

/// The result of a plan that was applied.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Resolved differences.
    pub done: Vec<Difference>,
    /// Differences that remain.
    pub left: Vec<Difference>,
    /// Bindings that were declared and may have existed before.
    pub unseen_bindings: Vec<TopologyObject>,
}

impl Plan {
    /// Returns the bindings that may be missing, because nothing shows them.
    pub fn unseen_bindings(&self) -> impl Iterator<Item = &TopologyObject> {
        self.blind.iter()
    }

    /// Returns true if applying the plan changes something for certain. Bindings that nothing shows
    /// do not count, because as a rule they exist.
    pub fn is_to_be_done(&self, prune: Prune) -> bool {
        self.to_be_done(prune).next().is_some()
    }

    /// Returns the differences that applying the plan resolves.
    pub fn to_be_done(&self, prune: Prune) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(move |found| match found.remedy {
            Remedy::Make(_) | Remedy::SetPolicy(_) => true,
            Remedy::Delete(_) => prune == Prune::Delete,
            Remedy::Migrate(_) | Remedy::ByHand(_) => false,
        })
    }
}

impl Planner {
    /// Creates a planner for the broker of the options. `name` is the connection name that the
    /// broker lists.
    ///
    /// # Errors
    /// Returns an error if the options are invalid, or if the broker is `memory://`.
    pub fn new(options: &BrokerOptions, name: &str) -> Result<Self> {
        if options.url.expose().starts_with("memory://") {
            let reason = "memory:// is a broker inside this process: there is nothing to compare with".to_owned();
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

    /// Compares the broker with the files, and changes nothing.
    ///
    /// # Errors
    /// Returns an error if the broker does not answer.
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

    /// Creates missing objects, sets policies, and deletes leftovers with [`Prune::Delete`].
    /// Applying again changes nothing.
    ///
    /// # Errors
    /// Returns the first error. Changes before it stay.
    pub async fn apply(&self, plan: Plan, prune: Prune) -> Result<Applied> {
        if self.settings == SettingsLocation::Policies && !plan.unseen.is_empty() {
            return Err(no_policies());
        }
        let mut applied = Applied { unseen_bindings: plan.blind.clone(), ..Applied::default() };
        // Policies first, so that they hold for the first message of a new queue.
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

    /// Returns every object of the files and the delay ladder, without asking the broker.
    pub fn wanted(&self, topology: &Topology) -> Vec<TopologyObject> {
        self.objects(topology, self.ladder_kind)
    }

    /// Returns the names of these objects and of their policies, as [`Difference::object`] has
    /// them.
    pub fn wanted_names(&self, topology: &Topology) -> Vec<String> {
        let objects = self.wanted(topology);
        let policies = policies(&objects).into_iter().map(|policy| policy_object(&policy.name));
        objects.iter().map(ToString::to_string).chain(policies).collect()
    }

    /// Returns the virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Returns a watch of the broker's health.
    pub fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.broker.health()
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.broker.close().await;
    }

    fn objects(&self, topology: &Topology, ladder_kind: QueueKind) -> Vec<TopologyObject> {
        let mut objects = delay_ladder(&self.ladder, ladder_kind);
        objects.extend(topology.objects(&self.ladder, self.settings));
        objects
    }

    /// Returns the existing objects, or `None` without the management API.
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

    /// Deletes a queue that is empty and has no consumers. AMQP is asked just before, because the
    /// management API is some seconds late.
    async fn delete_queue(&self, queue: &QueueFacts) -> Result<bool> {
        match self.broker.depth(&queue.name).await? {
            Some(Depth { ready: 0, consumers: 0 }) => self.api()?.delete_queue(queue).await.map(|()| true),
            Some(_) => Ok(false),
            None => Ok(true),
        }
    }
}

fn no_policies() -> Error {
    let reason = "policies are set over the management API, which does not answer this user: set broker.management_url";
    Error::Invalid { key: "broker.use_policies".to_owned(), reason: reason.to_owned() }
}

/// Returns the type of existing delay levels. The setting counts only for new ones.
fn ladder_kind(ladder: &Ladder, existing: &Existing) -> Option<QueueKind> {
    let lowest = ladder.level_name(0);
    let level = existing.queues.iter().find(|queue| queue.name == lowest)?;
    [QueueKind::Quorum, QueueKind::Classic].into_iter().find(|kind| kind.name() == level.kind)
}
