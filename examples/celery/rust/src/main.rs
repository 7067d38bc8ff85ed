//! The worker of the Rust half: `cargo run -- worker`.

use celeriac::Celeriac;
use celeriac::tasks;
use celeriac_example_celery::{alarm, charge, receipt, total};

#[tokio::main]
async fn main() -> celeriac::cli::Exit {
    celeriac::cli::run(Celeriac::from_config("config").tasks(tasks![charge, receipt, total, alarm])).await
}
