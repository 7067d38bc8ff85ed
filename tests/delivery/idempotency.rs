//! Calls that are sent once for each key.

use celeriac::sqlx::{self, Connection};
use celeriac_client::Error;
use celeriac_tests::Bed;
use futures::future::join_all;
use serde_json::{Value as Json, json};

use crate::stage::{Stage, add, see};

fn note(number: i64) -> celeriac::Call<see> {
    see(json!(number), Json::Null).idempotency_key("order-17")
}

#[celeriac_tests::test(real)]
async fn a_call_under_a_key_is_sent_once_however_often_and_at_once_it_is_submitted(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let handles = join_all((0..8).map(|_| stage.client().submit(note(1)))).await;
    let ids: Vec<_> = handles.into_iter().map(|handle| handle.unwrap().id().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = stage.client().submit(note(1)).await.unwrap();
    assert_eq!((again.id(), again.get().await.unwrap()), (ids[0].as_str(), json!(1)));
    let other = add(1, 2).idempotency_key("order-17").submit(stage.client()).await.unwrap();
    assert_eq!(other.get().await.unwrap(), 3, "a key is the task's own");
    assert_eq!(stage.finish().await.len(), 1);
}

#[celeriac_tests::test(real)]
async fn the_same_key_with_other_arguments_is_an_error(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let first = stage.client().submit(note(1)).await.unwrap();
    let error = stage.client().submit(note(2)).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains("`order-17` was used with other arguments") && told.contains(first.id()), "{told}");
    stage.seen(1).await;
    assert_eq!(stage.finish().await.len(), 1);
}

#[celeriac_tests::test(real)]
async fn one_who_died_before_it_was_sent_leaves_it_to_the_next_with_the_same_id(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let first = stage.client().submit(note(1)).await.unwrap();
    let mut database = stage.bed.database().await;
    let forget = "UPDATE celeriac.idempotency SET sent = false, claimed_at = claimed_at - interval '1 minute'";
    sqlx::query(forget).execute(&mut database).await.unwrap();
    stage.seen(1).await;
    stage.row(first.id()).await;
    let second = stage.client().submit(note(1)).await.unwrap();
    assert_eq!(second.id(), first.id());
    let sent: bool =
        sqlx::query_scalar("SELECT sent FROM celeriac.idempotency").fetch_one(&mut database).await.unwrap();
    assert!(sent);
    assert_eq!(stage.finish().await.len(), 1, "the second copy finds that it has run");
}

#[celeriac_tests::test(real)]
async fn a_call_that_could_not_be_sent_leaves_its_key_free_and_one_whose_time_is_over_too(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let nowhere = note(1).queue("nowhere").submit(stage.client()).await;
    assert!(matches!(nowhere, Err(Error::Send { .. })), "{nowhere:?}");
    let first = stage.client().submit(note(2)).await.unwrap();
    let mut database = stage.bed.database().await;
    let over = "UPDATE celeriac.idempotency SET expires_at = clock_timestamp() - interval '1 second'";
    sqlx::query(over).execute(&mut database).await.unwrap();
    let second = stage.client().submit(note(3)).await.unwrap();
    assert_ne!(second.id(), first.id());
    stage.seen(2).await;
    assert_eq!(stage.finish().await.len(), 2);
}

#[celeriac_tests::test(real)]
async fn a_key_holds_in_a_transaction_with_the_transaction(bed: Bed) {
    let stage = Stage::start(&bed).await;
    let mut database = stage.bed.database().await;
    let mut lost = database.begin().await.unwrap();
    let lost_id = stage.client().submit_in(&mut lost, note(1)).await.unwrap().id().to_owned();
    assert_eq!(stage.client().submit_in(&mut lost, note(1)).await.unwrap().id(), lost_id);
    lost.rollback().await.unwrap();
    let mut kept = database.begin().await.unwrap();
    let kept_id = stage.client().submit_in(&mut kept, note(1)).await.unwrap().id().to_owned();
    kept.commit().await.unwrap();
    assert_ne!(kept_id, lost_id);
    assert_eq!(stage.client().submit(note(1)).await.unwrap().id(), kept_id);
    stage.seen(1).await;
    assert_eq!(stage.finish().await.len(), 1);
}

#[celeriac_tests::test]
async fn a_store_without_keys_is_an_error(bed: Bed) {
    let client = bed.client(bed.program([]).set("results.url", "none")).await;
    let error = client.submit(note(1)).await.unwrap_err();
    assert!(matches!(error, Error::NoKeys { .. }), "{error}");
}
