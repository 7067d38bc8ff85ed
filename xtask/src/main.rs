//! The project's menu: `cargo xtask --help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod api;
mod bench;
mod check;
mod ci;
mod dependencies;
mod faults;
mod fixtures;
mod fuzz;
mod packages;
mod rows;
mod run;
mod sbom;
mod services;
mod soak;
mod test;
mod traced;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's menu.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Menu {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Private RabbitMQ and Postgres for experiments
    #[command(subcommand)]
    Services(services::Verb),
    /// All tests and doctests, on private servers
    Test(test::Options),
    /// The fault tests in their long form
    Faults(faults::Options),
    /// Tables and messages of this version, in tests/fixtures, for the tests of later versions
    Fixtures,
    /// Hours of mixed work, and a verdict on memory, connections, files and tables that grow
    Soak(soak::Options),
    /// A result store with many finished tasks: sizes, insert rates, times of queries, deletes
    Rows(rows::Options),
    /// The fuzz tests in their long form: a minute of damaged inputs for each reader
    Fuzz(fuzz::Options),
    /// Traces of a chain, of a retry and of a replayed dead letter in Jaeger's interface
    Traced(traced::Options),
    /// The public API as text, in docs/public-api.txt
    Api(api::Options),
    /// Licences, sources and advisories of all dependencies, and the record of the direct ones
    Dependencies,
    /// The packages of a release and their licences, in target/sbom
    Sbom(sbom::Options),
    /// Formatting, lints, documentation links, the public API and the record of dependencies
    Check,
    /// The benchmarks, on private servers that flush to disk
    Bench(bench::Options),
    /// Everything that must pass before a merge
    Ci,
}

fn main() -> ExitCode {
    match api::as_rustdoc() {
        None => {}
        Some(Ok(code)) => return ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Some(Err(error)) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    let verb = Menu::parse().verb;
    let done = run::heed_signals().and_then(|()| match verb {
        Verb::Services(verb) => services::services(&verb),
        Verb::Test(options) => test::test(&options),
        Verb::Faults(options) => faults::faults(&options),
        Verb::Fixtures => fixtures::fixtures(),
        Verb::Soak(options) => soak::soak(&options),
        Verb::Rows(options) => rows::rows(&options),
        Verb::Fuzz(options) => fuzz::fuzz(&options),
        Verb::Traced(options) => traced::traced(&options),
        Verb::Api(options) => api::api(&options),
        Verb::Dependencies => dependencies::dependencies(),
        Verb::Sbom(options) => sbom::sbom(&options),
        Verb::Check => check::check(),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Ci => ci::ci(),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(run::exit_code(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_menu_holds_together() {
        super::Menu::command().debug_assert();
    }
}
