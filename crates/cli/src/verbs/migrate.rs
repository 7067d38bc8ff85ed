//! `topology migrate`: moves bindings and messages of a queue to another queue.

use celeriac_admin::QueueMigration;
use celeriac_broker::QueueDeletion;
use celeriac_results::OperatorAction;
use celeriac_topology::{Topology, dead_letter_queue};
use serde::Serialize;
use serde_json::json;

use crate::args::CommandName;
use crate::args::MigrateArgs;
use crate::audit::audited;
use crate::error::Error;
use crate::output;
use crate::program::Program;
use crate::verbs::not_declared;
use crate::waiting;

/// Number of moved messages between two lines of progress.
const EVERY: u64 = 10_000;

/// The result of a migration.
#[derive(Debug, Default, Serialize)]
struct Moved {
    from: String,
    to: String,
    moved: u64,
    dead_letters_moved: u64,
    deleted: bool,
    /// The next step, if one remains.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

pub(crate) async fn run(program: &Program, args: &MigrateArgs, name: &CommandName, json: bool) -> Result<(), Error> {
    let topology = program.routes.topology();
    check(&topology, args)?;
    let migration = QueueMigration::new(&program.broker, "celeriac migrate").map_err(Error::Admin)?;
    let moved = migrate((program, name), &migration, &topology, args);
    let moved = waiting::for_broker(&program.broker, migration.health(), moved).await;
    migration.close().await;
    let moved = moved?;
    output::answer(json, &moved, || moved.text());
    Ok(())
}

/// Refuses wrong arguments before any change.
fn check(topology: &Topology, args: &MigrateArgs) -> Result<(), Error> {
    let MigrateArgs { from, to, .. } = args;
    let refuse = |what: &str, reason: String| Err(Error::Data { what: what.to_owned(), reason });
    if from == to {
        return refuse("--to", format!("`{to}` is the queue to move from; give the new queue another name"));
    }
    if !topology.queues.contains_key(to) {
        return refuse("--to", not_declared(topology, to));
    }
    if topology.queues.contains_key(from) {
        let reason = format!(
            "queue `{from}` is still declared under `queues`; rename it to `{to}` there, with its bindings and routes, \
             so that it is not created again"
        );
        return refuse("migrate", reason);
    }
    Ok(())
}

async fn migrate(
    (program, name): (&Program, &CommandName),
    migration: &QueueMigration,
    topology: &Topology,
    args: &MigrateArgs,
) -> Result<Moved, Error> {
    let MigrateArgs { from, to, .. } = args;
    let Some(depth) = migration.depth(from).await.map_err(Error::Admin)? else {
        return Err(Error::Data { what: "migrate".to_owned(), reason: format!("queue `{from}` does not exist") });
    };
    let kind = topology.queues.get(to).map_or("", |options| options.kind.name());
    output::notice(&format!(
        "{from} has {} messages and {} consumers; messages and bindings move to {to} ({kind})",
        depth.ready, depth.consumers
    ));
    if !args.yes {
        output::confirm("Migrate?")?;
    }
    let target = json!({ "from": from, "to": to, "delete": args.delete });
    let action = OperatorAction { name: "topology migrate", target };
    audited(program, name, action, async {
        let mut done = Moved { from: from.clone(), to: to.clone(), ..Moved::default() };
        let outcome = move_all(migration, topology, args, &mut done).await;
        (done.moved + done.dead_letters_moved, outcome.map(|()| done))
    })
    .await
}

/// Moves bindings, messages and dead letters. `done` has what is done so far, also after an error.
async fn move_all(
    migration: &QueueMigration,
    topology: &Topology,
    args: &MigrateArgs,
    done: &mut Moved,
) -> Result<(), Error> {
    let MigrateArgs { from, to, .. } = args;
    migration.redirect(topology, from, to).await.map_err(Error::Admin)?;
    drain(migration, from, to, &mut done.moved).await?;
    let old_dead = dead_letter_queue(from);
    let new_dead = topology.dead_letter_queue(to);
    if let Some(new_dead) = new_dead.filter(|new_dead| *new_dead != old_dead)
        && migration.depth(&old_dead).await.map_err(Error::Admin)?.is_some()
    {
        drain(migration, &old_dead, &new_dead, &mut done.dead_letters_moved).await?;
    }
    if args.delete {
        delete(migration, from, &old_dead, done).await?;
    } else {
        done.left = Some(format!("{from} is kept; once it has no senders and consumers, run this again with --delete"));
    }
    Ok(())
}

/// Moves all messages. `moved` counts them, also up to an error.
async fn drain(migration: &QueueMigration, from: &str, to: &str, moved: &mut u64) -> Result<(), Error> {
    let tell = |count: u64| {
        *moved = count;
        if count.is_multiple_of(EVERY) {
            output::notice(&format!("{from} -> {to}: {count} moved"));
        }
    };
    migration.drain(from, to, tell).await.map(drop).map_err(Error::Admin)
}

async fn delete(migration: &QueueMigration, from: &str, dead: &str, done: &mut Moved) -> Result<(), Error> {
    match migration.delete(from).await.map_err(Error::Admin)? {
        QueueDeletion::Deleted => {
            done.deleted = true;
            migration.delete(dead).await.map_err(Error::Admin)?;
        }
        QueueDeletion::InUse { consumers } => {
            done.left = Some(format!(
                "{from} is kept: it still has consumers ({consumers}); restart their workers with the new name, then run this again"
            ));
        }
        QueueDeletion::NotEmpty { ready } => {
            done.left = Some(format!(
                "{from} is kept: senders that use its name sent {ready} messages meanwhile; run this again"
            ));
        }
    }
    Ok(())
}

impl Moved {
    fn text(&self) -> String {
        let Self { from, to, moved, dead_letters_moved, deleted, left } = self;
        let mut text = format!("{moved} messages moved from {from} to {to}");
        if *dead_letters_moved > 0 {
            text.push_str(&format!(", and {dead_letters_moved} dead letters"));
        }
        if *deleted {
            text.push_str(&format!("\n{from} deleted"));
        }
        if let Some(left) = left {
            text.push_str(&format!("\n{left}"));
        }
        text
    }
}
