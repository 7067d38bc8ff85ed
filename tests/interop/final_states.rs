//! The final state of every part of a canvas, after a fault at each of them: the table of
//! `docs/final-states.md`.

use std::collections::BTreeMap;

use celeriac::protocol::{Codec, Signature, Value};
use celeriac_tests::Bed;
use serde_json::{Value as Json, json};

use crate::sides::{Side, Sides};

/// A canvas. Its tasks are numbered from 0.
enum Canvas {
    Task(usize),
    Chain(Vec<Self>),
    Group(Vec<Self>),
    Chord(Vec<Self>, Box<Self>),
}

use Canvas::{Chain, Chord, Group, Task};

/// Returns the shapes, as the table spells them.
fn shapes() -> Vec<(&'static str, Canvas)> {
    let pair = |first: usize| vec![Task(first), Task(first + 1)];
    vec![
        ("a → b → c", Chain(vec![Task(0), Task(1), Task(2)])),
        ("[a, b]", Group(pair(0))),
        ("[a, [b, c]]", Group(vec![Task(0), Group(pair(1))])),
        ("[a, b] → c", Chord(pair(0), Box::new(Task(2)))),
        ("a → [b, c] → d → e", Chain(vec![Task(0), Chord(pair(1), Box::new(Task(3))), Task(4)])),
        ("[a → b, c] → d", Chord(vec![Chain(pair(0)), Task(2)], Box::new(Task(3)))),
        (
            "[a → [b, c] → d, e] → f",
            Chord(vec![Chain(vec![Task(0), Chord(pair(1), Box::new(Task(3)))]), Task(4)], Box::new(Task(5))),
        ),
    ]
}

/// The place of a task in its canvas.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Step,
    /// The first step of a member of a chord.
    Header,
    Body,
}

/// A task, and those whose success it needs.
struct Part {
    role: Role,
    after: Vec<usize>,
}

/// Adds the parts of a canvas. Returns the tasks with which it ends.
fn walk(canvas: &Canvas, role: Role, after: Vec<usize>, parts: &mut Vec<Part>) -> Vec<usize> {
    match canvas {
        Task(number) => {
            assert_eq!(*number, parts.len(), "tasks are numbered in order");
            parts.push(Part { role, after });
            vec![*number]
        }
        Chain(steps) => {
            let roles = std::iter::once(role).chain(std::iter::repeat(Role::Step));
            steps.iter().zip(roles).fold(after, |after, (step, role)| walk(step, role, after, parts))
        }
        Group(members) => members.iter().flat_map(|member| walk(member, role, after.clone(), parts)).collect(),
        Chord(header, body) => {
            let ends = header.iter().flat_map(|member| walk(member, Role::Header, after.clone(), parts)).collect();
            walk(body, Role::Body, ends, parts)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Fails,
    Retries,
    IsRevoked,
    Expires,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Fails, Self::IsRevoked, Self::Expires, Self::Retries];

    fn text(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Retries => "succeeds at its retry",
            Self::IsRevoked => "is revoked",
            Self::Expires => "expires",
        }
    }
}

/// Returns the parts that never end: nobody writes an outcome of them.
fn open_parts(parts: &[Part], at: usize, fault: Fault, worker: Side) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum End {
        Success,
        Other,
        Never,
    }
    let mut ends: Vec<End> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let before = |end: End| part.after.iter().all(|&before| ends[before] == end);
        let end = match part.role {
            _ if before(End::Success) && (number != at || fault == Fault::Retries) => End::Success,
            _ if before(End::Success) => End::Other,
            // Its message is never sent, and only the body of the chord hears of it.
            Role::Header => End::Never,
            Role::Step if before(End::Never) => End::Never,
            // Celery ends the later steps only after a failure.
            _ if worker == Side::Python && fault != Fault::Fails => End::Never,
            Role::Step | Role::Body => End::Other,
        };
        ends.push(end);
    }
    (0..parts.len()).filter(|&number| ends[number] == End::Never).collect()
}

/// The cells by column, of each fault at each part of each shape.
type Rows = BTreeMap<(usize, usize), Vec<(Fault, BTreeMap<usize, String>)>>;

/// A canvas that is sent.
struct Sent {
    sender: Side,
    worker: Side,
    ids: Vec<String>,
    open: Vec<usize>,
    given: Json,
}

/// The senders and workers of the columns.
const PAIRS: [(Side, Side); 4] =
    [(Side::Rust, Side::Rust), (Side::Python, Side::Rust), (Side::Rust, Side::Python), (Side::Python, Side::Python)];

/// Returns `true` if this sender can send the shape to these workers.
///
/// Over `rpc://` a Python worker counts no chords, and a Python client sends none.
fn is_possible(canvas: &Canvas, sender: Side, worker: Side) -> bool {
    let has_chord = match canvas {
        Chain(steps) => steps.iter().any(|step| matches!(step, Chord(..))),
        other => matches!(other, Chord(..)),
    };
    !has_chord || (sender, worker) == (Side::Rust, Side::Rust)
}

/// Returns the canvas for the clients, with a fault.
fn spelt(canvas: &Canvas, ids: &[String], worker: Side, at: usize, fault: Fault) -> Json {
    let all = |members: &[Canvas]| members.iter().map(|one| spelt(one, ids, worker, at, fault)).collect::<Vec<_>>();
    match canvas {
        Chain(steps) => json!({"chain": all(steps)}),
        Group(members) => json!({"group": all(members)}),
        Chord(header, body) => json!({"chord": all(header), "body": spelt(body, ids, worker, at, fault)}),
        Task(number) => {
            let mut options = json!({"task_id": ids[*number]});
            let (name, args) = match fault {
                Fault::Fails if *number == at => ("fail", json!(["ValueError", "no"])),
                Fault::Retries if *number == at => ("flaky", json!([1])),
                Fault::Expires if *number == at => {
                    // Longer than any message waits in its queue here.
                    options["countdown"] = json!(6);
                    options["expires"] = json!(5);
                    ("add", json!([1, 1]))
                }
                _ => ("add", json!([1, 1])),
            };
            json!({"task": worker.task(name), "args": args, "options": options, "immutable": true})
        }
    }
}

/// Returns the same canvas as a signature of the Rust client.
fn signature(canvas: &Json) -> Signature {
    let all = |key: &str| canvas[key].as_array().unwrap().iter().map(signature).collect();
    if canvas["chain"].is_array() {
        Signature::chain(all("chain"))
    } else if canvas["group"].is_array() {
        Signature::group(all("group"))
    } else if canvas["chord"].is_array() {
        Signature::chord(Signature::group(all("chord")), signature(&canvas["body"]))
    } else {
        Signature::read(&Value::from_serialize(canvas).unwrap()).unwrap()
    }
}

#[celeriac_tests::test(real)]
async fn every_part_ends_as_the_page_says(bed: Bed) {
    let mut sides = Sides::start(&bed, Codec::Json).await;
    let mut planned = Vec::new();
    for (name, canvas) in shapes() {
        let mut parts = Vec::new();
        walk(&canvas, Role::Step, Vec::new(), &mut parts);
        for at in 0..parts.len() {
            for fault in Fault::ALL {
                for (sender, worker) in
                    PAIRS.into_iter().filter(|&(sender, worker)| is_possible(&canvas, sender, worker))
                {
                    let ids: Vec<_> = parts.iter().map(|_| uuid::Uuid::now_v7().to_string()).collect();
                    let given = spelt(&canvas, &ids, worker, at, fault);
                    let open = open_parts(&parts, at, fault, worker);
                    planned.push(((name, at, fault), Sent { sender, worker, ids, open, given }));
                }
            }
        }
    }
    for side in Side::BOTH {
        let revoked = planned.iter().filter(|((_, _, fault), sent)| *fault == Fault::IsRevoked && sent.worker == side);
        let ids: Vec<_> = revoked.map(|((_, at, _), sent)| sent.ids[*at].clone()).collect();
        sides.revoke(side, &ids).await;
    }
    for (_, Sent { sender, given, .. }) in &planned {
        match sender {
            Side::Python => drop(sides.driver.get(json!({"command": "send", "canvas": given})).await),
            Side::Rust => sides.send_canvas(signature(given)).await,
        }
    }
    let mut rows = Rows::new();
    for ((name, at, fault), sent) in &planned {
        let shape = shapes().iter().position(|(other, _)| other == name).unwrap();
        let column = PAIRS.iter().position(|pair| *pair == (sent.sender, sent.worker)).unwrap();
        let faults = rows.entry((shape, *at)).or_default();
        if faults.last().is_none_or(|(last, _)| last != fault) {
            faults.push((*fault, BTreeMap::new()));
        }
        faults.last_mut().unwrap().1.insert(column, cell(&mut sides, sent).await);
    }
    let table = table(&rows);
    println!("{table}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/final-states.md")).unwrap();
    assert!(page.contains(&table), "docs/final-states.md has another table than this:\n{table}");
    sides.stop().await;
}

/// Returns the states of all parts, as their sender is told of them.
async fn cell(sides: &mut Sides, sent: &Sent) -> String {
    let Sent { sender, worker, ids, open, .. } = sent;
    let mut states = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let is_open = open.contains(&number);
        let state = sides.final_state(*sender, *worker, id, is_open).await;
        states.push(match state.as_deref() {
            None => "·",
            Some("SUCCESS") => "S",
            Some("FAILURE") => "F",
            Some("REVOKED") => "R",
            Some("PENDING") => "p",
            Some(other) => panic!("{id} is {other}"),
        });
    }
    states.join(" ")
}

/// Returns the table in Markdown. Faults that end alike share a row.
fn table(rows: &Rows) -> String {
    let heads = PAIRS.map(|(sender, worker)| format!("{sender:?} → {worker:?}")).join(" | ");
    let mut table = format!("| canvas | fault | {heads} |\n| --- | --- | --- | --- | --- | --- |\n");
    for ((shape, at), faults) in rows {
        let part = char::from(b'a' + u8::try_from(*at).unwrap());
        let mut merged: Vec<(Vec<&str>, &BTreeMap<usize, String>)> = Vec::new();
        for (fault, cells) in faults {
            if *fault == Fault::Retries {
                // The page says so in a sentence.
                let all = |cell: &String| cell.split(' ').all(|state| state == "S" || state == "·");
                assert!(cells.values().all(all), "{shape} {part}: {cells:?}");
                continue;
            }
            match merged.last_mut() {
                Some((texts, known)) if *known == cells => texts.push(fault.text()),
                _ => merged.push((vec![fault.text()], cells)),
            }
        }
        for (texts, cells) in merged {
            let cells = (0..PAIRS.len()).map(|column| cells.get(&column).map_or("", String::as_str));
            let cells = cells.collect::<Vec<_>>().join(" | ");
            let name = shapes()[*shape].0;
            table.push_str(&format!("| {name} | {part} {} | {cells} |\n", texts.join(" or ")));
        }
    }
    table
}
