//! The variables of the process, read in one place.

use std::fmt;

/// The prefix of variables that configure: `CELERIAC__WORKER__PREFETCH` is `worker.prefetch`.
pub const PREFIX: &str = "CELERIAC__";

/// The separator between the parts of a key.
pub(crate) const SEPARATOR: &str = "__";

/// The variable with the name of the environment.
pub(crate) const ENVIRONMENT_NAME: &str = "CELERIAC_ENV";

/// The prefix of other variables, and of those that lack an underscore.
const SHORT_PREFIX: &str = "CELERIAC_";

/// Environment variables: those of the process, or given ones.
#[derive(Clone, Default)]
pub struct Environment {
    variables: Vec<(String, String)>,
    unreadable: Vec<String>,
}

impl Environment {
    /// Returns an environment of these variables.
    pub fn new<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::sorted(variables.collect(), Vec::new())
    }

    /// Returns the variables of the process. No other code of Celeriac reads them.
    pub fn from_process() -> Self {
        let (mut variables, mut unreadable) = (Vec::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => variables.push((name, value)),
                (Ok(name), Err(_)) => unreadable.push(name),
                // A name that is not UTF-8 cannot be that of a setting.
                (Err(_), _) => {}
            }
        }
        Self::sorted(variables, unreadable)
    }

    /// Sorts by name, so that problems have an order.
    fn sorted(mut variables: Vec<(String, String)>, mut unreadable: Vec<String>) -> Self {
        variables.sort();
        unreadable.sort();
        Self { variables, unreadable }
    }

    /// Returns the value of a variable. `None` if it is not set or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns name, key and value of the variables that configure. They are in upper case.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, Vec<&str>, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(PREFIX)?;
            let is_upper = !key.contains(|letter: char| letter.is_ascii_lowercase());
            is_upper.then_some((name.as_str(), key.split(SEPARATOR).collect(), value.as_str()))
        })
    }

    /// Returns the names that would configure if they were in upper case, each with that name.
    pub(crate) fn lower_settings(&self) -> impl Iterator<Item = (&str, String)> {
        let names = self.variables.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.contains(|letter: char| letter.is_ascii_lowercase())).filter_map(|name| {
            let upper = name.to_ascii_uppercase();
            (upper.starts_with(PREFIX) || upper == ENVIRONMENT_NAME).then_some((name, upper))
        })
    }

    /// Returns the names of variables with one underscore in place of two, each with the rest of
    /// the name.
    pub(crate) fn short_settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self.variables.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with(PREFIX));
        names
            .filter_map(|name| Some((name, name.strip_prefix(SHORT_PREFIX)?)))
            .filter(|(name, _)| !is_of_a_service(name))
    }

    /// Returns the names of variables that would configure, but are not UTF-8.
    pub(crate) fn unreadable_settings(&self) -> impl Iterator<Item = &str> {
        self.unreadable.iter().map(String::as_str).filter(|name| name.starts_with(PREFIX))
    }
}

/// True for a variable that Kubernetes sets for a service, such as `CELERIAC_WORKER_PORT_9000_TCP`.
fn is_of_a_service(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part)) || name.ends_with("_PORT")
}

impl fmt::Debug for Environment {
    /// Writes names only: values may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.variables.iter().map(|(name, _)| name)).finish()
    }
}
