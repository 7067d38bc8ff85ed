//! The code of `docs/canvas.md`, on real servers. The page quotes it.

use celeriac::prelude::*;
use celeriac::sqlx::{self, Connection};
use celeriac::{Chain, Group};
use celeriac_tests::Bed;

#[task(name = "guide.total")]
async fn total(cents: Vec<i64>) -> TaskResult<i64> {
    Ok(cents.iter().sum())
}

#[task(name = "guide.discount")]
async fn discount(cents: i64, percent: i64) -> TaskResult<i64> {
    Ok(cents - cents * percent / 100)
}

#[task(name = "guide.print")]
async fn print(cents: i64, customer: String) -> TaskResult<String> {
    Ok(format!("{customer}: {cents}"))
}

#[task(name = "guide.render")]
async fn render(page: u32) -> TaskResult<u32> {
    Ok(page * 1000)
}

#[task(name = "guide.bind")]
async fn bind(bytes: Vec<u32>, title: String) -> TaskResult<String> {
    Ok(format!("{title}: {}", bytes.iter().sum::<u32>()))
}

#[task(name = "guide.cleared")]
async fn cleared(order: i64) -> TaskResult<i64> {
    Ok(order)
}

#[task(name = "guide.north")]
async fn north(cents: i64) -> TaskResult<i64> {
    Ok(cents / 10)
}

#[task(name = "guide.south")]
async fn south(cents: i64) -> TaskResult<i64> {
    Ok(cents / 5)
}

#[task(name = "guide.higher")]
async fn higher(taxes: (i64, i64)) -> TaskResult<i64> {
    Ok(taxes.0.max(taxes.1))
}

#[task(name = "guide.highest")]
async fn highest(taxes: Vec<i64>) -> TaskResult<i64> {
    Ok(taxes.into_iter().max().unwrap_or_default())
}

fn tasks() -> Tasks {
    tasks![total, discount, print, render, bind, cleared, north, south, higher, highest]
}

#[celeriac_tests::test(real)]
async fn the_canvases_of_the_guide_run(bed: Bed) {
    bed.worker(tasks()).await;
    let client = bed.client(bed.program([]).set("client.result_timeout", "40s")).await;

    // One after the other: each task gets the result of the one before.
    let chain = total(vec![2599, 450]).then(discount.with(10)).then(print.with("Ada".to_owned()));
    let receipt: String = chain.submit(&client).await.unwrap().get().await.unwrap();

    // In parallel.
    let group = Group::new((1..=300).map(render));
    let bytes: Vec<u32> = group.submit(&client).await.unwrap().get().await.unwrap();

    // A chord: when all members have succeeded, the body gets the list of their results.
    let chord = Group::new((1..=300).map(render)).then(bind.with("Robinson".to_owned()));
    let book: String = chord.submit(&client).await.unwrap().get().await.unwrap();

    assert_eq!((receipt.as_str(), book.as_str()), ("Ada: 2745", "Robinson: 45150000"));
    assert_eq!((bytes.len(), bytes[299]), (300, 300_000));

    let higher = total(vec![2599]).then((north, south)).then(higher);

    assert_eq!(higher.submit(&client).await.unwrap().get().await.unwrap(), 519);

    let taxes = Group::new([north(2599)]).with(south(2599).queue("celeriac"));
    let highest = cleared(17).then(taxes.immutable()).then(highest);

    assert_eq!(highest.submit(&client).await.unwrap().get().await.unwrap(), 519);

    let steps = ["guide.north", "guide.south"].map(Signature::new);
    let chain = steps.into_iter().fold(Chain::new(cleared(2599).signature().unwrap()), Chain::then);

    assert_eq!(chain.submit(&client).await.unwrap().get().await.unwrap(), 51);
}

#[celeriac_tests::test(real)]
async fn the_transaction_of_the_guide_sends_a_chord(bed: Bed) {
    bed.worker(tasks()).await;
    let client = bed.client(bed.program([]).set("client.result_timeout", "40s")).await;
    let mut database = bed.database().await;
    sqlx::raw_sql("CREATE TABLE books (title text)").execute(&mut database).await.unwrap();
    let pages = Group::new((1..=3).map(render));

    let mut tx = database.begin().await.unwrap();
    sqlx::query("INSERT INTO books (title) VALUES ('Robinson')").execute(&mut *tx).await.unwrap();
    let book = client.submit_in(&mut tx, pages.then(bind.with("Robinson".to_owned()))).await.unwrap();
    tx.commit().await.unwrap();

    assert_eq!(book.get().await.unwrap(), "Robinson: 6000");
}
