//! Acknowledges, rejects and requeues a consumer's deliveries in AMQP. No other module does.

use futures::FutureExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};

use crate::settle::Command;

/// Sends settlements to the broker.
///
/// The first poll of each future writes its frame to the connection's buffer, in order. Nothing
/// waits until the frame is sent. If it cannot be sent, the stream of deliveries ends with the
/// reason.
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
