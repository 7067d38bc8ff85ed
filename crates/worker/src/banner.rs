//! What a worker says of itself at its start.

use std::fmt::Write;

use crate::worker::Worker;

impl Worker {
    /// The banner: name, broker, results, slots, queues and tasks, as a person wants to see them before anything runs.
    pub fn banner(&self) -> String {
        let facts = self.facts();
        let mut text = String::new();
        let _ = writeln!(text, "\n {} · celeriac {}\n", facts.name, env!("CARGO_PKG_VERSION"));
        let _ = writeln!(text, "  broker       {}", facts.broker_url);
        let _ = writeln!(text, "  results      {}", facts.results_url);
        let _ = writeln!(
            text,
            "  concurrency  {}, prefetch {}, drain {:?}",
            facts.concurrency, facts.prefetch, facts.drain
        );
        let _ = writeln!(text, "\n  queues");
        for (queue, bindings) in facts.queues {
            let _ = writeln!(text, "    {queue:<24} {bindings}");
        }
        let _ = writeln!(text, "\n  tasks");
        if facts.tasks.is_empty() {
            let _ = writeln!(text, "    none: every message will go to a dead-letter queue");
        }
        for task in facts.tasks {
            let kind = if task.is_blocking() { "blocking" } else { "async" };
            let _ = writeln!(text, "    {:<24} {kind}", task.name);
        }
        text
    }
}
