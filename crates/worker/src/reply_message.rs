//! The message of a reply, in Celery's form.

use std::borrow::Cow;

use bytes::Bytes;
use celeriac_broker::Outgoing;
use celeriac_protocol::{Codec, HeaderMap, Message, Properties};

/// Returns the message of a reply to a queue. The body is JSON.
pub(crate) fn reply_message(reply_to: &str, correlation_id: &str, body: Vec<u8>) -> Outgoing {
    let message = Message {
        headers: HeaderMap::new(),
        properties: Properties {
            content_type: Some(Codec::Json.content_type().to_owned()),
            content_encoding: Some(Codec::Json.content_encoding().to_owned()),
            transient: true,
            priority: Some(0),
            correlation_id: Some(correlation_id.to_owned()),
            ..Properties::default()
        },
        body: Bytes::from(body),
    };
    Outgoing { exchange: Cow::Borrowed(""), routing_key: reply_to.to_owned(), message, mandatory: false }
}
