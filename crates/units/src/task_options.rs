//! The options of a task, in one table.
//!
//! The table makes the keys of `#[task]` and their documentation, the struct `TaskOptions`, the
//! keys of `task_options` in a configuration, their reference in `celeriac.yaml`, and the columns
//! of `list tasks`.

/// Calls a macro with the table of all options of a task.
///
/// - `attribute`: options of `#[task]` alone, which it reads in a way of its own;
/// - `declared`: fields of `TaskOptions` that `#[task]` alone sets, by the type of their value;
/// - `fields`: fields of `TaskOptions` that `task_options` overrides;
/// - `retries`: options that together make the retry policy, and that `task_options` overrides, in
///   this order;
/// - `attribute_retries`: options of retries that `#[task]` alone sets.
///
/// `attribute` is an example. `config` is an example and a meaning for the reference. An entry may
/// end with `valid`: a check of its value, wherever it is written, and the complaint.
#[macro_export]
macro_rules! task_options {
    ($consumer:ident) => {
        $consumer! {
            attribute {
                name {
                    attribute: "name = \"orders.charge\"",
                    meaning: "name in messages",
                    default: "package and function: `my-shop.charge`",
                }
                prefix {
                    attribute: "prefix = \"orders.\"",
                    meaning: "text before `name`, or before the name of the function",
                    default: "none",
                }
                hooks {
                    attribute: "hooks = Audit",
                    meaning: "hooks around its attempts; several: `[Audit, Meter]`",
                    default: "those of the program",
                }
                transactional {
                    attribute: "transactional",
                    meaning: "runs in a transaction that commits with its outcome",
                    default: "off",
                }
            }
            declared {
                /// The queue that it goes to when no route matches.
                queue: Name {
                    attribute: "queue = \"mail\"",
                    meaning: "queue that it goes to when no route matches",
                    default: "`default_queue`",
                }
            }
            fields {
                /// The priority of calls that set none.
                priority: u8 {
                    attribute: "priority = 5",
                    meaning: "priority from 0 to 255, in queues that have priorities",
                    default: "none",
                    config: "3", "Priority of calls that set none.",
                }
                /// The time of the acknowledgement: before or after the run.
                acks: AckMode {
                    attribute: "acks = \"early\"",
                    meaning: "acknowledges before the run: after a crash, the task does not run again",
                    default: "`\"late\"`",
                    config: "early", "early: acknowledges before the run; a crash loses it. Or late.",
                }
                /// Leaves its result out of the store.
                ignore_result: bool {
                    attribute: "ignore_result",
                    meaning: "leaves its result out of the store; also `= true`, `= false`",
                    default: "stored",
                    config: "true", "Leaves the result out of the store.",
                }
                /// The states that are written. Default: `results.track`.
                track: TrackedStates {
                    attribute: "track = \"started\"",
                    meaning: "states that are written: `\"finished\"`, also `\"started\"`, also `\"sent\"`",
                    default: "`results.track`",
                    config: "started", "Replaces results.track: finished, started or sent.",
                }
                /// The arguments that are not shown.
                redact: FieldPaths {
                    attribute: "redact = [\"card\", \"customer.email\"]",
                    meaning: "arguments, or fields below them, that are not shown; `\"*\"`: all",
                    default: "none",
                    config: "[card, user.email]", "Arguments and fields that are not shown. [\"*\"]: all.",
                }
                /// The time that a message may wait to start, if the call sets none.
                expires: Duration {
                    attribute: "expires = \"1h\"",
                    meaning: "time that a message may wait to start",
                    default: "for ever",
                    config: "1h", "Time that a message may wait to start, if its call sets none.",
                    valid: |expires| !expires.is_zero(), "of zero would let no message start",
                }
                /// The time after which an attempt is ended; `none`: no limit. Default: the
                /// worker's limit.
                time_limit: TimeLimit {
                    attribute: "time_limit = \"30s\"",
                    meaning: "ends a longer attempt at its next await; `none`: no limit",
                    default: "`worker.time_limit`",
                    config: "10m", "Ends a longer attempt. none: no limit, not worker.time_limit.",
                }
                /// The time after which an attempt is asked to stop; `none`: never. Default: the
                /// worker's limit.
                soft_time_limit: TimeLimit {
                    attribute: "soft_time_limit = \"25s\"",
                    meaning: "asks a longer attempt to stop; `none`: never",
                    default: "`worker.soft_time_limit`",
                    config: "9m", "Asks a longer attempt to stop. none: never.",
                }
                /// The most starts in a time, on each worker.
                rate_limit: RateLimit {
                    attribute: "rate_limit = \"10/s\"",
                    meaning: "most starts on each worker; also `\"100/m\"`, `\"5/h\"`, `\"1/d\"`",
                    default: "no limit",
                    config: "100/m", "Most starts per worker: 10/s, 100/m, 5/h. none or 0: no limit.",
                }
                /// The most deliveries of a message that seems to crash its worker, before it is
                /// dead-lettered; at least 2.
                crash_limit: u32 {
                    attribute: "crash_limit = 3",
                    meaning: "most deliveries of a message that seems to crash its worker, at least 2",
                    default: "`worker.crash_limit`",
                    config: "3", "Replaces worker.crash_limit.",
                    valid: |most| *most >= 2, "should be at least 2",
                }
            }
            retries {
                /// The first and the longest wait between attempts, such as `1s..10m`, or one wait.
                /// Brings three retries to a task that has none.
                retry_backoff: DurationRange {
                    attribute: "retry_backoff = \"1s..10m\"",
                    meaning: "first and longest wait, doubling in between; `\"5s\"`: always that; `\"0s\"`: none; as in Celery `true`, or seconds",
                    default: "`\"1s..10m\"`",
                    config: "1s..10m", "First and longest wait between attempts, or one wait.",
                }
                /// The random share of a wait, from 0 to 1.
                retry_jitter: f64 {
                    attribute: "retry_jitter = 0.5",
                    meaning: "random share of a wait, from 0.0 to 1.0; as in Celery `true`",
                    default: "0.5",
                    config: "0.5", "Random share of a wait, from 0 to 1.",
                    valid: |share| (0.0..=1.0).contains(share), "should be a number from 0.0 to 1.0",
                }
                /// Attempts after the first; `none`: without end.
                max_retries: Retries {
                    attribute: "max_retries = 5",
                    meaning: "attempts after the first; `none`: without end",
                    default: "0, or 3 with another option of retries",
                    config: "3", "Attempts after the first. none: without end.",
                }
            }
            attribute_retries {
                retry_backoff_max {
                    attribute: "retry_backoff_max = 600",
                    meaning: "as in Celery: the longest wait of `retry_backoff = true` or `= 5`, in seconds",
                    default: "600",
                }
                default_retry_delay {
                    attribute: "default_retry_delay = 180",
                    meaning: "as in Celery: one wait, always the same, in seconds",
                    default: "",
                }
                retry_factor {
                    attribute: "retry_factor = 3",
                    meaning: "factor of each wait to the one before",
                    default: "2",
                }
                retry_within {
                    attribute: "retry_within = \"1h\"",
                    meaning: "time from the start of the first attempt within which the last one may begin",
                    default: "no limit",
                }
                retry_on {
                    attribute: "retry_on(io::Error = \"3 times immediately\", Busy = \"5s..1m\", \"Declined\" = never)",
                    meaning: "policies for some errors",
                    default: "one policy for all",
                }
                autoretry_for {
                    attribute: "autoretry_for = [io::Error, \"Busy\"]",
                    meaning: "retries only these errors",
                    default: "all",
                }
                dont_autoretry_for {
                    attribute: "dont_autoretry_for = [Declined]",
                    meaning: "never retries these errors",
                    default: "none",
                }
            }
        }
    };
}

/// An option of a task.
#[derive(Debug, Clone, Copy)]
pub struct TaskOption {
    /// Its key.
    pub key: &'static str,
    /// The example and the meaning in `task_options`, if it is a key there.
    pub config: Option<(&'static str, &'static str)>,
}

macro_rules! options_as_data {
    (
        attribute { $($attribute:ident { $($_1:tt)* })* }
        declared { $($(#[$_2:meta])* $declared:ident: $_3:ident { $($_4:tt)* })* }
        fields { $(
            $(#[$_5:meta])* $field:ident: $_6:ident {
                attribute: $_7:literal, meaning: $_8:literal, default: $_9:literal,
                config: $field_example:literal, $field_meaning:literal, $($_10:tt)*
            }
        )* }
        retries { $(
            $(#[$_11:meta])* $retry:ident: $_12:ident {
                attribute: $_13:literal, meaning: $_14:literal, default: $_15:literal,
                config: $retry_example:literal, $retry_meaning:literal, $($_16:tt)*
            }
        )* }
        attribute_retries { $($attribute_retry:ident { $($_17:tt)* })* }
    ) => {
        /// Every option of a task.
        pub const TASK_OPTIONS: &[TaskOption] = &[
            $(TaskOption { key: stringify!($attribute), config: None },)*
            $(TaskOption { key: stringify!($declared), config: None },)*
            $(TaskOption { key: stringify!($field), config: Some(($field_example, $field_meaning)) },)*
            $(TaskOption { key: stringify!($retry), config: Some(($retry_example, $retry_meaning)) },)*
            $(TaskOption { key: stringify!($attribute_retry), config: None },)*
        ];
    };
}

task_options!(options_as_data);

/// Writes the rows of a Markdown table of all options: example, meaning, default.
#[macro_export]
macro_rules! task_option_rows {
    ($($_1:ident { $(
        $(#[$_2:meta])* $_3:ident $(: $_4:ident)? {
            attribute: $attribute:literal, meaning: $meaning:literal, default: $default:literal, $($_5:tt)*
        }
    )* })*) => {
        concat!($($("| `", $attribute, "` | ", $meaning, " | ", $default, " |\n",)*)*)
    };
}
