//! Pods of ours reach what they need, and nothing else.

use std::collections::BTreeSet;

use celeriac_tests::manifests::{kind, objects, of_kind, rendered};
use serde_json::Value;

use super::overlays;

/// Ports of DNS, AMQP, RabbitMQ's management API, Postgres and OTLP.
const PORTS: [u64; 8] = [53, 4317, 4318, 5432, 5671, 5672, 15671, 15672];

/// Returns the offences of the network policy of our pods.
fn offences(objects: &[Value]) -> Vec<String> {
    let policies: Vec<_> = of_kind(objects, "NetworkPolicy").map(|policy| &policy["spec"]).collect();
    let [policy] = policies[..] else { return vec![format!("{} policies", policies.len())] };
    let mut offences = Vec::new();
    let ours = &serde_json::json!({"app.kubernetes.io/name": "celeriac"});
    if &policy["podSelector"]["matchLabels"] != ours {
        offences.push("it is not for our pods".to_owned());
    }
    if policy["policyTypes"] != serde_json::json!(["Ingress", "Egress"]) {
        offences.push("it is not for both directions".to_owned());
    }
    let mut reached = BTreeSet::new();
    for rule in policy["egress"].as_array().into_iter().flatten() {
        let peers: Vec<_> = rule["to"].as_array().into_iter().flatten().collect();
        // A peer without labels of pods, or no peer, is everybody.
        let is_named = |peer: &&Value| {
            !peer["ipBlock"].is_null()
                || peer["podSelector"]["matchLabels"].as_object().is_some_and(|all| !all.is_empty())
        };
        if peers.is_empty() || !peers.iter().all(is_named) {
            offences.push(format!("a rule for everybody: {rule}"));
        }
        reached.extend(rule["ports"].as_array().into_iter().flatten().filter_map(|port| port["port"].as_u64()));
    }
    if reached != BTreeSet::from(PORTS) {
        offences.push(format!("ports {reached:?}"));
    }
    for rule in policy["ingress"].as_array().into_iter().flatten() {
        if rule["from"].as_array().is_none_or(Vec::is_empty) || rule["ports"][0]["port"] != "health" {
            offences.push(format!("a way in: {rule}"));
        }
    }
    offences
}

#[test]
fn our_pods_reach_broker_database_collector_and_dns_only() {
    for overlay in overlays() {
        assert_eq!(offences(&objects(&rendered(&overlay))), Vec::<String>::new(), "{overlay}");
    }
}

#[test]
fn a_planted_way_out_is_found() {
    let objects = objects(&rendered("production"));
    let at = objects.iter().position(|object| kind(object) == "NetworkPolicy").unwrap();
    let mistakes = [
        ("/spec/egress/0/to", serde_json::json!([])),
        ("/spec/egress/1/to/0/podSelector", Value::Null),
        ("/spec/egress/1/ports/0/port", 443.into()),
        ("/spec/policyTypes", serde_json::json!(["Ingress"])),
        ("/spec/podSelector/matchLabels", serde_json::json!({"app.kubernetes.io/name": "other"})),
        ("/spec/ingress/0/from", serde_json::json!([])),
    ];
    for (place, wrong) in mistakes {
        let mut planted = objects.clone();
        *planted[at].pointer_mut(place).unwrap() = wrong;
        assert!(!offences(&planted).is_empty(), "{place}");
    }
}
