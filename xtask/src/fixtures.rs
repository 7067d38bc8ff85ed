//! `fixtures`: what programs of this version write, kept for the tests of later versions.

use anyhow::Result;

use crate::run::{cargo, run, step};
use crate::test::start;

pub(crate) fn fixtures() -> Result<()> {
    let servers = start(None)?;
    step("fixtures", || {
        let mut command = cargo(&["test", "--package", "celeriac-tests", "--test", "delivery", "--"]);
        command.arg("versions::a_released_version_reads_the_messages_of_the_present_one");
        run(command.env("CELERIAC_FIXTURES", "write").envs(servers.environment()))
    })
}
