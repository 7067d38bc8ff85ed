//! Requests and replies as Celery writes them, and messages that are neither.

use super::body::properties;
use super::*;
use crate::headers::HeaderMap;
use crate::message::Message;
use crate::value::Value;

fn message(body: &str) -> Message {
    Message { headers: HeaderMap::new(), properties: properties(), body: body.to_owned().into() }
}

fn request(recipients: Recipients) -> ControlRequest {
    ControlRequest {
        method: "active".to_owned(),
        arguments: [("safe".to_owned(), Value::Null)].into_iter().collect(),
        recipients,
        reply_to: Some(ReplyAddress {
            exchange: REPLY_EXCHANGE.to_owned(),
            routing_key: "fa3f29bd".to_owned(),
            ticket: "fa377c8b".to_owned(),
        }),
        expires: Some(1_795_166_836.61),
        clock: 9,
    }
}

/// The body is one that Celery 5.7 has sent.
#[test]
fn a_request_of_celery_is_read_and_written_alike() {
    let body = concat!(
        r#"{"method":"active","arguments":{"safe":null},"destination":null,"pattern":null,"matcher":null,"#,
        r#""ticket":"fa377c8b","reply_to":{"exchange":"reply.celery.pidbox","routing_key":"fa3f29bd"}}"#
    );
    let written = request(Recipients::All).to_message().unwrap();
    assert_eq!(std::str::from_utf8(&written.body).unwrap(), body);
    assert_eq!(written.headers.get("expires"), Some(&Value::Float(1_795_166_836.61)));
    assert_eq!(ControlRequest::read(&written), Ok(request(Recipients::All)));
}

#[test]
fn recipients_are_read_as_they_were_written() {
    let matching = |matcher| Recipients::Matching { pattern: "w?@*".to_owned(), matcher };
    let nodes = Recipients::Nodes(vec!["w1@a".to_owned(), "w2@a".to_owned()]);
    for recipients in [Recipients::All, nodes, matching(Matcher::Glob), matching(Matcher::Pcre)] {
        let read = ControlRequest::read(&request(recipients.clone()).to_message().unwrap()).unwrap();
        assert_eq!(read.recipients, recipients);
    }
    let everybody = ControlRequest::read(&message(r#"{"method":"ping","destination":[],"pattern":"x"}"#)).unwrap();
    assert_eq!((everybody.recipients, everybody.reply_to, everybody.clock), (Recipients::All, None, 0));
}

#[test]
fn a_message_that_is_no_request_has_a_reason() {
    let many = format!(r#"{{"method":"revoke","arguments":[{}0]}}"#, "0,".repeat(LIMITS.values));
    let deep = format!(r#"{{"method":"ping","arguments":{}"#, "[".repeat(LIMITS.depth + 1));
    for (body, reason) in [
        ("[]", "`the body` should be an object, got a list"),
        ("{}", "`method` should be a string, got null"),
        (r#"{"method":1}"#, "`method` should be a string, got an integer"),
        (r#"{"method":"ping","arguments":[]}"#, "`arguments` should be an object, got a list"),
        (r#"{"method":"ping","destination":"w1"}"#, "`destination` should be a list, got a string"),
        (r#"{"method":"ping","destination":[1]}"#, "`destination` should be a string, got an integer"),
        (r#"{"method":"ping","pattern":"*","matcher":"x"}"#, "matcher `x` is unknown: known are glob and pcre"),
        (r#"{"method":"ping","reply_to":"x"}"#, "`reply_to` should be an object, got a string"),
        (r#"{"method":"ping","reply_to":{}}"#, "`exchange` should be a string, got null"),
        (&many, "too many values"),
        (&deep, "not valid JSON"),
        ("{", "not valid JSON"),
    ] {
        let error = ControlRequest::read(&message(body)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}, not {reason}");
    }
    let mut pickle = message("{}");
    pickle.properties.content_type = Some("application/x-python-serialize".to_owned());
    assert!(ControlRequest::read(&pickle).unwrap_err().to_string().contains("pickle"));
}

#[test]
fn a_reply_is_read_as_it_was_written() {
    let reply = ControlReply { node: "w1@a".to_owned(), value: ok("pong"), ticket: "fa377c8b".to_owned(), clock: 12 };
    let written = reply.to_message().unwrap();
    assert_eq!(std::str::from_utf8(&written.body).unwrap(), r#"{"w1@a":{"ok":"pong"}}"#);
    assert_eq!(ControlReply::read(&written), Ok(reply.clone()));
    assert_eq!(reply.refusal(), None);
    let refused = ControlReply { value: exception("KeyError", "nope"), ..reply };
    assert_eq!(refused.refusal(), Some("KeyError('nope')"));
    assert!(ControlReply::read(&message("{}")).is_err());
}
