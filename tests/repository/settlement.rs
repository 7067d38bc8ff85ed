//! Few files settle deliveries, so they show every end of a message.

use std::collections::BTreeSet;

use crate::files::{files, root};

/// The files of worker and client that settle a delivery, as `ARCHITECTURE.md` names them.
const SETTLES: [&str; 6] = [
    "crates/client/src/control/mailbox.rs",
    "crates/client/src/events/stream.rs",
    "crates/client/src/replies.rs",
    "crates/worker/src/attempt/settle.rs",
    "crates/worker/src/control.rs",
    "crates/worker/src/intake/consumer.rs",
];

#[test]
fn a_delivery_is_settled_only_where_the_architecture_says() {
    let mut found = BTreeSet::new();
    for path in ["crates/worker/src", "crates/client/src"].iter().flat_map(|folder| files(folder, ".rs")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        if [".ack()", ".requeue()", ".reject()"].iter().any(|call| code.contains(call)) {
            found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), SETTLES);
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for file in SETTLES {
        let (_, name) = file.split_once("/src/").unwrap();
        assert!(architecture.contains(name), "ARCHITECTURE.md does not name {name}");
    }
}

/// The files that acknowledge, reject or requeue in AMQP: consumers, browsers, and migrations.
const IN_AMQP: [&str; 3] = [
    "crates/broker/src/amqp/browse.rs",
    "crates/broker/src/amqp/consume/acks.rs",
    "crates/broker/src/amqp/migration.rs",
];

#[test]
fn a_delivery_is_acknowledged_in_amqp_only_where_the_architecture_says() {
    let mut found = BTreeSet::new();
    for path in
        files("crates", ".rs").into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "src"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        if ["basic_ack(", "basic_nack(", "basic_reject("].iter().any(|call| text.contains(call)) {
            found.insert(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), IN_AMQP);
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for file in IN_AMQP {
        let (_, name) = file.split_once("/src/").unwrap();
        assert!(architecture.contains(name), "ARCHITECTURE.md does not name {name}");
    }
}
