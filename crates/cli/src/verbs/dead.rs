//! `dead`: lists, shows, replays and purges dead letters.
//!
//! - `source`: the broker, and the selected dead-letter queues
//! - `list`, `show`: read
//! - `survey`: counts by queue, reason and task
//! - `remove`: replay and purge

mod list;
mod remove;
mod show;
mod source;
mod survey;

use crate::args::CommandName;
use crate::args::DeadVerb;
use crate::error::Error;
use crate::program::Program;
use crate::waiting;
use source::DeadLetterSource;

pub(crate) async fn run(program: &Program, verb: DeadVerb, name: &CommandName, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let source = DeadLetterSource::new(program, verb.queues())?;
    let work = async {
        match verb {
            DeadVerb::List(args) => list::run(&source, &args, json).await,
            DeadVerb::Show(args) => show::run(program, &source, &args, json).await,
            DeadVerb::Replay(args) => remove::replay((program, name), &source, args, json).await,
            DeadVerb::Purge(args) => remove::purge((program, name), &source, &args.removal, json).await,
        }
    };
    let outcome = waiting::for_broker(&program.broker, source.broker.health(), work).await;
    source.broker.close().await;
    outcome
}
