//! cargo-deny: licences, sources, bans and advisories, as `deny.toml` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use celeriac_servers::{PythonEnvironment, interruption};

use super::record::PAGE;
use crate::run::{cargo, has_cargo, run, run_within, step, target, workspace};

const REQUIREMENTS: &str = include_str!("../../requirements/cargo-deny.txt");

/// Time for the database of advisories, some megabytes.
const FETCH: Duration = Duration::from_secs(120);

/// The beginning of the paragraph that records the last check against the database.
const LAST_CHECK: &str = "Last check: ";

/// An address of nothing, which git replaces by that of a database about nothing.
const NOWHERE: &str = "https://database.invalid/none";

const ADVISORY: &str = "```toml
[advisory]
id = \"RUSTSEC-2026-9999\"
package = \"none\"
date = \"2026-01-01\"

[versions]
patched = []
```

# None

Nothing.
";

pub(crate) fn deny() -> Result<()> {
    let deny = CargoDeny::obtain()?;
    step("bans, licences and sources", || run(deny.command().args(["check", "bans", "licenses", "sources"])))?;
    step("advisories", || advisories(&deny))
}

/// Checks all packages against the database of advisories. Where the database cannot be had, checks
/// only that no package is yanked.
fn advisories(deny: &CargoDeny) -> Result<()> {
    let fetched = run_within(deny.command().args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0"), FETCH);
    let Err(error) = fetched else {
        return run(deny.command().args(["check", "advisories"]));
    };
    if interruption().load(Ordering::Relaxed) {
        return Err(error);
    }
    yanked(deny)?;
    let page = fs::read_to_string(workspace().join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let last = last_check(&page).with_context(|| format!("{PAGE} has no paragraph `{LAST_CHECK}…`"))?;
    println!("advisories not checked: the database cannot be fetched. {last}");
    Ok(())
}

/// Checks that no package is yanked. cargo-deny does so only beside a database, so it gets one with
/// a single advisory, about no package.
fn yanked(deny: &CargoDeny) -> Result<()> {
    let folder = target().join("advisories");
    let database = folder.join("none");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let entry = database.join("crates/none");
    fs::create_dir_all(&entry)?;
    fs::write(entry.join("RUSTSEC-2026-9999.md"), ADVISORY)?;
    let git = |words: &[&str]| run(Command::new("git").args(words).current_dir(&database));
    git(&["init", "--quiet", "--initial-branch", "main"])?;
    git(&["add", "."])?;
    git(&["-c", "user.name=xtask", "-c", "user.email=xtask@localhost", "commit", "--quiet", "--message", "none"])?;

    let config = folder.join("deny.toml");
    fs::write(&config, yanked_config(&folder))?;
    let mut command = deny.command();
    command.arg("--config").arg(&config).args(["check", "advisories"]);
    command.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_VALUE_0", NOWHERE);
    run(command.env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", database.display())))
}

fn yanked_config(folder: &Path) -> String {
    let path = folder.join("fetched");
    format!(
        "[graph]\nall-features = true\n\n[advisories]\nyanked = \"deny\"\ngit-fetch-with-cli = true\n\
         db-urls = [{NOWHERE:?}]\ndb-path = {:?}\n",
        path.display().to_string()
    )
}

/// Returns the paragraph about the last check against the database, in one line.
fn last_check(page: &str) -> Option<String> {
    let lines = page.lines().skip_while(|line| !line.starts_with(LAST_CHECK)).take_while(|line| !line.is_empty());
    let paragraph = lines.collect::<Vec<_>>().join(" ");
    (!paragraph.is_empty()).then_some(paragraph)
}

/// The installed program, or the one that cargo finds.
struct CargoDeny(Option<PathBuf>);

impl CargoDeny {
    /// Returns that of this machine, else the pinned one, which is installed once for each user.
    fn obtain() -> Result<Self> {
        if has_cargo("deny") {
            return Ok(Self(None));
        }
        let environment = step("cargo-deny", || PythonEnvironment::of(REQUIREMENTS)).map_err(|error| {
            anyhow!("cannot install cargo-deny: {error:#}. Or build it: `cargo install --locked cargo-deny`")
        })?;
        Ok(Self(Some(environment.program("cargo-deny"))))
    }

    fn command(&self) -> Command {
        let mut command = match &self.0 {
            Some(program) => Command::new(program),
            None => cargo(&["deny"]),
        };
        command.current_dir(workspace()).args(["--log-level", "error"]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_check_is_a_paragraph() {
        let page = "# Title\n\nLast check: today, of\nall packages.\n\nMore.\n";
        assert_eq!(last_check(page).as_deref(), Some("Last check: today, of all packages."));
        assert_eq!(last_check("# Title\n"), None);
    }
}
