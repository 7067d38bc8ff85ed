//! The operators' command line: every verb that needs no tasks of its own.

use celeriac::Celeriac;

#[tokio::main]
async fn main() -> celeriac::cli::Exit {
    celeriac::cli::run(Celeriac::builder().config_if_present("config").functions_elsewhere()).await
}
