//! Running examples exactly as their pages say, on a clone of the repository that this is in.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::Scene;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Git without what a hook around this test would tell it.
pub(crate) fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args);
    forget(&mut command, "GIT_");
    let output = command.output().expect("git is installed");
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    output.status.success().then_some(said)
}

fn forget(command: &mut Command, prefix: &str) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(prefix) {
            command.env_remove(&name);
        }
    }
}

/// The line of an example's page that starts it.
fn typed(example: &str) -> String {
    let page = std::fs::read_to_string(root().join(format!("examples/{example}/README.md"))).unwrap();
    let start = format!("examples/{example}/");
    let mut lines = page.lines().filter(|line| line.starts_with(&start));
    let line = lines.next().expect("the page says what to type");
    assert_eq!(lines.next(), None, "one command starts it");
    line.to_owned()
}

/// Runs the example as typed at the root of the workspace, with this program on the PATH; returns what it printed.
pub(crate) fn play(scene: &Scene, example: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_bugle"));
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let temporary = scene.place("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new("sh");
    for prefix in ["BUGLE_", "GIT_"] {
        forget(&mut command, prefix);
    }
    command.arg("-c").arg(typed(example)).current_dir(root());
    command.env("PATH", std::env::join_paths(path).unwrap()).env("TMPDIR", &temporary);
    command.env("BUGLE_DATA_DIR", scene.data()).env("HOME", scene.place(""));
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// False, and says so, where the workspace is not the root of a git checkout: examples work on a clone of one.
pub(crate) fn is_checkout() -> bool {
    let top = git(&root(), &["rev-parse", "--show-toplevel"]);
    let is_top = top.as_deref().map(Path::new) == Some(&root());
    if !is_top {
        eprintln!(
            "SKIPPED: {} is not a git checkout, and the example works on a clone of one",
            root().display()
        );
    }
    is_top
}
