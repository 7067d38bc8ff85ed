//! The sources of values, and their order.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use config::{Source, Value, ValueKind};

use crate::environment::{ENVIRONMENT_NAME, Environment, PREFIX, SEPARATOR};
use crate::layer::{Layer, Setting};
use crate::origin::ValueOrigin;
use crate::problem::Problem;
use crate::suggest::{closest_typo, nearest};
use crate::suggest::{is_there, known_variable, names_section, variable_in_section};
use crate::tree::ConfigNode;
use crate::yaml::{self, MAX_DEPTH};

/// The first file that is read in a directory.
const MAIN_FILE: &str = "celeriac.yaml";

/// The sources of values. Later ones in this list win, in whatever order they were added:
///
/// 1. the defaults;
/// 2. the declarations of the program;
/// 3. `celeriac.yaml` in the directory;
/// 4. the other files in it, in the order of their addition;
/// 5. `<name>.yaml` in it, for the name of the environment;
/// 6. variables `CELERIAC__SECTION__KEY`;
/// 7. the command line.
///
/// Sections merge key by key. Lists and single values replace. Files may be absent, except that of
/// the environment's name. Variables and flags are text, which is read as the type of their key:
/// `64`, `true`, `1m 30s`, `a,b,c`, `[a, b]`, `{a: 1}`.
///
/// A variable with one underscore after `CELERIAC`, as in `CELERIAC_WORKER_PREFETCH`, would have no
/// effect. It is a problem if it names a section of the defaults. A variable that is not in upper
/// case, as in `celeriac__worker__prefetch`, is a problem.
///
/// Files are read as they are: `${NAME}` in a value is a problem, because no variable replaces it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    defaults: Option<(String, String)>,
    declarations: Option<(String, String)>,
    directory: Option<PathBuf>,
    files: Vec<String>,
    environment_name: Option<String>,
    environment: Environment,
    flags: Vec<Setting>,
    explain_unknown: Option<ExplainUnknown>,
}

/// Explains an unknown key, from its section, such as `queues.mail`, and its name:
/// `Celery's result_backend is results.url here`.
pub type ExplainUnknown = fn(section: &str, name: &str) -> Option<String>;

impl Sources {
    /// Makes an empty list of sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the defaults, as YAML, with a name for messages.
    #[must_use]
    pub fn defaults(mut self, name: impl Into<String>, yaml: impl Into<String>) -> Self {
        self.defaults = Some((name.into(), yaml.into()));
        self
    }

    /// Adds the declarations of the program, as YAML, with a name for messages.
    #[must_use]
    pub fn declarations(mut self, name: impl Into<String>, yaml: impl Into<String>) -> Self {
        self.declarations = Some((name.into(), yaml.into()));
        self
    }

    /// Sets the directory of the files. It has to exist.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Adds another file in the directory, such as `routes.yaml`.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>) -> Self {
        self.files.push(name.into());
        self
    }

    /// Sets the name of the environment, such as `production`. Its file lies over the others, and
    /// has to exist if there is a directory.
    #[must_use]
    pub fn environment_name(mut self, name: Option<&str>) -> Self {
        self.environment_name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        self
    }

    /// Sets the variables.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Adds a value of the command line: its key, such as `worker.concurrency`, its text, and the
    /// flag.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl Into<String>, flag: impl Into<String>) -> Self {
        let key = key.split('.').map(str::to_owned).collect();
        self.flags.push(Setting { origin: ValueOrigin::Flag(flag.into()), key, text: value.into() });
        self
    }

    /// Adds an explanation of unknown keys, for names of other systems. It replaces the suggestion
    /// for a misspelt key.
    #[must_use]
    pub fn explain_unknown(mut self, explain: ExplainUnknown) -> Self {
        self.explain_unknown = Some(explain);
        self
    }

    /// Returns the explanation of an unknown key.
    pub(crate) fn explanation(&self, section: &str, name: &str) -> Option<String> {
        self.explain_unknown.and_then(|explain| explain(section, name))
    }

    /// Reads all sources, and merges them.
    pub(crate) fn collect(&self) -> Collected {
        let mut collected = Collected::default();
        if let Some((name, text)) = &self.defaults {
            collected.add_text(&ValueOrigin::Defaults(name.clone()), text);
        }
        let defaults = collected.merged.clone();
        if let Some((name, text)) = &self.declarations {
            collected.add_text(&ValueOrigin::Defaults(name.clone()), text);
        }
        if let Some(directory) = &self.directory {
            self.collect_directory(directory, &mut collected);
        }
        for name in self.environment.unreadable_settings() {
            collected.problems.push(Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, "should be UTF-8"));
        }
        for (name, upper) in self.environment.lower_settings() {
            let message = "variables of settings are in upper case";
            let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, message);
            collected.problems.push(Problem { nearest: Some(upper), ..problem });
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
            collected.problems.push(no_directory(directory));
            collected.is_partial = true;
            return;
        }
        collected.problems.extend(self.misnamed_files(directory));
        collected.add_file(&directory.join(MAIN_FILE));
        for name in &self.files {
            collected.add_file(&directory.join(name));
        }
        match &self.environment_name {
            Some(name) if name.contains(['/', '\\']) => {
                let message = format!("CELERIAC_ENV should be a name without a path, found `{name}`");
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

    /// Returns the problems of files that are not read because their names are misspelt.
    fn misnamed_files(&self, directory: &Path) -> Vec<Problem> {
        let own_file = self.environment_name.as_ref().map(|name| format!("{name}.yaml"));
        let known = || self.files.iter().map(String::as_str).chain([MAIN_FILE]);
        let mut names: Vec<String> = file_names(directory)
            .filter(|name| !known().any(|known| known == name) && own_file.as_ref() != Some(name))
            .collect();
        names.sort();
        names
            .into_iter()
            .filter_map(|name| {
                let meant = match name.strip_suffix(".yml") {
                    Some(stem) => format!("{stem}.yaml"),
                    None => closest_typo(&name, known())?.to_owned(),
                };
                let problem = Problem::of_source(directory.join(&name).display(), "file is not read");
                Some(Problem { nearest: Some(meant), ..problem })
            })
            .collect()
    }

    fn no_such_environment(&self, directory: &Path, name: &str, path: &Path) -> Problem {
        let others = file_names(directory).filter(|name| name != MAIN_FILE && !self.files.contains(name));
        let others: Vec<String> = others.filter_map(|name| Some(name.strip_suffix(".yaml")?.to_owned())).collect();
        let near = nearest(name, others.iter().map(String::as_str)).map(str::to_owned);
        let message = format!("file does not exist, but CELERIAC_ENV is `{name}`");
        Problem { nearest: near, ..Problem::of_source(path.display(), message) }
    }
}

/// Returns the problem of a directory of files that is none. A relative name is sought where the
/// program was started.
fn no_directory(directory: &Path) -> Problem {
    if directory.exists() {
        return Problem::of_source(directory.display(), "is not a directory; name the one with the files");
    }
    let message = match std::env::current_dir() {
        Ok(current) if directory.is_relative() => format!("directory does not exist in {}", current.display()),
        _ => "directory does not exist".to_owned(),
    };
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let others: Vec<_> = file_names(parent).filter(|name| parent.join(name).is_dir()).collect();
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let nearest = closest_typo(name, others.iter().map(String::as_str)).map(str::to_owned);
    let message = if nearest.is_some() { message } else { format!("{message}; create it, or name another") };
    Problem { nearest, ..Problem::of_source(directory.display(), message) }
}

fn not_utf8(error: &FromUtf8Error) -> String {
    if matches!(error.as_bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return "is UTF-16; save it as UTF-8".to_owned();
    }
    let (read, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line}: is not UTF-8; save the file as UTF-8")
}

fn file_names(directory: &Path) -> impl Iterator<Item = String> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().into_string().ok())
}

/// Returns the problem of a variable that has one underscore in place of two, or that misspells
/// `CELERIAC_ENV`.
fn problem_of_short(defaults: &Value, name: &str, rest: &str) -> Option<Problem> {
    if !names_section(defaults, rest) {
        let meant = closest_typo(name, [ENVIRONMENT_NAME]).filter(|meant| *meant != name)?;
        let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, "unknown variable");
        return Some(Problem { nearest: Some(meant.to_owned()), ..problem });
    }
    let message = format!("should be named {PREFIX}SECTION{SEPARATOR}KEY");
    let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, message);
    Some(Problem { nearest: variable_in_section(defaults, rest), ..problem })
}

/// Returns the problem of a variable with misplaced underscores.
fn misspelt(defaults: &Value, name: &str, key: &[&str]) -> Option<Problem> {
    if key.iter().any(|part| part.is_empty()) || is_there(defaults, key) {
        return None;
    }
    let meant = known_variable(defaults, &key.join("_"))?;
    let problem = Problem::of_key(&ValueOrigin::Variable(name.to_owned()), name, "unknown key");
    Some(Problem { nearest: Some(meant), ..problem })
}

/// The merged sources.
#[derive(Debug)]
pub(crate) struct Collected {
    merged: Value,
    /// Every source, by its name in messages.
    origins: HashMap<String, ValueOrigin>,
    pub(crate) problems: Vec<Problem>,
    /// True if a source could not be read, so that keys may be missing from the tree.
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
        let problem = match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => return self.add_text(&ValueOrigin::File(path.display().to_string()), &text),
            Ok(Err(error)) => not_utf8(&error),
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) if error.kind() == ErrorKind::IsADirectory => "is a directory; it should be a file".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.problems.push(Problem::of_source(path.display(), problem));
        self.is_partial = true;
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
                let message = "should hold sections with keys, such as `worker: {concurrency: 64}`";
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
            let message = format!("the key has more than {MAX_DEPTH} parts");
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

    /// Returns the merged values as a tree. Each value knows its source.
    pub(crate) fn tree(&mut self) -> ConfigNode {
        let nothing = Value::new(None, ValueKind::Nil);
        ConfigNode::new(std::mem::replace(&mut self.merged, nothing), &|name| self.origins.get(name?).cloned())
    }
}
