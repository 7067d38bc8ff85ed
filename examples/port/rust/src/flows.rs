//! Tasks that send others, and tasks in the place of others.

use celeriac::prelude::*;
use celeriac::protocol::Value;
use celeriac::{Group, Task};

use crate::journal::Journal;
use crate::numbers::add;

const PREFIX: &str = "fleet.flows.";

pub(crate) fn tasks() -> Tasks {
    let basic = tasks![note, alarm, explain, double, notify, fan_out, pipeline, tally, countdown];
    basic.and(tasks![replace_by_task, replace_by_chain, replace_by_group, wait_for])
}

#[task(prefix = PREFIX, ignore_result = true)]
async fn note(ctx: TaskContext, #[rest] words: Vec<Value>) -> TaskResult<()> {
    Journal::write(&ctx, words)
}

/// `note` takes what any task returns, so that it is a step by its name.
fn note_of(word: &str) -> Signature {
    Signature::new(note::NAME).arg(word)
}

/// An errback, which gets the id of the failed task.
#[task(prefix = PREFIX, ignore_result = true)]
async fn alarm(ctx: TaskContext, failed: String) -> TaskResult<()> {
    Journal::write(&ctx, [value!(failed)])
}

/// An errback that is an old one in Python, and gets the id all the same.
#[task(prefix = PREFIX, ignore_result = true)]
async fn explain(ctx: TaskContext, failed: String) -> TaskResult<()> {
    Journal::write(&ctx, [value!(failed)])
}

#[task(prefix = PREFIX)]
async fn double(number: i128) -> TaskResult<i128> {
    Ok(2 * number)
}

#[task(prefix = PREFIX)]
async fn notify(ctx: TaskContext, word: String) -> TaskResult<String> {
    note(vec![value!(&word)]).submit(ctx.client()).await?;
    Ok(word)
}

#[task(prefix = PREFIX)]
async fn fan_out(ctx: TaskContext, count: i64) -> TaskResult<()> {
    Group::new((0..count).map(|number| note(vec![value!(number)]))).submit(ctx.client()).await?;
    Ok(())
}

#[task(prefix = PREFIX)]
async fn pipeline(ctx: TaskContext, number: i128) -> TaskResult<()> {
    add(number, 1).then(double).then(note_of("piped")).submit(ctx.client()).await?;
    Ok(())
}

#[task(prefix = PREFIX)]
async fn tally(ctx: TaskContext, count: i128) -> TaskResult<()> {
    Group::new((0..count).map(double)).then(note_of("tallied")).submit(ctx.client()).await?;
    Ok(())
}

#[task(prefix = PREFIX)]
async fn countdown(ctx: TaskContext, number: i64) -> TaskResult<()> {
    Journal::write(&ctx, [value!(number)])?;
    if number > 0 {
        countdown(number - 1).submit(ctx.client()).await?;
    }
    Ok(())
}

#[task(prefix = PREFIX)]
async fn replace_by_task(ctx: TaskContext, number: i128) -> TaskResult<i128> {
    ctx.replace(double(number))
}

#[task(prefix = PREFIX)]
async fn replace_by_chain(ctx: TaskContext, number: i128) -> TaskResult<i128> {
    ctx.replace(double(number).then(add.with(1)))
}

#[task(prefix = PREFIX)]
async fn replace_by_group(ctx: TaskContext, count: i128) -> TaskResult<Vec<i128>> {
    ctx.replace(Group::new((0..count).map(double)))
}

/// Refused, as in Celery: a task that waits for another one holds its slot.
#[task(prefix = PREFIX)]
async fn wait_for(ctx: TaskContext, number: i128) -> TaskResult<i128> {
    Ok(double(number).submit(ctx.client()).await?.get().await?)
}
