//! A private RabbitMQ cluster.

use anyhow::{Context, Result, anyhow};

use crate::rabbit::{RabbitNode, RabbitSpec};

/// Several RabbitMQ nodes of one cluster. Dropping it kills them and removes their data.
#[derive(Debug)]
pub struct RabbitCluster {
    nodes: Vec<RabbitNode>,
}

impl RabbitCluster {
    /// Starts this many nodes and makes them one cluster.
    pub fn start(spec: &RabbitSpec, size: usize) -> Result<Self> {
        let nodes = (0..size).map(|_| spec.clone().prepare()).collect::<Result<Vec<_>>>()?;
        // All at once, because most of a start is waiting.
        nodes.iter().try_for_each(RabbitNode::launch)?;
        nodes.iter().try_for_each(RabbitNode::await_ready)?;
        if let Some((first, others)) = nodes.split_first() {
            // One after the other: a node that joins conflicts with one that does not know it yet.
            others.iter().try_for_each(|node| node.join_cluster(first))?;
        }
        Ok(Self { nodes })
    }

    /// Returns the URLs of the default virtual host on every node, separated by commas.
    pub fn url(&self) -> String {
        self.nodes.iter().map(RabbitNode::url).collect::<Vec<_>>().join(",")
    }

    /// Returns all nodes, running or not.
    pub fn nodes(&self) -> &[RabbitNode] {
        &self.nodes
    }

    /// Sends SIGKILL to one node.
    pub fn kill(&self, index: usize) -> Result<()> {
        self.node(index)?.kill()
    }

    /// Starts a node that was killed, and waits until it answers.
    pub fn restart(&self, index: usize) -> Result<()> {
        self.node(index)?.restart()
    }

    /// Returns the node that leads a quorum queue of the default virtual host.
    pub fn leader_of(&self, queue: &str) -> Result<usize> {
        let listed = self.of_queue(queue, "leader")?;
        let leads = |node: &RabbitNode| listed.trim() == node.name();
        self.nodes.iter().position(leads).with_context(|| format!("queue `{queue}` is led by `{}`", listed.trim()))
    }

    /// Returns the number of nodes with a copy of a quorum queue of the default virtual host.
    pub fn members_of(&self, queue: &str) -> Result<usize> {
        let listed = self.of_queue(queue, "members")?;
        Ok(self.nodes.iter().filter(|node| listed.contains(&node.name())).count())
    }

    fn of_queue(&self, queue: &str, what: &str) -> Result<String> {
        let running = self.nodes.iter().find(|node| node.alive()).context("no node of the cluster runs")?;
        let listed = running.ctl(&["list_queues", "--silent", "name", what])?;
        let of_queue = |line: &str| {
            Some(line.split_once('\t')?).filter(|(name, _)| *name == queue).map(|found| found.1.to_owned())
        };
        listed.lines().find_map(of_queue).ok_or_else(|| anyhow!("there is no queue `{queue}`"))
    }

    fn node(&self, index: usize) -> Result<&RabbitNode> {
        self.nodes.get(index).with_context(|| format!("the cluster has no node {index}"))
    }
}
