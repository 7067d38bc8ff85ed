//! `topology`: what differs between files and broker, putting an end to it, and the files for RabbitMQ's own tools.
//!
//! - `table`: differences for people;
//! - `yaml`: manifests as text.

mod table;
mod yaml;

use std::io::{IsTerminal, stdin};

use celeriac_admin::plan::{Applied, Plan, Planner, Prune};
use celeriac_topology::{Cluster, Difference, definitions, manifests};
use serde::Serialize;

use crate::args::{ApplyArgs, ExportArgs, ExportFormat, TopologyVerb};
use crate::error::Error;
use crate::program::Program;
use crate::verbs::migrate;
use crate::{exit, output};

/// A plan, for machines.
#[derive(Serialize)]
struct PlannedDifferences<'a> {
    differences: &'a [Difference],
    unseen: &'a [String],
}

/// The result of `apply`, for machines.
#[derive(Serialize)]
struct AppliedDifferences<'a> {
    done: &'a [Difference],
    left: &'a [Difference],
}

/// Does it, and says with which exit code to end.
pub(crate) async fn run(program: &Program, verb: TopologyVerb, json: bool) -> Result<u8, Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let apply_args = match verb {
        TopologyVerb::Plan => None,
        TopologyVerb::Apply(args) => Some(args),
        TopologyVerb::Export(args) => return export(program, args),
        TopologyVerb::Migrate(args) => return migrate::run(program, &args, json).await.map(|()| exit::OK),
    };
    let planner = planner(program)?;
    let delays = &program.broker.delay_prefix;
    let outcome = match (planner.plan(&program.routes.topology()).await, apply_args) {
        (Ok(plan), None) => Ok(show(&plan, delays, json)),
        (Ok(plan), Some(args)) => apply(&planner, plan, &args, delays, json).await,
        (Err(error), _) => Err(Error::Admin(error)),
    };
    planner.close().await;
    outcome
}

fn planner(program: &Program) -> Result<Planner, Error> {
    Planner::new(&program.broker, "celeriac topology").map_err(Error::Admin)
}

fn show(plan: &Plan, delays: &str, json: bool) -> u8 {
    let Plan { differences, unseen, .. } = plan;
    output::answer(json, &PlannedDifferences { differences, unseen }, || table::plan(plan, delays));
    if differences.is_empty() { exit::OK } else { exit::DIFFERENT }
}

async fn apply(planner: &Planner, plan: Plan, args: &ApplyArgs, delays: &str, json: bool) -> Result<u8, Error> {
    let prune = if args.prune { Prune::Delete } else { Prune::Keep };
    if plan.is_to_be_done(prune) {
        output::notice(&table::plan(&plan, delays));
        if !args.yes && !confirm()? {
            output::notice("nothing was changed");
            return Ok(exit::DIFFERENT);
        }
    }
    let applied = planner.apply(plan, prune).await.map_err(Error::Admin)?;
    let Applied { done, left, .. } = &applied;
    output::answer(json, &AppliedDifferences { done, left }, || table::applied(&applied, delays));
    Ok(if left.is_empty() { exit::OK } else { exit::DIFFERENT })
}

/// Without an answer the exit code is not that of a missing answer, which here says that broker and files differ.
///
/// Only a person answers: what is piped in by chance changes no broker.
fn confirm() -> Result<bool, Error> {
    let answer = if stdin().is_terminal() { output::confirm("Apply this?") } else { Err(Error::Unanswered) };
    answer.map_err(|unanswered| Error::Data { what: "topology apply".to_owned(), reason: unanswered.to_string() })
}

fn export(program: &Program, args: ExportArgs) -> Result<u8, Error> {
    let planner = planner(program)?;
    let parts = planner.wanted(&program.routes.topology());
    let vhost = planner.vhost();
    match args.format {
        ExportFormat::Definitions => output::answer(true, &definitions(&parts, vhost), String::new),
        ExportFormat::Manifests => {
            let cluster = Cluster { name: args.cluster.unwrap_or_default(), namespace: args.namespace };
            let documents = manifests(&parts, vhost, &cluster);
            output::answer(false, &(), || yaml::documents(&documents));
        }
    }
    Ok(exit::OK)
}
