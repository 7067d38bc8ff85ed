//! The files of a version: `schema.sql`, `statements.sql`, `topology.json`, `messages.json` and
//! `expected.json`.

use std::fs;
use std::path::{Path, PathBuf};

use celeriac::sqlx::{self, AssertSqlSafe};
use celeriac_tests::Bed;
use serde_json::Value as Json;

use super::message::Stored;

/// Line between two statements.
const BREAK: &str = "\n;\n";

/// Everything that a program of one version wrote.
#[derive(Debug)]
pub(super) struct Fixture {
    /// Tables and rows, as `pg_dump` writes them.
    pub(super) schema: String,
    /// The SQL that programs of the version run.
    pub(super) statements: Vec<String>,
    /// Exchanges, queues and bindings, as the management API exports them.
    pub(super) topology: Json,
    pub(super) messages: Vec<Stored>,
    /// State, result and attempts of each task, after its run, and after a replay.
    pub(super) expected: Json,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn pretty(value: &Json) -> String {
    format!("{value:#}\n")
}

impl Fixture {
    /// Returns the fixtures of all versions, each with its version.
    pub(super) fn all() -> Vec<(String, Self)> {
        let mut folders: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        assert!(!folders.is_empty());
        let named = |folder: PathBuf| (folder.file_name().unwrap().to_string_lossy().into_owned(), Self::read(&folder));
        folders.into_iter().map(named).collect()
    }

    fn read(folder: &Path) -> Self {
        let text = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let json = |file: &str| serde_json::from_str::<Json>(&text(file)).unwrap();
        Self {
            schema: text("schema.sql"),
            statements: text("statements.sql").trim_end().split(BREAK).map(str::to_owned).collect(),
            topology: json("topology.json"),
            messages: serde_json::from_value(json("messages.json")).unwrap(),
            expected: json("expected.json"),
        }
    }

    /// Writes the folder of the present version.
    pub(super) fn write(&self) {
        let folder = folder().join(env!("CARGO_PKG_VERSION"));
        fs::create_dir_all(&folder).unwrap();
        let messages = serde_json::to_value(&self.messages).unwrap();
        for (file, text) in [
            ("schema.sql", self.schema.clone()),
            ("statements.sql", format!("{}\n", self.statements.join(BREAK))),
            ("topology.json", pretty(&self.topology)),
            ("messages.json", pretty(&messages)),
            ("expected.json", pretty(&self.expected)),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    /// Makes the tables, the rows, the topology and the messages.
    pub(super) async fn restore(&self, bed: &Bed) {
        sqlx::raw_sql(AssertSqlSafe(self.schema.clone())).execute(&mut bed.database().await).await.unwrap();
        let (management, vhost) = bed.management();
        management.post(&format!("definitions/{vhost}"), &self.topology).await;
        let peer = bed.peer().await;
        for message in &self.messages {
            message.publish(&peer).await;
        }
    }

    /// Returns each task with its expected rows.
    pub(super) fn expected(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.expected.as_object().unwrap().iter().map(|(id, expected)| (id.as_str(), expected))
    }
}
