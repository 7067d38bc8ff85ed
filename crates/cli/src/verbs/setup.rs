//! `setup`: creates the tables of the result store, as the start of a worker does, and the
//! topology, as `topology apply` does.

use std::collections::BTreeMap;
use std::fmt::Write;

use celeriac_admin::plan::{Planner, Prune};
use celeriac_results::{LastError, Migration};
use celeriac_topology::{Difference, DifferenceKind, Remedy};
use serde::Serialize;

use super::topology::audited_apply;
use super::topology::table::{is_level, remedies, short};
use crate::args::CommandName;
use crate::args::SetupArgs;
use crate::error::Error;
use crate::exit::Exit;
use crate::output;
use crate::program::Program;
use crate::waiting;

/// The result of a setup.
#[derive(Debug, Default, Serialize)]
struct SetupReport {
    objects: Vec<SetupObject>,
    /// Parts of the broker that could not be seen, with the reason.
    unseen: Vec<String>,
    /// Differences that a setup does not resolve.
    #[serde(skip)]
    differing: Vec<Difference>,
}

/// One migration, exchange, queue, binding or policy.
#[derive(Debug, Serialize)]
struct SetupObject {
    state: SetupState,
    object: String,
    /// The properties in which broker and files differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

/// The state of an object after a setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum SetupState {
    Created,
    /// A policy has new values.
    Changed,
    Exists,
    /// A binding was declared, and AMQP does not show whether it existed.
    Declared,
    /// A binding that AMQP does not show.
    Unseen,
    Missing,
    Differs,
}

pub(crate) async fn run(program: &Program, args: &SetupArgs, name: &CommandName, json: bool) -> Result<Exit, Error> {
    if program.is_in_process() {
        return Err(Error::InProcess);
    }
    let last_error = LastError::default();
    let migrations = celeriac_results::migrations(&program.results, last_error.clone());
    let migrations = waiting::for_database(&program.results, &last_error, migrations).await.map_err(Error::Results)?;
    let planner = Planner::new(&program.broker, "celeriac setup").map_err(Error::Admin)?;
    let work = async {
        match args.check {
            true => check(program, &planner, &migrations).await,
            false => set_up(program, &planner, &migrations, name).await,
        }
    };
    let report = waiting::for_broker(&program.broker, planner.health(), work).await;
    planner.close().await;
    let report = report?;
    output::answer(json, &report, || report.text(&program.broker.delay_prefix, name));
    Ok(report.exit())
}

async fn check(program: &Program, planner: &Planner, migrations: &[Migration]) -> Result<SetupReport, Error> {
    let plan = planner.plan(&program.routes.topology()).await.map_err(Error::Admin)?;
    let bindings = plan.unseen_bindings().map(|binding| (binding.to_string(), SetupState::Unseen)).collect();
    let mut report = SetupReport { unseen: plan.unseen.clone(), ..SetupReport::default() };
    report.add_migrations(migrations, SetupState::Missing);
    report.add_objects(program, planner, &bindings, &[], &plan.differences);
    Ok(report)
}

async fn set_up(
    program: &Program,
    planner: &Planner,
    migrations: &[Migration],
    name: &CommandName,
) -> Result<SetupReport, Error> {
    // Asked first, so that an unavailable broker leaves the database unchanged.
    let plan = planner.plan(&program.routes.topology()).await.map_err(Error::Admin)?;
    let pending: Vec<_> = migrations.iter().filter(|migration| !migration.applied).map(|one| one.name).collect();
    let applied = audited_apply(program, planner, plan, Prune::Keep, ("setup", name), &pending).await?;
    let bindings = applied.unseen_bindings.iter().map(|binding| (binding.to_string(), SetupState::Declared)).collect();
    let mut report = SetupReport::default();
    report.add_migrations(migrations, SetupState::Created);
    report.add_objects(program, planner, &bindings, &applied.done, &applied.left);
    Ok(report)
}

impl SetupReport {
    fn add(&mut self, state: SetupState, object: String, remark: Option<String>) {
        self.objects.push(SetupObject { state, object, remark });
    }

    fn add_migrations(&mut self, migrations: &[Migration], pending: SetupState) {
        for migration in migrations {
            let state = if migration.applied { SetupState::Exists } else { pending };
            self.add(state, format!("tables: migration {} ({})", migration.version, migration.name), None);
        }
    }

    /// Adds every object of the files. `bindings` are those that AMQP does not show.
    fn add_objects(
        &mut self,
        program: &Program,
        planner: &Planner,
        bindings: &BTreeMap<String, SetupState>,
        done: &[Difference],
        left: &[Difference],
    ) {
        let is_kept = |found: &&Difference| found.kind == DifferenceKind::Differs && !is_of_setup(found);
        self.differing.extend(left.iter().filter(is_kept).cloned());
        for object in planner.wanted_names(&program.routes.topology()) {
            let of = |found: &&Difference| found.object == object && found.kind != DifferenceKind::Extra;
            let remains: Vec<_> = left.iter().filter(of).collect();
            let state = match (remains.first(), done.iter().find(of), bindings.get(&object)) {
                (Some(found), ..) if found.kind == DifferenceKind::Missing => SetupState::Missing,
                (Some(_), ..) => SetupState::Differs,
                (None, Some(found), _) if found.kind == DifferenceKind::Missing => SetupState::Created,
                (None, Some(_), _) => SetupState::Changed,
                (None, None, Some(state)) => *state,
                (None, None, None) => SetupState::Exists,
            };
            let remarks: Vec<_> = remains.into_iter().filter_map(remark).collect();
            self.add(state, object, Some(remarks.join(", ")).filter(|remark| !remark.is_empty()));
        }
    }

    /// Something that is missing or differs is an exit code of its own.
    fn exit(&self) -> Exit {
        let is_open = |object: &SetupObject| matches!(object.state, SetupState::Missing | SetupState::Differs);
        if self.objects.iter().any(is_open) { Exit::Different } else { Exit::Done }
    }

    /// Returns a line for each object, and one for each state of the delay levels, which have the
    /// prefix `delays`. `name` is that of the program.
    fn text(&self, delays: &str, name: &CommandName) -> String {
        let mut text = String::new();
        let mut line = |state: SetupState, object: &str, remark: Option<&str>| {
            let remark = remark.map(|remark| format!(": {remark}")).unwrap_or_default();
            let _ = writeln!(text, "{:<8}  {object}{remark}", state.name());
        };
        let mut levels: BTreeMap<SetupState, usize> = BTreeMap::new();
        for SetupObject { state, object, remark } in &self.objects {
            if is_level(object, delays) && *state != SetupState::Differs {
                *levels.entry(*state).or_default() += 1;
            } else {
                line(*state, &short(object), remark.as_deref());
            }
        }
        for (state, count) in levels {
            line(
                state,
                &format!("delay levels `{delays}_…`"),
                Some(&format!("{count} exchanges, queues and bindings")),
            );
        }
        text.push_str(&remedies(&self.differing, name));
        let is_declared = |object: &SetupObject| object.state == SetupState::Declared;
        if self.objects.iter().any(is_declared) {
            text.push_str("\nAMQP does not show whether a declared binding existed before\n");
        }
        if !self.unseen.is_empty() {
            let _ = writeln!(text, "\nnot seen:\n  {}", self.unseen.join("\n  "));
        }
        text
    }
}

impl SetupState {
    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Exists => "exists",
            Self::Declared => "declared",
            Self::Unseen => "unseen",
            Self::Missing => "missing",
            Self::Differs => "differs",
        }
    }
}

/// Returns true for a difference that a setup resolves by itself.
fn is_of_setup(found: &Difference) -> bool {
    matches!(found.remedy, Remedy::Make(_) | Remedy::SetPolicy(_))
}

/// Returns a differing property with both values, or the remedy of an object that this program
/// cannot create.
fn remark(found: &Difference) -> Option<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    match &found.property {
        Some(property) => {
            let (broker, files) = (value(&found.broker), value(&found.files));
            Some(format!("{property} is {broker} on the broker, {files} in the files"))
        }
        None => match &found.remedy {
            Remedy::ByHand(what) => Some((*what).to_owned()),
            _ => None,
        },
    }
}
