//! Celery on one side and Celeriac on the other, over a real RabbitMQ.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the tables that these tests are run for")]

mod answers;
mod arbitrary;
mod celerys_chords;
mod control;
mod control_matrix;
mod events;
mod final_states;
mod golden;
mod harness;
mod matrix;
mod mixed;
mod properties;
mod recordings;
mod replies;
mod sides;
mod spelling;
mod task_side;
mod traces;
mod typed;
