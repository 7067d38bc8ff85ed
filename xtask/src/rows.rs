//! `rows`: the result store with many finished tasks, and the times of its queries.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use celeriac_servers::{Durability, PostgresNode, PostgresSpec};
use clap::Args;

use crate::run::{step, workspace};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Finished tasks to fill the table with
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    rows: u64,
}

/// Rows of one statement that fills the table.
const CHUNK: u64 = 50_000;

/// Batches of one measurement of the insert rate, of 256 rows each.
const BATCHES: u32 = 200;

/// Rows that workers delete in one statement.
const PIECE: u32 = 1_000;

/// Time of a query of the cookbook that an index can serve.
const LIMIT: f64 = 50.0;

const SCRATCH: &str = include_str!("../rows/scratch.sql");
const FILL: &str = include_str!("../rows/fill.sql");
const COUNT: &str = include_str!("../rows/count.sql");
const INSERT: &str = include_str!("../rows/batches.sql");

pub(crate) fn rows(options: &Options) -> Result<()> {
    let node = step("a private Postgres", || {
        let settings =
            ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=15min"].map(str::to_owned).to_vec();
        PostgresSpec { durability: Durability::Real, settings, ..PostgresSpec::default() }.start()
    })?;
    let database = Database { url: node.url() };
    step("tables", || database.create(options.rows))?;
    step("insert rates of an empty table", || {
        database.insert_rates(&["celeriac.tasks", "scratch.btree", "scratch.brin", "scratch.partitioned"])
    })?;
    step("fill", || database.fill(options.rows))?;
    step("sizes", || database.sizes())?;
    step("cookbook", || database.cookbook())?;
    step("insert rate of the full table", || database.insert_rates(&["celeriac.tasks"]))?;
    step("prune", || database.prune())?;
    drop::<PostgresNode>(node);
    Ok(())
}

/// The private database, with `psql` as its client.
struct Database {
    url: String,
}

impl Database {
    /// Runs statements, and returns their rows, with columns separated by `|`.
    fn sql(&self, statements: &str) -> Result<String> {
        let mut psql = Command::new("psql");
        psql.args([&self.url, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let output = psql.output().context("cannot run psql")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    fn number(&self, statement: &str) -> Result<f64> {
        self.sql(statement)?.parse().with_context(|| format!("no number from {statement}"))
    }

    fn time(&self, statements: &str) -> Result<Duration> {
        let begun = Instant::now();
        self.sql(statements)?;
        Ok(begun.elapsed())
    }

    fn create(&self, rows: u64) -> Result<()> {
        self.sql("CREATE SCHEMA celeriac")?;
        let folder = workspace().join("crates/results/migrations/postgres");
        let mut files: Vec<_> =
            fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        files.sort();
        for file in files {
            self.sql(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
        }
        // The fill takes about this time, so that the last rows end when it does.
        let start = self.sql(&format!("SELECT now() + interval '1 s' * ({rows} / 20000)"))?;
        self.sql(&SCRATCH.replace("TOTAL", &rows.to_string()).replace("START", &start)).map(drop)
    }

    /// Prints the rate of batches and their write-ahead log, the median of three runs each.
    fn insert_rates(&self, tables: &[&str]) -> Result<()> {
        let insert = INSERT.replace("COUNT", &BATCHES.to_string());
        let mut runs: Vec<Vec<(Duration, f64)>> = vec![Vec::new(); tables.len()];
        for _ in 0..3 {
            for (table, runs) in tables.iter().zip(&mut runs) {
                let before = self.number("SELECT pg_current_wal_lsn() - '0/0'")?;
                let time = self.time(&insert.replace("ON CONFLICT (id)", conflict(table)).replace("TABLE", table))?;
                runs.push((time, self.number("SELECT pg_current_wal_lsn() - '0/0'")? - before));
            }
        }
        let rows = f64::from(BATCHES * 256);
        println!("| table | rows a second | bytes of log a row |\n| --- | ---: | ---: |");
        for (table, mut runs) in tables.iter().zip(runs) {
            runs.sort_by_key(|(time, _)| *time);
            let (time, log) = runs[1];
            println!("| {table} | {:.0} | {:.0} |", rows / time.as_secs_f64(), log / rows);
        }
        self.sql("TRUNCATE scratch.btree, scratch.brin, scratch.partitioned").map(drop)
    }

    fn fill(&self, rows: u64) -> Result<()> {
        self.sql(
            "TRUNCATE celeriac.tasks, celeriac.rollups; ALTER TABLE celeriac.tasks DISABLE TRIGGER count_inserted",
        )?;
        let begun = Instant::now();
        let mut first = 1;
        while first <= rows {
            let last = (first + CHUNK - 1).min(rows);
            let fill = FILL.replace("FIRST", &first.to_string()).replace("LAST", &last.to_string());
            self.sql(&fill)?;
            first = last + 1;
        }
        println!("{rows} rows by INSERT … SELECT in {:.0?}", begun.elapsed());
        println!("counts of them in {:.1?}", self.time(COUNT)?);
        self.sql("ALTER TABLE celeriac.tasks ENABLE TRIGGER count_inserted")?;
        self.sql("VACUUM ANALYZE").map(drop)
    }

    fn sizes(&self) -> Result<()> {
        let sizes = "SELECT concat_ws('|', class.relname, (SELECT count(*) FROM celeriac.tasks), pg_table_size(class.oid), pg_indexes_size(class.oid),
                round(pg_total_relation_size(class.oid) / (SELECT count(*) FROM celeriac.tasks)::numeric, 1))
            FROM pg_class AS class WHERE relnamespace = 'celeriac'::regnamespace AND relkind = 'r' AND relname IN ('tasks', 'attempts', 'rollups')
            UNION ALL
            SELECT concat_ws('|', '  ' || indexrelname, '', '', pg_relation_size(indexrelid),
                round(pg_relation_size(indexrelid) / (SELECT count(*) FROM celeriac.tasks)::numeric, 1))
            FROM pg_stat_user_indexes WHERE schemaname = 'celeriac' AND relname = 'tasks'";
        println!("table|tasks|bytes of rows|bytes of indexes|bytes a task\n{}", self.sql(sizes)?);
        Ok(())
    }

    /// Prints the time of every query, the shortest of three runs, and those over the limit.
    fn cookbook(&self) -> Result<()> {
        let id = self.sql("SELECT id FROM celeriac.tasks WHERE root_id = id AND finished_at > now() - interval '1 hour'
            AND EXISTS (SELECT FROM celeriac.tasks AS child WHERE child.root_id = tasks.id AND child.id <> tasks.id) LIMIT 1")?;
        let mut files: Vec<_> = fs::read_dir(workspace().join("crates/results/cookbook"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        println!("| query | ms |\n| --- | ---: |");
        let mut slow = Vec::new();
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let mut query = fs::read_to_string(&file)?
                .replace("timestamptz '2026-11-30 11:30:00+00'", "(now() - interval '3 hours')");
            for example in ["0198b2a4-5c3e-7000-8000-000000000001", "0198b2a4-5c3e-7000-8000-000000000003"] {
                query = query.replace(example, &id);
            }
            let query = query.replace("'orders.charge'", "'shop.task_3'");
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let plan = self.sql(&format!("EXPLAIN (ANALYZE, TIMING OFF) {query}"))?;
                let time =
                    plan.lines().filter(|line| line.starts_with("Execution Time") || line.starts_with("Planning Time"));
                best = best.min(time.filter_map(|line| line.split_whitespace().nth(2)?.parse::<f64>().ok()).sum());
            }
            println!("| {name} | {best:.1} |");
            if best > LIMIT {
                slow.push(name);
            }
        }
        println!("over {LIMIT} ms: {}", if slow.is_empty() { "none".to_owned() } else { slow.join(", ") });
        Ok(())
    }

    /// Deletes the oldest seventh, as workers do.
    fn prune(&self) -> Result<()> {
        let loops = format!(
            "DO $$ DECLARE deleted bigint; BEGIN LOOP WITH gone AS (DELETE FROM celeriac.tasks WHERE id IN (
                SELECT id FROM celeriac.tasks WHERE finished_at < now() - interval '6 days'
                AND state IN ('SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED')
                ORDER BY finished_at LIMIT {PIECE} FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*) INTO deleted FROM gone;
            COMMIT; EXIT WHEN deleted < {PIECE}; END LOOP; END $$"
        );
        let before = self.number("SELECT count(*) FROM celeriac.tasks")?;
        let time = self.time(&loops)?;
        let deleted = before - self.number("SELECT count(*) FROM celeriac.tasks")?;
        ensure!(deleted > 0.0, "nothing was deleted");
        println!("deleted {deleted} rows in {time:.1?}: {:.0} a second", deleted / time.as_secs_f64());
        Ok(())
    }
}

/// Returns the conflict target of a table.
fn conflict(table: &str) -> &'static str {
    if table == "scratch.partitioned" { "ON CONFLICT (id, finished_at)" } else { "ON CONFLICT (id)" }
}
