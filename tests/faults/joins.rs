//! The statements of joins, in random orders, while sessions of the database are killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use celeriac_config::Secret;
use celeriac_results::{Arrival, Backend, JoinMember, JoinResults, NewJoin, Result, ResultsOptions, Turn, connect};
use celeriac_tests::Bed;
use celeriac_tests::wait::{PATIENCE, eventually};
use futures::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ledger::is_long;

/// Members of each join.
const MEMBERS: i64 = 40;

/// Workers, each with connections of its own.
const WORKERS: usize = 5;

/// Deliveries that are not acknowledged, and what their workers did.
#[derive(Default)]
struct Broker {
    ready: VecDeque<JoinMember>,
    unsettled: usize,
    /// The members of each join of which an arrival was begun.
    begun: BTreeMap<String, BTreeSet<i64>>,
    /// The bodies that were sent, by join: who sent them, and whether as a repeat.
    sent: BTreeMap<String, Vec<(i64, bool)>>,
}

impl Broker {
    /// Takes a random batch. It may hold a delivery twice, as after a lost connection.
    fn take(&mut self) -> Vec<JoinMember> {
        let count = fastrand::usize(1..=30).min(self.ready.len());
        let batch: Vec<_> = self.ready.drain(..count).collect();
        self.unsettled += batch.len();
        for member in &batch {
            self.begun.entry(member.join.clone()).or_default().insert(member.index);
        }
        batch
    }

    /// Delivers again, as after the end of a worker.
    fn requeue(&mut self, batch: impl IntoIterator<Item = JoinMember>) {
        for member in batch {
            self.unsettled -= 1;
            self.ready.push_back(member);
        }
    }
}

fn crashes() -> bool {
    fastrand::u32(..100) < 12
}

/// Processes a batch as a worker does, and may die after each step.
async fn process(store: &dyn Backend, broker: &Mutex<Broker>, batch: &[JoinMember]) -> Result<Vec<JoinMember>> {
    let arrivals: Vec<_> = batch
        .iter()
        .map(|member| {
            let (task, outcome) = (format!("{}/{}", member.join, member.index), Ok(member.index.to_string()));
            Arrival { member: member.clone(), task, outcome }
        })
        .collect();
    store.record_arrivals(&arrivals).await?;
    if crashes() {
        return Ok(Vec::new());
    }
    let turns = store.fire(batch).await?;
    if crashes() {
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    for (member, turn) in batch.iter().zip(turns) {
        match turn {
            Turn::Done => {}
            Turn::Unknown => panic!("{member:?} belongs to no join"),
            Turn::Fire { again } => {
                let begun = broker.lock().unwrap().begun[&member.join].len();
                assert_eq!(begun, usize::try_from(MEMBERS).unwrap(), "{member:?} fires too early");
                let fired = store.find_fired(&member.join, 1 << 20).await?.expect("a join that has fired");
                let JoinResults::All(results) = fired.results else { panic!("{:?}", fired.results) };
                let expected: Vec<_> = (0..MEMBERS).map(|index| index.to_string()).collect();
                assert_eq!(results, expected, "all results, in order");
                if crashes() {
                    continue;
                }
                broker.lock().unwrap().sent.entry(member.join.clone()).or_default().push((member.index, again));
                if crashes() {
                    continue;
                }
            }
        }
        done.push(member.clone());
    }
    Ok(done)
}

async fn work(store: Arc<dyn Backend>, broker: &Mutex<Broker>) {
    loop {
        let batch = {
            let mut broker = broker.lock().unwrap();
            let batch = broker.take();
            if batch.is_empty() && broker.unsettled == 0 {
                return;
            }
            batch
        };
        if batch.is_empty() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let mut done = process(&*store, broker, &batch).await.unwrap_or_default();
        let mut broker = broker.lock().unwrap();
        let (settled, returned): (Vec<_>, Vec<_>) = batch.into_iter().partition(|member| {
            let place = done.iter().position(|done| done == member);
            place.map(|place| done.swap_remove(place)).is_some()
        });
        broker.unsettled -= settled.len();
        broker.requeue(returned);
    }
}

/// Ends a random session of the workers every few milliseconds. Returns the number of sessions.
async fn keep_terminating(bed: &Bed, done: &CancellationToken) -> i64 {
    const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
        ORDER BY random() LIMIT 1) AS one";
    let (mut database, mut ended) = (bed.database().await, 0);
    while done.run_until_cancelled(tokio::time::sleep(Duration::from_millis(fastrand::u64(1..12)))).await.is_some() {
        ended += sqlx::query_scalar::<_, i64>(TERMINATE).fetch_one(&mut database).await.unwrap();
    }
    ended
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_member_that_fires_is_told_so_although_its_first_look_is_still_committing(bed: Bed) {
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = connect(&options).await.unwrap().unwrap();
    let member = JoinMember { join: "slow".to_owned(), index: 0 };
    store.add_join(&NewJoin::new(&member.join, 1, "{}")).await.unwrap();
    let arrival = Arrival { member: member.clone(), task: "slow/0".to_owned(), outcome: Ok("0".to_owned()) };
    store.record_arrivals(&[arrival]).await.unwrap();

    // The first look, whose worker has died: the server still commits it.
    let (mut first, mut other) = (bed.database().await, bed.database().await);
    let fired = "BEGIN; UPDATE celeriac.joins SET fired_at = clock_timestamp(), fired_by = 0 WHERE id = 'slow'";
    sqlx::raw_sql(fired).execute(&mut first).await.unwrap();
    let members = [member];
    let (turns, ()) = tokio::join!(store.fire(&members), async {
        let mut waits = async || sqlx::query_scalar::<_, i64>(WAITS).fetch_one(&mut other).await.unwrap();
        eventually("the second look waits", async || waits().await, |waits| *waits == 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut first).await.unwrap();
    });
    assert_eq!(turns.unwrap(), [Turn::Fire { again: true }]);
    store.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn an_arrival_that_is_recorded_beside_the_sweep_leaves_no_row(bed: Bed) {
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    const KEPT: Duration = Duration::from_secs(600);
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let store = connect(&options).await.unwrap().unwrap();
    store.add_join(&NewJoin::new("old", 2, "{}")).await.unwrap();
    let arrival = |index| {
        let member = JoinMember { join: "old".to_owned(), index };
        Arrival { member, task: index.to_string(), outcome: Ok("0".to_owned()) }
    };
    store.record_arrivals(&[arrival(0)]).await.unwrap();
    let (mut holder, mut other) = (bed.database().await, bed.database().await);
    let fired = "UPDATE celeriac.joins SET fired_by = 0, fired_at = clock_timestamp() - interval '1 hour'";
    sqlx::raw_sql(fired).execute(&mut other).await.unwrap();

    // The statement of the late member waits, with its look at the joins behind it.
    let held = "BEGIN; INSERT INTO celeriac.arrivals (join_id, idx, task_id, ok) VALUES ('old', 1, 'held', true)";
    sqlx::raw_sql(held).execute(&mut holder).await.unwrap();
    let late = [arrival(1)];
    let (recorded, ()) = tokio::join!(store.record_arrivals(&late), async {
        let mut waits = async || sqlx::query_scalar::<_, i64>(WAITS).fetch_one(&mut other).await.unwrap();
        eventually("the arrival waits", async || waits().await, |waits| *waits == 1).await;
        while store.sweep_joins(KEPT, 100).await.unwrap() > 0 {}
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    });
    recorded.unwrap();
    const ROWS: &str = "SELECT (SELECT count(*) FROM celeriac.joins) + (SELECT count(*) FROM celeriac.arrivals)
        + (SELECT count(*) FROM celeriac.tallies)";
    let mut rows = async || sqlx::query_scalar::<_, i64>(ROWS).fetch_one(&mut other).await.unwrap();
    assert!(rows().await >= 4, "the join is closed, and the late arrival is there");
    let later = "UPDATE celeriac.joins SET swept_at = swept_at - interval '2 minutes'";
    sqlx::raw_sql(later).execute(&mut holder).await.unwrap();
    while store.sweep_joins(KEPT, 100).await.unwrap() > 0 {}
    assert_eq!(rows().await, 0);
    store.close().await;
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_join_is_fired_by_one_member_after_the_last_arrival_whatever_is_killed(bed: Bed) {
    let joins: usize = if is_long() { 3_000 } else { 100 };
    let options = ResultsOptions { url: Secret::new(bed.database_url()), ..ResultsOptions::default() };
    let stores = join_all((0..WORKERS).map(async |_| connect(&options).await.unwrap().unwrap())).await;
    let ids: Vec<_> = (0..joins).map(|number| format!("join-{number}")).collect();
    for id in &ids {
        stores[0].add_join(&NewJoin::new(id, MEMBERS.unsigned_abs(), "{}")).await.unwrap();
    }
    // A fifth of the deliveries stand twice on the queue.
    let mut deliveries: Vec<_> = ids
        .iter()
        .flat_map(|id| (0..MEMBERS).map(|index| JoinMember { join: id.clone(), index }))
        .flat_map(|member| vec![member; if fastrand::u32(..5) == 0 { 2 } else { 1 }])
        .collect();
    // Neighbours stay close together, so that joins are completed all the time.
    for start in (0..deliveries.len()).step_by(MEMBERS as usize * 4) {
        let end = (start + MEMBERS as usize * 8).min(deliveries.len());
        fastrand::shuffle(&mut deliveries[start..end]);
    }
    let broker = Mutex::new(Broker { ready: deliveries.into(), ..Broker::default() });
    let done = CancellationToken::new();
    let working = async {
        let patience = if is_long() { PATIENCE * 60 } else { PATIENCE * 3 };
        // Several batches of a worker are on their way at once, as in its recorder.
        let at_work = stores.iter().flat_map(|store| [store, store]).map(|store| work(Arc::clone(store), &broker));
        timeout(patience, join_all(at_work)).await.expect("every delivery is acknowledged");
        done.cancel();
    };
    let (terminated, ()) = tokio::join!(keep_terminating(&bed, &done), working);

    let Broker { sent, .. } = broker.into_inner().unwrap();
    assert_eq!(sent.len(), joins, "every join has fired");
    let mut repeated = 0;
    for (join, bodies) in &sent {
        let senders: BTreeSet<_> = bodies.iter().map(|(index, _)| index).collect();
        assert_eq!(senders.len(), 1, "{join}: one member fires it: {bodies:?}");
        assert!(bodies.iter().filter(|(_, again)| !again).count() <= 1, "{join}: {bodies:?}");
        repeated += bodies.len() - 1;
    }
    let counted = "SELECT count(*) FROM celeriac.joins WHERE size = (SELECT sum(ok + failed) FROM celeriac.tallies
        WHERE join_id = joins.id) AND size = (SELECT count(*) FROM celeriac.arrivals WHERE join_id = joins.id)";
    let counted = sqlx::query_scalar::<_, i64>(counted).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(usize::try_from(counted).unwrap(), joins, "each member is counted once");
    println!("{joins} joins of {MEMBERS}: {terminated} sessions terminated, {repeated} bodies sent again");
    assert!(terminated > 0, "a test without kills shows nothing");
    join_all(stores.iter().map(|store| store.close())).await;
}
