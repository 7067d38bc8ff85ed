//! Celery can read every message of this project: no message makes a Python worker exit, or is
//! acknowledged unread.
//!
//! `PROPTEST_CASES` is the number of calls and results to try, at least two thousand of each.

use std::sync::Arc;
use std::time::Duration;

use celeriac_broker::{Broker, BrokerOptions, connect};
use celeriac_client::client::SendLimits;
use celeriac_client::{Client, ClientOptions, HeaderStyle};
use celeriac_config::Secret;
use celeriac_protocol::task::TrackedStates;
use celeriac_protocol::{Codec, DecodeLimits, Message, Properties, ResultMeta, TaskOptions, Value};
use celeriac_tests::{Bed, PythonApp, PythonClient};
use celeriac_topology::{Router, RoutesOptions};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::block_in_place;

use crate::arbitrary::{Sent, any_request, any_value, is_same};
use crate::recordings::results_of_python;
use crate::spelling::spell;

const QUEUE: &str = "properties";
const LEAST: u32 = 2_000;
/// Number of cases in one query to Python.
const BATCH: usize = 200;

/// Steps to a smaller example. Each queries Python.
const SHRINKS: u32 = 20;

/// Longest wait for one message.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns a runner with enough batches for all cases.
fn runner() -> TestRunner {
    let config = Config::default();
    let batches = config.cases.max(LEAST).div_ceil(BATCH as u32);
    TestRunner::new(Config { cases: batches, max_shrink_iters: SHRINKS, failure_persistence: None, ..config })
}

/// Tries cases one after the other. The runner is synchronous, and gives up its thread for a case.
fn try_all<S: Strategy>(
    cases: S,
    case: impl AsyncFn(S::Value) -> Result<(), TestCaseError>,
) -> Result<(), TestError<S::Value>> {
    let runtime = Handle::current();
    block_in_place(|| runner().run(&cases, |values| runtime.block_on(case(values))))
}

/// Fails with the reason alone, because a batch is too long to print. The reason names the case.
fn told<T: std::fmt::Debug>(tried: Result<(), TestError<T>>) {
    match tried {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(TestError::Abort(reason)) => panic!("given up: {reason}"),
    }
}

/// Celery as a reader, and this project's broker.
struct Reading {
    broker: Arc<dyn Broker>,
    python: Mutex<PythonClient>,
}

impl Reading {
    async fn new(bed: &Bed) -> Self {
        let peer = bed.peer().await;
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        peer.channel().queue_declare(QUEUE.into(), options, FieldTable::default()).await.unwrap();
        let options = BrokerOptions { url: Secret::new(bed.amqp_url()), ..BrokerOptions::default() };
        let broker = connect(&options, "properties").unwrap();
        let python = PythonApp::new(bed).await.client().await;
        Self { broker, python: Mutex::new(python) }
    }

    fn client(&self, headers: HeaderStyle) -> Client {
        let router = Arc::new(Router::new(&RoutesOptions::default()).unwrap());
        let limits = SendLimits { message_size: 1 << 20, window: 64 };
        let options = ClientOptions { headers, ..ClientOptions::default() };
        Client::new(Arc::clone(&self.broker), router, (None, TrackedStates::default()), options, Arc::default(), limits)
    }

    async fn end(self) {
        self.python.into_inner().stop().await;
        self.broker.close().await;
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn whatever_is_sent_is_read_by_celery_as_it_was_meant(bed: Bed) {
    let reading = Reading::new(&bed).await;
    let clients = [reading.client(HeaderStyle::Minimal), reading.client(HeaderStyle::Full)];
    let counts = std::sync::Mutex::new((0_u32, 0_u32));
    let tried = try_all(vec((any_request(), any::<bool>()), BATCH), async |calls| {
        let mut sent = Vec::new();
        for (request, full) in &calls {
            let Ok(mut prepared) = clients[usize::from(*full)].prepare(request.clone(), TaskOptions::default()) else {
                continue;
            };
            // All on one queue, without expiration.
            prepared.outgoing.exchange = "".into();
            prepared.outgoing.routing_key = QUEUE.to_owned();
            prepared.outgoing.message.properties.expiration = None;
            let publishing = tokio::time::timeout(PATIENCE, reading.broker.publish(prepared.outgoing));
            let Ok(published) = publishing.await else {
                return Err(TestCaseError::fail(format!("not published: {request:?}")));
            };
            if published.is_ok() {
                sent.push(Sent::of(request, prepared.id));
            }
        }
        {
            let mut counts = counts.lock().unwrap();
            *counts = (counts.0 + sent.len() as u32, counts.1 + (calls.len() - sent.len()) as u32);
        }
        let taken = json!({"command": "take", "queue": QUEUE, "count": sent.len()});
        let answer = reading.python.lock().await.get(taken).await;
        let answers = answer["answers"].as_array().unwrap();
        prop_assert_eq!(answers.len(), sent.len());
        for (sent, answer) in sent.iter().zip(answers) {
            sent.check(answer)?;
        }
        Ok(())
    });
    let (sent, refused) = *counts.lock().unwrap();
    println!("{sent} messages were sent and read, {refused} calls were refused");
    told(tried);
    assert!(sent > refused, "{sent} sent, {refused} refused");
    reading.end().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn whatever_is_answered_is_read_by_celery_as_it_was_meant(bed: Bed) {
    let reading = Reading::new(&bed).await;
    let compared = std::sync::Mutex::new(0);
    let tried = try_all(vec(any_value(), BATCH), async |values| {
        let mut expected = Vec::new();
        let mut messages = Vec::new();
        for value in values {
            let meta = ResultMeta {
                task_id: "answered".to_owned(),
                status: "SUCCESS".to_owned(),
                result: value.clone(),
                ..ResultMeta::default()
            };
            let Ok(body) = Codec::Json.encode_value(&meta.to_value()) else { continue };
            expected.push(spell(&value));
            let properties = Properties {
                content_type: Some(Codec::Json.content_type().to_owned()),
                content_encoding: Some(Codec::Json.content_encoding().to_owned()),
                ..Properties::default()
            };
            messages.push(Message { properties, body: body.into(), ..Message::default() });
        }
        *compared.lock().unwrap() += messages.len();
        let answers = results_of_python(&mut *reading.python.lock().await, &messages).await;
        prop_assert_eq!(answers.len(), expected.len());
        for (answer, expected) in answers.iter().zip(expected) {
            prop_assert_eq!(&answer["state"], "SUCCESS", "{}", answer);
            prop_assert!(is_same(&answer["result"], &expected), "{} instead of {}", answer, expected);
        }
        Ok(())
    });
    told(tried);
    let compared = *compared.lock().unwrap();
    println!("{compared} results were read");
    assert!(compared > LEAST as usize / 2, "{compared} results");
    reading.end().await;
}

#[test]
fn nesting_that_a_peer_cannot_follow_is_refused() {
    let nested = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let deepest = DecodeLimits::default().depth;
    for codec in [Codec::Json, Codec::Msgpack] {
        assert!(codec.encode_value(&nested(deepest)).is_ok(), "{codec:?}");
        for levels in [deepest + 1, 1_000, 5_000] {
            assert!(codec.encode_value(&nested(levels)).is_err(), "{levels} levels of {codec:?}");
        }
    }
}
