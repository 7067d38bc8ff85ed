//! Tests of entries and their precedence.

use celeriac_units::TrackedStates;
use serde_json::json;

use super::*;

fn entries(entries: &serde_json::Value) -> Vec<TaskOverride> {
    serde_json::from_value(entries.clone()).unwrap()
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn every_key_is_said_by_the_first_line_that_says_it() {
    let overrides = TaskOverrides::new(&entries(&json!([
        {"task": "reports.yearly", "time_limit": "1h", "rate_limit": "none", "track": "sent", "redact": ["card.*"]},
        {"task": "/reports\\..*/", "time_limit": "10m", "soft_time_limit": "9m", "rate_limit": "100/m", "priority": 3},
        {"task": "*", "max_retries": 3, "retry_backoff": "2s..1m", "retry_jitter": 0.1, "acks": "early",
         "ignore_result": true, "track": "started", "redact": ["a", "b.c"], "expires": "1h", "priority": 1, "rate_limit": 5},
    ])))
    .unwrap();
    let declared = TaskOptions { queue: Some("slow"), priority: Some(9), ..TaskOptions::default() };
    let retry = RetryPolicy { jitter: 0.1, ..RetryPolicy::backoff(seconds(2), seconds(60)).times(3) };
    let plain = TaskOptions {
        retry,
        priority: Some(1),
        acks: AckMode::Early,
        ignore_result: true,
        track: Some(TrackedStates::Started),
        redact: Some(FieldPaths::of(&["a", "b.c"])),
        expires: Some(seconds(3_600)),
        rate_limit: Some(RateLimit::per_second(5)),
        ..declared.clone()
    };
    let monthly = TaskOptions {
        time_limit: Some(TimeLimit::After(seconds(600))),
        soft_time_limit: Some(TimeLimit::After(seconds(540))),
        rate_limit: Some(RateLimit::per_minute(100)),
        priority: Some(3),
        ..plain.clone()
    };
    let yearly = TaskOptions {
        time_limit: Some(TimeLimit::After(seconds(3_600))),
        rate_limit: None,
        track: Some(TrackedStates::Sent),
        redact: Some(FieldPaths::of(&["card.*"])),
        ..monthly.clone()
    };
    for (task, expected) in [("mail", plain), ("reports.monthly", monthly), ("reports.yearly", yearly)] {
        for _ in 0..2 {
            assert_eq!(overrides.apply(task, declared.clone()), expected, "{task}");
        }
    }
    assert_eq!(
        overrides.key_of("reports.yearly", "soft_time_limit").as_deref(),
        Some("task_options[1].soft_time_limit")
    );
    assert_eq!(overrides.key_of("mail", "time_limit"), None);
}

#[test]
fn waits_alone_come_with_retries_where_there_are_none() {
    let overrides = TaskOverrides::new(&entries(&json!([{"task": "*", "retry_backoff": "5s"}]))).unwrap();
    let steady = RetryPolicy::backoff(seconds(5), seconds(5));
    assert_eq!(overrides.apply("mail", TaskOptions::default()).retry, steady);
    let often = TaskOptions { retry: RetryPolicy::never().times(9), ..TaskOptions::default() };
    assert_eq!(overrides.apply("mail", often).retry, steady.times(9));
}

#[test]
fn a_line_is_written_as_it_is_read() {
    let written = json!([{"task": "a", "time_limit": "none", "rate_limit": "5/h", "max_retries": "none",
        "retry_backoff": "1s..10m", "acks": "late", "track": "sent", "redact": ["a.b"]}]);
    assert_eq!(serde_json::to_value(entries(&written)).unwrap(), written);
}

#[test]
fn what_makes_no_sense_is_a_problem_of_its_key() {
    let wrong = [
        (json!({"task": "a", "time_limit": "soon"}), "should be a duration such as 10s or 1m 30s"),
        (json!({"task": "a", "time_limit": 30}), "should be a duration with a unit such as 30s"),
        (json!({"task": "a", "time_limit": "0s"}), "should be more than zero, or none for no limit"),
        (json!({"task": "a", "track": "all"}), "unknown variant `all`, expected one of `finished`, `started`, `sent`"),
        (json!({"task": "a", "redact": ["a."]}), "should be a name such as card, or a path such as customer.email"),
        (json!({"task": "a", "rate_limit": "10/w"}), "should be a number a second, minute, hour or day"),
        (json!({"task": "a", "max_retries": -1}), "should be a whole number, or none for retries without end"),
        (json!({"task": "a", "retry_backoff": "10m..1s"}), "should be waits that go up from more than zero"),
        (json!({"task": "a", "rate_limit": "0.5/s"}), "found `0.5/s`: write 30/m"),
        (json!({"task": "a", "ratelimit": "10/s"}), "unknown field `ratelimit`"),
        (json!({"task": "a", "retry_within": "1h"}), "belongs in `#[task(…)]`; remove it here"),
        (json!({"task": "a", "retry_on": {"Busy": "5s"}}), "belongs in `#[task(…)]`; remove it here"),
    ];
    for (line, expected) in wrong {
        let error = serde_json::from_value::<TaskOverride>(line.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
    let found = problems(&entries(&json!([
        {"task": " ", "priority": 1},
        {"task": "/(/", "priority": 1},
        {"task": "quiet"},
        {"task": "a", "time_limit": "5s", "soft_time_limit": "5s", "expires": "0s", "retry_jitter": 2.0},
    ])));
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    let last = "task_options[3]";
    let expected = ["task_options[0].task", "task_options[1].task", "task_options[2]"].map(str::to_owned);
    let of_last = ["expires", "retry_jitter", "soft_time_limit"].map(|key| format!("{last}.{key}"));
    assert_eq!(keys, expected.into_iter().chain(of_last).collect::<Vec<_>>());
}

#[test]
fn an_entry_that_matches_no_task_is_reported() {
    let overrides = TaskOverrides::new(&entries(&json!([
        {"task": "reports.montly", "priority": 1},
        {"task": "reports.*", "priority": 1},
        {"task": "mail.*", "priority": 1},
    ])))
    .unwrap();
    let unmatched = overrides.unmatched(&["reports.monthly"]);
    let near = "`reports.montly` matches no task of this program, did you mean `reports.monthly`?".to_owned();
    let none = "`mail.*` matches no task of this program".to_owned();
    assert_eq!(unmatched, [("task_options[0].task".to_owned(), near), ("task_options[2].task".to_owned(), none)]);
}
