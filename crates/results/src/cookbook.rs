//! The queries of `docs/cookbook.md`, which the command line runs by name.
//!
//! Each query is a file in `cookbook/`, as the page prints it. The values of its example become
//! parameters: `now() - interval '1 hour'` is the default of `--since`.

use crate::error::{Error, Result};

/// A query of the cookbook.
#[derive(Debug, Clone, Copy)]
pub struct CookbookQuery {
    /// Its name, such as `failures`.
    pub name: &'static str,
    /// Its answer, as a noun phrase.
    pub subject: &'static str,
    /// The statement, with the values of its example.
    pub sql: &'static str,
}

/// A value of a query that a caller can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryParameter {
    /// The age of the oldest rows, as an interval.
    Since,
    /// The id of a task or a group.
    Id,
    /// The name of a task.
    Task,
    /// Named arguments that the task has among others, as JSON.
    Kwargs,
    /// A time, such as that of a deployment.
    At,
}

/// A parameter: its example in the statements begins like this, and is replaced by a value of this
/// type.
struct Example {
    parameter: QueryParameter,
    begins: &'static str,
    sql_type: &'static str,
}

const EXAMPLES: [Example; 5] = [
    Example { parameter: QueryParameter::Since, begins: "now() - interval '", sql_type: "interval" },
    Example { parameter: QueryParameter::Id, begins: "'0198b2a4-", sql_type: "text" },
    Example { parameter: QueryParameter::Task, begins: "'orders.charge'", sql_type: "text" },
    Example { parameter: QueryParameter::Kwargs, begins: "'{\"order\"", sql_type: "jsonb" },
    Example { parameter: QueryParameter::At, begins: "timestamptz '", sql_type: "timestamptz" },
];

macro_rules! queries {
    ($($name:literal: $subject:literal;)*) => {
        /// Every query, in the order of the page.
        pub const QUERIES: &[CookbookQuery] = &[$(CookbookQuery {
            name: $name,
            subject: $subject,
            sql: include_str!(concat!("../cookbook/", $name, ".sql")),
        },)*];
    };
}

queries! {
    "failures": "Tasks that fail most, by kind of error";
    "errors": "Failures by fingerprint: the same task, kind of error, message and place";
    "new-errors": "Errors that occur since a deployment, and not on the day before";
    "error-rate": "Share of failed tasks, by name";
    "deployment": "Error rate in the hour before and the hour after a deployment";
    "never-ran": "Tasks that ended without an attempt: expired, revoked, unknown, unreadable";
    "suspects": "Tasks that may have brought down a worker";
    "task": "One task, all columns";
    "attempts": "Every attempt of one task";
    "find": "Tasks with an argument, such as those of one customer";
    "senders": "The task that sent a task, the one that sent that, and so on";
    "tree": "A workflow as a tree";
    "group": "State of a group";
    "workflows": "Workflows with recent tasks, failed ones first";
    "slowest": "The slowest attempts";
    "runtimes": "Run times, by task";
    "busy": "Share of the workers' time, by task";
    "rates": "Rate, failures and times of the last minutes, by queue and task";
    "throughput": "Tasks that ended, by minute, with minutes of zero";
    "hours": "The busiest hours of the week";
    "queue-wait": "Time that tasks waited in their queue, by queue";
    "late": "Tasks that started late after their eta";
    "retried": "Tasks that needed more than one attempt";
    "retries": "Errors that are tried again, and how often that helps";
    "lateness": "Time between the due time of an attempt and its start";
    "due": "Time until the next attempt of the tasks that wait for one";
    "overdue": "Tasks whose next attempt was due long ago";
    "replayed": "Tasks that were replayed from a dead-letter queue";
    "running": "Attempts that run, and their workers";
    "stuck": "Attempts that started long ago, on workers that are silent";
    "unstarted": "Tasks that were sent an hour ago or earlier, are due, and that no worker has started";
    "workers": "Work of each worker";
    "queues": "Tasks of each queue";
    "outbox": "State of the outbox";
    "unsent": "Messages of the outbox that cannot be sent, with the error";
    "revoked": "Revoked tasks, with the user of each revocation";
    "operators": "Actions of operators";
    "largest": "The largest results and arguments";
    "size": "Size of the tables and indexes";
}

impl CookbookQuery {
    /// Returns the query of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        QUERIES.iter().find(|query| query.name == name)
    }

    /// Returns the parameters of the query.
    pub fn parameters(&self) -> impl Iterator<Item = QueryParameter> {
        EXAMPLES.iter().filter(|example| example.find(self.sql).is_some()).map(|example| example.parameter)
    }

    /// Returns the statement with placeholders for the given values, and the values in their order.
    /// A parameter without a value keeps its example.
    ///
    /// # Errors
    /// Returns an error if the query does not have a parameter.
    pub(crate) fn statement(&self, given: &[(QueryParameter, String)]) -> Result<(String, Vec<String>)> {
        let mut sql = self.sql.trim_end().trim_end_matches(';').to_owned();
        for (index, (parameter, _)) in given.iter().enumerate() {
            let found = EXAMPLES
                .iter()
                .filter(|example| example.parameter == *parameter)
                .find_map(|example| example.find(self.sql).map(|text| (text, example)));
            let Some((text, example)) = found else {
                let reason = format!("query `{}` has no such parameter: {parameter:?}", self.name);
                return Err(Error::Invalid { key: "parameter".to_owned(), reason });
            };
            let before = if example.parameter == QueryParameter::Since { "now() - " } else { "" };
            sql = sql.replace(text, &format!("{before}${}::text::{}", index + 1, example.sql_type));
        }
        Ok((sql, given.iter().map(|(_, value)| value.clone()).collect()))
    }
}

impl Example {
    /// Returns the first example of the parameter in a statement.
    fn find<'s>(&self, sql: &'s str) -> Option<&'s str> {
        let example = &sql[sql.find(self.begins)?..];
        let opened = example.find('\'')? + 1;
        let closed = opened + example[opened..].find('\'')?;
        Some(&example[..=closed])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_becomes_a_parameter_wherever_it_occurs() {
        let query = CookbookQuery::named("throughput").unwrap();
        let (sql, values) = query.statement(&[(QueryParameter::Since, "90 seconds".to_owned())]).unwrap();
        assert_eq!(sql.matches("now() - $1::text::interval").count(), 2, "{sql}");
        assert_eq!(values, ["90 seconds"]);
        let query = CookbookQuery::named("find").unwrap();
        let given = [(QueryParameter::Kwargs, "{}".to_owned()), (QueryParameter::Task, "a.b".to_owned())];
        let (sql, _) = query.statement(&given).unwrap();
        assert!(sql.contains("name = $2::text::text AND kwargs @> $1::text::jsonb AND"), "{sql}");
        assert!(sql.contains("now() - interval '1 hour'"), "{sql}");
        assert!(query.statement(&[(QueryParameter::Id, "x".to_owned())]).is_err());
    }

    #[test]
    fn every_query_has_a_name_of_its_own_and_the_parameters_of_its_text() {
        for (index, query) in QUERIES.iter().enumerate() {
            assert!(QUERIES[..index].iter().all(|other| other.name != query.name), "{}", query.name);
            let (sql, _) = query.statement(&[]).unwrap();
            assert!(!sql.contains(';') && !sql.contains("--"), "{sql}");
        }
        let of = |name: &str| CookbookQuery::named(name).unwrap().parameters().collect::<Vec<_>>();
        assert_eq!(of("tree"), [QueryParameter::Id]);
        assert_eq!(of("find"), [QueryParameter::Since, QueryParameter::Task, QueryParameter::Kwargs]);
        assert_eq!(of("deployment"), [QueryParameter::At]);
        assert_eq!(of("size"), []);
    }
}
