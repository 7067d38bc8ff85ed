//! Canvases of typed calls: the compiler checks that each step takes what the step before returns.

use celeriac::prelude::*;
use celeriac::{Group, MemberEnd};
use celeriac_client::Error;
use celeriac_tests::Bed;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::stage::{Stage, add, fail, note, see};

/// Doubles a number.
#[task(name = "t.double")]
async fn double(number: i64) -> TaskResult<i64> {
    Ok(number * 2)
}

/// Adds numbers.
#[task(name = "t.sum")]
async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Writes a number with text on both sides.
#[task(name = "t.label")]
async fn label(number: i64, before: String, after: String) -> TaskResult<String> {
    Ok(format!("{before}{number}{after}"))
}

/// Counts the members that have failed.
#[task(name = "t.failed")]
async fn failed(ends: Vec<MemberEnd<Json>>) -> TaskResult<usize> {
    Ok(ends.iter().filter(|end| end.outcome.is_err()).count())
}

/// Counts the members.
#[task(name = "t.counted")]
async fn counted(ends: Vec<MemberEnd<i64>>) -> TaskResult<usize> {
    Ok(ends.len())
}

/// Notes the id of a failed task.
#[task(name = "t.alarm")]
async fn alarm(ctx: TaskContext, id: String, place: String) -> TaskResult<()> {
    note(&ctx, &json!(id), &json!(place))
}

/// Declares a queue of its own.
#[task(name = "t.elsewhere", queue = "elsewhere")]
async fn elsewhere(number: i64) -> TaskResult<i64> {
    Ok(number)
}

/// Takes a value that cannot be written.
#[task(name = "t.take")]
async fn take(number: i64, value: Unwritable) -> TaskResult<i64> {
    let Unwritable {} = value;
    Ok(number)
}

#[derive(Debug, Deserialize)]
struct Unwritable {}

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not for others"))
    }
}

async fn stage(bed: &Bed) -> Stage {
    Stage::with(bed, |program| {
        let program = program.tasks(tasks![double, sum, label, failed, counted, alarm, elsewhere, take]);
        program.set("queues", "{elsewhere: {}}")
    })
    .await
}

#[celeriac_tests::test]
async fn a_typed_chain_hands_each_result_to_the_next_step(bed: Bed) {
    let stage = stage(&bed).await;
    let chain = add(1, 2)
        .then(double)
        .then(add.with(5).header("tenant", "blue"))
        .then(label.with(("<".to_owned(), ">".to_owned())));
    let chain = chain.link(Signature::new("t.see").arg("linked")).submit(stage.client()).await.unwrap();
    let text: String = chain.get().await.unwrap();
    assert_eq!(text, "<11>");
    let calls = stage.seen(1).await;
    assert_eq!(calls[0].given, (json!("<11>"), json!("linked")));
    assert_eq!(calls[0].parent.as_deref(), Some(chain.id()));
}

#[celeriac_tests::test]
async fn an_immutable_step_takes_nothing_and_an_errback_takes_the_id(bed: Bed) {
    let stage = stage(&bed).await;
    let chain = add(1, 2).then(add(10, 20).immutable()).submit(stage.client()).await.unwrap();
    assert_eq!(chain.get().await.unwrap(), 30);
    let group = Group::new((1..=3).map(double));
    let chain = add(1, 2).then(group.immutable()).then(sum).submit(stage.client()).await.unwrap();
    assert_eq!(chain.get().await.unwrap(), 12);

    let broken = fail(json!(7)).task_id("broken").then(see.with(json!("never")));
    let broken = broken.on_error(alarm.with("cellar".to_owned())).submit(stage.client()).await.unwrap();
    assert!(matches!(broken.get().await, Err(Error::Failed { .. })));
    let calls = stage.seen(1).await;
    assert_eq!(calls[0].given, (json!("broken"), json!("cellar")));
}

#[celeriac_tests::test]
async fn a_typed_chord_gives_its_body_the_list_of_results(bed: Bed) {
    let stage = stage(&bed).await;
    let group = Group::new((1..=3).map(double)).submit(stage.client()).await.unwrap();
    let numbers: Vec<i64> = group.get().await.unwrap();
    assert_eq!(numbers, [2, 4, 6]);

    let members = || Group::new((1..=3).map(|number| add(number, 1).then(double)));
    let chord = members().then(sum).submit(stage.client()).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), 18);
    let chord = members().then(sum).then(label.with((String::new(), "!".to_owned()))).submit(stage.client()).await;
    let text: String = chord.unwrap().get().await.unwrap();
    assert_eq!(text, "18!");
    let chord = (1..=3).map(double).collect::<Group<_>>() | Signature::new("t.sum");
    assert_eq!(chord.submit(stage.client()).await.unwrap().get().await.unwrap(), json!(12));

    let ends = Group::new([json!(1), json!(2)].map(fail)).with(see(json!(3), Json::Null));
    let settled = ends.settled().then(failed).submit(stage.client()).await.unwrap();
    assert_eq!(settled.get().await.unwrap(), 2);

    let saved = members().then(sum).submit(stage.client()).await.unwrap();
    saved.save().await.unwrap();
    let again = stage.client().chord(saved.header().id()).await.unwrap().of_type::<i64>();
    assert_eq!(again.get().await.unwrap(), 18);
    let header = stage.client().group(saved.header().id()).await.unwrap().of_type::<i64>();
    assert_eq!(header.get().await.unwrap(), [4, 6, 8]);
}

#[celeriac_tests::test]
async fn a_task_is_called_with_each_item_of_a_list_in_one_task_or_in_parts(bed: Bed) {
    let stage = stage(&bed).await;
    let mapped = double.map(1..=3).then(sum).submit(stage.client()).await.unwrap();
    assert_eq!(mapped.get().await.unwrap(), 12);
    let pairs = (1..=3).map(|number| (number, 10));
    let starred = add.starmap(pairs.clone()).submit(stage.client()).await.unwrap();
    let numbers: Vec<i64> = starred.get().await.unwrap();
    assert_eq!(numbers, [11, 12, 13]);
    let parts = add.chunks(pairs.clone(), 2).submit(stage.client()).await.unwrap();
    let numbers: Vec<Vec<i64>> = parts.get().await.unwrap();
    assert_eq!(numbers, [vec![11, 12], vec![13]]);
    let error = add.chunks(pairs, 0).submit(stage.client()).await.unwrap_err();
    assert!(error.to_string().contains("chunks have at least one item"), "{error}");
}

#[celeriac_tests::test]
async fn a_part_of_a_canvas_goes_to_the_queue_that_its_task_declares(bed: Bed) {
    let stage = stage(&bed).await;
    let chain = elsewhere(1).then(double).submit(stage.client()).await.unwrap();
    let chord = Group::new([elsewhere(1), elsewhere(2).queue("celeriac")]).then(sum);
    let chord = chord.submit(stage.client()).await.unwrap();
    let mapped = elsewhere.map([1]).submit(stage.client()).await.unwrap();
    assert_eq!((chain.get().await.unwrap(), chord.get().await.unwrap()), (2, 3));
    let first = stage.row(chord.header().members()[0].id()).await;
    let second = stage.row(chord.header().members()[1].id()).await;
    assert_eq!((&*first.queue, &*second.queue), ("elsewhere", "celeriac"));
    assert_eq!(stage.row(mapped.id()).await.queue.as_ref(), "elsewhere", "as the task that it calls");
}

#[celeriac_tests::test]
async fn a_part_that_cannot_be_sent_is_an_error_before_anything_is_sent(bed: Bed) {
    let stage = stage(&bed).await;
    let client = stage.client();
    let errors = [
        add(1, 2).then(take.with(Unwritable {})).submit(client).await.unwrap_err(),
        add(1, 2).link(take.with(Unwritable {})).submit(client).await.unwrap_err(),
        Group::new([add(1, 2).then(take.with(Unwritable {}))]).then(sum).submit(client).await.unwrap_err(),
        take(1, Unwritable {}).then(double).submit(client).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, Error::Encode { task, .. } if task == "t.take"), "{error}");
        assert!(error.to_string().contains("not for others") && !error.may_have_been_sent(), "{error}");
    }
    let errors = [
        (add(1, 2).then(double.with(()).idempotency_key("k")).submit(client).await.unwrap_err(), "submitted by itself"),
        (add(1, 2).ordered_by("k").then(double).submit(client).await.unwrap_err(), "submitted by itself"),
        (add(1, 2).then(|number: i64| double(number + 1)).submit(client).await.unwrap_err(), "the name of a task"),
        (Group::new([add(1, 2)]).settled().then(counted).fail_fast().submit(client).await.unwrap_err(), "settled"),
    ];
    for (error, reason) in errors {
        assert!(error.to_string().contains(reason) && !error.may_have_been_sent(), "{error}");
    }
    assert_eq!(stage.finish().await, []);
}
