#![allow(unused_variables)]

use celeriac::{TaskResult, task};

struct Order {
    id: u64,
}

struct Receipt;

struct Customer;

#[task]
async fn charge(cents: i64, order: Order) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn invite(when: String, customer: Customer, order: Option<Order>) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn print(order: u64) -> TaskResult<Receipt> {
    Ok(Receipt)
}

fn main() {}
