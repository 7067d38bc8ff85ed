//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::application::Application;
use crate::args::{CommandLine, ConfigVerb, RoutesVerb, Verb};
use crate::error::Error;
use crate::{exit, output, verbs};

/// Does what the process's arguments ask for.
pub async fn run<A: Application>(app: A) -> ExitCode {
    run_with(app, std::env::args_os()).await
}

/// Does what these arguments ask for; the first is the program's name.
pub async fn run_with<A: Application>(app: A, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are answers, not errors; clap knows where each belongs.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match obey(app, line).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::failure(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn obey<A: Application>(app: A, line: CommandLine) -> Result<u8, Error> {
    let overrides = line.overrides();
    let CommandLine { global, verb } = line;
    let program = app.load(global.config, overrides).map_err(Error::Config)?;
    let done: Result<(), Error> = match verb {
        Verb::Topology(verb) => return Box::pin(verbs::topology::run(&program, verb, global.json)).await,
        Verb::Worker(_) => Box::pin(verbs::worker::run(&program)).await,
        Verb::Relay(args) => Box::pin(verbs::relay::run(&program, &args, global.json)).await,
        Verb::List(args) => verbs::list::run(&program, args.what, global.json),
        Verb::Call(args) => Box::pin(verbs::call::run(&program, *args, global.json)).await,
        Verb::Result(args) => Box::pin(verbs::result::run(&program, &args, global.json)).await,
        Verb::Revoke(args) => Box::pin(verbs::revoke::run(&program, args, global.json)).await,
        Verb::Routes(RoutesVerb::Explain(args)) => verbs::routes::explain(&program, args, global.json),
        Verb::Queues(args) => Box::pin(verbs::queues::run(&program, &args, global.json)).await,
        Verb::Dead(verb) => Box::pin(verbs::dead::run(&program, verb, global.json)).await,
        Verb::Config(ConfigVerb::Check) => verbs::config::check(&program, global.json),
        Verb::Config(ConfigVerb::Show) => {
            verbs::config::show(&program);
            Ok(())
        }
    };
    done.map(|()| exit::OK)
}
