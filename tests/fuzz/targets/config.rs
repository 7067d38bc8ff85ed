//! Configuration: files, variables and flags.

use celeriac_broker::BrokerOptions;
use celeriac_config::{Environment, Sources, load};
use celeriac_fuzz::{Outcome, corpus, fuzz};
use celeriac_topology::{CallRoute, ExchangeOptions, QueueOptions, Router, RoutesOptions, TaskOverride, TaskOverrides};
use celeriac_topology::{TaskRoute, overrides};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

const FILES: [&str; 2] = [include_str!("../../../config/celeriac.yaml"), include_str!("../../../config/routes.yaml")];

/// The sections with the most to read.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sections {
    broker: BrokerOptions,
    exchanges: IndexMap<String, ExchangeOptions>,
    queues: IndexMap<String, QueueOptions>,
    task_routes: Vec<TaskRoute>,
    task_options: Vec<TaskOverride>,
    default_queue: String,
}

#[test]
fn no_configuration_makes_a_reader_panic() {
    let mut samples = corpus("config");
    samples.extend(FILES.iter().flat_map(|file| sections(file)));
    fuzz("config", samples, |bytes, chance| {
        let text = String::from_utf8_lossy(bytes);
        let mut sources = Sources::new().defaults("fuzz", text.as_ref());
        // The end of the text is the text of a variable or a flag as well.
        let end = text.char_indices().rev().nth(chance.usize(..20)).map_or("", |(at, _)| &text[at..]);
        match chance.u8(0..3) {
            0 => sources = sources.environment(Environment::new([("CELERIAC__BROKER__HEARTBEAT", end)])),
            1 => sources = sources.flag("task_routes", end, "--routes"),
            _ => {}
        }
        let loaded = load::<Sections>(&sources);
        let outcome = Outcome::of(&loaded.as_ref().map_err(ToString::to_string));
        if let Ok(loaded) = loaded {
            use_options(&loaded.options);
            let _ = loaded.show();
        }
        outcome
    });
}

/// Validates options, and routes a task by them.
fn use_options(options: &Sections) {
    let _ = options.broker.validate();
    let _ = overrides::problems(&options.task_options);
    if let Ok(overrides) = TaskOverrides::new(&options.task_options) {
        let _ = overrides.unmatched(&["shop.orders.charge"]);
    }
    let routes = RoutesOptions {
        exchanges: options.exchanges.clone(),
        queues: options.queues.clone(),
        task_routes: options.task_routes.clone(),
        default_queue: options.default_queue.clone(),
    };
    if let Ok(router) = Router::new(&routes) {
        let _ = router.route("shop.orders.charge", &CallRoute::default(), None);
    }
}

/// Returns the sections of a file, without their comments.
fn sections(file: &str) -> Vec<Vec<u8>> {
    let mut sections: Vec<String> = Vec::new();
    for line in file.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let begins = !line.starts_with(' ') && !line.starts_with('-');
        match sections.last_mut() {
            Some(section) if !begins => {
                section.push('\n');
                section.push_str(line);
            }
            _ => sections.push(line.to_owned()),
        }
    }
    sections.into_iter().map(String::into_bytes).collect()
}
