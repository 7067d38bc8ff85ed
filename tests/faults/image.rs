//! The program runs on a read-only root that holds no more than its image does, and so no shell. No
//! engine builds the image here.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use celeriac_tests::wait::PATIENCE;
use celeriac_tests::{Bed, Program, program};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::ledger::{is_long, note};

/// Packages of Debian in `gcr.io/distroless/cc-debian12`.
const PACKAGES: [&str; 7] = ["base-files", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "netbase", "tzdata"];

/// Runs a program as the user of `deploy/image/Dockerfile`, on the root `$0`.
const ENCLOSED: &str = "mount --make-rprivate / && mount --bind \"$0\" \"$0\" && mount -t proc proc \"$0/proc\" && \
    mount -o remount,ro,bind \"$0\" && exec chroot --userspec=65532:65532 \"$0\" \"$@\"";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns a root with the program: the packages of the image in the long form, else only the
/// libraries that the program is linked with.
fn image() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    if is_long() {
        let downloads = TempDir::new().unwrap();
        run(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(downloads.path()));
        for package in fs::read_dir(downloads.path()).unwrap().map(|entry| entry.unwrap().path()) {
            run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(root.path()));
        }
    } else {
        libraries().iter().for_each(|library| add(library, library, root.path()));
    }
    add(Path::new(&program::path()), Path::new("/my-app"), root.path());
    fs::create_dir_all(root.path().join("proc")).unwrap();
    root
}

/// Returns the paths of the libraries of the program, and of their loader.
fn libraries() -> Vec<PathBuf> {
    let listed = run(Command::new("ldd").arg(program::path()));
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    let paths: Vec<_> = paths.map(PathBuf::from).collect();
    assert!(paths.len() >= 3, "{listed}");
    paths
}

/// Copies a file to its place below a root.
fn add(file: &Path, place: &Path, root: &Path) {
    let place = root.join(place.strip_prefix("/").unwrap());
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(file, place).unwrap();
}

#[celeriac_tests::test(real)]
async fn the_program_runs_as_the_user_of_the_image_on_a_root_with_its_files_alone(bed: Bed) {
    let root = spawn_blocking(image).await.unwrap();
    let folder = root.path().to_str().unwrap();
    let path = ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let arguments = ["--mount", "--", "sh", "-c", ENCLOSED, folder, "/my-app", "worker", "-l", "info"];
    let mut worker = Program::start_other("unshare", &arguments, &bed.environment_with(&[path]));
    worker.says("worker ready").await;

    let process = PathBuf::from(format!("/proc/{}", worker.id()));
    let status = fs::read_to_string(process.join("status")).unwrap();
    assert!(status.contains("\nUid:\t65532\t65532\t") && status.contains("\nCapEff:\t0000000000000000\n"), "{status}");
    let written = fs::write(process.join("root/probe"), "").unwrap_err();
    assert_eq!(written.kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(!process.join("root/bin/sh").exists(), "the image has no shell");

    let client = bed.client(bed.program([])).await;
    assert_eq!(note(7).submit(&client).await.unwrap().get().await.unwrap(), 7);
    worker.signal("TERM");
    assert_eq!(worker.exit_code(PATIENCE).await, 0, "{}", worker.output());
}
