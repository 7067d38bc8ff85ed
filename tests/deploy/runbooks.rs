//! Every alert has a page. Its commands exist, and so do those of the checklist for production.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use celeriac_tests::manifests::objects;
use celeriac_tests::program;
use serde_json::Value;

use crate::deploy;
use crate::kubernetes::run;

const RULES: &str = "alerts/celeriac.rules.yaml";

fn text(path: &str) -> String {
    fs::read_to_string(deploy(path)).unwrap()
}

/// Returns the names of the alerts, each with the path of its page.
fn alerts() -> Vec<(String, String)> {
    let rules = objects(&text(RULES)).remove(0);
    let groups = rules["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    alerts.map(|alert| (words(&alert["alert"]), words(&alert["annotations"]["runbook"]))).collect()
}

/// Returns the commands of this project in the code blocks of a page.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("celeriac ")).collect()
}

/// Returns the commands of this project in the text of a page.
fn spans(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("celeriac "))
}

/// Returns the reason for which the program does not understand a command.
fn refused(command: &str) -> Option<String> {
    let words: Vec<_> = command.split(' ').collect();
    // The program checks the name of a query on its server.
    if let ["query", name, ..] = words[..]
        && !text("../docs/cookbook.md").contains(&format!("\n### {name}\n"))
    {
        return Some(format!("no query `{name}`"));
    }
    // Every flag is read before the help is printed.
    let (succeeds, said) = run(Command::new(program::path()).args(words).arg("--help"));
    (!succeeds).then_some(said)
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let alerts = alerts();
    assert!(alerts.len() >= 10);
    for (alert, page) in &alerts {
        assert_eq!(page, &format!("deploy/runbooks/{alert}.md"));
        let page = text(&format!("../{page}"));
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        for part in ["## See", "## Do", "## Ends"] {
            assert!(page.contains(&format!("\n{part}\n")), "{alert} has no {part}");
        }
    }
    let pages = fs::read_dir(deploy("runbooks")).unwrap().map(|entry| entry.unwrap().file_name());
    let pages: BTreeSet<_> = pages.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(pages, alerts.iter().map(|(alert, _)| format!("{alert}.md")).collect());
}

#[test]
fn the_commands_of_the_pages_exist() {
    for (alert, page) in alerts() {
        let page = text(&format!("../{page}"));
        let commands = commands(&page);
        assert!(!page.contains("\n```\n```") && page.matches("\n```").count().is_multiple_of(2), "{alert}");
        for command in &commands {
            assert_eq!(refused(command), None, "{alert}: {command}");
        }
    }
    let checklist = text("../docs/production.md");
    let named: Vec<_> =
        checklist.lines().filter_map(|line| line.strip_prefix("$ celeriac ")).chain(spans(&checklist)).collect();
    assert!(named.len() > 15, "{named:?}");
    for command in named {
        assert_eq!(refused(command), None, "docs/production.md: {command}");
    }
    assert!(refused("dead list --quue billing").is_some());
    assert!(refused("query outboxes").is_some());
}

#[test]
fn the_links_of_the_pages_lead_somewhere() {
    for (alert, page) in alerts() {
        for target in text(&format!("../{page}")).split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            assert!(deploy("runbooks").join(target).exists(), "{alert}: {target}");
        }
    }
}

#[test]
fn the_rules_for_the_operator_are_the_rules() {
    let copy = objects(&text("kubernetes/components/alerts/rules.yaml")).remove(0);
    assert_eq!(copy["spec"], objects(&text(RULES)).remove(0));
}
