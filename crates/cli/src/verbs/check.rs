//! `worker --check`: asks the running worker whether it is live or ready, as a probe.

use celeriac_telemetry::health::{ListenAddress, UnreadyPart, ask_live, ask_ready};

use crate::args::HealthCheck;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;

pub(crate) fn run(program: &Program, check: HealthCheck, json: bool) -> Result<Exit, Error> {
    let address = match program.telemetry.listen_address() {
        Some(Ok(address)) => address,
        Some(Err(_)) | None => return Err(Error::NotListening),
    };
    let unanswered = |source| Error::NoAnswer { address: address.to_string(), source };
    match check {
        HealthCheck::Live => {
            let answer = ask_live(&address).map_err(unanswered)?;
            is_it(program, &address, &answer.name)?;
            output::answer(json, &answer, || match (answer.live, answer.silent_seconds) {
                (false, Some(silent)) => format!("{}: not live: its runtime has not run for {silent:.1}s", answer.name),
                _ => format!("{}: live", answer.name),
            });
            Ok(if answer.live { Exit::Done } else { Exit::NotReady })
        }
        HealthCheck::Ready => {
            let answer = ask_ready(&address).map_err(unanswered)?;
            is_it(program, &address, &answer.name)?;
            output::answer(json, &answer, || {
                let state = if answer.ready { "ready" } else { "not ready" };
                let parts = answer.not_ready.iter();
                let parts = parts.map(|UnreadyPart { part, reason }| format!("\n  {part}: {reason}"));
                format!("{}: {state}{}", answer.name, parts.collect::<String>())
            });
            Ok(if answer.ready { Exit::Done } else { Exit::NotReady })
        }
    }
}

/// Returns an error if another worker answers than the one that the configuration names.
fn is_it(program: &Program, address: &ListenAddress, name: &str) -> Result<(), Error> {
    let wanted = &program.instance.name;
    if name == wanted {
        return Ok(());
    }
    Err(Error::OtherWorker { address: address.to_string(), wanted: wanted.clone(), found: name.to_owned() })
}
