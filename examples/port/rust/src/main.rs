//! The worker of the fleet: `cargo run -- worker`. Each module has the tasks of the Python module
//! of its name in `examples/port/fleet`.

mod blobs;
mod calls;
mod collections;
mod dates;
mod delivery;
mod errors;
mod failures;
mod flows;
mod journal;
mod limits;
mod money;
mod numbers;
mod progress;
mod request;
mod retries;
mod text;
mod work;

use celeriac::cli::Exit;
use celeriac::prelude::*;

use crate::journal::Journal;
use crate::money::Rates;

#[tokio::main]
async fn main() -> Exit {
    let tasks = Tasks::new()
        .and(numbers::tasks())
        .and(text::tasks())
        .and(collections::tasks())
        .and(calls::tasks())
        .and(money::tasks())
        .and(dates::tasks())
        .and(blobs::tasks())
        .and(request::tasks())
        .and(retries::tasks())
        .and(failures::tasks())
        .and(progress::tasks())
        .and(flows::tasks())
        .and(limits::tasks())
        .and(delivery::tasks())
        .and(work::tasks());
    let app = Celeriac::from_config("config").tasks(tasks).state(Rates::load()).state(Journal::from_environment());
    celeriac::cli::run(app).await
}
