//! Small messages that would make a worker build far more than they hold.
//!
//! Each worker runs under a limit of its address space, and each test asserts the peak of its
//! memory. `docs/limits.md` states the bounds.

use std::time::Duration;

use celeriac_protocol::Compression;
use celeriac_tests::peer::Found;
use celeriac_tests::wait::{eventually, eventually_within};
use celeriac_tests::{Bed, Peer, Program};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value as Json, json};

/// Address space of a worker, in KiB. A worker that exceeds it aborts.
const ADDRESS_SPACE: u64 = 5 << 20;

/// The same for workers that are to be lost.
const LITTLE_SPACE: u64 = 2 << 20;

/// Most memory that a worker takes for one message with follow-ups, in KiB.
const PEAK_OF_FOLLOW_UPS: u64 = 256 << 10;

/// Most memory that a worker takes for decoded bodies, whatever their number, in KiB.
const PEAK_OF_BODIES: u64 = 1 << 20;

const PATIENCE: Duration = Duration::from_secs(150);

/// A message of protocol 2.
struct Bomb {
    task: &'static str,
    id: String,
    content_type: &'static str,
    compression: Option<Compression>,
    body: Vec<u8>,
}

impl Bomb {
    fn new(task: &'static str, id: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { task, id: id.into(), content_type: "application/json", compression: None, body: body.into() }
    }

    fn of(task: &'static str, id: &str, args: &Json, kwargs: &Json, embed: &Json) -> Self {
        Self::new(task, id, json!([args, kwargs, embed]).to_string())
    }

    fn compressed(self, compression: Compression) -> Self {
        let body = compression.compress(&self.body).unwrap();
        Self { compression: Some(compression), body, ..self }
    }

    async fn put(&self, peer: &Peer) {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let mut headers = FieldTable::default();
        headers.insert("task".into(), text(self.task));
        headers.insert("id".into(), text(&self.id));
        if let Some(compression) = self.compression {
            headers.insert("compression".into(), text(compression.header_value()));
        }
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type(self.content_type.into())
            .with_delivery_mode(2);
        peer.put("celeriac", properties, &self.body).await;
    }
}

/// One worker under a limit.
struct LimitedWorker {
    bed: Bed,
    peer: Peer,
    worker: Program,
}

impl LimitedWorker {
    async fn start(bed: &Bed, variables: &[(&str, &str)]) -> Self {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let variables = bed.environment_with(&variables);
        let mut worker = Program::start_within(ADDRESS_SPACE, &["worker", "-l", "info"], &variables);
        worker.says("worker ready").await;
        Self { bed: bed.clone(), peer: bed.peer().await, worker }
    }

    /// Waits for this many dead letters, and takes them.
    async fn dead(&mut self, count: u32) -> Vec<Found> {
        let Self { peer, worker, .. } = self;
        let ready = async || {
            assert!(worker.is_running(), "the worker was lost:\n{}", worker.output());
            peer.ready("celeriac.dead").await
        };
        eventually_within(PATIENCE, "dead letters", ready, |ready| *ready >= count).await;
        self.peer.take_all("celeriac.dead").await
    }

    /// Asserts that the worker still runs tasks, and that its memory had a bound. Stops it.
    async fn survives(mut self, peak: u64) {
        Bomb::of("test.note", "good", &json!([1]), &json!({}), &json!({})).put(&self.peer).await;
        self.succeeds("good").await;
        let held = self.worker.peak();
        println!("peak: {} MiB", held >> 10);
        assert!(held < peak, "peak {held} KiB, the bound is {peak}");
        self.worker.signal("TERM");
        assert_eq!(self.worker.exit_code(Duration::from_secs(40)).await, 0, "{}", self.worker.output());
    }

    async fn succeeds(&mut self, id: &str) {
        let Self { bed, worker, .. } = self;
        let ask = async || {
            assert!(worker.is_running(), "the worker was lost:\n{}", worker.output());
            state(bed, id).await
        };
        eventually_within(PATIENCE, id, ask, |state| state.as_deref() == Some("SUCCESS")).await;
    }
}

async fn state(bed: &Bed, id: &str) -> Option<String> {
    let row = sqlx::query_scalar("SELECT state FROM celeriac.tasks WHERE id = $1").bind(id);
    row.fetch_optional(&mut bed.database().await).await.ok().flatten()
}

fn assert_dead(found: &Found, reason: &str, key: &str) {
    assert_eq!(found.header("celeriac-dead-reason").as_deref(), Some(reason));
    let error = found.header("celeriac-dead-error").unwrap_or_default();
    assert!(error.contains(key), "{error}");
}

/// Returns a chain of 10,000 steps with 10,000 errbacks for each.
fn chain_with_errbacks() -> Json {
    let steps = vec![json!({"task": "test.note"}); 10_000];
    json!({"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": steps}, "options": {"link_error": steps}})
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_chain_with_errbacks_for_each_of_its_steps_is_refused_before_it_is_built(bed: Bed) {
    let mut limited = LimitedWorker::start(&bed, &[]).await;
    let embed = json!({"callbacks": [chain_with_errbacks()]});
    Bomb::of("test.note", "bomb", &json!([1]), &json!({}), &embed).put(&limited.peer).await;
    let dead = limited.dead(1).await;
    assert_dead(&dead[0], "over-limit", "worker.max_follow_up_size");
    assert_eq!(state(&bed, "bomb").await.as_deref(), Some("FAILURE"));
    limited.survives(PEAK_OF_FOLLOW_UPS).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn callbacks_with_a_large_result_each_are_not_sent(bed: Bed) {
    let mut limited = LimitedWorker::start(&bed, &[]).await;
    let callbacks = vec![json!({"task": "test.note"}); 1_000];
    let args = json!(["x".repeat(4 << 20)]);
    Bomb::of("celery.accumulate", "bomb", &args, &json!({}), &json!({"callbacks": callbacks})).put(&limited.peer).await;
    let dead = limited.dead(1).await;
    assert_dead(&dead[0], "not-followed-up", "worker.max_follow_up_size");
    assert_eq!(state(&bed, "bomb").await.as_deref(), Some("SUCCESS"));
    limited.survives(PEAK_OF_FOLLOW_UPS).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn chunks_of_one_and_a_group_with_large_arguments_are_not_sent(bed: Bed) {
    let mut limited = LimitedWorker::start(&bed, &[]).await;
    let chunks = json!({"task": {"task": "test.note"}, "it": vec![0; 900_000], "n": 1});
    Bomb::of("celery.chunks", "chunks", &json!([]), &chunks, &json!({})).put(&limited.peer).await;
    let dead = limited.dead(1).await;
    assert_dead(&dead[0], "over-limit", "worker.max_follow_ups");
    let tasks = vec![json!({"task": "test.note"}); 9_000];
    let group = json!({"tasks": tasks, "group_id": "g", "partial_args": ["x".repeat(1 << 20)]});
    Bomb::of("celery.group", "group", &json!([]), &group, &json!({})).put(&limited.peer).await;
    let dead = limited.dead(1).await;
    assert_dead(&dead[0], "over-limit", "worker.max_follow_up_size");
    assert_eq!(limited.peer.ready("celeriac").await, 0, "no member was sent");
    limited.survives(PEAK_OF_FOLLOW_UPS).await;
}

/// Returns bodies of nearly 8 MiB with more values than a worker decodes.
fn over_the_limit() -> Vec<Bomb> {
    let list = |item: &str| {
        let count = (8 << 20) / (item.len() + 1) - 10;
        format!("[[[{}]],{{}},{{}}]", vec![item; count].join(",")).into_bytes()
    };
    // The same as MessagePack: a list of 32-bit length.
    let packed = |item: &[u8]| {
        let count = (8 << 20) / item.len() - 10;
        let length = u32::try_from(count).unwrap().to_be_bytes();
        [&[0x93, 0x91, 0xdd][..], &length, &item.repeat(count), &[0x80, 0x80]].concat()
    };
    let mut bombs = Vec::new();
    for (name, body) in [("zeros", list("0")), ("objects", list("{\"\":0}"))] {
        bombs.push(Bomb::new("celery.accumulate", name, body.clone()));
        for compression in [Compression::Zlib, Compression::Zstd] {
            bombs.push(Bomb::new("celery.accumulate", name, body.clone()).compressed(compression));
        }
    }
    for (name, body) in [("packed zeros", packed(&[0])), ("packed objects", packed(&[0x81, 0xa0, 0]))] {
        let bomb = Bomb::new("celery.accumulate", name, body.clone()).compressed(Compression::Zstd);
        bombs.push(Bomb { content_type: "application/x-msgpack", ..bomb });
    }
    bombs
}

#[celeriac_tests::test(real, threads = 2)]
async fn bodies_of_too_many_values_are_refused_many_at_once(bed: Bed) {
    let mut limited = LimitedWorker::start(&bed, &[]).await;
    let bombs = over_the_limit();
    for round in 0..8 {
        for (index, bomb) in bombs.iter().enumerate() {
            let id = format!("{}-{round}-{index}", bomb.id);
            let (task, content_type, compression) = (bomb.task, bomb.content_type, bomb.compression);
            Bomb { task, id, content_type, compression, body: bomb.body.clone() }.put(&limited.peer).await;
        }
    }
    for found in limited.dead(64).await {
        assert_dead(&found, "unreadable", "worker.max_body_values");
    }
    limited.survives(PEAK_OF_BODIES).await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn bodies_of_as_many_values_as_allowed_run_and_share_a_budget(bed: Bed) {
    let mut limited = LimitedWorker::start(&bed, &[]).await;
    for number in 0..40 {
        let body = format!("[[[{}]],{{}},{{}}]", vec!["{\"\":0}"; 300_000].join(","));
        let id = format!("large-{number}");
        Bomb::new("celery.accumulate", id, body).compressed(Compression::Zstd).put(&limited.peer).await;
    }
    for number in 0..40 {
        limited.succeeds(&format!("large-{number}")).await;
    }
    limited.survives(PEAK_OF_BODIES).await;
}

/// Starts workers, one after the other, until the condition holds. Returns the number of workers
/// that were lost.
async fn lose_workers(variables: &[(&str, String)], until: impl AsyncFn() -> bool) -> u32 {
    let mut lost = 0;
    loop {
        let mut worker = Program::start_within(LITTLE_SPACE, &["worker", "-l", "info"], variables);
        while worker.is_running() {
            if until().await {
                worker.signal("TERM");
                assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
                return lost;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        lost += 1;
        assert!(lost < 8, "still losing workers:\n{}", worker.output());
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_message_that_kills_by_its_follow_ups_kills_no_worker_after_its_quarantine(bed: Bed) {
    // Budgets so large that the message brings its workers down.
    let variables = bed.environment_with(&[
        ("CELERIAC__WORKER__CRASH_LIMIT", "2".to_owned()),
        ("CELERIAC__WORKER__MAX_FOLLOW_UPS", "1000000000".to_owned()),
        ("CELERIAC__WORKER__MAX_FOLLOW_UP_SIZE", "1000GiB".to_owned()),
        ("CELERIAC__BROKER__MAX_MESSAGE_SIZE", "1000GiB".to_owned()),
    ]);
    let mut first = Program::start(&["worker", "-l", "info"], &variables);
    first.says("worker ready").await;
    first.signal("TERM");
    first.ended().await;
    let peer = bed.peer().await;
    let embed = json!({"callbacks": [chain_with_errbacks()]});
    Bomb::of("test.note", "bomb", &json!([1]), &json!({}), &embed).put(&peer).await;
    let lost = lose_workers(&variables, async || peer.ready("celeriac.dead").await == 1).await;
    assert_eq!(lost, 2);
    let recorded = async || state(&bed, "bomb").await;
    eventually("the row of the quarantine", recorded, |state| state.as_deref() == Some("FAILURE")).await;
    let dead = peer.take_all("celeriac.dead").await;
    assert_dead(&dead[0], "poison", "its worker was lost 2 times");

    // The same message once more, as after a worker that died before it settled the delivery.
    let properties = BasicProperties::default()
        .with_headers(dead[0].headers.clone())
        .with_content_type("application/json".into())
        .with_delivery_mode(2);
    peer.put("celeriac", properties.clone(), &dead[0].body).await;
    eventually("the message", async || peer.ready("celeriac").await, |ready| *ready == 1).await;
    assert!(peer.give_back("celeriac").await, "it is delivered again");
    let settled = async || peer.ready("celeriac").await == 0 && peer.consumers("celeriac").await == Some(0);
    let mut worker = Program::start_within(LITTLE_SPACE, &["worker", "-l", "info"], &variables);
    worker.says("worker ready").await;
    Bomb::of("test.note", "good", &json!([1]), &json!({}), &json!({})).put(&peer).await;
    let good = async || {
        assert!(worker.is_running(), "the worker was lost:\n{}", worker.output());
        state(&bed, "good").await
    };
    eventually("a good task", good, |state| state.as_deref() == Some("SUCCESS")).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(40)).await, 0, "{}", worker.output());
    assert!(settled().await, "nothing is left");
}
