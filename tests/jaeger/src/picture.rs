//! Pictures by a browser without a window.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::expectation::{CHAIN, Expectation, REPLAY};
use crate::jaeger::Jaeger;
use crate::stage::{Program, Traces};

/// Width and height, for the chain.
const LARGE: (u32, u32) = (1_200, 520);
/// Width and height, for the replay.
const SMALL: (u32, u32) = (1_200, 340);
/// Colours of a picture. An empty page and a message of the browser have fewer.
const COLOURS: usize = 100;
/// Bytes of a picture that the repository keeps.
const BYTES: u64 = 200_000;

/// Writes a picture of the chain and one of the replay.
pub(crate) fn take(jaeger: &Jaeger, traces: &Traces, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let browser = celeriac_servers::chromium()?;
    let pictures =
        [("trace-chain.png", &traces.chain, &CHAIN, LARGE), ("trace-replay.png", &traces.replay, &REPLAY, SMALL)];
    for (name, id, expectation, size) in pictures {
        let page = jaeger.page(id);
        shows(&browser, &page, expectation)?;
        let file = folder.join(name);
        photograph(&browser, &page, size, &file)?;
        check(&file, size).with_context(|| format!("the picture {} of {page}", file.display()))?;
    }
    Ok(())
}

/// Fails unless the page shows the services and the spans.
fn shows(browser: &Path, page: &str, expectation: &Expectation) -> Result<()> {
    let text = browse(browser, &["--dump-dom".to_owned()], page)?;
    let missing: Vec<_> = expectation.texts().into_iter().filter(|expected| !text.contains(expected)).collect();
    ensure!(missing.is_empty(), "the page {page} does not show {missing:?}");
    Ok(())
}

fn photograph(browser: &Path, page: &str, (width, height): (u32, u32), file: &Path) -> Result<()> {
    // A picture of an earlier run must not pass for that of this one.
    if file.exists() {
        fs::remove_file(file)?;
    }
    let options = [format!("--screenshot={}", file.display()), format!("--window-size={width},{height}")];
    browse(browser, &options, page).map(drop)
}

/// Opens a page, and returns what the browser prints.
fn browse(browser: &Path, options: &[String], page: &str) -> Result<String> {
    // A profile of its own, so that no running browser takes the page over.
    let folder = tempfile::tempdir()?;
    let printed = folder.path().join("printed");
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
    command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
    command.args(["--no-first-run", "--force-device-scale-factor=1", "--virtual-time-budget=15000"]);
    command.args(options).arg(page);
    command.stdin(Stdio::null()).stdout(File::create(&printed)?).stderr(File::create(folder.path().join("log"))?);
    let ended = Program::start(command)?.succeed();
    ended.with_context(|| {
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        format!("{log}{} could not open {page}", browser.display())
    })?;
    Ok(fs::read_to_string(&printed)?)
}

/// Fails for a picture that is empty, of another size, or too large for the repository.
fn check(file: &Path, size: (u32, u32)) -> Result<()> {
    let bytes = fs::metadata(file).context("was not written")?.len();
    ensure!(bytes < BYTES, "has {bytes} bytes, and may have {BYTES}");
    let mut decoder = png::Decoder::new(BufReader::new(File::open(file)?));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("is too large")?];
    let frame = reader.next_frame(&mut pixels)?;
    ensure!((frame.width, frame.height) == size, "has {} × {} pixels", frame.width, frame.height);
    let colours: HashSet<_> = pixels.chunks_exact(frame.color_type.samples()).collect();
    ensure!(colours.len() >= COLOURS, "has only {} colours", colours.len());
    Ok(())
}
