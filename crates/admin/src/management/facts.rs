//! Requested columns, and the overview of a broker.

use serde::Deserialize;

/// Columns of queues. All columns would be several kilobytes a queue.
pub(super) const QUEUE_COLUMNS: &str = "name,type,durable,auto_delete,exclusive,arguments,policy,operator_policy,\
     effective_policy_definition,messages_ready,messages_unacknowledged,consumers,\
     message_stats.publish_details.rate,message_stats.deliver_get_details.rate,message_stats.ack_details.rate,\
     head_message_timestamp,node,leader,members,online,state";

pub(super) const EXCHANGE_COLUMNS: &str = "name,type,durable,auto_delete,internal,arguments,policy";

/// Version, node and cluster of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// Version, such as `3.10.8`.
    #[serde(rename = "rabbitmq_version")]
    pub version: String,
    /// Node that answered.
    pub node: String,
    /// Name of the cluster.
    pub cluster_name: String,
}
