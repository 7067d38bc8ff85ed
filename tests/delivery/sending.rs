//! Results that a sender gets, and their timing.

use std::time::{Duration, Instant};

use celeriac::Client;
use celeriac::prelude::*;
use celeriac::protocol::Codec;
use celeriac_broker::Error as BrokerError;
use celeriac_client::Error;
use celeriac_tests::{Bed, assert_outcome};
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};

#[task(name = "t.echo")]
async fn echo(ctx: TaskContext, text: String) -> TaskResult<(String, Option<String>, u32)> {
    let tenant = ctx.header("tenant").and_then(|value| value.as_str().map(str::to_owned));
    Ok((text, tenant, ctx.attempt()))
}

fn refused<T: std::fmt::Debug>(sent: Result<T, Error>) -> BrokerError {
    match sent {
        Err(Error::Send { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

async fn client(bed: &Bed, settings: &[(&'static str, &str)]) -> Client {
    let builder = bed.program(tasks![echo]);
    let builder = settings.iter().fold(builder, |builder, (key, value)| builder.set(key, *value));
    bed.client(builder).await
}

#[celeriac_tests::test]
async fn a_route_to_nowhere_is_an_error_to_the_sender(bed: Bed) {
    let client = client(&bed, &[("exchanges", "{orders: {type: topic}}")]).await;
    let sent = echo("x".to_owned()).exchange("orders").routing_key("nobody.listens").submit(&client).await;
    assert!(matches!(refused(sent), BrokerError::Unroutable { .. }));
    let sent = echo("x".to_owned()).exchange("nonexistent").routing_key("k").submit(&client).await;
    assert!(matches!(refused(sent), BrokerError::NoSuchExchange { .. }));
    let sent = echo("x".to_owned()).queue("celeriak").submit(&client).await;
    let message = refused(sent).to_string();
    assert!(message.contains("celeriak") && message.contains("`celeriac`"), "{message}");
}

#[celeriac_tests::test(real)]
async fn a_full_queue_is_an_error_to_the_sender_unless_it_finds_room_in_time(bed: Bed) {
    let peer = bed.peer().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    peer.channel().queue_declare("narrow".into(), durable, arguments).await.unwrap();
    let queues = ("queues", "{narrow: {type: classic, external: true}}");
    let client = client(&bed, &[queues, ("broker.publish_timeout", "20s")]).await;
    let impatient = self::client(&bed, &[queues, ("broker.publish_timeout", "1s")]).await;
    let send = async |client: &Client| echo("x".to_owned()).queue("narrow").submit(client).await;

    send(&client).await.unwrap();
    assert!(matches!(refused(send(&client).await), BrokerError::Refused { .. }));
    assert_eq!(peer.ready("narrow").await, 1, "what was refused is nowhere");
    let (sent, ()) = tokio::join!(send(&client), async {
        assert!(matches!(refused(send(&impatient).await), BrokerError::Refused { .. }));
        peer.purge("narrow").await;
    });
    sent.unwrap();
    assert_eq!(peer.ready("narrow").await, 1);
}

#[celeriac_tests::test]
async fn a_message_that_is_too_large_is_not_sent(bed: Bed) {
    let client = client(&bed, &[("broker.max_message_size", "64KiB")]).await;
    let sent = echo("x".repeat(70_000)).submit(&client).await;
    assert!(matches!(refused(sent), BrokerError::TooLarge { limit: 65_536, .. }));
}

#[celeriac_tests::test]
async fn a_call_with_more_headers_than_a_frame_can_bear_is_not_sent(bed: Bed) {
    let client = client(&bed, &[]).await;
    let with = |size: usize| echo("x".to_owned()).header("pad", "x".repeat(size)).submit(&client);
    with(60_000).await.unwrap();
    let error = refused(with(70_000).await);
    assert!(matches!(&error, BrokerError::HeadersTooLarge { limit: 65_536, name, .. } if name == "pad"), "{error}");
    assert!(error.help().unwrap().contains("arguments"));
}

#[celeriac_tests::test(real)]
async fn a_missing_broker_is_an_error_within_the_deadline(bed: Bed) {
    // Nothing listens on this port: it was free a moment ago, and is not reserved.
    let nobody = "amqp://guest:guest@127.0.0.1:1/%2f";
    let client = client(&bed, &[("broker.url", nobody), ("broker.publish_timeout", "1s")]).await;
    let begun = Instant::now();
    let sent = echo("x".to_owned()).submit(&client).await;
    assert!(matches!(refused(sent), BrokerError::Unreachable { .. }));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[celeriac_tests::test(real)]
async fn a_wrong_password_is_said_at_once_and_not_shown(bed: Bed) {
    let url = bed.amqp_url().replacen("guest:guest", "guest:topsecret", 1);
    let client = client(&bed, &[("broker.url", &url)]).await;
    let error = refused(echo("x".to_owned()).submit(&client).await);
    assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("topsecret"));
}

#[celeriac_tests::test]
async fn a_bulk_is_confirmed_task_by_task_in_order(bed: Bed) {
    let running = bed.worker(tasks![echo]).await;
    let calls = (0..2_000).map(|number| {
        let call = echo(number.to_string());
        if number == 7 { call.exchange("nonexistent").routing_key("k") } else { call }
    });
    let sent = running.client.submit_many(calls).await;
    let failed: Vec<_> = sent.iter().enumerate().filter(|(_, sent)| sent.is_err()).map(|(number, _)| number).collect();
    assert_eq!(failed, [7], "one that cannot be routed takes no neighbour with it");
    for (number, handle) in sent.into_iter().enumerate().filter_map(|(number, sent)| Some((number, sent.ok()?))) {
        assert_eq!(handle.get().await.unwrap().0, number.to_string());
    }
}

#[celeriac_tests::test]
async fn options_of_a_call_arrive(bed: Bed) {
    let running = bed.worker(tasks![echo]).await;
    let call = echo("ünïcödé".to_owned()).header("tenant", "acme").task_id("order 17").serializer(Codec::Msgpack);
    let handle = call.submit(&running.client).await.unwrap();
    assert_eq!(handle.id(), "order 17");
    assert_eq!(handle.get().await.unwrap(), ("ünïcödé".to_owned(), Some("acme".to_owned()), 1));
}

#[celeriac_tests::test]
async fn a_delayed_task_is_held_by_the_broker_and_runs_in_time(bed: Bed) {
    let running = bed.worker(tasks![echo]).await;
    let wait = Duration::from_millis(2_500);
    let handle = echo("later".to_owned()).delay(wait).submit(&running.client).await.unwrap();
    assert_eq!(bed.peer().await.ready("celeriac").await, 0);
    let row = handle.wait().await.unwrap();
    let (sent, started) = (row.sent_at.unwrap(), row.started_at.unwrap());
    let waited = Duration::try_from(started.duration_since(sent)).unwrap();
    assert!(waited >= wait && waited < wait + Duration::from_secs(5), "ran after {waited:?}");
}

#[celeriac_tests::test(real)]
async fn delays_have_names_of_ones_own_where_a_prefix_is_configured(bed: Bed) {
    let running = bed.start(bed.program(tasks![echo]).set("broker.delay_prefix", "wait")).await;
    let handle = echo("later".to_owned()).delay(seconds(1)).submit(&running.client).await.unwrap();
    handle.get().await.unwrap();
    let peer = bed.peer().await;
    assert_eq!(peer.ready("wait_0").await, 0);
    assert!(!peer.has_queue("celery_delayed_0").await, "nobody asked for Celery's");
}

#[celeriac_tests::test]
async fn an_expired_task_is_recorded_as_revoked_and_does_not_run(bed: Bed) {
    let running = bed.worker(tasks![echo]).await;
    // Delayed beyond its expiry.
    let call = echo("late".to_owned()).delay(seconds(2)).expires_in(seconds(1));
    let handle = call.submit(&running.client).await.unwrap();
    assert_outcome!(handle, Revoked, attempts: 0);
}
