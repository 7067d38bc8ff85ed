//! Tests of the names of Celery and RabbitMQ: their keys exist, and errors name them.

use celeriac_config::{Environment, Sources};

use super::*;
use crate::settings::{Origins, Settings};

/// The problems of a configuration that is one flag.
fn problems_of(key: &str, value: &str) -> String {
    let sources = Sources::new().flag(key, value, "--set");
    celeriac_config::load::<Settings>(&sources).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// True for a key that a configuration has.
fn is_key(key: &str) -> bool {
    let problems = match key.split_once("[].") {
        Some((list, name)) => problems_of(list, &format!("[{{{name}: '?'}}]")),
        None => problems_of(&key.replace("<name>", "mail"), "'?'"),
    };
    !problems.contains("unknown key")
}

#[test]
fn every_key_of_the_table_is_one() {
    assert!(is_key("worker.prefetch") && is_key("queues.<name>.expires") && is_key("task_options[].acks"));
    assert!(!is_key("worker.prefetchh") && !is_key("queues.<name>.ttl") && !is_key("task_options[].acks_late"));
    for ForeignNames { section, names, .. } in FOREIGN_NAMES {
        for ForeignName { name, keys, .. } in *names {
            for key in *keys {
                let full = match (section.strip_suffix("[]"), *section) {
                    (_, "") => (*key).to_owned(),
                    (Some(list), _) if list.ends_with(".bindings") => {
                        let problems = problems_of(&list.replace('*', "mail"), &format!("[{{{key}: '?'}}]"));
                        assert!(!problems.contains("unknown key"), "{section}: {name}: {key}");
                        continue;
                    }
                    (Some(list), _) => format!("{list}[].{key}"),
                    (None, section) => format!("{}.{key}", section.replace('*', "<name>")),
                };
                assert!(is_key(&full), "{section}: {name}: {full} is no key");
            }
        }
    }
}

#[test]
fn a_name_says_something_and_stands_once() {
    for ForeignNames { section, names, .. } in FOREIGN_NAMES {
        for (index, ForeignName { name, keys, note }) in names.iter().enumerate() {
            assert!(!keys.is_empty() || !note.is_empty(), "{section}: {name}");
            let is_before = names[..index].iter().any(|earlier| earlier.has(&plain(name)));
            assert!(!is_before, "{section}: {name} stands twice");
        }
    }
}

#[test]
fn every_setting_of_the_page_for_celery_users_is_known() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/coming-from-celery.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, settings) = page.split_once("\n## Settings\n").unwrap();
    let settings = settings.split("\n## ").next().unwrap();
    let cells = settings.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let is_setting = name.chars().all(|letter| letter.is_ascii_lowercase() || "_*…".contains(letter));
        let is_known = match name.strip_prefix('…') {
            Some(end) => CELERY.iter().any(|known| known.name.ends_with(end)),
            None => CELERY.iter().any(|known| known.has(name)),
        };
        assert!(is_known || !is_setting, "`{name}` is on the page, and not in the table");
    }
}

/// A section and a key in it, and the explanation.
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("", "worker_concurrency", "Celery's worker_concurrency is worker.concurrency here"),
    ("worker", "worker_concurrency", "Celery's worker_concurrency is worker.concurrency here"),
    ("", "CELERYD_CONCURRENCY", "Celery's worker_concurrency is worker.concurrency here"),
    ("", "CELERY_TASK_ACKS_LATE", "Celery's task_acks_late is task_options[].acks here: late is the default"),
    ("", "CELERY_ACKS_LATE", "Celery's task_acks_late is task_options[].acks here: late is the default"),
    ("worker", "acks_late", "Celery's task_acks_late is task_options[].acks here: late is the default"),
    ("", "BROKER_URL", "Celery's broker_url is broker.url here"),
    (
        "",
        "CELERY_RESULT_BACKEND",
        "Celery's result_backend is results.url here: postgres://, sqlite://, rpc:// or none",
    ),
    ("results", "expires", "Celery's result_expires is results.retention here: a duration with a unit, such as 7d"),
    ("", "security_key", "Celery's security_key has no counterpart here: signed messages go to the dead-letter queue"),
    ("", "timezone", "Celery's timezone has no counterpart here: times are UTC"),
    ("broker.tls", "ca_certs", "Celery's ca_certs is cacertfile here"),
    ("queues.mail", "x-max-length-bytes", "RabbitMQ's x-max-length-bytes is max_length_bytes here"),
    ("queues.orders.eu", "max-length-bytes", "RabbitMQ's x-max-length-bytes is max_length_bytes here"),
    (
        "queues.mail",
        "auto_delete",
        "RabbitMQ's auto_delete is expires here: a duration without consumers, after which the queue is deleted",
    ),
    ("exchanges.orders", "durable", "RabbitMQ's durable has no counterpart here: exchanges are always durable"),
    ("queues.mail.bindings[0]", "binding_key", "RabbitMQ's binding_key is routing_key here"),
    ("exchanges.audit.bindings[2]", "source", "RabbitMQ's source is exchange here"),
    ("task_routes[3]", "delivery_mode", "Celery's delivery_mode has no counterpart here: tasks are always persistent"),
    ("task_options[0]", "acks_late", "Celery's acks_late is acks here: late for true, early for false"),
];

#[test]
fn names_of_other_systems_are_explained() {
    for (section, name, expected) in EXPLAINED {
        assert_eq!(explain(section, name).as_deref(), Some(*expected), "{section}: {name}");
    }
    for (section, name) in [("worker", "prefetchh"), ("", "wroker"), ("queues.mail", "tyype"), ("telemetry", "nam")] {
        assert_eq!(explain(section, name), None, "{section}: {name}");
    }
}

#[test]
fn a_foreign_name_in_any_source_is_an_error_that_names_the_key() {
    let directory = std::env::temp_dir().join(format!("celeriac-foreign-names-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let text = "worker_concurrency: 8\nqueues: { mail: { x-message-ttl: 1000, durable: true } }\n";
    std::fs::write(directory.join("celeriac.yaml"), text).unwrap();
    let origins = Origins {
        directory: Some(directory.clone()),
        environment: Environment::new([("CELERIAC__RESULT_BACKEND", "redis://")]),
        ..Origins::default()
    };
    let problems = Settings::load(&origins).unwrap_err().to_string();
    std::fs::remove_dir_all(&directory).unwrap();
    let problems = problems.replace(&directory.display().to_string(), "config");
    let expected = "\
config/celeriac.yaml: queues.mail.durable: unknown key, RabbitMQ's durable is transient here: its opposite; queues are durable by default
config/celeriac.yaml: queues.mail.x-message-ttl: unknown key, RabbitMQ's x-message-ttl is message_ttl here: a duration with a unit, such as 30s
config/celeriac.yaml: worker_concurrency: unknown key, Celery's worker_concurrency is worker.concurrency here
environment: CELERIAC__RESULT_BACKEND: unknown key, Celery's result_backend is results.url here: postgres://, sqlite://, rpc:// or none";
    assert_eq!(problems, expected);
}
