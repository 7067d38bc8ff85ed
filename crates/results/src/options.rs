//! The `results` section of the configuration.

use std::error::Error as _;
use std::fs::File;
use std::time::Duration;

use celeriac_config::{ByteSize, Secret, URL_ESCAPES, duration, has_several_at_signs, text};
use celeriac_protocol::TaskState;
use celeriac_protocol::task::TrackedStates;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use crate::audit::MIN_RETENTION;
use crate::hosts::PostgresHosts;

/// The remedy for an unknown mode.
const SSL_MODES: &str = "set sslmode to disable, prefer, require, verify-ca or verify-full";

/// The remedies for hosts that are listed elsewhere, and for an unknown kind of server.
const HOSTS: &str = "name them before the path, as in //one,two/database";
const TARGETS: &str = "set target_session_attrs to read-write or any";

/// The longest retention time. Times before it are outside of the databases' range.
const MAX_RETENTION: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// The bounds of the log lines of an attempt. They are in memory until its row is written.
const LOGS: [ByteSize; 2] = [ByteSize::new(1 << 10), ByteSize::mib(1)];

/// The parameters of a Postgres URL that name files.
const TLS_FILES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// The result store, and its retention time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResultsOptions {
    /// URL of the store:
    ///
    /// - `postgres://user:password@host:port/database`, with verified TLS to another host unless
    ///   the parameter `sslmode` sets another mode; of several `host:port`, separated by commas,
    ///   the one that takes writes;
    /// - `sqlite://path` for a file, which only its owner can read if this program creates it;
    /// - `sqlite://name?mode=memory` for memory that is shared by its name within this process;
    /// - `rpc://` for outcomes that are sent to the caller as replies and not stored;
    /// - `none` for neither.
    pub url: Secret,
    /// Time that the row of an ended task is kept. `0s` keeps it for ever.
    #[serde(with = "duration")]
    pub retention: Duration,
    /// Times for some tasks or states, in place of `retention`. The first rule that matches counts.
    pub retention_rules: Vec<RetentionRule>,
    /// The states of a task that are written.
    #[serde(with = "text")]
    pub track: TrackedStates,
    /// Most bytes of log lines that are kept of each attempt. `None` keeps none. Only Postgres has
    /// them.
    #[serde(with = "text::option")]
    pub logs: Option<ByteSize>,
    /// Time that the row of an operator's action is kept. `0s` keeps it for ever.
    #[serde(with = "duration")]
    pub audit_retention: Duration,
    /// Counts of outcomes, and the age at which they are added up.
    pub stats: StatsOptions,
    /// Batches of outcomes.
    pub batch: BatchOptions,
    /// Connections to the database.
    pub pool: PoolOptions,
    /// Longest wait for a connection.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Longest time of one statement.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// Longest silence of the server, or of the path to it, before its connections count as lost.
    #[serde(with = "duration")]
    pub tcp_user_timeout: Duration,
    /// Longest time that the transaction of a task may be idle before the database ends it, so that
    /// a stopped process does not keep its locks.
    #[serde(with = "duration")]
    pub transaction_idle_timeout: Duration,
}

/// The time that the rows of some tasks, or of some states, are kept. Only Postgres has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Task names: one name, or a glob such as `orders.*`. Default: all.
    #[serde(default)]
    pub task: Option<String>,
    /// Final states. Default: all.
    #[serde(default)]
    pub states: Vec<TaskState>,
    /// Time that their rows are kept. `0s` keeps them for ever.
    #[serde(with = "duration")]
    pub keep: Duration,
}

impl RetentionRule {
    /// Returns the first fault.
    fn problem(&self) -> Option<String> {
        if self.task.is_none() && self.states.is_empty() {
            return Some("should have task, states or both; results.retention is for all others".to_owned());
        }
        if self.task.as_deref().is_some_and(|task| task.starts_with('/') && task.ends_with('/')) {
            return Some("task should be a name, or a glob such as orders.*".to_owned());
        }
        if let Some(state) = self.states.iter().find(|state| !state.is_final()) {
            return Some(format!("{} is not a final state", state.as_str()));
        }
        (self.keep > MAX_RETENTION).then(|| "keep should be at most 36500d; 0s keeps rows for ever".to_owned())
    }
}

/// Counts of outcomes, and the age at which they are added up. Only Postgres has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsOptions {
    /// Age at which counts of ten seconds become counts of a minute.
    #[serde(with = "duration")]
    pub ten_seconds: Duration,
    /// Age at which counts of a minute become counts of an hour.
    #[serde(with = "duration")]
    pub minutes: Duration,
    /// Time that counts of an hour are kept. `0s` keeps them for ever.
    #[serde(with = "duration")]
    pub hours: Duration,
}

/// Batches of outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchOptions {
    /// Most rows in one write. A write never waits for more rows.
    pub max_rows: usize,
    /// Most writes in progress at one time.
    pub max_in_flight: usize,
}

/// Connections to the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolOptions {
    /// Most connections of this process. Waiting for outcomes takes one more.
    pub max_connections: u32,
    /// Most further connections for transactional tasks, one for each task.
    pub max_transactions: u32,
}

impl Default for ResultsOptions {
    fn default() -> Self {
        Self {
            url: Secret::new("sqlite://celeriac.db"),
            retention: Duration::from_secs(7 * 24 * 60 * 60),
            retention_rules: Vec::new(),
            track: TrackedStates::default(),
            logs: None,
            audit_retention: Duration::from_secs(365 * 24 * 60 * 60),
            stats: StatsOptions::default(),
            batch: BatchOptions::default(),
            pool: PoolOptions::default(),
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            tcp_user_timeout: Duration::from_secs(30),
            transaction_idle_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for StatsOptions {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self { ten_seconds: Duration::from_secs(600), minutes: day, hours: 366 * day }
    }
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { max_rows: 256, max_in_flight: 2 }
    }
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { max_connections: 4, max_transactions: 16 }
    }
}

/// The kind of store that a URL selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Postgres,
    Sqlite,
    /// Nothing is stored: outcomes are sent to the caller as replies.
    Replies,
    None,
}

impl StoreKind {
    pub(crate) fn of(url: &str) -> Option<Self> {
        match url {
            "none" => Some(Self::None),
            "rpc://" => Some(Self::Replies),
            _ if url.starts_with("postgres://") || url.starts_with("postgresql://") => Some(Self::Postgres),
            _ if url.starts_with("sqlite:") => Some(Self::Sqlite),
            _ => None,
        }
    }
}

impl StatsOptions {
    /// Returns the first fault, with its key.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let Self { ten_seconds, minutes, hours } = *self;
        if ten_seconds < Duration::from_secs(60) {
            Some(("ten_seconds", "should be at least 1m"))
        } else if minutes < ten_seconds {
            Some(("minutes", "should be at least stats.ten_seconds"))
        } else if minutes > MAX_RETENTION {
            Some(("minutes", "should be at most 36500d"))
        } else if !hours.is_zero() && hours < minutes {
            Some(("hours", "should be at least stats.minutes; 0s keeps counts for ever"))
        } else if hours > MAX_RETENTION {
            Some(("hours", "should be at most 36500d; 0s keeps counts for ever"))
        } else {
            None
        }
    }
}

impl ResultsOptions {
    /// Returns the faults in these options, each with its key.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        match StoreKind::of(self.url.expose()) {
            None => problems.push((
                "url".to_owned(),
                "should begin with postgres:// or sqlite://, or be rpc:// or the word none".to_owned(),
            )),
            Some(StoreKind::Sqlite) if !cfg!(feature = "sqlite") => {
                problems.push(("url".to_owned(), "this program is built without the feature `sqlite`".to_owned()));
            }
            Some(StoreKind::Postgres) => problems.extend(self.url_problem().map(|problem| ("url".to_owned(), problem))),
            Some(_) => {}
        }
        if self.retention > MAX_RETENTION {
            problems.push(("retention".to_owned(), "should be at most 36500d; 0s keeps rows for ever".to_owned()));
        }
        let rules = self.retention_rules.iter().enumerate();
        let faults = rules.filter_map(|(index, rule)| Some((format!("retention_rules[{index}]"), rule.problem()?)));
        problems.extend(faults);
        if !self.retention_rules.is_empty() && StoreKind::of(self.url.expose()) == Some(StoreKind::Sqlite) {
            problems
                .push(("retention_rules".to_owned(), "need Postgres; SQLite has results.retention alone".to_owned()));
        }
        problems.extend(self.logs_problem().map(|problem| ("logs".to_owned(), problem.to_owned())));
        if self.audit_retention > MAX_RETENTION {
            problems
                .push(("audit_retention".to_owned(), "should be at most 36500d; 0s keeps rows for ever".to_owned()));
        } else if !self.audit_retention.is_zero() && self.audit_retention < MIN_RETENTION {
            problems.push(("audit_retention".to_owned(), "should be at least 30d; 0s keeps rows for ever".to_owned()));
        }
        problems.extend(self.stats.problem().map(|(key, problem)| (format!("stats.{key}"), problem.to_owned())));
        let [connections, transactions] = [self.pool.max_connections, self.pool.max_transactions]
            .map(|connections| usize::try_from(connections).unwrap_or(usize::MAX));
        for (key, value) in [
            ("batch.max_rows", self.batch.max_rows),
            ("batch.max_in_flight", self.batch.max_in_flight),
            ("pool.max_connections", connections),
            ("pool.max_transactions", transactions),
        ] {
            if value == 0 {
                problems.push((key.to_owned(), "should be at least 1".to_owned()));
            }
        }
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("statement_timeout", self.statement_timeout),
            ("transaction_idle_timeout", self.transaction_idle_timeout),
        ] {
            if value < Duration::from_millis(1) {
                problems.push((key.to_owned(), "should be at least 1ms".to_owned()));
            }
        }
        if self.tcp_user_timeout < Duration::from_secs(1) {
            problems.push(("tcp_user_timeout".to_owned(), "should be at least 1s".to_owned()));
        }
        problems
    }

    fn logs_problem(&self) -> Option<&'static str> {
        let [least, most] = LOGS;
        let logs = self.logs?;
        match StoreKind::of(self.url.expose()) {
            Some(StoreKind::Sqlite | StoreKind::Replies | StoreKind::None) => Some("needs Postgres; null keeps none"),
            _ if logs < least || logs > most => Some("should be 1KiB to 1MiB; null keeps none"),
            _ => None,
        }
    }

    /// Returns the problem of a Postgres URL that cannot be parsed, or would be misread.
    fn url_problem(&self) -> Option<String> {
        if has_several_at_signs(self.url.expose()) {
            return Some(format!("`{}` has more than one `@`; {URL_ESCAPES}", self.url.masked()));
        }
        let error = match PostgresHosts::of(self.url.expose()) {
            Ok(_) => return file_problem(self.url.expose()),
            Err(error) => error,
        };
        // The driver's own text only says that the configuration is invalid. Its source has the
        // reason.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let remedy = [("ssl_mode", SSL_MODES), ("several hosts", HOSTS), ("target_session_attrs", TARGETS)];
        let remedy = remedy.iter().find(|(part, _)| reason.contains(part)).map_or(URL_ESCAPES, |(_, remedy)| remedy);
        Some(format!("`{}` is no Postgres URL: {reason}; {remedy}", self.url.masked()))
    }

    /// Returns the address of the database server: `host:port`, or the folder of its socket.
    /// Several are separated by commas. `None` for a store without a server.
    pub fn server(&self) -> Option<String> {
        let hosts = self.are_on_postgres().then(|| PostgresHosts::of(self.url.expose()).ok()).flatten()?;
        let address = |host: &PgConnectOptions| match host.get_socket() {
            Some(folder) => folder.display().to_string(),
            None if host.get_host().starts_with('/') => host.get_host().to_owned(),
            None => format!("{}:{}", host.get_host(), host.get_port()),
        };
        Some(hosts.each.iter().map(address).collect::<Vec<_>>().join(","))
    }

    /// Returns `true` for Postgres, which has transactions for tasks.
    pub fn are_on_postgres(&self) -> bool {
        StoreKind::of(self.url.expose()) == Some(StoreKind::Postgres)
    }

    /// Returns `true` for `rpc://`: outcomes are sent to the caller as replies and not stored.
    pub fn are_replies(&self) -> bool {
        StoreKind::of(self.url.expose()) == Some(StoreKind::Replies)
    }
}

/// Returns the problem of a file that the parameters of a Postgres URL name. The driver would look
/// for it with each connection, and report it as a server that does not answer.
fn file_problem(url: &str) -> Option<String> {
    let (_, parameters) = url.split_once('?')?;
    parameters.split('&').find_map(|parameter| {
        let (name, path) = parameter.split_once('=')?;
        // A path with escapes is left to the driver, as is a certificate in place of a path.
        let is_path = TLS_FILES.contains(&name) && !path.contains(['%', '+', '\n']);
        let error = is_path.then(|| File::open(path).err()).flatten()?;
        Some(format!("{name} names a file that cannot be read, `{path}`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_url(url: &str) -> ResultsOptions {
        ResultsOptions { url: Secret::new(url), ..ResultsOptions::default() }
    }

    #[test]
    fn a_postgres_url_that_cannot_be_parsed_is_named_without_its_password() {
        for (url, reason) in [
            ("postgres://a:hunter2@localhost:99999/b", "invalid port number"),
            ("postgres://a:hunter/2@localhost/b", "invalid port number"),
            ("postgres:///b?host=one,two&password=hunter", "parameter host has several hosts; name them before"),
            ("postgres://a:hunter@one,two/b?target_session_attrs=primary", "set target_session_attrs to read-write"),
            ("postgres://a:hunter@localhost/b?sslmode=on", "set sslmode to disable, prefer, require,"),
            (
                "postgres://a:hunter%2F@localhost/b?sslmode=verify-ca&sslrootcert=no/such.pem",
                "sslrootcert names a file that cannot be read, `no/such.pem`: No such file",
            ),
            ("postgres://a:hunter@2@localhost/b", "`postgres://a:***@localhost/b` has more than one `@`"),
            ("postgres://a:hunter@2/3@localhost/b", "`postgres://a:***@localhost/b` has more than one `@`"),
        ] {
            let problems = with_url(url).validate();
            let [(key, problem)] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!(key, "url");
            let has_remedy = ["%2F", "cannot be read", "name them", "sslmode to", "attrs to"]
                .iter()
                .any(|part| problem.contains(part));
            assert!(problem.contains(reason) && has_remedy && !problem.contains("hunter"), "{problem}");
        }
    }

    #[test]
    fn urls_of_known_stores_are_taken() {
        for url in ["postgres://localhost/celeriac", "postgresql://localhost", "sqlite://celeriac.db", "none", "rpc://"]
        {
            assert_eq!(with_url(url).validate(), [], "{url}");
        }
    }

    #[test]
    fn the_server_of_a_url_is_named_with_its_port() {
        for (url, expected) in [
            ("postgres://u:p@db:5433/shop", Some("db:5433")),
            ("postgres://u@localhost/shop", Some("localhost:5432")),
            ("postgres://u@one,two:5433/shop", Some("one:5432,two:5433")),
            ("postgres://u@%2Fvar%2Frun%2Fpostgresql/shop", Some("/var/run/postgresql")),
            ("sqlite://celeriac.db", None),
            ("none", None),
        ] {
            assert_eq!(with_url(url).server().as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn log_lines_are_kept_in_postgres_alone() {
        for (url, kept) in
            [("postgres://localhost", true), ("sqlite://a.db", false), ("rpc://", false), ("none", false)]
        {
            let options = ResultsOptions { logs: Some(ByteSize::new(65_536)), ..with_url(url) };
            assert_eq!(options.validate().is_empty(), kept, "{url}");
        }
    }

    #[test]
    fn problems_name_their_key() {
        let mut options = with_url("mysql://localhost");
        options.batch.max_rows = 0;
        options.pool.max_connections = 0;
        options.pool.max_transactions = 0;
        options.retention = Duration::MAX;
        options.logs = Some(ByteSize::mib(2));
        options.audit_retention = Duration::from_secs(1);
        options.stats.hours = options.stats.ten_seconds;
        options.statement_timeout = Duration::ZERO;
        options.transaction_idle_timeout = Duration::ZERO;
        options.tcp_user_timeout = Duration::ZERO;
        let keys: Vec<_> = options.validate().into_iter().map(|(key, _)| key).collect();
        let expected = [
            "url",
            "retention",
            "logs",
            "audit_retention",
            "stats.hours",
            "batch.max_rows",
            "pool.max_connections",
            "pool.max_transactions",
            "statement_timeout",
            "transaction_idle_timeout",
            "tcp_user_timeout",
        ];
        assert_eq!(keys, expected);
    }
}
