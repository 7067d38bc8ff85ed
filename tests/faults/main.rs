//! Workers, connections, brokers and databases end during an operation.
//!
//! Each test compares issued ids with recorded ones and prints the result: ids issued, ids
//! recorded, ids that ran more than once. The short forms run in CI. `cargo xtask faults` runs the
//! long ones.
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the figures of docs/faults.md")]

mod away_logs;
mod between_steps;
mod budgets;
mod canary;
mod cancels;
mod canvas_committed;
mod celery_killed;
mod chord_budget;
mod chords_killed;
mod clocks;
mod cluster;
mod commit_killed;
mod connection_cut;
mod consumer_timeout;
mod control;
mod database_stopped;
mod dead_replayed;
mod delays;
mod events;
mod failover;
mod follow_ups_killed;
mod full_disk;
mod garbage;
mod health;
mod heartbeats;
mod hung_at_the_end;
mod image;
mod in_turn;
mod joins;
mod keys_claimed;
mod kubelet;
mod last_spans;
mod lateness;
mod ledger;
mod long_run_killed;
mod memory_alarm;
mod migration;
mod no_space;
mod overdue;
mod partition;
mod partitioned_relay;
mod poison;
mod pooled;
mod probes;
mod reconnecting;
mod refused_sessions;
mod relay_killed;
mod retries;
mod rolling_restarts;
mod rollout;
mod rollups;
mod schema_migrated;
mod silent_link;
mod standby;
mod transactional_killed;
mod waiting;
mod worker_killed;
mod zombie;
