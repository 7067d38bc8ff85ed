//! Names of Celery and RabbitMQ, with the equivalent keys.
//!
//! A configuration has one name for each key. A name of Celery or RabbitMQ is an error, which names
//! the equivalent key, or the reason why there is none.

/// A name of another system.
struct ForeignName {
    /// The name. `security_*` is every name that begins so.
    name: &'static str,
    /// The equivalent keys: full keys for Celery's settings, else keys of the same section.
    keys: &'static [&'static str],
    /// A fact about the keys, or the reason why there are none.
    note: &'static str,
}

/// A name that has keys here.
const fn is(name: &'static str, keys: &'static [&'static str], note: &'static str) -> ForeignName {
    ForeignName { name, keys, note }
}

/// A name that has no key here.
const fn no(name: &'static str, why: &'static str) -> ForeignName {
    ForeignName { name, keys: &[], note: why }
}

/// The names of one system that one kind of section may hold.
struct ForeignNames {
    system: &'static str,
    /// The section, in the form that [`ForeignNames::covers`] reads. Empty for every section.
    section: &'static str,
    names: &'static [ForeignName],
}

const FOREIGN_NAMES: &[ForeignNames] = &[
    ForeignNames { system: "RabbitMQ", section: "queues.*.bindings[]", names: OF_BINDINGS },
    ForeignNames { system: "RabbitMQ", section: "exchanges.*.bindings[]", names: OF_BINDINGS },
    ForeignNames { system: "RabbitMQ", section: "queues.*", names: OF_QUEUES },
    ForeignNames { system: "RabbitMQ", section: "exchanges.*", names: OF_EXCHANGES },
    ForeignNames { system: "Celery", section: "task_routes[]", names: OF_ROUTES },
    ForeignNames { system: "Celery", section: "task_options[]", names: OF_TASKS },
    ForeignNames { system: "Celery", section: "broker.tls", names: OF_TLS },
    ForeignNames { system: "Celery", section: "", names: CELERY },
];

/// Arguments and properties of a queue in RabbitMQ.
const OF_QUEUES: &[ForeignName] = &[
    is("x-queue-type", &["type"], ""),
    is("x-max-length", &["max_length"], ""),
    is("x-max-length-bytes", &["max_length_bytes"], ""),
    is("x-message-ttl", &["message_ttl"], "a duration with a unit, such as 30s"),
    is("x-expires", &["expires"], "a duration with a unit, such as 1h"),
    is("x-max-age", &["max_age"], "a duration with a unit, such as 7d"),
    is("x-overflow", &["overflow"], ""),
    is("x-delivery-limit", &["delivery_limit"], ""),
    is("x-max-priority", &["max_priority"], ""),
    is("x-single-active-consumer", &["single_active_consumer"], ""),
    is("x-dead-letter-exchange", &["dead_letter_queue"], "it names a queue, which is declared as well"),
    is("x-dead-letter-routing-key", &["dead_letter_queue"], "it names a queue, which is declared as well"),
    no("x-dead-letter-strategy", "quorum queues have at-least-once, except with overflow: drop-head"),
    is("x-queue-mode", &["lazy"], "true for lazy"),
    is("x-quorum-initial-group-size", &["replicas"], ""),
    is("x-initial-cluster-size", &["replicas"], ""),
    is("durable", &["transient"], "its opposite; queues are durable by default"),
    is("auto_delete", &["expires"], "a duration without consumers, after which the queue is deleted"),
    no("exclusive", "a queue outlives the connection that declares it"),
    no("arguments", "each argument has a key of its own, such as max_length_bytes"),
    no("queue_arguments", "each argument has a key of its own, such as max_length_bytes"),
    is("binding_key", &["bindings"], "a list: bindings: [{ exchange: orders, routing_key: billing }]"),
    is("routing_key", &["bindings"], "a list: bindings: [{ exchange: orders, routing_key: billing }]"),
    is("exchange", &["bindings"], "a list: bindings: [{ exchange: orders, routing_key: billing }]"),
    is("no_declare", &["external"], ""),
    is("passive", &["external"], ""),
];

/// Arguments and properties of an exchange in RabbitMQ.
const OF_EXCHANGES: &[ForeignName] = &[
    is("alternate-exchange", &["alternate_exchange"], ""),
    is("exchange_type", &["type"], ""),
    no("durable", "exchanges are always durable"),
    no("auto_delete", "exchanges stay until somebody deletes them"),
    no("internal", "tasks can be sent to every exchange"),
    no("arguments", "the only argument is alternate_exchange, a key of its own"),
    is("no_declare", &["external"], ""),
    is("passive", &["external"], ""),
];

/// Properties of a binding in RabbitMQ.
const OF_BINDINGS: &[ForeignName] = &[
    is("binding_key", &["routing_key"], ""),
    is("source", &["exchange"], ""),
    no("destination", "it is the queue or exchange that holds the binding"),
    is("arguments", &["headers"], "with match for x-match"),
    is("x-match", &["match"], "all or any"),
];

/// Options of a route in Celery.
const OF_ROUTES: &[ForeignName] = &[
    no("exchange_type", "an exchange has its type in exchanges"),
    no("delivery_mode", "tasks are always persistent"),
    no("mandatory", "a message that reaches no queue is always an error"),
    no("immediate", "RabbitMQ does not have it"),
    no("ignore_result", "it is a key of task_options"),
    no("time_limit", "it is a key of task_options"),
    no("soft_time_limit", "it is a key of task_options"),
];

/// Attributes of a task in Celery.
const OF_TASKS: &[ForeignName] = &[
    is("acks_late", &["acks"], "late for true, early for false"),
    no("acks_on_failure_or_timeout", "a failure is recorded, then acknowledged"),
    is("reject_on_worker_lost", &["crash_limit"], "unacknowledged messages always go back to their queue"),
    is("default_retry_delay", &["retry_backoff"], "one wait, such as 3m"),
    is("retry_backoff_max", &["retry_backoff"], "first and longest wait, such as 1s..10m"),
    is("retry_kwargs", &["max_retries"], ""),
    no("autoretry_for", "it belongs in #[task(…)]"),
    no("dont_autoretry_for", "it belongs in #[task(…)]"),
    no("queue", "a route chooses the queue, in task_routes"),
    no("serializer", "a route sets it, in task_routes"),
    no("compression", "a route sets it, in task_routes"),
    is("track_started", &["track"], "started"),
    no("store_errors_even_if_ignored", "ignore_result covers errors too"),
];

/// Keys of Celery's `broker_use_ssl`.
const OF_TLS: &[ForeignName] = &[
    is("ca_certs", &["cacertfile"], ""),
    no("cert_reqs", "the broker's certificate is always verified"),
    no("server_hostname", "the certificate has to be for the host in broker.url"),
];

/// Celery's settings.
const CELERY: &[ForeignName] = &[
    is("broker_url", &["broker.url"], ""),
    is("broker_read_url", &["broker.url"], "one URL, to send and to consume"),
    is("broker_write_url", &["broker.url"], "one URL, to send and to consume"),
    is("broker_use_ssl", &["broker.tls"], "for amqps:// URLs"),
    is("broker_heartbeat", &["broker.heartbeat"], "a duration with a unit, such as 10s"),
    no("broker_heartbeat_checkrate", "broker.heartbeat is the only setting of heartbeats"),
    is("broker_connection_timeout", &["broker.connect_timeout"], "a duration with a unit, such as 10s"),
    no("broker_connection_retry", "a worker always reconnects"),
    no("broker_connection_retry_on_startup", "a worker always reconnects"),
    no("broker_connection_max_retries", "a worker reconnects without end"),
    no("broker_channel_error_retry", "a worker always reconnects"),
    no("broker_failover_strategy", "list the nodes in broker.url, separated by commas"),
    is("broker_pool_limit", &["broker.publish_channels"], "a number of channels that share the publishing"),
    no("broker_transport", "the beginning of broker.url says it"),
    no("broker_transport_options", "publishing is always confirmed; broker.confirm_window bounds it"),
    no("confirm_publish", "publishing is always confirmed; broker.confirm_window bounds it"),
    is("broker_native_delayed_delivery_queue_type", &["broker.delay_queue_type"], ""),
    is("task_publish_retry", &["broker.publish_timeout"], "publishing is tried again until then"),
    is("task_publish_retry_policy", &["broker.publish_timeout"], "publishing is tried again until then"),
    is("result_backend", &["results.url"], "postgres://, sqlite://, rpc:// or none"),
    no("result_backend_transport_options", "results.pool and results.batch have what there is to set"),
    is("result_expires", &["results.retention"], "a duration with a unit, such as 7d"),
    is("task_result_expires", &["results.retention"], "a duration with a unit, such as 7d"),
    no("result_extended", "rows always have name, arguments, queue and worker"),
    no("result_serializer", "replies are written as JSON"),
    no("result_accept_content", "replies are read as JSON and MessagePack"),
    no("result_persistent", "replies are transient, rows are durable"),
    is("task_ignore_result", &["task_options[].ignore_result"], "for all tasks: results.url: none"),
    no("task_store_errors_even_if_ignored", "ignore_result covers errors too"),
    no("task_store_eager_result", "there is no eager mode: memory:// runs a worker in the process"),
    is("task_track_started", &["results.track"], "started"),
    no("task_remote_tracebacks", "a failure's row has its trace as text"),
    is("task_serializer", &["client.serializer"], "json or msgpack"),
    is("accept_content", &["worker.accept_content"], "json, msgpack or both"),
    is("task_compression", &["client.compression"], "zlib, bzip2 or zstd"),
    is("message_compression", &["client.compression"], "zlib, bzip2 or zstd"),
    no("task_protocol", "2 is written, 1 and 2 are read"),
    is("task_routes", &["task_routes"], "a list of routes"),
    is("task_queues", &["queues"], "a section with a key for each queue"),
    is("task_default_queue", &["default_queue"], ""),
    is("task_default_queue_type", &["queues.<name>.type"], "quorum by default"),
    no("task_default_exchange", "a task goes to its queue by name, or a route names the exchange"),
    no("task_default_exchange_type", "a task goes to its queue by name, or a route names the exchange"),
    no("task_default_routing_key", "a task goes to its queue by name, or a route names the exchange"),
    no("task_create_missing_queues", "a queue that is not declared is an error"),
    is("task_queue_max_priority", &["queues.<name>.max_priority"], "for queues with type: classic"),
    is("task_default_priority", &["task_options[].priority", "task_routes[].priority"], ""),
    no("task_inherit_parent_priority", "a follow-up has its own priority"),
    no("task_default_delivery_mode", "tasks are always persistent"),
    is("task_acks_late", &["task_options[].acks"], "late is the default"),
    is("task_reject_on_worker_lost", &["worker.crash_limit"], "unacknowledged messages always go back to their queue"),
    no("task_acks_on_failure_or_timeout", "a failure is recorded, then acknowledged"),
    no("worker_deduplicate_successful_tasks", "workers with Postgres or SQLite always do so"),
    is("task_time_limit", &["worker.time_limit"], "a duration with a unit, such as 10m"),
    is("task_soft_time_limit", &["worker.soft_time_limit"], "a duration with a unit, such as 9m"),
    is("task_default_retry_delay", &["task_options[].retry_backoff"], "one wait, such as 3m"),
    is("task_annotations", &["task_options"], "a list of entries"),
    is("task_default_rate_limit", &["task_options[].rate_limit"], "with task: \"*\""),
    no("task_disable_rate_limits", "task_options can set rate_limit: none"),
    is("task_always_eager", &["broker.url"], "memory://, with a worker in the process"),
    no("task_eager_propagates", "there is no eager mode: memory:// runs a worker in the process"),
    is("task_send_sent_event", &["client.task_sent_events"], ""),
    is("send_task_sent_event", &["client.task_sent_events"], ""),
    is("worker_send_task_events", &["worker.events"], "none, worker or all"),
    is("send_events", &["worker.events"], "none, worker or all"),
    is("worker_concurrency", &["worker.concurrency"], ""),
    no("worker_pool", "an async task shares the runtime, a blocking task gets a thread"),
    is("worker_prefetch_multiplier", &["worker.prefetch"], "a number of messages, not a factor, or auto"),
    no("worker_disable_prefetch", "worker.prefetch: 1 holds one message per queue"),
    no("worker_max_tasks_per_child", "there are no child processes"),
    no("worker_max_memory_per_child", "there are no child processes"),
    no("worker_proc_alive_timeout", "there are no child processes"),
    no("worker_lost_wait", "there are no child processes"),
    is("worker_soft_shutdown_timeout", &["worker.drain_timeout"], "a duration with a unit, such as 30s"),
    no("worker_enable_soft_shutdown_on_idle", "an idle worker stops at once"),
    no("worker_cancel_long_running_tasks_on_connection_loss", "they end, are recorded, and do not run again"),
    is("worker_direct", &["worker.direct_queue"], ""),
    no("worker_detect_quorum_queues", "prefetch is always per consumer"),
    is("worker_enable_remote_control", &["worker.control"], "all, inspect-only, off or a list of commands"),
    no("worker_state_db", "revocations are in the result store"),
    is("worker_hijack_root_logger", &["telemetry.log"], ""),
    is("worker_log_format", &["telemetry.log.format"], "text or json"),
    is("worker_task_log_format", &["telemetry.log.format"], "text or json"),
    no("worker_redirect_stdouts", "standard output is left alone"),
    no("worker_redirect_stdouts_level", "standard output is left alone"),
    no("beat_*", "there is no scheduler yet: Celery's beat can send tasks to Rust"),
    no("event_*", "the exchange of events is celeryev, and no queue of them is kept"),
    no("control_*", "the exchanges and queues of remote control are those of Celery's defaults"),
    no("security_*", "signed messages go to the dead-letter queue"),
    no("redis_*", "results are in Postgres or SQLite"),
    no("database_*", "results.url and results.pool have what there is to set"),
    no("timezone", "times are UTC"),
    no("enable_utc", "times are UTC"),
    no("imports", "a program registers its tasks with tasks![…]"),
    no("include", "a program registers its tasks with tasks![…]"),
];

/// The prefixes of settings in upper case, as in Django and old programs.
const PREFIXES: [(&str, &[&str]); 3] = [
    ("celeryd_", &["", "worker_", "task_"]),
    ("celerybeat_", &["beat_"]),
    ("celery_", &["", "task_", "worker_", "result_"]),
];

/// Explains a key that is a name of Celery or RabbitMQ.
pub(super) fn explain(section: &str, name: &str) -> Option<String> {
    FOREIGN_NAMES.iter().filter(|names| names.covers(section)).find_map(|names| names.explain(section, name))
}

impl ForeignNames {
    fn covers(&self, section: &str) -> bool {
        let Some((kind, rest)) = self.section.split_once(['.', '[']) else { return true };
        let Some(inside) = section.strip_prefix(kind) else { return false };
        match rest {
            // Names of queues and exchanges may contain dots.
            "*" => inside.starts_with('.') && !inside.ends_with(']'),
            "*.bindings[]" => inside.contains(".bindings[") && inside.ends_with(']'),
            "]" => inside.starts_with('[') && inside.ends_with(']'),
            key => inside.strip_prefix('.') == Some(key),
        }
    }

    fn explain(&self, section: &str, name: &str) -> Option<String> {
        let found = self.find(section, name)?;
        let ForeignName { name: foreign, keys, note } = found;
        let foreign = if foreign.ends_with('*') { name } else { foreign };
        let subject = format!("{}'s {foreign}", self.system);
        Some(match (keys, *note) {
            ([], why) => format!("{subject} has no counterpart here: {why}"),
            (keys, "") => format!("{subject} is {} here", keys.join(" or ")),
            (keys, note) => format!("{subject} is {} here: {note}", keys.join(" or ")),
        })
    }

    fn find(&self, section: &str, name: &str) -> Option<&'static ForeignName> {
        let spellings = if self.section.is_empty() { celery_spellings(section, name) } else { vec![plain(name)] };
        spellings.iter().find_map(|spelling| self.names.iter().find(|known| known.has(spelling)))
    }
}

impl ForeignName {
    fn has(&self, spelling: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(beginning) => spelling.starts_with(beginning),
            None => plain(self.name) == spelling,
        }
    }
}

/// Returns a name without the differences between arguments, policies and clients: `x-max-length`,
/// `max-length` and `max_length` are the same.
fn plain(name: &str) -> String {
    name.strip_prefix("x-").unwrap_or(name).replace('-', "_")
}

/// Returns the settings of Celery that a key may mean: `CELERY_ACKS_LATE` is `task_acks_late`, and
/// so is `acks_late` in a section.
fn celery_spellings(section: &str, name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let mut spellings = vec![name.clone()];
    if let Some((rest, beginnings)) = PREFIXES.iter().find_map(|(old, new)| Some((name.strip_prefix(old)?, new))) {
        spellings.extend(beginnings.iter().map(|beginning| format!("{beginning}{rest}")));
    }
    if !section.is_empty() {
        let section = if section == "results" { "result" } else { section };
        spellings.extend([section, "task"].map(|section| format!("{section}_{name}")));
    }
    spellings
}

#[cfg(test)]
mod tests;
