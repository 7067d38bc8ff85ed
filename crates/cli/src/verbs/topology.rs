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

use crate::application::Program;
use crate::args::{ApplyArgs, ExportArgs, ExportFormat, TopologyVerb};
use crate::error::Error;
use crate::verbs::migrate;
use crate::{exit, output};

/// A plan, for machines.
#[derive(Serialize)]
struct Shown<'a> {
    differences: &'a [Difference],
    unseen: &'a [String],
}

/// What was done, for machines.
#[derive(Serialize)]
struct Done<'a> {
    done: &'a [Difference],
    left: &'a [Difference],
}

/// Does it, and says with which exit code to end.
pub(crate) async fn run<P: Program>(program: &P, verb: TopologyVerb, json: bool) -> Result<u8, Error> {
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
    let delays = &program.broker_options().delay_prefix;
    let outcome = match (planner.plan(&program.routes().topology()).await, apply_args) {
        (Ok(plan), None) => Ok(show(&plan, delays, json)),
        (Ok(plan), Some(args)) => apply(&planner, plan, &args, delays, json).await,
        (Err(error), _) => Err(Error::Admin(error)),
    };
    planner.close().await;
    outcome
}

fn planner<P: Program>(program: &P) -> Result<Planner, Error> {
    Planner::new(program.broker_options(), "celeriac topology").map_err(Error::Admin)
}

fn show(plan: &Plan, delays: &str, json: bool) -> u8 {
    let Plan { differences, unseen, .. } = plan;
    output::answer(json, &Shown { differences, unseen }, || table::plan(plan, delays));
    if differences.is_empty() { exit::OK } else { exit::DIFFERENT }
}

async fn apply(planner: &Planner, plan: Plan, args: &ApplyArgs, delays: &str, json: bool) -> Result<u8, Error> {
    let prune = if args.prune { Prune::Delete } else { Prune::Keep };
    if plan.is_to_be_done(prune) {
        output::notice(&table::plan(&plan, delays));
        if !args.yes && !agreed()? {
            output::notice("nothing was changed");
            return Ok(exit::DIFFERENT);
        }
    }
    let applied = planner.apply(plan, prune).await.map_err(Error::Admin)?;
    let Applied { done, left, .. } = &applied;
    output::answer(json, &Done { done, left }, || table::applied(&applied, delays));
    Ok(if left.is_empty() { exit::OK } else { exit::DIFFERENT })
}

fn agreed() -> Result<bool, Error> {
    let unanswered = || Error::Data {
        what: "topology apply".to_owned(),
        reason: "nobody is here to ask: give --yes to go on without".to_owned(),
    };
    if !stdin().is_terminal() {
        return Err(unanswered());
    }
    output::ask("Apply this?").ok_or_else(unanswered)
}

fn export<P: Program>(program: &P, args: ExportArgs) -> Result<u8, Error> {
    let planner = planner(program)?;
    let parts = planner.wanted(&program.routes().topology());
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
