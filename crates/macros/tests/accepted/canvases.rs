//! Canvases of typed calls, and the types of their results.

use celeriac::prelude::*;
use celeriac::protocol::{Map, Value};
use celeriac::{Call, Chain, Chord, Group, Member, MemberEnd, Task};

mod orders {
    use celeriac::prelude::*;

    pub const PREFIX: &str = "shop.orders.";

    #[task(prefix = PREFIX)]
    pub async fn total(cents: Vec<i64>) -> TaskResult<i64> {
        Ok(cents.iter().sum())
    }

    #[task(prefix = "shop.", name = concat!("orders", ".", "print"))]
    pub async fn print(cents: i64, customer: String, copies: u8) -> TaskResult<String> {
        Ok(format!("{customer}: {cents} ({copies})"))
    }
}

const PRICE: &str = "catalog.price";

#[task(name = PRICE)]
fn price(article: String) -> i64;

#[task]
async fn double(number: i64) -> TaskResult<i64> {
    Ok(number * 2)
}

#[task]
async fn report(ends: Vec<MemberEnd<i64>>) -> TaskResult<usize> {
    Ok(ends.len())
}

#[task]
async fn alarm(id: String, #[rest] places: Vec<Value>, #[rest] more: Map) -> TaskResult<()> {
    println!("{id} {places:?} {more:?}");
    Ok(())
}

fn each<M: Member<Output = i64>>(members: Vec<M>) -> Group<i64> {
    members.into_iter().collect()
}

fn main() {
    assert_eq!(orders::total::NAME, "shop.orders.total");
    assert_eq!(orders::print::NAME, "shop.orders.print");
    assert_eq!(price::NAME, "catalog.price");

    let print = || orders::print.with(("Ada".to_owned(), 2)).queue("printer");
    let receipt: Chain<String> = orders::total(vec![2599, 450]).then(double).then(print());
    let receipt: Chain<String> = receipt.on_error(alarm.with((vec![Value::from("till")], Map::new())));
    let signature = receipt.signature().unwrap();
    assert_eq!(signature.members().unwrap().len(), 3);

    let prices: Group<i64> = Group::new(["cup", "pot"].map(str::to_owned).map(price));
    let sum: Chord<i64> = prices.clone().then(orders::total);
    let text: Chord<String> = sum.then(double).then(print());
    let count: Chord<usize> = prices.clone().settled().then(report);
    let again: Group<i64> = each(vec![price("cup".to_owned()).then(double)]);
    let chain: Chain<i64> = double(1).then(prices.immutable()).then(orders::total);
    let dynamic: Chain = double(1).then(Signature::new("billing.note"));
    let mapped: Chain<i64> = double.map([1, 2]).then(orders::total);
    let chunks: Group<Vec<i64>> = double.chunks([(1,), (2,), (3,)], 2);
    for canvas in [text.signature(), count.signature(), again.signature(), chain.signature(), dynamic.signature()] {
        canvas.unwrap();
    }
    mapped.signature().unwrap();
    assert_eq!(chunks.signature().unwrap().members().unwrap().len(), 2);

    let told: Call<alarm> = alarm("1".to_owned(), vec![Value::Int(2)], [("x".to_owned(), Value::Int(3))].into());
    let told = told.signature().unwrap();
    assert_eq!((told.args.len(), told.kwargs.len()), (2, 1));
}
