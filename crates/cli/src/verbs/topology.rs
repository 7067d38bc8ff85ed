//! `topology`: compares the broker with the files, applies the differences, exports the files.
//!
//! - `table`: differences as text
//! - `yaml`: manifests as text

pub(super) mod table;
mod yaml;

use celeriac_admin::plan::{Applied, Plan, Planner, Prune};
use celeriac_results::OperatorAction;
use celeriac_topology::{Cluster, Difference, definitions, manifests};
use serde::Serialize;
use serde_json::json;

use crate::args::CommandName;
use crate::args::{ApplyArgs, ExportArgs, ExportFormat, TopologyVerb};
use crate::audit::audited;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;
use crate::verbs::migrate;
use crate::waiting;
use table::Texts;

/// A difference, as JSON. Its remedy is a command line of this program.
#[derive(Serialize)]
struct NamedDifference<'a> {
    #[serde(flatten)]
    difference: &'a Difference,
    remedy: String,
}

/// A plan, as JSON.
#[derive(Serialize)]
struct PlannedDifferences<'a> {
    differences: Vec<NamedDifference<'a>>,
    unseen: &'a [String],
}

/// The result of `apply`, as JSON.
#[derive(Serialize)]
struct AppliedDifferences<'a> {
    done: Vec<NamedDifference<'a>>,
    left: Vec<NamedDifference<'a>>,
    /// Number of bindings that were declared; AMQP does not show which of them existed before.
    declared_bindings: usize,
}

pub(crate) async fn run(program: &Program, verb: TopologyVerb, name: &CommandName, json: bool) -> Result<Exit, Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let apply_args = match verb {
        TopologyVerb::Plan => None,
        TopologyVerb::Apply(args) => Some(args),
        TopologyVerb::Export(args) => return export(program, args),
        TopologyVerb::Migrate(args) => return migrate::run(program, &args, name, json).await.map(|()| Exit::Done),
    };
    let planner = planner(program)?;
    let texts = Texts { delays: &program.broker.delay_prefix, name };
    let topology = program.routes.topology();
    let plan = waiting::for_broker(&program.broker, planner.health(), planner.plan(&topology)).await;
    let outcome = match (plan, apply_args) {
        (Ok(plan), None) => Ok(show(&plan, texts, json)),
        (Ok(plan), Some(args)) => apply(program, &planner, plan, &args, texts, json).await,
        (Err(error), _) => Err(Error::Admin(error)),
    };
    planner.close().await;
    outcome
}

fn planner(program: &Program) -> Result<Planner, Error> {
    Planner::new(&program.broker, "celeriac topology").map_err(Error::Admin)
}

fn show(plan: &Plan, texts: Texts<'_>, json: bool) -> Exit {
    let Plan { differences, unseen, .. } = plan;
    let planned = PlannedDifferences { differences: named(differences, texts.name), unseen };
    output::answer(json, &planned, || texts.plan(plan));
    if differences.is_empty() { Exit::Done } else { Exit::Different }
}

fn named<'a>(differences: &'a [Difference], name: &CommandName) -> Vec<NamedDifference<'a>> {
    let named = |difference: &'a Difference| NamedDifference {
        difference,
        remedy: name.in_text(&difference.remedy.to_string()),
    };
    differences.iter().map(named).collect()
}

async fn apply(
    program: &Program,
    planner: &Planner,
    plan: Plan,
    args: &ApplyArgs,
    texts: Texts<'_>,
    json: bool,
) -> Result<Exit, Error> {
    let prune = if args.prune { Prune::Delete } else { Prune::Keep };
    if plan.is_to_be_done(prune) {
        output::notice(&texts.plan(&plan));
        if !args.yes {
            output::confirm("Apply these changes?")?;
        }
    }
    let applied = audited_apply(program, planner, plan, prune, ("topology apply", texts.name), &[]);
    let applied = waiting::for_broker(&program.broker, planner.health(), applied).await?;
    let Applied { done, left, unseen_bindings } = &applied;
    let declared_bindings = unseen_bindings.len();
    let is_done = left.is_empty();
    let [done, left] = [done, left].map(|differences| named(differences, texts.name));
    output::answer(json, &AppliedDifferences { done, left, declared_bindings }, || texts.applied(&applied));
    Ok(if is_done { Exit::Done } else { Exit::Different })
}

/// Applies a plan, between the two writes of an audit row if it changes something. `migrations` are
/// pending for the tables: the store is migrated when it is opened, before the row, because the row
/// needs its table.
pub(super) async fn audited_apply(
    program: &Program,
    planner: &Planner,
    plan: Plan,
    prune: Prune,
    (action, name): (&'static str, &CommandName),
    migrations: &[&str],
) -> Result<Applied, Error> {
    if !plan.is_to_be_done(prune) && migrations.is_empty() {
        return planner.apply(plan, prune).await.map_err(Error::Admin);
    }
    let objects: Vec<_> = plan.to_be_done(prune).map(|found| found.object.as_str()).collect();
    let target = json!({ "objects": objects, "migrations": migrations, "prune": prune == Prune::Delete });
    let action = OperatorAction { name: action, target };
    audited(program, name, action, async {
        let applied = planner.apply(plan, prune).await.map_err(Error::Admin);
        let done = migrations.len() + applied.as_ref().map_or(0, |applied| applied.done.len());
        (done.try_into().unwrap_or(u64::MAX), applied)
    })
    .await
}

fn export(program: &Program, args: ExportArgs) -> Result<Exit, Error> {
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
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use celeriac_topology::Remedy;

    use super::*;

    #[test]
    fn a_remedy_in_json_has_the_name_of_the_program() {
        let (ours, theirs) = (Some("1".to_owned()), Some("2".to_owned()));
        let remedy = Remedy::Migrate("mail".to_owned());
        let differences = [Difference::differs("queue `mail`", "x-max-priority", theirs, ours, remedy)];
        let name = CommandName::of(Some("bin/shop".as_ref()));
        let json = serde_json::to_value(named(&differences, &name)).unwrap_or_default();
        assert_eq!(
            json,
            json!([{
                "kind": "differs",
                "object": "queue `mail`",
                "property": "x-max-priority",
                "broker": "2",
                "files": "1",
                "remedy": "shop topology migrate mail --to NEW",
            }])
        );
    }
}
