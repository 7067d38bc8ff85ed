//! Traces of Celeriac in Jaeger's interface: `cargo xtask traced`.
//!
//! In reading order:
//!
//! - [`shop`]: the tasks;
//! - [`jaeger`]: the receiver of spans, and Jaeger's interface;
//! - [`stage`]: servers, a worker, a sender and an operator, whose traces are shown;
//! - [`expectation`]: the spans of each trace, checked through Jaeger's API;
//! - [`picture`]: pictures by a browser without a window.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod expectation;
mod jaeger;
mod picture;
mod shop;
mod stage;

use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use anyhow::{Context, Result};
use celeriac_servers::{Durability, RabbitRelease, Servers};
use clap::Parser;

use crate::jaeger::Jaeger;
use crate::stage::Traces;

/// Shows traces of Celeriac in Jaeger's interface.
#[derive(Debug, Parser)]
struct Options {
    /// Check the traces, write pictures of them to this folder, and end
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The worker and the operator are this program too, with verbs of the command line.
    if std::env::args().nth(1).is_some_and(|verb| ["worker", "dead"].contains(&verb.as_str())) {
        return celeriac::cli::run(shop::app()).await.report();
    }
    match show(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show(options: &Options) -> Result<()> {
    let jaeger = Jaeger::start().await?;
    let traces = {
        let start = || Servers::start(Durability::Fast, RabbitRelease::chosen()?);
        let servers = tokio::task::block_in_place(start).context("cannot start the servers")?;
        stage::perform(&servers, &jaeger).await?
    };
    expectation::check(&jaeger, &traces).await?;
    if let Some(folder) = &options.pictures {
        return picture::take(&jaeger, &traces, folder);
    }
    print(&jaeger, &traces);
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}

fn print(jaeger: &Jaeger, traces: &Traces) {
    println!("a chain whose first task is retried:      look at {}", jaeger.page(&traces.chain));
    println!("a task that ends as a dead letter:        look at {}", jaeger.page(&traces.dead));
    println!("the replay of that dead letter:           look at {}", jaeger.page(&traces.replay));
    println!("Ctrl-C ends this program");
}
