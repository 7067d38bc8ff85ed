//! Chains, groups and chords that are sent in the sender's own transaction.

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection};
use celeriac::{Canvas, Group, PgConnection};
use celeriac_client::Error;
use celeriac_tests::Bed;
use celeriac_tests::wait::eventually;
use serde_json::{Value as Json, json};

use crate::stage::{Stage, add, see};

/// Adds numbers.
#[task(name = "t.sum")]
async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Sends a chord in its transaction, and can fail afterwards.
#[task(name = "t.chord_in", transactional)]
async fn chord_in(ctx: TaskContext, tx: &mut PgConnection, fails: bool) -> TaskResult<String> {
    let chord = ctx.client().submit_in(tx, Group::new([add(1, 2), add(3, 4)]).then(sum)).await?;
    if fails { Err(TaskError::new("after it was sent")) } else { Ok(chord.id().to_owned()) }
}

async fn stage(bed: &Bed) -> Stage {
    Stage::with(bed, |program| program.tasks(tasks![sum, chord_in])).await
}

async fn count(bed: &Bed, rows: &'static str) -> i64 {
    sqlx::query_scalar(rows).fetch_one(&mut bed.database().await).await.unwrap()
}

async fn emptied(bed: &Bed) {
    let waiting = async || count(bed, "SELECT waiting FROM celeriac.outbox_lag").await;
    eventually("the outbox is empty", waiting, |waiting| *waiting == 0).await;
}

/// Writes a canvas in a transaction that is rolled back, and in one that commits.
async fn twice<C: Canvas>(stage: &Stage, canvas: impl Fn(&'static str) -> C) -> C::Handle {
    let mut database = stage.bed.database().await;
    let mut lost = database.begin().await.unwrap();
    drop(stage.client().submit_in(&mut lost, canvas("lost")).await.unwrap());
    lost.rollback().await.unwrap();
    let mut kept = database.begin().await.unwrap();
    let handle = stage.client().submit_in(&mut kept, canvas("kept")).await.unwrap();
    kept.commit().await.unwrap();
    handle
}

#[celeriac_tests::test(real)]
async fn a_canvas_is_sent_as_a_whole_when_its_transaction_commits_and_not_when_it_does_not(bed: Bed) {
    let stage = stage(&bed).await;
    let told = |name: &str| see(json!(name), Json::Null);
    let chain = twice(&stage, |name| told(name).then(see.with(json!("step")))).await;
    assert_eq!(chain.get().await.unwrap(), json!("kept"));
    let group = twice(&stage, |name| Group::new([told(name), told(name)])).await;
    assert_eq!(group.get().await.unwrap(), [json!("kept"), json!("kept")]);
    let chord = twice(&stage, |name| {
        let members = Group::new((1..=3).map(|number| add(number, 10).header("of", name)));
        members.then(sum).link(Signature::new("t.see").arg(name))
    })
    .await;
    assert_eq!(chord.get().await.unwrap(), 36);
    assert_eq!(chord.header().get().await.unwrap(), [json!(11), json!(12), json!(13)]);
    let none = twice(&stage, |_| Group::new([add(1, 2)].into_iter().take(0)).then(sum)).await;
    assert_eq!(none.get().await.unwrap(), 0, "a header without members");
    let leading = twice(&stage, |_| Group::new([add(1, 2), add(3, 4)]).then(sum).then(add.with(1))).await;
    assert_eq!(leading.get().await.unwrap(), 11);

    emptied(&bed).await;
    assert_eq!(count(&bed, "SELECT count(*) FROM celeriac.joins").await, 2, "one for each chord that was kept");
    assert_eq!(count(&bed, "SELECT count(*) FROM celeriac.joins WHERE fired_at IS NULL").await, 0);
    stage.seen(5).await;
    let calls = stage.finish().await;
    let given: Vec<_> = calls.iter().map(|call| &call.given.0).collect();
    assert_eq!(given.iter().filter(|given| ***given == json!("kept")).count(), 4, "{given:?}");
    assert_eq!(given.iter().filter(|given| ***given == json!(36)).count(), 1, "the callback, once: {given:?}");
    assert_eq!(calls.len(), 5, "nothing else: {given:?}");
}

#[celeriac_tests::test(real)]
async fn a_transactional_task_sends_a_chord_with_its_commit(bed: Bed) {
    let stage = stage(&bed).await;
    let id = chord_in(false).submit(stage.client()).await.unwrap().get().await.unwrap();
    let failed = chord_in(true).submit(stage.client()).await.unwrap();
    assert_eq!(failed.wait().await.unwrap().state, TaskState::Failure);
    assert_eq!(stage.client().handle::<i64>(id).get().await.unwrap(), 10);
    emptied(&bed).await;
    assert_eq!(count(&bed, "SELECT count(*) FROM celeriac.joins").await, 1);
    assert_eq!(count(&bed, "SELECT count(*) FROM celeriac.tasks WHERE name = 't.sum'").await, 1);
}

#[celeriac_tests::test(real)]
async fn what_cannot_be_sent_is_refused_before_anything_is_written(bed: Bed) {
    let stage = stage(&bed).await;
    let mut database = bed.database().await;
    let mut tx = database.begin().await.unwrap();
    let client = stage.client();
    let mistaken = || add(1, 2).priority(3).queue("celeriac").header("task", "reserved");
    let many = || (0..600).map(|number| add(number, 0));
    let errors = [
        client.submit_in(&mut tx, mistaken().then(add.with(1))).await.err(),
        client.submit_in(&mut tx, many().chain([mistaken()]).collect::<Group<_>>()).await.err(),
        client.submit_in(&mut tx, Group::new(many().chain([mistaken()])).then(sum)).await.err(),
        client.submit_in(&mut tx, Group::new(many()).then(sum.with(()).header("task", "reserved"))).await.err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert!(matches!(error, Error::Call { .. }) && !error.may_have_been_sent(), "{error}");
    }
    let written = "SELECT (SELECT count(*) FROM celeriac.outbox) + (SELECT count(*) FROM celeriac.joins)";
    assert_eq!(sqlx::query_scalar::<_, i64>(written).fetch_one(&mut *tx).await.unwrap(), 0);
    let all = client.submit_in(&mut tx, Group::new(many()).then(sum)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(all.get().await.unwrap(), 179_700, "and the transaction goes on");

    let without = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = without.submit_in(&mut database, Group::new([add(1, 2)])).await.unwrap_err();
    assert!(matches!(error, Error::NoOutbox { .. }), "{error}");
}

#[celeriac_tests::test(real)]
async fn a_member_that_expires_before_it_runs_ends_its_chord(bed: Bed) {
    let client = bed.client(bed.program([])).await;
    let mut database = bed.database().await;
    let late = add(1, 2).expires_in(std::time::Duration::from_millis(1));
    let chain = add(1, 2).expires_in(std::time::Duration::from_millis(1)).then(add.with(1));
    let chord = Group::new([late]).then(sum);
    let chord = client.submit_in(&mut database, chord).await.unwrap();
    let other = client.submit_in(&mut database, Group::new([chain]).then(sum)).await.unwrap();
    let stage = stage(&bed).await;
    for chord in [chord, other] {
        let end = stage.client().handle::<Json>(chord.id()).wait().await.unwrap();
        assert_eq!((end.state, end.failure.unwrap().kind.as_str()), (TaskState::Failure, "ChordError"));
    }
}
