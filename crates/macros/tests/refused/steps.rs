use celeriac::prelude::*;
use celeriac::{Chord, Group, MemberEnd};

#[task]
async fn add(left: i64, right: i64) -> TaskResult<i64> {
    Ok(left + right)
}

#[task]
async fn shout(text: String) -> TaskResult<String> {
    Ok(text.to_uppercase())
}

#[task]
async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

#[task]
async fn now() -> TaskResult<i64> {
    Ok(0)
}

fn result_of_another_type() {
    let _ = add(1, 2).then(shout);
}

fn argument_left_out() {
    let _ = add(1, 2).then(add);
}

fn argument_of_another_type() {
    let _ = add(1, 2).then(add.with("three"));
}

fn all_arguments() {
    let _ = add(1, 2).then(add(3, 4));
}

fn no_argument() {
    let _ = add(1, 2).then(now);
}

fn body_of_another_type() {
    let _ = Group::new([add(1, 2)]).then(shout);
}

fn body_of_the_ends() {
    let _: Chord<i64> = Group::new([add(1, 2)]).settled().then(sum);
}

fn errback_of_another_type() {
    let _ = shout(String::new()).on_error(sum);
}

fn member_without_arguments() {
    let _ = Group::new([shout]);
}

fn chord_as_a_member() {
    let chord = Group::new([add(1, 2)]).then(sum);
    let _ = Group::new([chord]);
}

fn members_of_two_types() {
    let _ = Group::new([add(1, 2)]).with(shout(String::new()));
}

async fn task_in_a_transaction(client: &Client, transaction: &mut celeriac::PgConnection) {
    let _ = client.submit_in(transaction, shout).await;
}

#[task]
async fn report(ends: Vec<MemberEnd<i64>>) -> TaskResult<usize> {
    Ok(ends.len())
}

fn main() {}
