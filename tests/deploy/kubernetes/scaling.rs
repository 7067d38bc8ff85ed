//! KEDA scales workers that exist, on all of their queues, and never faster than they drain.

use std::time::Duration;

use celeriac_tests::manifests::{name, objects, of_kind, rendered};
use serde_json::Value;

use super::configuration::{Worker, workers};
use crate::{deploy, planted};

/// Returns what is wrong with the scaling of workers.
fn offences(objects: &[Value]) -> Vec<String> {
    let mut offences = Vec::new();
    let workers = workers(objects, &mut offences);
    for worker in &workers {
        let target = |scaled: &&Value| scaled["spec"]["scaleTargetRef"]["name"] == worker.name.as_str();
        let Some(scaled) = of_kind(objects, "ScaledObject").find(target) else {
            offences.push(format!("{} is not scaled", worker.name));
            continue;
        };
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                offences.push(format!("{}: {what}", worker.name));
            }
        };
        let spec = &scaled["spec"];
        let deployment = of_kind(objects, "Deployment").find(|deployment| name(deployment) == worker.name).unwrap();
        demand(deployment["spec"]["replicas"].is_null(), "both set the replicas");
        demand(spec["minReplicaCount"].as_u64() >= Some(1), "nobody relays the outbox");
        demand(spec["idleReplicaCount"].is_null(), "nobody relays the outbox while idle");
        let down = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"];
        let longest = |seconds: &Value| seconds.as_u64().map(Duration::from_secs) > Some(worker.grace);
        demand(longest(&down["stabilizationWindowSeconds"]), "the next worker stops before the drain of the last");
        demand(longest(&down["policies"][0]["periodSeconds"]), "workers stop faster than they drain");
        let [messages, slots] = [&spec["triggers"][0], &spec["triggers"][1]].map(|trigger| &trigger["metadata"]);
        demand(messages["excludeUnacknowledged"] == "false", "messages that workers hold do not count");
        demand(messages["protocol"] == "http", "AMQP does not show the messages that workers hold");
        demand(messages["queueName"] == expression(worker).as_str(), "other queues");
        let query = slots["query"].as_str().unwrap_or_default();
        let ours = format!("celeriac_dev_class=\"{}\"", worker.class);
        demand(query.matches(&ours).count() == 2, "slots of another class");
        demand(slots["ignoreNullValues"] == "false", "no series is no load");
    }
    offences
}

/// Returns the regular expression of the queues of a worker, without broadcasts, which have no
/// messages of their own.
fn expression(worker: &Worker) -> String {
    let names: Vec<_> = worker.queues.iter().map(String::as_str).filter(|queue| *queue != "reload").collect();
    match names[..] {
        [only] => format!("^{only}$"),
        _ => format!("^({})$", names.join("|")),
    }
}

#[test]
fn workers_are_scaled_on_their_own_queues_and_slots() {
    let objects = objects(&rendered("production"));
    assert_eq!(offences(&objects), Vec::<String>::new());
    // The label of a series is the label of a pod, with `_` in place of other characters.
    let monitor = of_kind(&objects, "PodMonitor").next().unwrap();
    assert_eq!(monitor["spec"]["podTargetLabels"][0], "celeriac.dev/class");
    let page = std::fs::read_to_string(deploy("../docs/metrics.md")).unwrap();
    for metric in ["celeriac.worker.slots.used", "celeriac.worker.slots.limit"] {
        assert!(page.contains(&format!("| `{metric}` |")), "{metric}");
    }
}

#[test]
fn a_planted_mistake_of_scaling_is_found() {
    let text = rendered("production");
    let mistakes = [
        ("minReplicaCount: 2", "minReplicaCount: 0"),
        ("stabilizationWindowSeconds: 1200", "stabilizationWindowSeconds: 300"),
        ("periodSeconds: 600", "periodSeconds: 60"),
        ("excludeUnacknowledged: \"false\"", "excludeUnacknowledged: \"true\""),
        ("protocol: http", "protocol: amqp"),
        ("queueName: ^reports$", "queueName: ^report$"),
        ("limit{celeriac_dev_class=\"reports\"}", "limit{celeriac_dev_class=\"default\"}"),
        ("    name: worker-reports\n  triggers", "    name: worker-report\n  triggers"),
        ("ignoreNullValues: \"false\"", "ignoreNullValues: \"true\""),
        ("  minReadySeconds: 5", "  minReadySeconds: 5\n  replicas: 2"),
    ];
    for (right, wrong) in mistakes {
        let planted = planted(&text, right, wrong);
        assert!(!offences(&objects(&planted)).is_empty(), "{wrong}");
    }
}
