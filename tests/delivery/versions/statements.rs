//! The SQL of a program, from the log of its server.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use celeriac::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use celeriac_servers::{PostgresNode, PostgresSpec};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A Postgres that logs every statement.
pub(super) struct LoggingPostgres {
    node: PostgresNode,
    folder: TempDir,
}

impl LoggingPostgres {
    pub(super) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        // The server runs as another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let mut settings =
            ["logging_collector=on", "log_destination=jsonlog", "log_statement=all", "log_file_mode=0644"]
                .map(str::to_owned)
                .to_vec();
        settings.push(format!("log_directory={}", folder.path().display()));
        let node = PostgresSpec { settings, ..PostgresSpec::default() }.start().unwrap();
        Self { node, folder }
    }

    pub(super) fn url(&self) -> String {
        self.node.url()
    }

    /// Returns the statements on the tables of Celeriac, each once. Left out are those
    /// that a server cannot prepare: without the types of their parameters, or not at all.
    pub(super) async fn statements(&self) -> Vec<String> {
        let mut statements = BTreeSet::new();
        for file in fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(text) = fs::read_to_string(file) else { continue };
            for entry in text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok()) {
                let Some(message) = entry["message"].as_str() else { continue };
                let Some((_, statement)) = message.strip_prefix("execute ").and_then(|rest| rest.split_once(": "))
                else {
                    continue;
                };
                if statement.contains("celeriac.") {
                    statements.insert(statement.trim().to_owned());
                }
            }
        }
        let mut database = PgConnection::connect(&self.url()).await.unwrap();
        let mut kept = Vec::new();
        for statement in statements {
            let prepare = format!("PREPARE it AS {statement}\n; DEALLOCATE it");
            if sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut database).await.is_ok() {
                kept.push(statement);
            }
        }
        kept
    }
}
