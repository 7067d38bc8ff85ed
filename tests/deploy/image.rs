//! The image fits the manifests, and its Dockerfile passes hadolint.

use std::fs;
use std::process::Command;

use celeriac_tests::manifests::tools;
use tempfile::TempDir;

use crate::kubernetes::run;
use crate::{deploy, planted};

const DOCKERFILE: &str = "image/Dockerfile";

/// User of the pods: deploy/kubernetes/base.
const USER: &str = "USER 65532:65532";

/// Returns the complaints of hadolint, and what does not fit the manifests.
fn complaints(text: &str) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("Dockerfile");
    fs::write(&file, text).unwrap();
    let (_, said) = run(Command::new(tools().program("hadolint")).args(["--failure-threshold", "style"]).arg(file));
    let mut complaints: Vec<_> = said.lines().map(str::to_owned).collect();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    if !last.lines().any(|line| line == USER) {
        complaints.push(format!("the last stage has no {USER}"));
    }
    // A shell would be process 1, and keep the signals to itself.
    if !last.lines().any(|line| line == "ENTRYPOINT [\"/my-app\"]") {
        complaints.push("the program is not process 1".to_owned());
    }
    complaints
}

#[test]
fn the_image_runs_the_program_as_the_user_of_the_pods() {
    assert_eq!(complaints(&fs::read_to_string(deploy(DOCKERFILE)).unwrap()), Vec::<String>::new());
}

#[test]
fn a_planted_mistake_in_the_dockerfile_is_found() {
    let text = fs::read_to_string(deploy(DOCKERFILE)).unwrap();
    let mistakes = [
        ("rust:1.94-bookworm", "rust"),
        ("rust:1.94-bookworm", "rust:latest"),
        ("WORKDIR /src", "WORKDIR src"),
        (USER, "USER nonroot"),
        ("ENTRYPOINT [\"/my-app\"]", "ENTRYPOINT /my-app"),
        ("COPY --from=build", "COPY --from=builder"),
        ("RUN --mount", "RUNS --mount"),
    ];
    for (right, wrong) in mistakes {
        let planted = planted(&text, right, wrong);
        assert!(!complaints(&planted).is_empty(), "{wrong}");
    }
}
