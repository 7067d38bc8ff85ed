//! The commands that show a worker as a whole.

use std::collections::BTreeMap;

use celeriac_protocol::control::ok;
use celeriac_protocol::{Map, Value};
use serde_json::Value as Json;

use crate::control::node::ControlNode;
use crate::control::resources;

/// The version of Celery whose tools read these replies.
const CELERY: &str = "5.7.0";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Shows counts, pool, broker and resources.
pub(super) fn stats(node: &ControlNode) -> Value {
    let queues = node.runtime.live.list();
    let held: usize = queues.iter().map(|queue| queue.meter.held()).sum();
    let running: u32 = queues.iter().map(|queue| queue.meter.running()).sum();
    let seconds = |limit: Option<std::time::Duration>| limit.map_or(0.0, |limit| limit.as_secs_f64());
    let options = &node.options;
    let timeouts = [seconds(options.soft_time_limit), seconds(options.time_limit)];
    let pool: Value = [
        ("implementation", Value::from("celeriac")),
        ("max-concurrency", node.runtime.slots.all().into()),
        ("processes", [std::process::id()].into()),
        ("max-tasks-per-child", "N/A".into()),
        ("put-guarded-by-semaphore", true.into()),
        ("timeouts", timeouts.into()),
        ("running", running.into()),
        ("blocking-threads", node.runtime.threads.running().into()),
    ]
    .into_iter()
    .collect();
    let total: Map =
        node.runtime.starts.list().into_iter().map(|(task, count)| (task.to_owned(), count.into())).collect();
    [
        ("total", Value::Map(total)),
        ("pid", std::process::id().into()),
        ("clock", node.clock.now().to_string().into()),
        ("uptime", node.started.elapsed().as_secs().into()),
        ("pool", pool),
        ("broker", broker(&node.broker_url)),
        ("prefetch_count", held.into()),
        ("rusage", resources::rusage()),
    ]
    .into_iter()
    .collect()
}

/// Returns the first broker of an address without passwords, with the names of Celery.
fn broker(url: &str) -> Value {
    let first = url.split(',').next().unwrap_or_default();
    let (scheme, rest) = first.split_once("://").unwrap_or(("amqp", first));
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(user, rest)| (user, rest));
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_tls = scheme == "amqps";
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (address, None),
    };
    let vhost = path.split('?').next().unwrap_or_default();
    let vhost = if vhost.is_empty() { "/".to_owned() } else { vhost.replace("%2f", "/").replace("%2F", "/") };
    let others = url.split(',').skip(1).map(str::trim);
    [
        ("hostname", Value::from(host)),
        ("userid", user.split(':').next().unwrap_or_default().into()),
        ("virtual_host", vhost.into()),
        ("port", port.unwrap_or(if is_tls { 5671_u16 } else { 5672 }).into()),
        ("insist", false.into()),
        ("ssl", is_tls.into()),
        ("transport", if scheme == "amqps" { "amqp" } else { scheme }.into()),
        ("transport_options", Value::Map(Map::new())),
        ("login_method", "PLAIN".into()),
        ("alternates", others.collect()),
    ]
    .into_iter()
    .collect()
}

/// Shows the settings that differ from their defaults, or all of them, each under its whole key.
/// Passwords are masked.
pub(super) fn conf(node: &ControlNode, with_defaults: bool) -> Value {
    let (mut settings, mut defaults) = (BTreeMap::new(), BTreeMap::new());
    flatten(String::new(), &node.settings.in_force, &mut settings);
    flatten(String::new(), &node.settings.defaults, &mut defaults);
    let shown = settings.into_iter().filter(|(key, value)| with_defaults || defaults.get(key) != Some(value));
    let mut conf: Map = shown.map(|(key, value)| (key, Value::from(value.clone()))).collect();
    // Celery's tools look for these, whatever they hold.
    conf.insert("broker_url".to_owned(), node.broker_url.as_str().into());
    conf.insert("result_backend".to_owned(), node.results_url.as_str().into());
    conf.insert("include".to_owned(), Value::List(Vec::new()));
    conf.insert("deprecated_settings".to_owned(), Value::Null);
    conf.into()
}

fn flatten<'a>(key: String, value: &'a Json, flat: &mut BTreeMap<String, &'a Json>) {
    match value {
        Json::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, flat);
            }
        }
        other => drop(flat.insert(key, other)),
    }
}

/// Shows versions and settings, for a report of a bug.
pub(super) fn report(node: &ControlNode) -> Value {
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let mut report = format!(
        "\nsoftware -> celery:{CELERY} (protocol) celeriac:{VERSION}\nplatform -> system:{system} arch:{machine}\nworker \
         -> name:{} broker:{} results:{}\n",
        node.name(),
        node.broker_url,
        node.results_url
    );
    if let Value::Map(settings) = conf(node, false) {
        for (key, value) in settings {
            report.push_str(&format!("\n{key}: {}", serde_json::to_string(&value).unwrap_or_default()));
        }
    }
    ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_shown_in_its_parts() {
        let shown = broker("amqps://ada:***@mq-1:5673/jobs?x=1,amqps://ada:***@mq-2");
        for (key, expected) in [
            ("hostname", Value::from("mq-1")),
            ("userid", "ada".into()),
            ("virtual_host", "jobs".into()),
            ("port", 5673.into()),
            ("ssl", true.into()),
            ("transport", "amqp".into()),
            ("alternates", ["amqps://ada:***@mq-2"].into()),
        ] {
            assert_eq!(shown[key], expected, "{key}");
        }
        let shown = broker("amqp://localhost/%2f");
        assert_eq!((&shown["port"], &shown["virtual_host"], &shown["userid"]), (&5672.into(), &"/".into(), &"".into()));
        assert_eq!(broker("memory://")["transport"], "memory");
    }

    #[test]
    fn settings_have_their_whole_keys() {
        let settings = serde_json::json!({"worker": {"name": null, "queues": ["a"], "x": {}}});
        let mut flat = BTreeMap::new();
        flatten(String::new(), &settings, &mut flat);
        assert_eq!(flat.keys().collect::<Vec<_>>(), ["worker.name", "worker.queues", "worker.x"]);
    }
}
