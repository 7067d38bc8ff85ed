#![allow(unused_variables)]

use celeriac::{TaskResult, task};

#[task]
async fn of_a_type<T: Send>(value: T) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn of_a_lifetime<'a>(text: std::borrow::Cow<'a, str>) -> TaskResult<()> {
    Ok(())
}

#[task]
async fn with_conditions() -> TaskResult<()>
where
    String: Send,
{
    Ok(())
}

#[task]
async fn hidden(values: impl Iterator<Item = u8>, more: Vec<_>) -> TaskResult<impl Sized> {
    Ok(())
}

fn main() {}
