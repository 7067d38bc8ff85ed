//! Tests of resolving and preparing a call, which send nothing.

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::BrokerOptions;
use celeriac_config::Secret;
use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{Body, Message, Signature, TaskOptions, TimeLimits, Value};
use celeriac_results::outbox::OutboxMessage;
use celeriac_topology::{Router, RoutesOptions, TaskOverrides};
use jiff::Timestamp;
use serde_json::json;

use super::resolve::DynamicCall;
use crate::call::{CallOptions, Expiry, Follow, When};
use crate::client::{Client, SendLimits};
use crate::error::Error;
use crate::options::ClientOptions;

const MINUTE: Duration = Duration::from_secs(60);

fn client(overrides: serde_json::Value) -> Client {
    let options = BrokerOptions { url: Secret::new("memory://submit-unit"), ..BrokerOptions::default() };
    let broker = celeriac_broker::connect(&options, "test").unwrap();
    let router = Arc::new(Router::new(&RoutesOptions::default()).unwrap());
    let overrides = serde_json::from_value::<Vec<_>>(overrides).unwrap();
    let overrides = Arc::new(TaskOverrides::new(&overrides).unwrap());
    let limits = SendLimits { message_size: 1_000, window: 8 };
    Client::new(broker, router, (None, TrackedStates::default()), ClientOptions::default(), overrides, limits)
}

fn request(options: CallOptions) -> DynamicCall {
    DynamicCall { task: "mail.send".to_owned(), body: Body::default(), options }
}

fn refusal(options: CallOptions) -> String {
    client(json!([])).prepare(request(options), TaskOptions::default()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_call_wins_over_the_configuration_which_wins_over_the_declaration() {
    let client = client(json!([{"task": "mail.*", "priority": 5, "ignore_result": true}]));
    let declared =
        || TaskOptions { priority: Some(1), expires: Some(MINUTE), queue: Some("slow"), ..TaskOptions::default() };
    let resolved = client.resolve(request(CallOptions::default()), declared());
    let options = resolved.request.options;
    assert_eq!((options.route.priority, options.ignore_result), (Some(5), Some(true)));
    assert_eq!((options.expires, resolved.declared_queue), (Some(Expiry::After(MINUTE)), Some("slow")));

    let mut options =
        CallOptions { ignore_result: Some(false), expires: Some(Expiry::After(2 * MINUTE)), ..CallOptions::default() };
    options.route.priority = Some(9);
    let said = options.clone();
    assert_eq!(client.resolve(request(options), declared()).request.options, said);
}

#[tokio::test]
async fn a_delayed_call_goes_to_a_delay_level_and_keeps_its_destination() {
    let prepared = |when, expires| {
        let options = CallOptions { when, expires, ..CallOptions::default() };
        client(json!([])).prepare(request(options), TaskOptions::default()).unwrap()
    };
    let now = prepared(When::Now, Some(Expiry::After(MINUTE)));
    assert_eq!((now.eta, &*now.outgoing.routing_key), (None, "celeriac"));
    assert_eq!(now.outgoing.message.properties.expiration, Some(MINUTE));
    let later = prepared(When::After(MINUTE), Some(Expiry::After(2 * MINUTE)));
    assert!(later.eta.is_some() && later.outgoing.routing_key.ends_with(".celeriac"), "{later:?}");
    assert_eq!(later.destination.routing_key, "celeriac");
    // A held message expires by its header alone.
    assert_eq!(later.outgoing.message.properties.expiration, None);
}

#[tokio::test]
async fn a_chain_whose_end_a_chord_awaits_expires_by_its_header_alone() {
    let body = Signature::new("mail.bind").body_of_join("group", 2);
    let member = Signature::new("mail.sign").option("chord", Value::from(body));
    for (last, expiration) in [(member, None), (Signature::new("mail.sign"), Some(MINUTE))] {
        let follow = Follow { steps: vec![last], ..Follow::default() };
        let options = CallOptions { follow, expires: Some(Expiry::After(MINUTE)), ..CallOptions::default() };
        let prepared = client(json!([])).prepare(request(options), TaskOptions::default()).unwrap();
        assert_eq!(prepared.outgoing.message.properties.expiration, expiration);
        assert_eq!(prepared.into_outbox_message().expires.is_some(), expiration.is_some());
    }
}

#[tokio::test]
async fn an_invalid_call_is_refused_with_a_reason() {
    let limits = TimeLimits { hard: Some(MINUTE), soft: Some(MINUTE) };
    let never = refusal(CallOptions { limits, ..CallOptions::default() });
    assert_eq!(never, "task `mail.send`: its soft time limit of 1m is never reached: the hard one ends it after 1m");
    let headers = vec![("celeriac-repeated".to_owned(), Value::Bool(true))];
    let reserved = refusal(CallOptions { headers, ..CallOptions::default() });
    assert!(reserved.contains("header `celeriac-repeated` is the framework's own"), "{reserved}");
}

#[tokio::test]
async fn a_stored_call_is_prepared_as_any_other_and_counts_its_times_from_the_call() {
    let client = client(json!([{"task": "mail.*", "expires": "1m", "priority": 5}]));
    let row = OutboxMessage {
        id: "m-1".to_owned(),
        task: "mail.send".to_owned(),
        exchange: String::new(),
        routing_key: String::new(),
        queue: None,
        order_key: Some("ada".to_owned()),
        eta: None,
        expires: None,
        message: Message::default(),
    };
    let called_at: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
    let prepare = |options: &str| {
        let call = format!(r#"{{"task":"mail.send","args":[1],"kwargs":{{}},"options":{options},"replays":2}}"#);
        client.prepare_stored_call(client.read_stored_call(&row, &call)?, called_at, TaskOptions::default())
    };
    let message = prepare(r#"{"headers":{"tenant":"blue"}}"#).unwrap();
    assert_eq!(
        (message.id.as_str(), message.order_key.as_deref(), &*message.routing_key),
        ("m-1", Some("ada"), "celeriac")
    );
    assert_eq!(message.expires, Some(called_at.checked_add(MINUTE).unwrap()));
    assert_eq!(message.message.properties.priority, Some(5));
    let headers = message.message.headers;
    assert_eq!((headers.replays(), headers.get("tenant")), (2, Some(&Value::from("blue"))));
    for (options, expected) in [
        (r#"{"queue":"celeriack"}"#, "queue `celeriack` is not declared"),
        (r#"{"priority":"high"}"#, "`priority` should be an integer"),
    ] {
        let refused = prepare(options).unwrap_err();
        let said = celeriac_telemetry::ErrorChain(&refused).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_not_sent() {
    let body = Body { args: vec![Value::from("x".repeat(2_000))], ..Body::default() };
    let request = DynamicCall { body, ..request(CallOptions::default()) };
    let error = client(json!([])).prepare(request, TaskOptions::default()).unwrap_err();
    let Error::Send { source: celeriac_broker::Error::TooLarge { limit: 1_000, size }, .. } = error else {
        panic!("{error:?}")
    };
    assert!(size > 2_000);
}
