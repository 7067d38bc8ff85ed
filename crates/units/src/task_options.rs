//! Every option of a task, once.
//!
//! From this table come the keys of `#[task]` and their documentation, the struct `TaskOptions`, the keys of `task_options` in a
//! configuration and their reference in `celeriac.yaml`, and the columns of `list tasks`.

/// Calls a macro with the table of all options of a task.
///
/// - `attribute`: options that only `#[task]` knows, and reads in a way of its own;
/// - `declared`: fields of `TaskOptions` that only `#[task]` knows, by the type of their value;
/// - `fields`: fields of `TaskOptions` that `task_options` overrides;
/// - `retries`: options that make up the policy of retries together, and that `task_options` overrides, in this order;
/// - `attribute_retries`: options of retries that only `#[task]` knows.
///
/// `attribute` is an example, `config` an example and a meaning for the reference. An entry may end with `valid`: what holds for
/// its value wherever it is written, and the complaint where it does not.
#[macro_export]
macro_rules! task_options {
    ($consumer:ident) => {
        $consumer! {
            attribute {
                name {
                    attribute: "name = \"orders.charge\"",
                    meaning: "what messages call it",
                    default: "package and function: `my-shop.charge`",
                }
                hooks {
                    attribute: "hooks = Audit",
                    meaning: "what runs around its attempts; several: `[Audit, Meter]`",
                    default: "those of the program",
                }
                transactional {
                    attribute: "transactional",
                    meaning: "it is given a transaction, which commits together with its outcome",
                    default: "without",
                }
            }
            declared {
                /// The queue it goes to when no route says otherwise.
                queue: Name {
                    attribute: "queue = \"mail\"",
                    meaning: "where it goes when no route says otherwise",
                    default: "the app's default queue",
                }
            }
            fields {
                /// Its priority when the call does not say.
                priority: u8 {
                    attribute: "priority = 5",
                    meaning: "from 0 to 255, where the queue has priorities",
                    default: "none",
                    config: "3", "of calls that do not say; also heeded by senders, as are expires and ignore_result",
                }
                /// When its messages are acknowledged.
                acks: AckMode {
                    attribute: "acks = \"early\"",
                    meaning: "acknowledged before it runs: a crash means that it does not run again",
                    default: "`\"late\"`",
                    config: "early", "early: acknowledged before it runs, so that a crash means that it does not run again; late",
                }
                /// Leaves its result out of the store.
                ignore_result: bool {
                    attribute: "ignore_result",
                    meaning: "its result is not stored; also `= true`, `= false`",
                    default: "stored",
                    config: "true", "its result is not stored",
                }
                /// The time after which a message of it that sets no expiry of its own must not start any more.
                expires: Duration {
                    attribute: "expires = \"1h\"",
                    meaning: "how long a message may wait before it must not start any more",
                    default: "for ever",
                    config: "1h", "how long a message may wait that does not say, before it must not start",
                    valid: |expires| !expires.is_zero(), "of zero would let no message start",
                }
                /// The time after which an attempt is ended; `none`: no limit. Not set: the worker's limit.
                time_limit: TimeLimit {
                    attribute: "time_limit = \"30s\"",
                    meaning: "an attempt that takes longer is ended, at its next await; `none`: no limit",
                    default: "`worker.time_limit`",
                    config: "10m", "an attempt is ended after this; none: no limit, whatever worker.time_limit is",
                }
                /// The time after which an attempt is told to come to an end; `none`: it is not told. Not set: the worker's limit.
                soft_time_limit: TimeLimit {
                    attribute: "soft_time_limit = \"25s\"",
                    meaning: "one that takes longer is told to come to an end; `none`: no limit",
                    default: "`worker.soft_time_limit`",
                    config: "9m", "an attempt is told to come to an end after this; none",
                }
                /// The rate at which it starts on each worker.
                rate_limit: RateLimit {
                    attribute: "rate_limit = \"10/s\"",
                    meaning: "how often it starts on each worker; also `\"100/m\"`, `\"5/h\"`, `\"1/d\"`",
                    default: "as often as it can",
                    config: "100/m", "how often it starts on each worker: 10/s, 100/m, 5/h; none or 0: as often as it can",
                }
                /// The number of deliveries of a message that seems to bring its worker down, before it is quarantined; at least 2.
                crash_limit: u32 {
                    attribute: "crash_limit = 3",
                    meaning: "how often it is delivered when it seems to bring its worker down, at least 2",
                    default: "`worker.crash_limit`",
                    config: "3", "in place of worker.crash_limit",
                    valid: |most| *most >= 2, "should be at least 2",
                }
            }
            retries {
                /// The first and the longest wait between attempts, such as `1s..10m`, or one wait. Comes with three retries where
                /// the task has none.
                retry_backoff: DurationRange {
                    attribute: "retry_backoff = \"1s..10m\"",
                    meaning: "first and longest wait, doubling in between; `\"5s\"`: always that; `\"0s\"`: none; as in Celery `true`, or seconds",
                    default: "`\"1s..10m\"`",
                    config: "1s..10m", "first and longest wait between attempts, or one wait",
                }
                /// The share of a wait, from 0 to 1, that is left to chance.
                retry_jitter: f64 {
                    attribute: "retry_jitter = 0.5",
                    meaning: "share of a wait that is left to chance, from 0.0 to 1.0; as in Celery `true`",
                    default: "0.5",
                    config: "0.5", "share of a wait that is left to chance",
                    valid: |share| (0.0..=1.0).contains(share), "should be a number from 0.0 to 1.0",
                }
                /// Attempts after the first; `none`: without end.
                max_retries: Retries {
                    attribute: "max_retries = 5",
                    meaning: "attempts after the first; `none`: without end",
                    default: "0, or 3 with another option of retries",
                    config: "3", "attempts after the first; none: without end",
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
                    meaning: "as in Celery: always the same wait, in seconds",
                    default: "",
                }
                retry_factor {
                    attribute: "retry_factor = 3",
                    meaning: "what each wait is longer than the one before",
                    default: "2",
                }
                retry_within {
                    attribute: "retry_within = \"1h\"",
                    meaning: "how long after the start of the first attempt the last one may begin",
                    default: "without bound",
                }
                retry_on {
                    attribute: "retry_on(io::Error = \"3 times immediately\", Busy = \"5s..1m\", \"Declined\" = never)",
                    meaning: "what holds for some errors",
                    default: "as for all",
                }
                autoretry_for {
                    attribute: "autoretry_for = [io::Error, \"Busy\"]",
                    meaning: "only these are tried again",
                    default: "all",
                }
                dont_autoretry_for {
                    attribute: "dont_autoretry_for = [Declined]",
                    meaning: "these are never tried again",
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
    /// An example and the meaning in `task_options`, where it is a key there.
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

/// The rows of a Markdown table of all options: an example, its meaning, its default.
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
