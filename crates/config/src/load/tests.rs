//! Tests of every kind of problem, with its whole message.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

mod broken_files;

use super::*;
use crate::{ByteSize, Environment, Secret, duration, text};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    broker: Broker,
    worker: Worker,
    queues: BTreeMap<String, Queue>,
    task_routes: Vec<Route>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Broker {
    url: Secret,
    #[serde(with = "duration")]
    heartbeat: Duration,
    #[serde(with = "duration::option")]
    idle: Option<Duration>,
    #[serde(with = "text")]
    max_message_size: ByteSize,
}

impl Default for Broker {
    fn default() -> Self {
        let heartbeat = Duration::from_secs(10);
        Self { url: Secret::new("memory://"), heartbeat, idle: None, max_message_size: ByteSize::mib(8) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Worker {
    name: Option<String>,
    concurrency: u16,
    prefetch: u16,
    ratio: f64,
    events: bool,
    queues: Vec<String>,
}

impl Default for Worker {
    fn default() -> Self {
        Self { name: None, concurrency: 64, prefetch: 256, ratio: 1.0, events: false, queues: Vec::new() }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Queue {
    #[serde(rename = "type")]
    kind: Kind,
    prefetch: Option<u16>,
    bind: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Quorum,
    Classic,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    task: String,
    #[serde(default)]
    queue: Option<String>,
}

const DEFAULTS: &str = "
broker: {url: 'memory://', heartbeat: 10s, idle: null, max_message_size: 8MiB}
worker: {name: null, concurrency: 64, prefetch: 256, ratio: 1.0, events: false, queues: []}
queues: {}
task_routes: []
";

/// A directory of files, variables and flags.
struct Said {
    directory: TempDir,
    sources: Sources,
}

impl Said {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let sources =
            Sources::new().defaults("built-in defaults", DEFAULTS).directory(directory.path()).file("routes.yaml");
        Self { directory, sources }
    }

    fn environment(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources = self.sources.environment(Environment::new(variables.iter().copied()));
        self
    }

    fn environment_name(mut self, name: &str) -> Self {
        self.sources = self.sources.environment_name(Some(name));
        self
    }

    fn flag(mut self, key: &str, value: &str, flag: &str) -> Self {
        self.sources = self.sources.flag(key, value, flag);
        self
    }

    fn load(&self) -> Result<Loaded<Options>, Problems> {
        load(&self.sources)
    }

    fn options(&self) -> Options {
        self.load().unwrap().options
    }

    /// The problems as text, with `config` for the directory.
    fn problems(&self) -> String {
        self.named(&self.load().unwrap_err().to_string())
    }

    fn named(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "config")
    }
}

#[test]
fn with_nothing_said_the_defaults_hold() {
    let said = Said::new(&[]);
    assert_eq!(said.options(), Options::default());
    assert_eq!(load::<Options>(&Sources::new()).unwrap().options, Options::default());
}

#[test]
fn what_comes_later_wins() {
    let said = Said::new(&[
        ("celeriac.yaml", "worker: {name: file, concurrency: 1, prefetch: 1, ratio: 0.5, events: false}"),
        ("routes.yaml", "worker: {concurrency: 2, prefetch: 2}"),
        ("production.yaml", "worker: {prefetch: 3, ratio: 0.25}"),
        ("staging.yaml", "this: {is: not read}"),
    ])
    .environment_name("production")
    .environment(&[("CELERIAC__WORKER__RATIO", "0.125"), ("CELERIAC__WORKER__EVENTS", "true"), ("PATH", "/bin")])
    .flag("worker.events", "false", "--events");
    let worker = Worker {
        name: Some("file".to_owned()),
        concurrency: 2,
        prefetch: 3,
        ratio: 0.125,
        events: false,
        queues: Vec::new(),
    };
    assert_eq!(said.options().worker, worker);
}

#[test]
fn a_reference_that_is_no_name_or_is_in_no_file_is_text() {
    let said = Said::new(&[("celeriac.yaml", "worker: {queues: ['$A', '${}', '${', '${-}', 'a$', '}${B']}")])
        .environment(&[("CELERIAC__WORKER__NAME", "${HOSTNAME}")]);
    let worker = said.options().worker;
    assert_eq!(worker.queues, ["$A", "${}", "${", "${-}", "a$", "}${B"]);
    assert_eq!(worker.name.as_deref(), Some("${HOSTNAME}"));
}

#[test]
fn sections_merge_and_lists_replace() {
    let said = Said::new(&[
        (
            "celeriac.yaml",
            "queues: {Billing: {type: classic, prefetch: 1}, orders.eu: {}}\ntask_routes: [{task: a}, {task: b}]",
        ),
        (
            "production.yaml",
            "queues:\n  Billing:\n    prefetch: 2\nworker:\n  # concurrency: 5\ntask_routes: [{task: c}]",
        ),
    ])
    .environment_name("production");
    let options = said.options();
    let billing = Queue { kind: Kind::Classic, prefetch: Some(2), bind: Vec::new() };
    let queues = [("Billing".to_owned(), billing), ("orders.eu".to_owned(), Queue::default())];
    assert_eq!(options.queues, BTreeMap::from(queues));
    assert_eq!(options.task_routes, [Route { task: "c".to_owned(), queue: None }]);
    assert_eq!(options.worker, Worker::default());
}

#[test]
fn text_of_variables_becomes_what_is_wanted() {
    let said = Said::new(&[("celeriac.yaml", "queues: {Billing: {type: classic}}")])
        .environment(&[
            ("CELERIAC__BROKER__URL", "12345"),
            ("CELERIAC__BROKER__HEARTBEAT", "1m 30s"),
            ("CELERIAC__BROKER__IDLE", "5ms"),
            ("CELERIAC__BROKER__MAX_MESSAGE_SIZE", "1048576"),
            ("CELERIAC__WORKER__NAME", "007"),
            ("CELERIAC__WORKER__CONCURRENCY", " 8 "),
            ("CELERIAC__WORKER__RATIO", "1"),
            ("CELERIAC__WORKER__EVENTS", "True"),
            ("CELERIAC__WORKER__QUEUES", "a, b,3"),
            ("CELERIAC__QUEUES__BILLING__PREFETCH", "9"),
            ("CELERIAC__QUEUES__NEW__TYPE", "classic"),
            ("CELERIAC__TASK_ROUTES", "[{task: 'a.*', queue: b}, {task: c}]"),
            ("CELERIAC_ENV", "ignored"),
        ])
        .flag("queues.Mail.bind", "[x]", "--set");
    let queue =
        |kind, prefetch, bind: &[&str]| Queue { kind, prefetch, bind: bind.iter().map(|&name| name.into()).collect() };
    let route = |task: &str, queue: Option<&str>| Route { task: task.to_owned(), queue: queue.map(str::to_owned) };
    let expected = Options {
        broker: Broker {
            url: Secret::new("12345"),
            heartbeat: Duration::from_secs(90),
            idle: Some(Duration::from_millis(5)),
            max_message_size: ByteSize::mib(1),
        },
        worker: Worker {
            name: Some("007".to_owned()),
            concurrency: 8,
            prefetch: 256,
            ratio: 1.0,
            events: true,
            queues: vec!["a".to_owned(), "b".to_owned(), "3".to_owned()],
        },
        queues: BTreeMap::from([
            ("Billing".to_owned(), queue(Kind::Classic, Some(9), &[])),
            ("new".to_owned(), queue(Kind::Classic, None, &[])),
            ("Mail".to_owned(), queue(Kind::Quorum, None, &["x"])),
        ]),
        task_routes: vec![route("a.*", Some("b")), route("c", None)],
    };
    assert_eq!(said.options(), expected);
}

#[test]
fn an_empty_variable_means_none() {
    let said = Said::new(&[("celeriac.yaml", "worker: {name: x, queues: [a]}\nbroker: {idle: 5s}")]).environment(&[
        ("CELERIAC__WORKER__NAME", ""),
        ("CELERIAC__WORKER__QUEUES", ""),
        ("CELERIAC__BROKER__IDLE", ""),
    ]);
    assert_eq!(said.options(), Options::default());
}

/// The text of a file, and the messages about it.
const FILES: &[(&str, &str)] = &[
    // Unknown keys.
    ("worker: {prefetchh: 1}", "config/celeriac.yaml: worker.prefetchh: unknown key, did you mean worker.prefetch?"),
    ("wroker: {prefetch: 1}", "config/celeriac.yaml: wroker: unknown key, did you mean worker?"),
    ("wroker: {}", "config/celeriac.yaml: wroker: unknown key, did you mean worker?"),
    ("wroker:", "config/celeriac.yaml: wroker: unknown key, did you mean worker?"),
    ("x: 1", "config/celeriac.yaml: x: unknown key; known keys: broker, worker, queues, task_routes"),
    (
        "queues: {Billing: {prefech: 1}}",
        "config/celeriac.yaml: queues.Billing.prefech: unknown key, did you mean queues.Billing.prefetch?",
    ),
    (
        "queues: {a.b: {prefech: 1}}",
        "config/celeriac.yaml: queues.a.b.prefech: unknown key, did you mean queues.a.b.prefetch?",
    ),
    (
        "task_routes: [{task: a}, {task: b}, {task: c, qeue: d}]",
        "config/celeriac.yaml: task_routes[2].qeue: unknown key, did you mean task_routes[2].queue?",
    ),
    // Variables are not replaced. The default in a reference may be secret.
    (
        "broker: {url: '${AMQP_URL}'}",
        "config/celeriac.yaml: broker.url: `${AMQP_URL}` is not replaced in files; set the variable CELERIAC__BROKER__URL",
    ),
    (
        "broker: {url: 'amqp://shop:${PASSWORD:-hunter2}@mq'}",
        "config/celeriac.yaml: broker.url: `${PASSWORD…}` is not replaced in files; set the variable CELERIAC__BROKER__URL",
    ),
    (
        "worker:\n  concurrency: ${SLOTS}",
        "config/celeriac.yaml: worker.concurrency: `${SLOTS}` is not replaced in files; set the variable CELERIAC__WORKER__CONCURRENCY",
    ),
    (
        "task_routes: [{task: a}, {task: b, queue: '${QUEUE}'}]",
        "config/celeriac.yaml: task_routes[1].queue: `${QUEUE}` is not replaced in files; set the variable CELERIAC__TASK_ROUTES, with the whole of task_routes",
    ),
    // Wrong types and values.
    ("worker: 5", "config/celeriac.yaml: worker: should be a section, found 5"),
    ("worker: [5]", "config/celeriac.yaml: worker: should be a section, found a list"),
    ("broker: amqp://a:b@c", "config/celeriac.yaml: broker: should be a section, found `amqp://a:***@c`"),
    (
        "worker: {concurrency: many}",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found `many`",
    ),
    (
        "worker: {concurrency: '64'}",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found `64`; remove the quotes",
    ),
    (
        "worker: {concurrency: 70000}",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found 70000",
    ),
    (
        "worker: {concurrency: -1}",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found -1",
    ),
    (
        "worker: {concurrency: {}}",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found a section",
    ),
    (
        "worker: {concurrency: }",
        "config/celeriac.yaml: worker.concurrency: should be a whole number from 0 to 65535, found nothing",
    ),
    ("worker: {events: yes}", "config/celeriac.yaml: worker.events: should be true or false, found `yes`"),
    ("worker: {name: 1.10}", "config/celeriac.yaml: worker.name: should be text, found 1.1; put it in quotes"),
    ("worker: {queues: a}", "config/celeriac.yaml: worker.queues: should be a list such as [a, b], found `a`"),
    ("broker: {url: 12345}", "config/celeriac.yaml: broker.url: should be text; put it in quotes"),
    (
        "broker: {heartbeat: 10}",
        "config/celeriac.yaml: broker.heartbeat: should be a duration with a unit such as 10s or 10ms, found `10`",
    ),
    (
        "broker: {heartbeat: soon}",
        "config/celeriac.yaml: broker.heartbeat: should be a duration such as 10s or 1m 30s, found `soon`",
    ),
    (
        "broker: {idle: 10}",
        "config/celeriac.yaml: broker.idle: should be a duration with a unit such as 10s or 10ms, found `10`",
    ),
    (
        "broker: {max_message_size: big}",
        "config/celeriac.yaml: broker.max_message_size: should be a size such as 8MiB or 64KB, found `big`",
    ),
    (
        "queues: {a: {type: clasic}}",
        "config/celeriac.yaml: queues.a.type: should be one of quorum, classic, found `clasic`, did you mean classic?",
    ),
    ("task_routes: [{queue: a}]", "config/celeriac.yaml: task_routes[0].task: required key is missing"),
    // A key that is missing because it was wrong is reported once.
    (
        "task_routes: [{task: 5}]",
        "config/celeriac.yaml: task_routes[0].task: should be text, found 5; put it in quotes",
    ),
    // All problems, with the indexes of the file.
    (
        "task_routes: [{}, {task: a, x: 1}, {task: [], qeue: 1}, 5, {task: b, queue: 1}]\nworker: {prefetch: a, x: 1, events: 2}",
        "config/celeriac.yaml: task_routes[0].task: required key is missing
config/celeriac.yaml: task_routes[1].x: unknown key; known keys: task, queue
config/celeriac.yaml: task_routes[2].qeue: unknown key, did you mean task_routes[2].queue?
config/celeriac.yaml: task_routes[2].task: should be text, found a list
config/celeriac.yaml: task_routes[3]: should be a section, found 5
config/celeriac.yaml: task_routes[4].queue: should be text, found 1; put it in quotes
config/celeriac.yaml: worker.events: should be true or false, found 2
config/celeriac.yaml: worker.prefetch: should be a whole number from 0 to 65535, found `a`
config/celeriac.yaml: worker.x: unknown key; known keys: name, concurrency, prefetch, ratio, events, queues",
    ),
    // YAML itself.
    (
        "queues:\n  a: {}\n  b: {}\n  a: {prefetch: 1}\n",
        "config/celeriac.yaml: queues.a: is set twice, in lines 2 and 4; keep one",
    ),
    (
        "worker: {events: true}\nworker: {}\ntask_routes:\n- task: a\n- {task: b, task: c}",
        "config/celeriac.yaml: task_routes[1].task: is set twice, in lines 5 and 5; keep one
config/celeriac.yaml: worker: is set twice, in lines 1 and 2; keep one",
    ),
    (
        "worker:\n  a: [1",
        "config/celeriac.yaml: line 3, column 1: invalid YAML: while parsing a flow sequence, expected ',' or ']'; the bracket opens in line 2, column 6",
    ),
    ("worker: &a [*a]", "config/celeriac.yaml: line 1, column 13: an alias refers to a value that contains it"),
    (
        "worker: *nobody",
        "config/celeriac.yaml: line 1, column 9: invalid YAML: while parsing node, found unknown anchor; \
         put text that begins with `*` or `&` in quotes",
    ),
    ("? [a]\n: 1", "config/celeriac.yaml: line 1, column 3: a key should be text, found a list or a section"),
    ("--- {}\n--- {}", "config/celeriac.yaml: line 2, column 1: a second YAML document begins; write one"),
    ("- 1", "config/celeriac.yaml: should hold sections with keys, such as `worker: {concurrency: 64}`"),
];

#[test]
fn what_is_wrong_in_a_file_is_told() {
    for (text, expected) in FILES {
        let said = Said::new(&[("celeriac.yaml", text)]);
        assert_eq!(said.problems(), *expected, "of {text}");
    }
}

/// A variable, and the messages about it.
const VARIABLES: &[(&str, &str, &str)] = &[
    ("CELERIAC_EVN", "prod", "environment: CELERIAC_EVN: unknown variable, did you mean CELERIAC_ENV?"),
    (
        "CELERIAC__WORKER__PREFETCHH",
        "1",
        "environment: CELERIAC__WORKER__PREFETCHH: unknown key, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    (
        "CELERIAC__WROKER__PREFETCH",
        "1",
        "environment: CELERIAC__WROKER__PREFETCH: unknown key, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    ("CELERIAC__X", "1", "environment: CELERIAC__X: unknown key; known keys: broker, worker, queues, task_routes"),
    ("CELERIAC__", "1", "environment: CELERIAC__: should be named CELERIAC__SECTION__KEY"),
    ("CELERIAC__WORKER____NAME", "1", "environment: CELERIAC__WORKER____NAME: should be named CELERIAC__SECTION__KEY"),
    ("CELERIAC__WORKER", "1", "environment: CELERIAC__WORKER: should be a section, found 1"),
    ("CELERIAC__WORKER__NAME__X", "1", "environment: CELERIAC__WORKER__NAME__X: should be text, found a section"),
    (
        "CELERIAC__WORKER__CONCURRENCY",
        "many",
        "environment: CELERIAC__WORKER__CONCURRENCY: should be a whole number from 0 to 65535, found `many`",
    ),
    (
        "CELERIAC__WORKER__CONCURRENCY",
        "",
        "environment: CELERIAC__WORKER__CONCURRENCY: should be a whole number from 0 to 65535, found empty text",
    ),
    (
        "CELERIAC__WORKER__EVENTS",
        "maybe",
        "environment: CELERIAC__WORKER__EVENTS: should be true or false, found `maybe`",
    ),
    (
        "CELERIAC__BROKER__HEARTBEAT",
        "10",
        "environment: CELERIAC__BROKER__HEARTBEAT: should be a duration with a unit such as 10s or 10ms, found `10`",
    ),
    (
        "CELERIAC__WORKER__QUEUES",
        "[a",
        "environment: CELERIAC__WORKER__QUEUES: line 2, column 1: invalid YAML: while parsing a flow sequence, expected ',' or ']'; the bracket opens in line 1, column 1",
    ),
    (
        "CELERIAC__TASK_ROUTES",
        "[{task: a}, {task: b, qeue: c}]",
        "environment: CELERIAC__TASK_ROUTES: task_routes[1].qeue: unknown key, did you mean task_routes[1].queue?",
    ),
    (
        "CELERIAC__TASK_ROUTES",
        "[{}]",
        "environment: CELERIAC__TASK_ROUTES: task_routes[0].task: required key is missing",
    ),
    // Too few or too many underscores.
    (
        "CELERIAC__WORKER_PREFETCH",
        "1",
        "environment: CELERIAC__WORKER_PREFETCH: unknown key, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    (
        "CELERIAC__BROKER__MAX__MESSAGE_SIZE",
        "1",
        "environment: CELERIAC__BROKER__MAX__MESSAGE_SIZE: unknown key, did you mean CELERIAC__BROKER__MAX_MESSAGE_SIZE?",
    ),
    (
        "CELERIAC_WORKER__PREFETCH",
        "1",
        "environment: CELERIAC_WORKER__PREFETCH: should be named CELERIAC__SECTION__KEY, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    (
        "CELERIAC_BROKER_MAX_MESSAGE_SIZE",
        "1",
        "environment: CELERIAC_BROKER_MAX_MESSAGE_SIZE: should be named CELERIAC__SECTION__KEY, did you mean CELERIAC__BROKER__MAX_MESSAGE_SIZE?",
    ),
    (
        "celeriac__worker__prefetch",
        "1",
        "environment: celeriac__worker__prefetch: variables of settings are in upper case, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    (
        "CELERIAC__worker__Prefetch",
        "1",
        "environment: CELERIAC__worker__Prefetch: variables of settings are in upper case, did you mean CELERIAC__WORKER__PREFETCH?",
    ),
    (
        "celeriac_env",
        "production",
        "environment: celeriac_env: variables of settings are in upper case, did you mean CELERIAC_ENV?",
    ),
    ("CELERIAC_BROKER", "memory://", "environment: CELERIAC_BROKER: should be named CELERIAC__SECTION__KEY"),
    (
        "CELERIAC_QUEUES_MAIL__TYPE",
        "classic",
        "environment: CELERIAC_QUEUES_MAIL__TYPE: should be named CELERIAC__SECTION__KEY, did you mean CELERIAC__QUEUES__MAIL__TYPE?",
    ),
];

#[test]
fn what_is_wrong_with_a_variable_is_told() {
    for (name, value, expected) in VARIABLES {
        let said = Said::new(&[]).environment(&[(name, value)]);
        assert_eq!(said.problems(), *expected, "of {name}={value}");
    }
}

#[test]
fn other_variables_are_nobodys_business() {
    let names = [
        "CELERIAC_ENV",
        "CELERIAC_TEST_BROKER",
        "CELERIAC_WORKERS",
        "CELERIAC",
        "WORKER_PREFETCH",
        "celeriac_worker_image",
        "CELERIAC_BROKER_SERVICE_HOST",
        "CELERIAC_BROKER_SERVICE_PORT_AMQP",
        "CELERIAC_BROKER_PORT",
        "CELERIAC_BROKER_PORT_5672_TCP_ADDR",
    ];
    let said = Said::new(&[]).environment(&names.map(|name| (name, "1")));
    assert_eq!(said.options(), Options::default());
}

#[test]
fn the_file_of_a_named_environment_has_to_be_there() {
    let said = Said::new(&[("production.yaml", "worker: {prefetch: 3}"), ("routes.yaml", "")]);
    let named = said.environment_name("prodution");
    let expected =
        "config/prodution.yaml: file does not exist, but CELERIAC_ENV is `prodution`, did you mean production?";
    assert_eq!(named.problems(), expected);
    let other = Said::new(&[("routes.yaml", "")]).environment_name("route");
    assert_eq!(other.problems(), "config/route.yaml: file does not exist, but CELERIAC_ENV is `route`");
    assert!(load::<Options>(&Sources::new().environment_name(Some("production"))).is_ok());
}

#[test]
fn a_file_that_is_not_read_because_of_a_slip_in_its_name_is_told() {
    let said = Said::new(&[("celeriac.yml", "worker: {prefetch: 3}"), ("route.yaml", "")]);
    let expected = "config/celeriac.yml: file is not read, did you mean celeriac.yaml?\n\
                    config/route.yaml: file is not read, did you mean routes.yaml?";
    assert_eq!(said.problems(), expected);
}

#[test]
fn what_is_wrong_with_a_flag_is_told() {
    let said = Said::new(&[])
        .flag("worker.concurrency", "many", "--concurrency")
        .flag("worker.prefetchh", "5", "--set")
        .flag("", "5", "--set");
    assert_eq!(
        said.problems(),
        "command line: --concurrency: should be a whole number from 0 to 65535, found `many`
command line: --set: should name a key such as worker.concurrency
command line: --set: worker.prefetchh: unknown key, did you mean worker.prefetch?"
    );
}

#[test]
fn problems_of_all_sources_are_told_together() {
    let said = Said::new(&[
        ("celeriac.yaml", "worker: {prefetchh: 1, concurrency: wrong}\nwroker: {a: 1}"),
        ("production.yaml", "worker: {concurrency: worse}\nwroker: {b: 1}"),
        ("routes.yaml", "task_routes: ["),
    ])
    .environment_name("production")
    .environment(&[("CELERIAC__BROKER__ULR", "memory://")]);
    assert_eq!(
        said.problems(),
        "config/celeriac.yaml: worker.prefetchh: unknown key, did you mean worker.prefetch?
config/celeriac.yaml: wroker: unknown key, did you mean worker?
config/production.yaml: worker.concurrency: should be a whole number from 0 to 65535, found `worse`
config/production.yaml: wroker: unknown key, did you mean worker?
config/routes.yaml: line 2, column 1: invalid YAML: while parsing a node, did not find expected node content; the bracket opens in line 1, column 14
environment: CELERIAC__BROKER__ULR: unknown key, did you mean CELERIAC__BROKER__URL?"
    );
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let said = Said::new(&[]);
    let path = said.directory.path();
    fs::create_dir(path.join("celeriac.yaml")).unwrap();
    fs::write(path.join("routes.yaml"), b"worker:\n  name: \xff").unwrap();
    assert_eq!(
        said.problems(),
        "config/celeriac.yaml: is a directory; it should be a file
config/routes.yaml: line 2: is not UTF-8; save the file as UTF-8"
    );
    fs::write(path.join("routes.yaml"), b"\xff\xfew\0o\0").unwrap();
    assert!(said.problems().ends_with("config/routes.yaml: is UTF-16; save it as UTF-8"));
    let problems = |path: &Path| load::<Options>(&Sources::new().directory(path)).unwrap_err().to_string();
    let here = std::env::current_dir().unwrap();
    let missing = format!("directory does not exist in {}", here.display());
    assert_eq!(problems(Path::new("no/such")), format!("no/such: {missing}; create it, or name another"));
    assert_eq!(problems(Path::new("scr")), format!("scr: {missing}, did you mean src?"));
    let absolute = path.join("confg");
    assert_eq!(
        problems(&absolute),
        format!("{}: directory does not exist; create it, or name another", absolute.display())
    );
    let file = path.join("routes.yaml");
    assert_eq!(problems(&file), format!("{}: is not a directory; name the one with the files", file.display()));
    let said = said.environment_name("../production");
    assert!(said.problems().contains("config: CELERIAC_ENV should be a name without a path, found `../production`"));
}

#[test]
fn unknown_files_are_nobodys_business() {
    let said = Said::new(&[("schedule.yaml", "nonsense: ["), ("README.md", "# Hello")]);
    assert_eq!(said.options(), Options::default());
}

#[test]
fn defaults_are_read_like_a_file() {
    let sources = Sources::new().defaults("built-in defaults", "worker: {x: 1}");
    let problems = load::<Options>(&sources).unwrap_err().to_string();
    assert_eq!(
        problems,
        "built-in defaults: worker.x: unknown key; known keys: name, concurrency, prefetch, ratio, events, queues"
    );
}

#[test]
fn a_section_is_not_blamed_for_what_was_cut_out_of_it() {
    let said =
        Said::new(&[("celeriac.yaml", "worker: {prefetch: a}\nbroker: {heartbeat: 5s}\nqueues: {a: {typ: x}, b: {}}")]);
    let whole = |key: &str| (key.to_owned(), "says too little".to_owned());
    let problems =
        load_with(&said.sources, |_: &Options| ["worker", "broker", "queues.a", "queues.b"].map(whole).into());
    assert_eq!(
        said.named(&problems.unwrap_err().to_string()),
        "config/celeriac.yaml: broker: says too little
config/celeriac.yaml: queues.a.typ: unknown key, did you mean queues.a.type?
config/celeriac.yaml: queues.b: says too little
config/celeriac.yaml: worker.prefetch: should be a whole number from 0 to 65535, found `a`"
    );
}

fn validate(options: &Options) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (index, route) in options.task_routes.iter().enumerate() {
        if route.queue.as_ref().is_none_or(|queue| !options.queues.contains_key(queue)) {
            problems.push((format!("task_routes[{index}].queue"), "no such queue".to_owned()));
        }
    }
    for (key, is_wrong) in
        [("worker.concurrency", options.worker.concurrency == 0), ("worker.prefetch", options.worker.prefetch > 256)]
    {
        if is_wrong {
            problems.push((key.to_owned(), "should be otherwise".to_owned()));
        }
    }
    problems
}

#[test]
fn what_components_find_is_told_with_its_source() {
    let said = Said::new(&[
        ("celeriac.yaml", "worker: {prefetch: 300, x: 1}"),
        ("routes.yaml", "task_routes: [{task: a, queue: b}, {task: c}]"),
    ])
    .environment(&[("CELERIAC__WORKER__CONCURRENCY", "0")]);
    let problems = load_with(&said.sources, validate).unwrap_err().to_string();
    assert_eq!(
        said.named(&problems),
        "config/celeriac.yaml: worker.prefetch: should be otherwise
config/celeriac.yaml: worker.x: unknown key; known keys: name, concurrency, prefetch, ratio, events, queues
config/routes.yaml: task_routes[0].queue: no such queue
config/routes.yaml: task_routes[1].queue: no such queue
environment: CELERIAC__WORKER__CONCURRENCY: should be otherwise"
    );
}

#[test]
fn components_are_not_asked_about_what_could_not_be_read() {
    // The routes would lack their queue, but only because its file is broken.
    for (routes, more) in [("queues: {b: {}", "line 2"), ("queues: 5", "should be a section")] {
        let said = Said::new(&[("celeriac.yaml", "task_routes: [{task: a, queue: b}]"), ("routes.yaml", routes)]);
        let problems = load_with(&said.sources, validate).unwrap_err();
        let told = problems.iter().filter(|problem| problem.source.ends_with("routes.yaml")).count();
        assert_eq!(told, 1, "{problems}");
        assert!(problems.to_string().contains(more), "{problems}");
    }
    // The default replaces the wrong value, and causes no message.
    let said = Said::new(&[("celeriac.yaml", "worker: {concurrency: many}")]);
    let judge = |_: &Options| vec![("worker.concurrency".to_owned(), "should be otherwise".to_owned())];
    assert_eq!(load_with(&said.sources, judge).unwrap_err().len(), 1);
}

#[test]
fn origins_are_found_by_key() {
    let said = Said::new(&[
        ("celeriac.yaml", "queues: {a.b: {prefetch: 5}}\nworker: {events: true}"),
        ("routes.yaml", "task_routes: [{task: a}]"),
    ])
    .environment(&[("CELERIAC__WORKER__PREFETCH", "5"), ("CELERIAC__WORKER__QUEUES", "a,b")])
    .flag("worker.name", "x", "--hostname");
    let loaded = said.load().unwrap();
    for (key, origin) in [
        ("broker.url", Some("built-in defaults")),
        ("worker.events", Some("config/celeriac.yaml")),
        ("worker.prefetch", Some("environment: CELERIAC__WORKER__PREFETCH")),
        ("worker.name", Some("command line: --hostname")),
        ("queues.a.b.prefetch", Some("config/celeriac.yaml")),
        ("task_routes[0].task", Some("config/routes.yaml")),
        ("task_routes[0].queue", None),
        ("task_routes[7]", None),
        ("", Some("command line: --hostname")),
    ] {
        assert_eq!(loaded.origin_of(key).map(|origin| said.named(&origin)).as_deref(), origin, "{key}");
    }
    let found = ["queues.a.b.type", "worker.prefetch", "worker.drain_timeout", "worker.queues[1]", "nowhere"]
        .map(|key| (key.to_owned(), "is bad".to_owned()));
    assert_eq!(
        said.named(&loaded.problems(found).to_string()),
        "config/celeriac.yaml: queues.a.b.type: is bad
config/celeriac.yaml: worker.drain_timeout: is bad
configuration: nowhere: is bad
environment: CELERIAC__WORKER__PREFETCH: is bad
environment: CELERIAC__WORKER__QUEUES: worker.queues[1]: is bad"
    );
}

#[test]
fn what_is_shown_masks_secrets_and_says_who_said_it() {
    let said = Said::new(&[
        ("celeriac.yaml", "broker: {heartbeat: 90s}\nqueues: {Billing: {}, 'no': {type: classic, bind: ['#', 'a b']}}"),
        ("routes.yaml", "task_routes: [{task: '*.x', queue: Billing}, {task: \"a\\tb\"}]"),
    ])
    .environment(&[("CELERIAC__BROKER__URL", "amqp://guest:hunter2@localhost/%2f")])
    .flag("worker.name", "5", "--hostname")
    .flag("worker.queues", "http://a:b@c", "-Q");
    let shown = said.load().unwrap().show();
    assert_eq!(
        said.named(&shown),
        "broker:
  url: amqp://guest:***@localhost/%2f  # environment: CELERIAC__BROKER__URL
  heartbeat: 1m 30s  # config/celeriac.yaml
  idle: null
  max_message_size: 8MiB
worker:
  name: \"5\"  # command line: --hostname
  concurrency: 64
  prefetch: 256
  ratio: 1.0
  events: false
  queues:  # command line: -Q
    - \"http://a:***@c\"
queues:
  Billing:
    type: quorum
    prefetch: null
    bind: []
  no:
    type: classic  # config/celeriac.yaml
    prefetch: null
    bind:  # config/celeriac.yaml
      - \"#\"
      - \"a b\"
task_routes:  # config/routes.yaml
  - task: \"*.x\"
    queue: Billing
  - task: \"a\\tb\"
    queue: null
"
    );
}

mod random {
    use proptest::prelude::*;

    use super::*;

    /// Keys, some of which exist.
    fn key() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "broker|worker|queues|task_routes|url|prefetch|bind|type|task",
            "[A-Za-z_.\\[\\]0-9]{0,6}",
            ".{0,4}"
        ];
        proptest::collection::vec(part, 0..5).prop_map(|parts| parts.join("."))
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,22}|true|null|-1|1e5|[{\\[]{1,3}|\\{a: b\\}|\\[a, \\{task: 5\\}\\]|1m 30s|8MiB|a,b",
            ".{0,12}"
        ]
    }

    /// YAML of sections, lists and values. Some of it is invalid.
    fn yaml() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![value(), "[a-z]{1,5}".boxed()];
        let tree = leaf.prop_recursive(4, 32, 4, |inner| {
            let entry = (key(), inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
            prop_oneof![
                proptest::collection::vec(entry, 0..4).prop_map(|entries| format!("{{{}}}", entries.join(", "))),
                proptest::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(", "))),
            ]
        });
        prop_oneof![tree, "[ \\-:\\[\\]{},&*#!|>'\"%@`a-z0-9\n\t]{0,40}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn no_input_panics(text in yaml(), variables in proptest::collection::vec((key(), value()), 0..4), flags in proptest::collection::vec((key(), value()), 0..3)) {
            let variables = variables.into_iter().map(|(key, value)| (format!("CELERIAC__{}", key.replace('.', "__")), value));
            let mut sources = Sources::new().defaults("defaults", text).environment(Environment::new(variables));
            for (key, value) in flags {
                sources = sources.flag(&key, value, "--set");
            }
            match load::<Options>(&sources) {
                Ok(loaded) => drop(loaded.show()),
                Err(problems) => prop_assert!(!problems.is_empty() && !problems.to_string().is_empty()),
            }
        }

        #[test]
        fn what_is_shown_is_read_again(
            name in proptest::option::of(".{0,12}".prop_filter("a text with a password is masked", |name| !name.contains("://"))),
            prefetch in any::<u16>(),
            ratio in -1e9..1e9,
            heartbeat in 0..10_000_000_000_u64,
            queues in proptest::collection::btree_map("[^.\\[\\]]{0,6}|[a-z.]{1,5}", proptest::collection::vec(".{0,6}", 0..3), 0..4),
        ) {
            let mut options = Options::default();
            options.worker = Worker { name, prefetch, ratio, ..options.worker };
            options.broker.heartbeat = Duration::from_nanos(heartbeat);
            options.queues = queues.into_iter().map(|(name, bind)| (name, Queue { bind, ..Queue::default() })).collect();
            let shown = Loaded { options: options.clone(), tree: ConfigNode::of(NodeKind::Nothing) }.show();
            let read = load::<Options>(&Sources::new().defaults("shown", shown.as_str()));
            prop_assert_eq!(read.map(|loaded| loaded.options).map_err(|problems| format!("{problems}\n{shown}")), Ok(options));
        }
    }
}
