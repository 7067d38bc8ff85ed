//! Columns that the management API is asked for, and the overview of a broker.

use serde::Deserialize;

/// Columns of queues; all of it would be several kilobytes each.
pub(super) const QUEUE_COLUMNS: &str = "name,type,durable,auto_delete,exclusive,arguments,policy,operator_policy,\
     effective_policy_definition,messages_ready,messages_unacknowledged,consumers,\
     message_stats.publish_details.rate,message_stats.deliver_get_details.rate,message_stats.ack_details.rate,\
     head_message_timestamp,node,leader,members,online,state";

pub(super) const EXCHANGE_COLUMNS: &str = "name,type,durable,auto_delete,internal,arguments,policy";

/// The broker: its version, node and cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Its version, such as `3.10.8`.
    #[serde(rename = "rabbitmq_version")]
    pub version: String,
    /// The node that answered.
    pub node: String,
    /// The cluster's name.
    pub cluster_name: String,
}
