//! The queries of `deploy/` for Prometheus name metrics and labels that a worker or RabbitMQ has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use celeriac::DynamicCall;
use celeriac_client::call::CallOptions;
use celeriac_protocol::{Body, Value};
use celeriac_servers::{RabbitSpec, promtool};
use celeriac_tests::Bed;
use celeriac_tests::probe::page;
use celeriac_tests::wait::eventually;
use tempfile::TempDir;
use yaml_rust2::{Yaml, YamlLoader};

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// Words of PromQL before a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Other words of PromQL that are no metrics.
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// Returns the queries of the dashboard, with their variables filled in.
fn queries_of_dashboard() -> Vec<String> {
    let text = std::fs::read_to_string(deploy("grafana/celeriac.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries.map(|query| query.replace("$__rate_interval", "5m").replace("$job", ".*")).collect()
}

/// Returns the queries of the alert rules.
fn queries_of_rules() -> Vec<String> {
    let text = std::fs::read_to_string(deploy("alerts/celeriac.rules.yaml")).unwrap();
    let files = YamlLoader::load_from_str(&text).unwrap();
    let groups = files.iter().flat_map(|file| file["groups"].as_vec().unwrap());
    let rules = groups.flat_map(|group| group["rules"].as_vec().unwrap());
    rules.map(|rule: &Yaml| rule["expr"].as_str().unwrap().to_owned()).collect()
}

/// The metrics of a query, each with the labels that it selects by, and the labels that the query
/// groups by.
#[derive(Debug, Default, PartialEq)]
struct Named {
    metrics: BTreeMap<String, BTreeSet<String>>,
    grouped: BTreeSet<String>,
}

/// A part of a query: a name, a text, or another character.
#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Text,
    Mark(char),
}

fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut left = query.chars().peekable();
    while let Some(character) = left.next() {
        match character {
            '"' => {
                left.by_ref().find(|end| *end == '"');
                tokens.push(Token::Text);
            }
            // A duration.
            '[' => drop(left.by_ref().find(|end| *end == ']')),
            // A number, with its unit.
            '0'..='9' => while left.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some() {},
            'a'..='z' | 'A'..='Z' | '_' => {
                let mut name = String::from(character);
                while let Some(next) = left.next_if(|next| next.is_ascii_alphanumeric() || *next == '_') {
                    name.push(next);
                }
                tokens.push(Token::Name(name));
            }
            other if other.is_whitespace() => {}
            other => tokens.push(Token::Mark(other)),
        }
    }
    tokens
}

fn named(query: &str) -> Named {
    let mut named = Named::default();
    let mut left = tokens(query).into_iter().peekable();
    while let Some(token) = left.next() {
        let Token::Name(name) = token else { continue };
        if BEFORE_LABELS.contains(&name.as_str()) {
            let labels = left.by_ref().take_while(|token| *token != Token::Mark(')'));
            named.grouped.extend(labels.filter_map(|token| match token {
                Token::Name(label) => Some(label),
                _ => None,
            }));
        } else if !WORDS.contains(&name.as_str()) && !left.peek().is_some_and(is_after_function) {
            let labels = named.metrics.entry(name).or_default();
            if left.next_if_eq(&Token::Mark('{')).is_some() {
                labels.extend(left.by_ref().take_while(|token| *token != Token::Mark('}')).filter_map(|token| {
                    match token {
                        Token::Name(label) => Some(label),
                        _ => None,
                    }
                }));
            }
        }
    }
    named
}

/// Returns `true` for what follows a function, but no metric.
fn is_after_function(token: &Token) -> bool {
    match token {
        Token::Mark(mark) => *mark == '(',
        Token::Name(name) => ["by", "without"].contains(&name.as_str()),
        Token::Text => false,
    }
}

#[test]
fn metrics_and_labels_of_a_query_are_found() {
    let query = r#"sum by (le, q) (rate(a_bucket{x="y{",z=~".*"}[5m])) / 1e3 > on (w) (b unless b offset 15m)"#;
    let labels = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
    let metrics = [("a_bucket".to_owned(), labels(&["x", "z"])), ("b".to_owned(), labels(&[]))];
    assert_eq!(named(query), Named { metrics: metrics.into(), grouped: labels(&["le", "q", "w"]) });
}

/// Returns the metrics of a page, each with its labels.
fn metrics_of(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::<String, BTreeSet<String>>::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        // A line has the form of a selection.
        for (metric, labels) in named(line).metrics {
            metrics.entry(metric).or_default().extend(labels);
        }
    }
    metrics
}

/// Returns everything that the queries name and the page does not have.
fn missing(queries: &[String], page: &str) -> Vec<String> {
    let there = metrics_of(page);
    let mut missing = Vec::new();
    for query in queries {
        let Named { metrics, grouped } = named(query);
        let mut all = BTreeSet::from(ADDED.map(str::to_owned));
        for (metric, labels) in metrics {
            let Some(known) = there.get(&metric) else {
                missing.push(format!("{metric} in {query}"));
                continue;
            };
            let unknown = labels.iter().filter(|label| !known.contains(*label) && !ADDED.contains(&label.as_str()));
            missing.extend(unknown.map(|label| format!("{metric}{{{label}}} in {query}")));
            all.extend(known.iter().cloned());
        }
        missing.extend(grouped.difference(&all).map(|label| format!("label {label} in {query}")));
    }
    missing
}

/// Pages of RabbitMQ's metrics that have labels of queues.
const RABBITMQ_PAGES: [&str; 2] =
    ["metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count", "metrics/per-object"];

/// Returns the lines of `rabbitmq.conf` in the checklist, without those of TLS. The machine of a
/// test may have less space on its disk.
fn checklist() -> Vec<String> {
    let page = std::fs::read_to_string(deploy("../docs/production.md")).unwrap();
    let (_, rest) = page.split_once("```ini\n# rabbitmq.conf\n").unwrap();
    let lines: Vec<_> =
        rest.lines().take_while(|line| *line != "```").map(|line| line.replace("5GB", "50MB")).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    lines
}

#[celeriac_tests::test(real)]
async fn every_query_names_metrics_and_labels_of_a_worker_or_of_rabbitmq(bed: Bed) {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("health");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut spec = RabbitSpec::default();
    spec.plugins.push("rabbitmq_prometheus".to_owned());
    spec.config.extend(checklist());
    spec.config.push(format!("prometheus.tcp.port = {}", free.port()));
    spec.config.push("prometheus.tcp.ip = 127.0.0.1".to_owned());
    let node = spec.start().unwrap();
    let listen = ("CELERIAC__TELEMETRY__LISTEN", format!("unix:{}", socket.display()));
    let _worker = bed.process_with(&["worker"], &[("CELERIAC__BROKER__URL", node.url()), listen]);
    let metrics = async || page(&socket, "/metrics").await.map(|(_, page)| page).unwrap_or_default();
    eventually("it listens", &metrics, |page| page.contains("celeriac_parts_unready 0\n")).await;

    let client = bed.client(bed.program([]).set("broker.url", node.url())).await;
    let missing_file = Value::Text(folder.path().join("none").to_string_lossy().into_owned());
    for (task, argument) in [("test.note", Value::Int(7)), ("test.need", missing_file)] {
        let body = Body { args: vec![argument], ..Body::default() };
        let call = DynamicCall { task: task.to_owned(), body, options: CallOptions::default() };
        client.submit_dynamic(call).await.unwrap();
    }
    let is_done = |page: &String| {
        page.contains("celeriac_messages_dead_lettered_total{") && page.contains("celeriac_task_state=\"SUCCESS\"")
    };
    eventually("the tasks are done", &metrics, is_done).await;
    client.close().await;
    node.restart().unwrap();

    let of_rabbitmq = async || {
        let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
        let mut pages = String::new();
        for page in RABBITMQ_PAGES {
            let answer = http.get(format!("http://{free}/{page}")).send().await;
            pages += &answer.unwrap().error_for_status().unwrap().text().await.unwrap();
        }
        pages
    };
    let metrics = async || metrics().await + &of_rabbitmq().await;
    let queries: Vec<_> = queries_of_dashboard().into_iter().chain(queries_of_rules()).collect();
    let still_missing = async || missing(&queries, &metrics().await);
    eventually("everything is there", still_missing, |missing: &Vec<String>| missing.is_empty()).await;
    assert!(queries.len() > 30);
    let wrong =
        ["sum by (celeriac_tusk) (celeriac_parts_unready)", "celeriac_nothing", "celeriac_parts_unready{x=\"\"}"];
    assert_eq!(missing(&wrong.map(str::to_owned), &metrics().await).len(), 3, "the test sees what is wrong");
}

#[test]
fn the_alert_rules_pass_their_tests() {
    let promtool = promtool().unwrap();
    let run = |arguments: &[&str], file: &Path| {
        let output = Command::new(&promtool).args(arguments).arg(file).output().unwrap();
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    };
    run(&["check", "rules"], &deploy("alerts/celeriac.rules.yaml"));
    run(&["test", "rules"], &deploy("alerts/celeriac.rules.test.yaml"));

    // A query of the dashboard is read as the expression of a rule.
    let rules: String = queries_of_dashboard()
        .iter()
        .enumerate()
        .map(|(number, query)| format!("      - {{ record: \"query{number}\", expr: {} }}\n", serde_json::json!(query)))
        .collect();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("dashboard.yaml");
    std::fs::write(&file, format!("groups:\n  - name: dashboard\n    rules:\n{rules}")).unwrap();
    run(&["check", "rules"], &file);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
