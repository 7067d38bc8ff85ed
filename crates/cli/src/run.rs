//! From the process's arguments to its exit code.

use std::ffi::OsString;
use std::path::PathBuf;

use celeriac_config::Problems;
use celeriac_telemetry::Supervisor;

use crate::args::CommandName;
use crate::args::{CommandLine, ConfigVerb, RoutesVerb, Verb, WorkerArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::program::{Override, Program};
use crate::{output, verbs};

/// Runs the verb of these arguments. The first argument is the program's name.
///
/// `load` reads the configuration from a directory, or from the program's own place. Overrides
/// count before it.
pub async fn run<L>(load: L, arguments: impl IntoIterator<Item = OsString>) -> Exit
where
    L: FnOnce(Option<PathBuf>, Vec<Override>) -> Result<Program, Problems>,
{
    let arguments: Vec<_> = arguments.into_iter().collect();
    let name = CommandName::of(arguments.first().map(OsString::as_os_str));
    let line = match CommandLine::read(&name, &arguments) {
        Ok(line) => line,
        Err(error) => {
            // Help and version are answers and go to standard output.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    // A panic has printed its message, and would otherwise have an exit code of its own.
    match Supervisor::default().watch("command", run_verb(load, line, &name)).await {
        Some(Ok(exit)) => exit,
        Some(Err(error)) => {
            output::failure(&error, &name);
            error.exit()
        }
        None => Exit::Internal,
    }
}

async fn run_verb<L>(load: L, line: CommandLine, name: &CommandName) -> Result<Exit, Error>
where
    L: FnOnce(Option<PathBuf>, Vec<Override>) -> Result<Program, Problems>,
{
    let overrides = line.overrides();
    let CommandLine { global, verb } = line;
    let program = load(global.config, overrides).map_err(Error::Config)?;
    let done: Result<(), Error> = match verb {
        Verb::Status(args) => return Box::pin(verbs::remote::status(&program, &args, global.json)).await,
        Verb::Inspect(args) => return Box::pin(verbs::remote::inspect(&program, &args, global.json)).await,
        Verb::Control(args) => return Box::pin(verbs::remote::control(&program, &args, name, global.json)).await,
        Verb::Topology(verb) => return Box::pin(verbs::topology::run(&program, verb, name, global.json)).await,
        Verb::Setup(args) => return Box::pin(verbs::setup::run(&program, &args, name, global.json)).await,
        Verb::Worker(WorkerArgs { check: Some(check), .. }) => return verbs::check::run(&program, check, global.json),
        Verb::Worker(_) => Box::pin(verbs::worker::run(&program, name)).await,
        Verb::Relay(args) => Box::pin(verbs::relay::run(&program, &args, name, global.json)).await,
        Verb::List(args) => verbs::list::run(&program, args.what, global.json),
        Verb::Call(args) => Box::pin(verbs::call::run(&program, *args, global.json)).await,
        Verb::Result(args) => Box::pin(verbs::result::run(&program, &args, global.json)).await,
        Verb::Logs(args) => Box::pin(verbs::logs::run(&program, &args, global.json)).await,
        Verb::Workflow(verb) => Box::pin(verbs::workflow::run(&program, verb, global.json)).await,
        Verb::Query(args) => Box::pin(verbs::query::run(&program, args, name, global.json)).await,
        Verb::Top(args) => Box::pin(verbs::top::run(&program, args, global.json)).await,
        Verb::Events(args) => Box::pin(verbs::events::run(&program, &args, global.json)).await,
        Verb::Failures(args) => Box::pin(verbs::failures::run(&program, args, global.json)).await,
        Verb::Retry(args) => Box::pin(verbs::retry::run(&program, args, name, global.json)).await,
        Verb::Revoke(args) => Box::pin(verbs::revoke::run(&program, args, name, global.json)).await,
        Verb::Routes(RoutesVerb::Explain(args)) => verbs::routes::explain(&program, args, global.json),
        Verb::Queues(args) => Box::pin(verbs::queues::run(&program, &args, global.json)).await,
        Verb::Dead(verb) => Box::pin(verbs::dead::run(&program, verb, name, global.json)).await,
        Verb::Db(verb) => Box::pin(verbs::db::run(&program, verb, name, global.json)).await,
        Verb::Audit(args) => Box::pin(verbs::audit::run(&program, &args, global.json)).await,
        Verb::Retries(verb) => Box::pin(verbs::retries::run(&program, verb, name, global.json)).await,
        Verb::Config(ConfigVerb::Check) => verbs::config::check(&program, global.json),
        Verb::Config(ConfigVerb::Show) => {
            verbs::config::show(&program);
            Ok(())
        }
    };
    done.map(|()| Exit::Done)
}
