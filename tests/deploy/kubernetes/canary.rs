//! The canary has an image of its own and one task at a time, of the queues of other workers.

use celeriac_tests::manifests::{arguments, name, objects, of_kind, rendered, variables};
use serde_json::Value;

use crate::planted;

const CANARY: &str = "worker-default-canary";

/// Returns what is wrong with the canary.
fn offences(objects: &[Value]) -> Vec<String> {
    let deployment = |wanted: &str| of_kind(objects, "Deployment").find(|object| name(object) == wanted);
    let (Some(canary), Some(other)) = (deployment(CANARY), deployment("worker-default")) else {
        return vec!["no canary".to_owned()];
    };
    let mut offences = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            offences.push(what.to_owned());
        }
    };
    let [own, others] = [canary, other].map(|object| &object["spec"]["template"]);
    let [container, other] = [own, others].map(|template| &template["spec"]["containers"][0]);
    let given = arguments(container);
    let queues = |container: &Value| {
        arguments(container).into_iter().find(|word| word.starts_with("--queues=")).map(str::to_owned)
    };
    demand(canary["spec"]["replicas"] == 1, "it is not one");
    demand(given.contains(&"--concurrency=1") && given.contains(&"--prefetch=1"), "it may have more than one task");
    demand(queues(container).is_some() && queues(container) == queues(other), "it has other queues");
    let priority = |container| {
        let variables = variables(objects, container);
        let own = variables.into_iter().find(|(name, _)| name == "CELERIAC__WORKER__CONSUMER_PRIORITY");
        own.map_or(0, |(_, value)| value.parse::<i32>().unwrap_or(0))
    };
    demand(priority(container) > priority(other), "others come first");
    let image = |place: &str| (own["spec"][place][0]["image"].clone(), others["spec"][place][0]["image"].clone());
    for place in ["initContainers", "containers"] {
        let (own, other) = image(place);
        demand(own != other, "it has the image of the others");
    }
    let (image, _) = image("containers");
    let tag = image.as_str().and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag);
    demand(own["metadata"]["labels"]["app.kubernetes.io/version"].as_str() == tag, "its label has another version");
    let setup = of_kind(objects, "Job").next().map(|job| &job["spec"]["template"]["spec"]["containers"][0]["image"]);
    demand(setup == Some(&image), "its tables are those of another version");
    let class = |template: &Value| template["metadata"]["labels"]["celeriac.dev/class"].clone();
    demand(class(own) == "canary" && class(own) != class(others), "its series are those of the others");
    demand(canary["spec"]["selector"]["matchLabels"]["celeriac.dev/class"] == class(own), "it selects other pods");
    let is_scaled = |scaled: &Value| scaled["spec"]["scaleTargetRef"]["name"] == CANARY;
    demand(!of_kind(objects, "ScaledObject").any(is_scaled), "KEDA scales it");
    offences
}

#[test]
fn a_canary_is_one_worker_of_the_next_version_with_one_task() {
    assert_eq!(offences(&objects(&rendered("canary"))), Vec::<String>::new());
}

#[test]
fn a_planted_mistake_of_the_canary_is_found() {
    let text = rendered("canary");
    let mistakes = [
        ("replicas: 1\n", "replicas: 2\n"),
        ("--concurrency=1", "--concurrency=64"),
        ("--prefetch=1", "--prefetch=10"),
        ("CELERIAC__WORKER__CONSUMER_PRIORITY", "CELERIAC__WORKER__CONSUMER_PRIO"),
        ("value: \"10\"", "value: \"-10\""),
        ("my-app:1.1.0", "my-app:1.0.0"),
        ("app.kubernetes.io/version: 1.1.0", "app.kubernetes.io/version: 1.0.0"),
        ("celeriac.dev/class: canary", "celeriac.dev/class: default"),
        ("    name: worker-default\n", "    name: worker-default-canary\n"),
    ];
    for (right, wrong) in mistakes {
        let planted = planted(&text, right, wrong);
        assert!(!offences(&objects(&planted)).is_empty(), "{wrong}");
    }
}
