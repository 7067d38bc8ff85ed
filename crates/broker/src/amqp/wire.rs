//! Messages as AMQP's bytes, for the fuzz tests.

use celeriac_protocol::Message;
use lapin::protocol::basic::parse_properties;

use super::connection::filtered_bytes;
use super::convert::{Envelope, read_message};
use crate::broker::Outgoing;
use crate::error::Result;

/// Returns the message of the properties in a content header, followed by a body. `None` if the
/// client library refuses the properties.
pub fn read(bytes: &[u8]) -> Option<Message> {
    let (body, properties) = parse_properties(bytes).ok()?;
    Some(read_message(&properties, body.to_vec()))
}

/// Returns the bytes that the client library gets of those of a connection, which arrive in pieces
/// of this size.
pub fn filtered(bytes: &[u8], piece: usize) -> Vec<u8> {
    filtered_bytes(bytes, piece)
}

/// Returns a message as it is delivered after it is published.
///
/// # Errors
/// Returns an error if AMQP has no form for it.
pub fn delivered(message: &Message) -> Result<Message> {
    let outgoing =
        Outgoing { exchange: "".into(), routing_key: String::new(), message: message.clone(), mandatory: true };
    let envelope = Envelope::new(&outgoing)?;
    Ok(read_message(&envelope.properties, outgoing.message.body.to_vec()))
}
