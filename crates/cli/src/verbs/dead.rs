//! `dead`: what stands in dead-letter queues, listed, shown, put back, thrown away.
//!
//! - `place`: the broker, and the dead-letter queues that are meant;
//! - `list`, `show`: look;
//! - `survey`: how many there are, by queue, reason and task;
//! - `remove`: replay and purge.

mod list;
mod place;
mod remove;
mod show;
mod survey;

use crate::application::Program;
use crate::args::DeadVerb;
use crate::error::Error;
use place::Place;

pub(crate) async fn run<P: Program>(program: &P, verb: DeadVerb, json: bool) -> Result<(), Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    match verb {
        DeadVerb::List(args) => {
            let place = Place::new(program, &args.filter.queues)?;
            place.leave(list::run(&place, &args, json).await).await
        }
        DeadVerb::Show(args) => {
            let place = Place::new(program, &args.queues)?;
            place.leave(show::run(&place, &args, json).await).await
        }
        DeadVerb::Replay(args) => {
            let place = Place::new(program, &args.removal.filter.queues)?;
            place.leave(remove::replay(program, &place, args, json).await).await
        }
        DeadVerb::Purge(args) => {
            let place = Place::new(program, &args.removal.filter.queues)?;
            place.leave(remove::purge(&place, &args.removal, json).await).await
        }
    }
}
