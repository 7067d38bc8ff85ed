//! The one place where the deliveries of a consumer are acknowledged, rejected and requeued in AMQP.

use futures::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::settle::Command;

/// Tells the broker what became of deliveries.
///
/// The first look at each future puts its frame into the connection's buffer, in order. What more could be waited for is
/// that the frame is written; and if it cannot be, the stream of deliveries says why.
pub(super) fn send_acks(channel: &Channel, commands: impl IntoIterator<Item = Command>) {
    for command in commands {
        let _ = match command {
            Command::Ack { tag, multiple } => channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never(),
            Command::Reject { tag } => nack(channel, tag, false),
            Command::Requeue { tag } => nack(channel, tag, true),
        };
    }
}

fn nack(channel: &Channel, tag: u64, requeue: bool) -> Option<lapin::Result<()>> {
    channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue }).now_or_never()
}
