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

use crate::args::DeadVerb;
use crate::error::Error;
use crate::program::Program;
use source::DeadLetterSource;

pub(crate) async fn run(program: &Program, verb: DeadVerb, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    match verb {
        DeadVerb::List(args) => {
            let source = DeadLetterSource::new(program, &args.filter.queues)?;
            source.leave(list::run(&source, &args, json).await).await
        }
        DeadVerb::Show(args) => {
            let source = DeadLetterSource::new(program, &args.queues)?;
            source.leave(show::run(&source, &args, json).await).await
        }
        DeadVerb::Replay(args) => {
            let source = DeadLetterSource::new(program, &args.removal.filter.queues)?;
            source.leave(remove::replay(program, &source, args, json).await).await
        }
        DeadVerb::Purge(args) => {
            let source = DeadLetterSource::new(program, &args.removal.filter.queues)?;
            source.leave(remove::purge(&source, &args.removal, json).await).await
        }
    }
}
