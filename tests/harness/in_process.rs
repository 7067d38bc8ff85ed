//! A broker in memory and a SQLite file for one test, without any server.

use tempfile::TempDir;

/// A broker and a store for one test.
#[derive(Debug)]
pub(crate) struct InProcess {
    name: String,
    folder: TempDir,
}

impl InProcess {
    pub(crate) fn new() -> Self {
        let name = format!("t{}", uuid::Uuid::now_v7().simple());
        Self { name, folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn broker_url(&self) -> String {
        format!("memory://{}", self.name)
    }

    pub(crate) fn store_url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("results.db").display())
    }
}
