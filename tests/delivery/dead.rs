//! Dead letters at the command line: listed, shown, replayed, purged.

use std::path::Path;
use std::time::Duration;

use celeriac::Chain;
use celeriac::prelude::*;
use celeriac_tests::{Bed, Peer, Program, eventually};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;

/// A virtual host, and a command line for it.
pub(crate) struct Console {
    pub(crate) peer: Peer,
    variables: Vec<(&'static str, String)>,
    folder: tempfile::TempDir,
}

impl Console {
    /// Returns a console with these queues declared, beside the default one.
    pub(crate) async fn new(bed: &Bed, queues: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("routes.yaml"), queues).unwrap();
        let peer = bed.peer().await;
        let console = Self { peer, variables: bed.environment().into(), folder };
        // The first call declares everything.
        let (code, said) = console.run(&["call", "test.note", "-a", "[0]", "-Q", "celeriac"]).await;
        assert_eq!(code, 0, "{said}");
        console.peer.purge("celeriac").await;
        console
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--config", self.folder.path().to_str().unwrap()], arguments].concat()
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut program = self.start(arguments);
        let code = program.exit_code(Duration::from_secs(60)).await;
        (code, program.rest().await)
    }

    /// Starts the command line, and returns while it runs.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        Program::start(&self.arguments(arguments), &self.variables)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> Json {
        let (code, said) = self.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Runs the command line on a terminal, where a person gives this answer.
    async fn answered(&self, arguments: &[&str], answer: &str) -> (i32, String) {
        let line =
            [&[celeriac_tests::program::path().as_str()], self.arguments(arguments).as_slice()].concat().join(" ");
        let (mut program, mut input) =
            Program::start_with_input("script", &["-qec", &line, "/dev/null"], &self.variables);
        input.write_all(answer.as_bytes()).await.unwrap();
        drop(input);
        let code = program.exit_code(Duration::from_secs(60)).await;
        (code, program.rest().await)
    }

    pub(crate) fn worker(&self) -> Program {
        Program::start(&self.arguments(&["worker", "-l", "info,celeriac::worker=debug"]), &self.variables)
    }

    pub(crate) async fn dead(&self, queue: &str, count: u32) {
        let queue = format!("{queue}.dead");
        eventually(&queue, async || self.peer.ready(&queue).await, |ready| *ready == count).await;
    }

    /// Returns the ids that `dead list` shows.
    async fn listed(&self, flags: &[&str]) -> Vec<String> {
        let listed = self.json(&[&["dead", "list"], flags].concat()).await;
        let letters = listed["letters"].as_array().unwrap();
        letters.iter().map(|letter| letter["id"].as_str().unwrap_or("-").to_owned()).collect()
    }

    /// Publishes a dead letter as a worker writes it.
    pub(crate) async fn bury(&self, queue: &str, task: &str, id: &str, more: &[(&str, &str)]) {
        self.bury_in(&format!("{queue}.dead"), queue, task, id, more).await;
    }

    async fn bury_in(&self, dead_queue: &str, queue: &str, task: &str, id: &str, more: &[(&str, &str)]) {
        let mut headers = FieldTable::default();
        let own = [("task", task), ("id", id), ("celeriac-dead-queue", queue)];
        for (name, value) in own.iter().chain(more) {
            headers.insert((*name).into(), AMQPValue::LongString(LongString::from(*value)));
        }
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_delivery_mode(2)
            .with_priority(3);
        self.peer.put(dead_queue, properties, br#"[[7],{"by":"me"},{}]"#).await;
    }
}

/// Returns a console with dead letters of several kinds, in two queues.
pub(crate) async fn graveyard(bed: &Bed) -> Console {
    let console = Console::new(bed, "queues: { mail: {}, bills: {} }").await;
    let ago = |hours: i64| (celeriac_telemetry::clock::now() - jiff::SignedDuration::from_hours(hours)).to_string();
    let letter = |reason: &'static str, error: &'static str, hours| {
        [
            ("celeriac-dead-reason", reason.to_owned()),
            ("celeriac-dead-error", error.to_owned()),
            ("celeriac-dead-at", ago(hours)),
            ("celeriac-dead-worker", "w1@here".to_owned()),
        ]
    };
    for (queue, task, id, more) in [
        ("mail", "mail.welcome", "m1", letter("exhausted", "Timeout: no answer in 30s", 5)),
        ("mail", "mail.welcome", "m2", letter("rejected", "Refused: no such address", 3)),
        ("mail", "mail.digest", "m3", letter("exhausted", "Timeout: no answer in 9s", 1)),
        ("bills", "orders.charge", "b1", letter("exhausted", "Declined: no funds", 2)),
    ] {
        let more: Vec<_> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        console.bury(queue, task, id, &more).await;
    }
    console.dead("mail", 3).await;
    console.dead("bills", 1).await;
    console
}

#[celeriac_tests::test(real)]
async fn dead_letters_are_listed_by_every_filter_and_stay(bed: Bed) {
    let console = graveyard(&bed).await;
    let cases: [(&[&str], &[&str]); 14] = [
        (&[], &["m1", "m2", "m3", "b1"]),
        (&["-Q", "mail"], &["m1", "m2", "m3"]),
        (&["--queue", "bills.dead"], &["b1"]),
        (&["--queue", "bills,mail", "--limit", "2"], &["b1", "m1"]),
        (&["--task", "mail.*"], &["m1", "m2", "m3"]),
        (&["--task", "mail.digest"], &["m3"]),
        (&["--task", "/.*charge/"], &["b1"]),
        (&["--id", "m2"], &["m2"]),
        (&["--reason", "exhausted", "-t", "mail.*"], &["m1", "m3"]),
        (&["--error", "no answer"], &["m1", "m3"]),
        (&["--error", r"/in \d\ds$/"], &["m1"]),
        (&["--older-than", "150m"], &["m1", "m2"]),
        (&["--newer", "150m"], &["m3", "b1"]),
        (&["--error", "nothing like it"], &[]),
    ];
    for (flags, expected) in cases {
        let mut listed = console.listed(flags).await;
        let mut expected = expected.to_vec();
        if !flags.contains(&"--limit") {
            listed.sort();
            expected.sort_unstable();
        }
        assert_eq!(listed, expected, "{flags:?}");
    }
    console.dead("mail", 3).await;
    let (code, said) = console.run(&["dead", "list"]).await;
    assert_eq!(code, 0, "{said}");
    for part in [
        "mail.welcome[m1] Timeout: no answer in 30s",
        "4 of 4 dead letters",
        "queue:   bills 1, mail 3",
        "reason:  exhausted 3, rejected 1",
        "task:    mail.digest 1, mail.welcome 2, orders.charge 1",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[celeriac_tests::test(real)]
async fn a_wrong_flag_or_queue_is_told_with_what_was_probably_meant(bed: Bed) {
    let console = Console::new(&bed, "queues: { mail: {} }").await;
    let cases: [(&[&str], i32, &str); 9] = [
        (&["list", "-Q", "mial"], 65, "--queue: queue `mial` is not declared, did you mean `mail`?"),
        (&["list", "-Q", "x"], 65, "--queue: queue `x` is not declared; declared are mail, celeriac"),
        (&["replay", "--to", "mails", "--yes"], 65, "--to: queue `mails` is not declared, did you mean `mail`?"),
        (&["list", "--task", "/(/"], 65, "--task: `/(/` is not a regular expression"),
        (&["purge", "--error", "/(/"], 65, "--error: `/(/` is not a regular expression"),
        (&["list", "--quue", "mail"], 2, "--quue"),
        (&["replay", "--rate", "fast"], 2, "such as 10/s, 100/m, 5/h"),
        (&["show", "nobody"], 65, "task nobody: no dead letter has this id"),
        (&["replay", "--id", "nobody"], 65, "task nobody: no dead letter has this id"),
    ];
    for (arguments, expected, part) in cases {
        let (code, said) = console.run(&[&["dead"], arguments].concat()).await;
        assert_eq!(code, expected, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[celeriac_tests::test(real)]
async fn a_dead_letter_is_shown_with_what_it_carries_and_where_it_would_go(bed: Bed) {
    let console = graveyard(&bed).await;
    let (code, said) = console.run(&["dead", "show", "b1"]).await;
    assert_eq!(code, 0, "{said}");
    for part in [
        "orders.charge[b1]",
        "reason       exhausted",
        "error        Declined: no funds",
        "worker       w1@here",
        "dead queue   bills.dead",
        "replays to   bills",
        "args         [7]",
        r#"kwargs       {"by":"me"}"#,
        "celeriac-dead-reason: \"exhausted\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    console.dead("bills", 1).await;
}

#[celeriac_tests::test(real)]
async fn a_replay_puts_back_what_its_filter_means_and_nothing_else(bed: Bed) {
    let console = graveyard(&bed).await;
    let (code, said) = console.run(&["dead", "replay", "-t", "mail.*", "--dry-run"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("would replay 3 of 4 dead letters"), "{said}");
    console.dead("mail", 3).await;
    let done = console.json(&["dead", "replay", "-t", "mail.welcome", "-y", "--rate", "20/s"]).await;
    assert_eq!(done, json!({"done": "replayed", "removed": 2, "left": 2, "stuck": 0, "reason": null}));
    assert_eq!(console.listed(&[]).await, ["m3", "b1"]);
    let back = console.peer.take_all("mail").await;
    let ids: Vec<_> = back.iter().map(|found| found.header("id").unwrap()).collect();
    assert_eq!(ids, ["m1", "m2"], "in their order");
    let mut names: Vec<_> = back[0].headers.inner().keys().map(|name| name.to_string()).collect();
    names.sort();
    names.retain(|name| name != "x-delivery-count");
    assert_eq!(names, ["celeriac-replayed", "id", "task"]);
    assert_eq!(back[0].body, br#"[[7],{"by":"me"},{}]"#);

    let (code, said) = console.run(&["dead", "replay", "-y", "--to", "bills", "--limit", "1"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 1 left"));
    assert_eq!(console.peer.ready("bills").await, 1);
}

#[celeriac_tests::test(real)]
async fn of_a_dead_letter_queue_that_several_share_those_of_the_named_queue_are_meant(bed: Bed) {
    let queues = "queues: { mail: { dead_letter_queue: graves }, bills: { dead_letter_queue: graves }, plain: {} }";
    let console = Console::new(&bed, queues).await;
    for (queue, id) in [("mail", "m1"), ("bills", "b1"), ("mail", "m2")] {
        console.bury_in("graves", queue, "t", id, &[]).await;
    }
    console.bury_in("graves", "", "t", "x1", &[]).await;
    eventually("graves", async || console.peer.ready("graves").await, |ready| *ready == 4).await;
    assert_eq!(console.listed(&[]).await, ["m1", "b1", "m2", "x1"]);
    assert_eq!(console.listed(&["-Q", "mail"]).await, ["m1", "m2"]);
    let (code, said) = console.run(&["dead", "purge", "-y", "-Q", "bills"]).await;
    assert_eq!((code, said.as_str()), (0, "1 purged, 3 left"));
    let (code, said) = console.run(&["dead", "replay", "-y"]).await;
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("2 replayed, 1 left") && said.contains("1 could not be replayed"), "{said}");
    assert_eq!((console.peer.ready("mail").await, console.peer.ready("bills").await), (2, 0));
    let (code, said) = console.run(&["dead", "replay", "-y", "--to", "plain"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 0 left"));
}

#[celeriac_tests::test(real)]
async fn what_cannot_be_put_back_stays_and_is_told(bed: Bed) {
    let console = Console::new(&bed, "queues: { mail: {} }").await;
    console.bury("mail", "t", "1", &[("celeriac-dead-queue", "gone")]).await;
    console.bury("mail", "t", "2", &[]).await;
    console.dead("mail", 2).await;
    let (code, said) = console.run(&["dead", "replay", "-y"]).await;
    assert_eq!(code, 65, "{said}");
    assert!(said.contains("1 replayed, 1 left"), "{said}");
    assert!(said.contains("1 could not be replayed: message unroutable: queue `gone` does not exist"), "{said}");
    assert_eq!(console.listed(&[]).await, ["1"]);
}

#[celeriac_tests::test(real)]
async fn a_purge_asks_and_throws_away_what_its_filter_means(bed: Bed) {
    let console = graveyard(&bed).await;
    let purge = ["dead", "purge", "-Q", "mail", "--reason", "exhausted"];
    let (code, said) = console.answered(&purge, "n\n").await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("purge 2 of 3 dead letters?") && said.contains("declined: nothing was changed"), "{said}");
    let (code, said) = console.run(&purge).await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("confirmation required: stdin is not a terminal") && said.contains("give --yes"), "{said}");
    console.dead("mail", 3).await;
    let (code, said) = console.answered(&purge, "y\n").await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("2 purged, 1 left"), "{said}");
    assert_eq!(console.listed(&[]).await, ["m2", "b1"]);
    assert_eq!(console.peer.ready("mail").await, 0, "nothing was put back");
    let (code, said) = console.run(&["dead", "purge", "--id", "m2"]).await;
    assert_eq!((code, said.as_str()), (0, "1 purged, 1 left"), "one that is named needs no question");
}

fn touch(path: &Path) {
    std::fs::write(path, "").unwrap();
}

#[celeriac_tests::test(real)]
async fn an_exhausted_task_that_is_replayed_has_all_its_attempts_again_and_succeeds_once_its_cause_is_gone(bed: Bed) {
    let console = Console::new(&bed, "").await;
    let mut worker = console.worker();
    worker.says("ready").await;
    let file = console.folder.path().join("needed");
    let arguments = json!([file]).to_string();
    let (code, said) = console.run(&["call", "test.need", "-a", &arguments, "--id", "a-1"]).await;
    assert_eq!(code, 0, "{said}");
    console.dead("celeriac", 1).await;

    let (code, said) = console.run(&["dead", "replay", "--id", "a-1"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 0 left"));
    console.dead("celeriac", 1).await;
    let shown = console.json(&["dead", "show", "a-1"]).await;
    let letter = &shown["letter"];
    assert_eq!(
        (&letter["replays"], &letter["attempts"], &letter["reason"]),
        (&json!(1), &json!(2), &json!("exhausted"))
    );
    let row = "SELECT state, attempts, replays FROM celeriac.tasks WHERE id = 'a-1'";
    let row = async || sqlx::query_as::<_, (String, i64, i64)>(row).fetch_one(&mut bed.database().await).await.unwrap();
    assert_eq!(eventually("its row", row, |(state, ..)| state == "FAILURE").await, ("FAILURE".to_owned(), 2, 1));

    touch(&file);
    let (code, said) = console.run(&["dead", "replay", "--id", "a-1"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 0 left"));
    assert_eq!(eventually("its row", row, |(state, ..)| state == "SUCCESS").await, ("SUCCESS".to_owned(), 1, 2));
    console.dead("celeriac", 0).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
    assert!(!worker.output().contains("task skipped"), "{}", worker.output());
}

#[celeriac_tests::test(real)]
async fn a_step_that_was_given_up_with_its_chain_runs_and_is_tried_again_when_the_chain_is_replayed(bed: Bed) {
    let console = Console::new(&bed, "").await;
    let mut worker = console.worker();
    worker.says("ready").await;
    let (first, second) = (console.folder.path().join("first"), console.folder.path().join("second"));
    let step = |id: &str, path: &Path| {
        Signature::new("test.need").arg(path.to_str().unwrap()).option("task_id", id).immutable()
    };
    let client = bed.client(bed.program([])).await;
    Chain::new(step("one", &first)).then(step("two", &second)).submit(&client).await.unwrap();
    console.dead("celeriac", 1).await;
    let state = async |id: &'static str| {
        let row = client.handle::<Json>(id).record().await.unwrap();
        row.map(|row| row.state)
    };
    eventually("two is given up", async || state("two").await, |state| *state == Some(TaskState::Failure)).await;

    touch(&first);
    let (code, said) = console.run(&["dead", "replay", "--yes"]).await;
    assert_eq!((code, said.as_str()), (0, "1 replayed, 0 left"));
    eventually("one", async || state("one").await, |state| *state == Some(TaskState::Success)).await;
    console.dead("celeriac", 1).await;
    assert_eq!(console.listed(&[]).await, ["two"], "it ran, was tried again, and exhausted");
    touch(&second);
    assert_eq!(console.run(&["dead", "replay", "--id", "two"]).await.0, 0);
    eventually("two", async || state("two").await, |state| *state == Some(TaskState::Success)).await;
    worker.signal("TERM");
    assert_eq!(worker.exit_code(Duration::from_secs(20)).await, 0);
}
