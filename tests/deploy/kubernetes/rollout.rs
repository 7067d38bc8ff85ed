//! The containers of the manifests run in the order of a rollout, with a program of tests in place
//! of the image.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use celeriac_tests::manifests::{arguments, objects, pods, rendered, variables, write_configuration};
use celeriac_tests::{Bed, Program, eventually, probe, program};
use serde_json::Value;
use tempfile::TempDir;

use super::run;

/// Longest time of a container that ends by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program as a container does: as the user of the pods, without capabilities, on a
/// read-only root. `$0` is the folder that stays writable for those who may.
const ENCLOSED: &str = "mount --make-rprivate / && mount --bind \"$0\" \"$0\" && mount -o remount,ro,bind / && \
    exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \"$@\"";

/// A place for the program, its configuration and its socket.
struct Node {
    folder: TempDir,
    is_enclosed: bool,
}

impl Node {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        fs::copy(program::path(), path.join("my-app")).unwrap();
        fs::create_dir(path.join("run")).unwrap();
        fs::set_permissions(path.join("run"), Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("unshare");
        let write = format!("touch {0}/run/probe && ! touch {0}/probe && ! touch /var/tmp/probe", path.display());
        command.args(["--mount", "--", "sh", "-c", ENCLOSED]).arg(path).args(["sh", "-c", &write]);
        // Without the right to make a namespace, containers run as the user of the test.
        let (is_enclosed, _) = run(&mut command);
        Self { folder, is_enclosed }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/health")
    }

    /// Starts a container, with the servers of the test and a socket in place of its port.
    fn start(&self, bed: &Bed, objects: &[Value], pod: &Value, container: &Value) -> Program {
        let configured = self.folder.path().join("configuration");
        write_configuration(objects, pod, &configured);
        let own = variables(objects, container);
        let own = own.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let socket = ("CELERIAC__TELEMETRY__LISTEN", format!("unix:{}", self.socket().display()));
        // A later variable of the same name replaces an earlier one.
        let path = ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        let variables: Vec<_> = own.chain(bed.environment_with(&[socket, path])).collect();
        let [folder, configured] = [self.folder.path(), &configured].map(|path| path.display().to_string());
        let executable = format!("{folder}/my-app");
        let given = arguments(container).into_iter();
        let given = given.map(|word| if word == "/etc/celeriac" { configured.as_str() } else { word });
        if self.is_enclosed {
            let before = ["--mount", "--", "sh", "-c", ENCLOSED, &folder, &executable];
            Program::start_other("unshare", &before.into_iter().chain(given).collect::<Vec<_>>(), &variables)
        } else {
            Program::start_other(&executable, &given.collect::<Vec<_>>(), &variables)
        }
    }
}

#[celeriac_tests::test(real)]
async fn a_worker_waits_for_the_setup_and_ends_within_its_grace(bed: Bed) {
    let objects = tokio::task::spawn_blocking(|| objects(&rendered("production"))).await.unwrap();
    let pod = |wanted: &str| pods(&objects).into_iter().find(|(name, ..)| name == wanted).unwrap().1;
    let (setup, worker) = (pod("Job setup"), pod("Deployment worker-default"));
    let node = tokio::task::spawn_blocking(Node::new).await.unwrap();
    let start = |pod, container| node.start(&bed, &objects, pod, container);
    let ends_with = async |mut program: Program, code| {
        assert_eq!(program.exit_code(PATIENCE).await, code, "{}", program.output());
    };

    // Something is missing: the kubelet starts the init container again.
    let check = &worker["initContainers"][0];
    ends_with(start(worker, check), 3).await;
    ends_with(start(setup, &setup["containers"][0]), 0).await;
    ends_with(start(worker, check), 0).await;

    let container = &worker["containers"][0];
    let mut program = start(worker, container);
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap();
        let status = async || probe::page(&node.socket(), path).await.map(|(status, _)| status);
        eventually(probe, status, |status| *status == Some(200)).await;
    }
    if node.is_enclosed {
        let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
        let of_pods = ["\nUid:\t65532\t65532\t", "\nCapEff:\t0000000000000000\n"];
        assert!(of_pods.iter().all(|line| status.contains(line)), "{status}");
    }
    program.signal("TERM");
    let grace = Duration::from_secs(worker["terminationGracePeriodSeconds"].as_u64().unwrap());
    assert_eq!(program.exit_code(grace).await, 0, "{}", program.output());
}
