//! One line of figures every half minute.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use celeriac_tests::{Book, Management, Program};
use serde_json::Value as Json;
use sqlx::{Connection, PgConnection};
use tokio::sync::Mutex;

use crate::verdict::{Judgement, Verdict};
use crate::{Ground, WORKERS};

/// Figures of one moment, by their names.
pub(crate) type Reading = Vec<(String, f64)>;

/// Reads processes, broker and database.
pub(crate) struct Meter {
    processes: Vec<(&'static str, u32)>,
    broker: Management,
    database: Mutex<PgConnection>,
    book: Book,
}

impl Meter {
    pub(crate) async fn new(ground: &Ground, workers: &[Program], book: &Book) -> Self {
        let mut processes: Vec<_> = WORKERS.into_iter().zip(workers.iter().map(Program::id)).collect();
        processes.push(("sender", std::process::id()));
        let broker = Management::new(&ground.broker.management_url().expect("the management plugin"));
        let database = PgConnection::connect(&ground.database.url()).await.expect("the database");
        Self { processes, broker, database: Mutex::new(database), book: book.clone() }
    }

    /// Returns all figures.
    pub(crate) async fn read(&self, elapsed: Duration) -> Reading {
        let mut reading = vec![("seconds".to_owned(), elapsed.as_secs_f64().round())];
        for (name, id) in &self.processes {
            reading.push((format!("rss_kib_{name}"), resident(*id)));
            reading.push((format!("files_{name}"), open_files(*id)));
        }
        let overview = self.broker.get("overview").await;
        for name in ["connections", "channels", "queues"] {
            reading.push((format!("broker_{name}"), number(&overview["object_totals"][name])));
        }
        let nodes = self.broker.get("nodes").await;
        reading.push(("broker_memory_kib".to_owned(), (number(&nodes[0]["mem_used"]) / 1_024.0).round()));
        let queues = self.queues().await;
        for (class, name) in [(Queue::Main, "queued"), (Queue::Dead, "dead_letters"), (Queue::Delayed, "delayed")] {
            let messages = queues.iter().filter(|(of, _)| *of == class).map(|(_, messages)| messages);
            reading.push((name.to_owned(), messages.sum()));
        }
        reading.extend(self.read_database().await);
        let tally = self.book.tally().await;
        for (name, count) in [("issued", tally.issued), ("missing", tally.missing), ("doubled", tally.doubled)] {
            reading.push((format!("ledger_{name}"), count as f64));
        }
        reading
    }

    async fn read_database(&self) -> Reading {
        let mut database = self.database.lock().await;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        let sessions: i64 = sqlx::query_scalar(sessions).fetch_one(&mut *database).await.expect("the sessions");
        let mut reading = vec![("sessions".to_owned(), sessions as f64)];
        let tables = "SELECT relname::text, pg_total_relation_size(relid), n_dead_tup, n_tup_ins
                      FROM pg_stat_user_tables WHERE schemaname = 'celeriac' ORDER BY relname";
        let tables: Vec<(String, i64, i64, i64)> =
            sqlx::query_as(tables).fetch_all(&mut *database).await.expect("the tables");
        let mut recorded = 0;
        for (name, bytes, dead, inserted) in tables {
            reading.push((format!("table_bytes_{name}"), bytes as f64));
            reading.push((format!("dead_tuples_{name}"), dead as f64));
            if name == "tasks" {
                recorded = inserted;
            }
        }
        reading.push(("recorded".to_owned(), recorded as f64));
        reading
    }

    /// Returns the number of messages that are to run.
    pub(crate) async fn waiting(&self) -> f64 {
        let queues = self.queues().await;
        queues.iter().filter(|(class, _)| *class != Queue::Dead).map(|(_, messages)| messages).sum()
    }

    async fn queues(&self) -> Vec<(Queue, f64)> {
        let found = self.broker.get("queues").await;
        let known = |queue: &Json| (Queue::named(queue["name"].as_str().unwrap_or("")), number(&queue["messages"]));
        found.as_array().into_iter().flatten().map(known).collect()
    }
}

#[derive(PartialEq, Eq)]
enum Queue {
    Main,
    Dead,
    Delayed,
}

impl Queue {
    fn named(name: &str) -> Self {
        match name {
            "celeriac" => Self::Main,
            _ if name.ends_with(".dead") => Self::Dead,
            _ => Self::Delayed,
        }
    }
}

fn number(value: &Json) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn open_files(process: u32) -> f64 {
    std::fs::read_dir(format!("/proc/{process}/fd")).expect("a running process").count() as f64
}

/// All readings, which are also lines of a file.
pub(crate) struct Figures {
    file: File,
    readings: Vec<Reading>,
}

impl Figures {
    pub(crate) fn create(path: &Path) -> Self {
        Self { file: File::create(path).expect("the file of figures"), readings: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.readings.len()
    }

    pub(crate) fn add(&mut self, reading: Reading) {
        if self.readings.is_empty() {
            let names: Vec<_> = reading.iter().map(|(name, _)| name.as_str()).collect();
            writeln!(self.file, "{}", names.join(",")).expect("the file of figures");
        }
        let values: Vec<_> = reading.iter().map(|(_, value)| value.to_string()).collect();
        writeln!(self.file, "{}", values.join(",")).expect("the file of figures");
        self.readings.push(reading);
    }

    /// Judges every figure that has to stay flat.
    pub(crate) fn judge(&self) -> Verdict {
        let of = |position: usize| self.readings.iter().map(move |reading| reading[position].1).collect::<Vec<_>>();
        let seconds = of(0);
        let names = self.readings.first().into_iter().flatten().enumerate();
        Verdict::new(names.filter_map(|(position, (name, _))| Judgement::of(name, &seconds, &of(position))).collect())
    }
}
