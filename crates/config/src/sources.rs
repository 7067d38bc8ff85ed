//! The sources of values, and their order.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{Source, Value, ValueKind};

use crate::environment::{Environment, PREFIX, SEPARATOR};
use crate::layer::{Layer, Setting};
use crate::origin::ValueOrigin;
use crate::problem::Problem;
use crate::suggest::nearest;
use crate::suggest::{is_there, known_variable, names_section, variable_in_section};
use crate::tree::ConfigNode;
use crate::yaml::{self, MAX_DEPTH};

/// The file that every directory of configuration is read for first.
const MAIN_FILE: &str = "celeriac.yaml";

/// The sources of values. What comes later in this list wins, wherever it was named:
///
/// 1. the defaults;
/// 2. `celeriac.yaml` in the directory;
/// 3. the other files in it, in the order in which they were named;
/// 4. `<name>.yaml` in it, for the environment's name;
/// 5. variables `CELERIAC__SECTION__KEY`;
/// 6. the command line.
///
/// Sections merge, key by key; lists and single values replace. A file that does not exist says nothing; only that of the
/// environment's name has to be there. Variables and flags are text, which is read as whatever their key wants: `64`,
/// `true`, `1m 30s`, `a,b,c`, `[a, b]`, `{a: 1}`.
///
/// A variable that names a section of the defaults behind `CELERIAC_`, with one underscore, would change nothing, and is
/// a problem.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    defaults: Option<(String, String)>,
    directory: Option<PathBuf>,
    files: Vec<String>,
    environment_name: Option<String>,
    environment: Environment,
    flags: Vec<Setting>,
}

impl Sources {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The values that hold where nobody says otherwise, as YAML, with a name for messages.
    #[must_use]
    pub fn defaults(mut self, name: impl Into<String>, yaml: impl Into<String>) -> Self {
        self.defaults = Some((name.into(), yaml.into()));
        self
    }

    /// The directory of the files. It has to exist.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Another file in the directory, such as `routes.yaml`.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Self {
        self.files.push(name.into());
        self
    }

    /// The name of the environment, such as `production`, whose file lies over the others. Where there is a directory, it
    /// has to have that file.
    #[must_use]
    pub fn environment_name(mut self, name: Option<&str>) -> Self {
        self.environment_name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        self
    }

    /// The variables.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// A value from the command line: its key, such as `worker.concurrency`, its text, and the flag that gave it.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl Into<String>, flag: impl Into<String>) -> Self {
        let key = key.split('.').map(str::to_owned).collect();
        self.flags.push(Setting { origin: ValueOrigin::Flag(flag.into()), key, text: value.into() });
        self
    }

    /// All of them, laid over each other.
    pub(crate) fn collect(&self) -> Collected {
        let mut collected = Collected::default();
        if let Some((name, text)) = &self.defaults {
            collected.add_text(&ValueOrigin::Defaults(name.clone()), text);
        }
        let defaults = collected.merged.clone();
        if let Some(directory) = &self.directory {
            self.collect_directory(directory, &mut collected);
        }
        for name in self.environment.unreadable_settings() {
            collected.problems.push(Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, "is not UTF-8"));
        }
        for (name, rest) in self.environment.short_settings() {
            collected.problems.extend(problem_of_short(&defaults, name, rest));
        }
        for (name, key, text) in self.environment.settings() {
            if let Some(problem) = misspelt(&defaults, name, &key) {
                collected.problems.push(problem);
                continue;
            }
            let key = key.into_iter().map(str::to_owned).collect();
            collected.add_setting(&Setting {
                origin: ValueOrigin::Variable(name.to_owned()),
                key,
                text: text.to_owned(),
            });
        }
        for flag in &self.flags {
            collected.add_setting(flag);
        }
        collected
    }

    fn collect_directory(&self, directory: &Path, collected: &mut Collected) {
        if !directory.is_dir() {
            let message = if directory.exists() { "is not a directory" } else { "no such directory" };
            collected.problems.push(Problem::of_source(directory.display(), message));
            collected.is_partial = true;
            return;
        }
        collected.add_file(&directory.join(MAIN_FILE));
        for name in &self.files {
            collected.add_file(&directory.join(name));
        }
        match &self.environment_name {
            Some(name) if name.contains(['/', '\\']) => {
                let message = format!("the environment's name should be a plain name, found `{name}`");
                collected.problems.push(Problem::of_source(directory.display(), message));
            }
            Some(name) => {
                let path = directory.join(format!("{name}.yaml"));
                if path.exists() {
                    collected.add_file(&path);
                } else {
                    collected.problems.push(self.no_such_environment(directory, name, &path));
                    collected.is_partial = true;
                }
            }
            None => {}
        }
    }

    fn no_such_environment(&self, directory: &Path, name: &str, path: &Path) -> Problem {
        let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let others = names.filter(|name| name != MAIN_FILE && !self.files.contains(name));
        let others: Vec<String> = others.filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned())).collect();
        let near = nearest(name, others.iter().map(String::as_str)).map(str::to_owned);
        let message = format!("no such file, and CELERIAC_ENV is `{name}`");
        Problem { nearest: near, ..Problem::of_source(path.display(), message) }
    }
}

/// Finds the problem of a variable that has one underscore where there should be two; none where it names no section.
fn problem_of_short(defaults: &Value, name: &str, rest: &str) -> Option<Problem> {
    if !names_section(defaults, rest) {
        return None;
    }
    let message = format!("should be named {PREFIX}SECTION{SEPARATOR}KEY");
    let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, message);
    Some(Problem { nearest: variable_in_section(defaults, rest), ..problem })
}

/// Finds the problem of a variable whose underscores are not where they should be.
fn misspelt(defaults: &Value, name: &str, key: &[&str]) -> Option<Problem> {
    if key.iter().any(|part| part.is_empty()) || is_there(defaults, key) {
        return None;
    }
    let meant = known_variable(defaults, &key.join("_"))?;
    let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, "unknown key");
    Some(Problem { nearest: Some(meant), ..problem })
}

/// The sum of all sources.
#[derive(Debug)]
pub(crate) struct Collected {
    merged: Value,
    /// Every source, by its name in messages.
    origins: HashMap<String, ValueOrigin>,
    pub(crate) problems: Vec<Problem>,
    /// True if a source could not be read, so that keys may be missing that somebody wrote.
    pub(crate) is_partial: bool,
}

impl Default for Collected {
    fn default() -> Self {
        let merged = Value::new(None, ValueKind::Table(config::Map::new()));
        Self { merged, origins: HashMap::new(), problems: Vec::new(), is_partial: false }
    }
}

impl Collected {
    fn add_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(&ValueOrigin::File(path.display().to_string()), &text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                self.problems.push(Problem::of_source(path.display(), format!("cannot be read: {error}")));
                self.is_partial = true;
            }
        }
    }

    fn add_text(&mut self, origin: &ValueOrigin, text: &str) {
        let read = yaml::read(text, Some(&origin.to_string()));
        for defect in read.defects {
            self.problems.push(match defect.key {
                Some(key) => Problem::of_key(origin, &key, defect.message),
                None => Problem::of_source(origin, defect.message),
            });
        }
        match read.tree {
            Some(tree) if matches!(tree.kind, ValueKind::Table(_) | ValueKind::Nil) => self.lay(origin, &Layer(tree)),
            Some(_) => {
                let message = "should be sections with keys, such as `worker: {concurrency: 64}`";
                self.problems.push(Problem::of_source(origin, message));
                self.is_partial = true;
            }
            None => self.is_partial = true,
        }
    }

    fn add_setting(&mut self, setting: &Setting) {
        if setting.key.iter().any(String::is_empty) {
            let message = match setting.origin {
                ValueOrigin::Variable(_) => format!("should be named {PREFIX}SECTION{SEPARATOR}KEY"),
                _ => "should name a key such as worker.concurrency".to_owned(),
            };
            self.problems.push(Problem::of_key(&setting.origin, "", message));
        } else if setting.key.len() > MAX_DEPTH {
            let message = format!("has more than {MAX_DEPTH} parts");
            self.problems.push(Problem::of_key(&setting.origin, "", message));
        } else {
            self.lay(&setting.origin, setting);
        }
    }

    fn lay(&mut self, origin: &ValueOrigin, source: &dyn Source) {
        self.origins.insert(origin.to_string(), origin.clone());
        if let Err(error) = source.collect_to(&mut self.merged) {
            self.problems.push(Problem::of_source("configuration", error.to_string()));
        }
    }

    /// Returns the sum as a tree in which every value knows its source.
    pub(crate) fn tree(&mut self) -> ConfigNode {
        let nothing = Value::new(None, ValueKind::Nil);
        ConfigNode::new(std::mem::replace(&mut self.merged, nothing), &|name| self.origins.get(name?).cloned())
    }
}
