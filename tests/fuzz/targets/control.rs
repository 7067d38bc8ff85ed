//! Messages of remote control, which anyone who may publish to the exchange can send.

use celeriac_fuzz::{Outcome, corpus, fuzz};
use celeriac_protocol::{Codec, ControlReply, ControlRequest, Message, Properties};

#[test]
fn no_message_of_remote_control_makes_a_reader_panic() {
    fuzz("control", corpus("control"), |bytes, chance| {
        let codec = if chance.u8(0..8) == 0 { Codec::Msgpack } else { Codec::Json };
        let content_type = Some(codec.content_type().to_owned());
        let properties = Properties { content_type, ..Properties::default() };
        let message = Message { properties, body: bytes.to_vec().into(), ..Message::default() };
        let _ = ControlReply::read(&message).map(|reply| reply.refusal().map(str::to_owned));
        let read = ControlRequest::read(&message);
        if let Ok(request) = &read
            && let Ok(written) = request.to_message()
        {
            assert!(ControlRequest::read(&written).is_ok(), "{request:?}");
        }
        Outcome::of(&read)
    });
}
