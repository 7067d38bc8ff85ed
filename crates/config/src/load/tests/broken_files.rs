//! Files and variables that are broken as text, and values of wrong types and sizes.

use super::Said;

/// The content of `celeriac.yaml`, and the problem that is reported.
const TEXTS: &[(&str, &str)] = &[
    (
        "worker: {prefetch: 4\nbroker:\n  idle: 5s\n",
        "line 2, column 7: invalid YAML: while parsing a flow mapping, did not find expected ',' or '}'; \
         the bracket opens in line 1, column 9",
    ),
    (
        "worker:\n  queues: [a, b\n  prefetch: 4\n",
        "line 3, column 11: invalid YAML: illegal placement of ':' indicator; the bracket opens in line 2, column 11",
    ),
    (
        "worker: {prefetch: 4}}\n",
        "line 1, column 22: invalid YAML: while parsing a block mapping, did not find expected key; \
         check the indents and colons up to here",
    ),
    (
        "worker:\n  queues: ]\n",
        "line 2, column 11: invalid YAML: while parsing a node, did not find expected node content",
    ),
    (
        "worker:\n  prefetch: 4\n concurrency: 5\n",
        "line 3, column 13: invalid YAML: while parsing a block mapping, did not find expected key; \
         check the indents and colons up to here",
    ),
    (
        "worker:\n  prefetch: 4\n   concurrency: 5\n",
        "line 3, column 15: invalid YAML: mapping values are not allowed in this context; \
         check the indents and colons up to here",
    ),
    (
        "worker:\n\tprefetch: 4\n",
        "line 2, column 2: invalid YAML: tabs disallowed within this context (block indentation); use spaces",
    ),
    (
        "worker:\n  prefetch: 4\n\tconcurrency: 5\n",
        "line 2, column 13: invalid YAML: while scanning a plain scalar, found a tab; use spaces",
    ),
    (
        "worker:\n  name: \"open\n  prefetch: 4\n",
        "line 2, column 9: invalid YAML: invalid indentation in quoted scalar",
    ),
    ("worker:\n  name: @home\n", "line 2, column 9: invalid YAML: unexpected character: `@'; put the text in quotes"),
    (
        "task_routes:\n- task: *.mail\n",
        "line 2, column 9: invalid YAML: while parsing node, found unknown anchor; \
         put text that begins with `*` or `&` in quotes",
    ),
    (
        "task_routes:\n- task: *\n",
        "line 2, column 9: invalid YAML: while scanning an anchor or alias, \
         did not find expected alphabetic or numeric character; put text that begins with `*` or `&` in quotes",
    ),
    ("worker:\n  prefetch 4\n", "worker: should be a section, found `prefetch 4`"),
    ("worker:\n  prefetch:4\n", "worker: should be a section, found `prefetch:4`"),
    ("worker:\n  prefetch: 4\n\u{0}broker: {}\n", "line 3: the character U+0000 is not allowed"),
    ("worker = 5\n", "should hold sections with keys, such as `worker: {concurrency: 64}`"),
    ("worker.prefetch: 4\n", "worker.prefetch: unknown key; write it as worker: {prefetch: …}"),
    ("broker.tls.verify: 4\n", "broker.tls.verify: unknown key; write it as broker: {tls: {verify: …}}"),
    ("wroker.prefetch: 4\n", "wroker.prefetch: unknown key, did you mean worker?"),
    ("queues: {\"a\\nb\": {typ: quorum}}", "queues.a b.typ: unknown key, did you mean queues.a b.type?"),
];

/// The same, for values that can be read and are of no use.
const VALUES: &[(&str, &str)] = &[
    ("worker: {prefetch: 65536}", "worker.prefetch: should be a whole number from 0 to 65535, found 65536"),
    ("worker: {prefetch: 4.0}", "worker.prefetch: should be a whole number from 0 to 65535, found 4.0"),
    ("worker: {prefetch: 1e3}", "worker.prefetch: should be a whole number from 0 to 65535, found 1000.0"),
    ("worker: {prefetch: 1_000}", "worker.prefetch: should be a whole number from 0 to 65535, found `1_000`"),
    ("worker: {prefetch: []}", "worker.prefetch: should be a whole number from 0 to 65535, found a list"),
    ("worker: {events: \"true\"}", "worker.events: should be true or false, found `true`; remove the quotes"),
    ("worker: {ratio: 1e999}", "worker.ratio: should be a number, found `1e999`"),
    ("worker: {ratio: '0.5'}", "worker.ratio: should be a number, found `0.5`; remove the quotes"),
    ("broker: {heartbeat: -5s}", "broker.heartbeat: should be a duration such as 10s or 1m 30s, found `-5s`"),
    ("broker: {heartbeat: \"\"}", "broker.heartbeat: should be a duration such as 10s or 1m 30s, found empty text"),
    (
        "broker: {heartbeat: 99999999999999999999s}",
        "broker.heartbeat: should be a duration such as 10s or 1m 30s, found `99999999999999999999s`, \
         which is too long",
    ),
    (
        "broker: {max_message_size: 8M}",
        "broker.max_message_size: should be a size such as 8MiB or 64KB, found `8M`, \
         the units are B, KB, MB, GB, TB, KiB, MiB, GiB and TiB",
    ),
    (
        "broker: {max_message_size: 99999999999GiB}",
        "broker.max_message_size: should be a size such as 8MiB or 64KB, found `99999999999GiB`, which is too large",
    ),
    ("queues: {a: {type: 5}}", "queues.a.type: should be one of quorum, classic, found 5"),
    ("queues: {a: {type: }}", "queues.a.type: should be one of quorum, classic, found nothing"),
    ("queues: {a: {type: [quorum]}}", "queues.a.type: should be one of quorum, classic, found a list"),
    ("queues: [a, b]", "queues: should be a section, found a list"),
];

const VARIABLES: &[(&str, &str, &str)] = &[
    ("CELERIAC__WORKER__PREFETCH", "", "should be a whole number from 0 to 65535, found empty text"),
    (
        "CELERIAC__WORKER__PREFETCH",
        "\"4\"",
        "should be a whole number from 0 to 65535, found `\"4\"`; remove the quotes",
    ),
    ("CELERIAC__WORKER__PREFETCH__X", "4", "should be a whole number from 0 to 65535, found a section"),
    ("CELERIAC__WORKER__QUEUES__0", "a", "should be a list such as [a, b], found a section"),
    ("CELERIAC___WORKER__PREFETCH", "4", "unknown key, did you mean CELERIAC__WORKER__PREFETCH?"),
    ("CELERIAC__QUEUES__A__TYPE", "{a: b, c: d}", "should be a section with one key"),
];

#[test]
fn broken_text_and_wrong_values_are_reported_with_their_place_in_one_line() {
    for (text, expected) in TEXTS.iter().chain(VALUES) {
        let said = Said::new(&[("celeriac.yaml", text)]);
        assert_eq!(said.problems(), format!("config/celeriac.yaml: {expected}"), "of {text}");
    }
    for (name, text, expected) in VARIABLES {
        let said = Said::new(&[]).environment(&[(name, text)]);
        assert_eq!(said.problems(), format!("environment: {name}: {expected}"), "of {text}");
    }
}
