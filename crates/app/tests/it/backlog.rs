//! The example `examples/backlog`, run exactly as its page says, on a clone of the repository that this is in.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};

use crate::scene::Scene;
use crate::stage::{is_final, wait_for};

/// Who waits for whom, by the numbers of the issues.
const BLOCKERS: [(&str, &[usize]); 6] = [
    ("Open the notebook", &[]),
    ("Count the lines of each crate", &[1]),
    ("Count the tests of each crate", &[1]),
    ("Find the longest files", &[1]),
    ("Write the report", &[2, 3, 4]),
    ("Close the notebook", &[5]),
];

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Git without what a hook around this test would tell it.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
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

/// The line of the page that starts the example.
fn typed() -> String {
    let page = std::fs::read_to_string(root().join("examples/backlog/README.md")).unwrap();
    let mut lines = page.lines().filter(|line| line.starts_with("examples/backlog/"));
    let line = lines.next().expect("the page says what to type");
    assert_eq!(lines.next(), None, "one command starts it");
    line.to_owned()
}

/// Runs the example as typed at the root of the workspace, with this program on the PATH; returns what it printed.
fn play(scene: &Scene) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_bugle"));
    let mut path = vec![program.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let temporary = scene.place("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new("sh");
    for prefix in ["BUGLE_", "GIT_"] {
        forget(&mut command, prefix);
    }
    command.arg("-c").arg(typed()).current_dir(root());
    command.env("PATH", std::env::join_paths(path).unwrap()).env("TMPDIR", &temporary);
    command.env("BUGLE_DATA_DIR", scene.data()).env("HOME", scene.place(""));
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

fn moment<'a>(of: &'a Json, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of:#}"))
}

#[test]
fn three_agents_work_through_a_backlog_in_the_order_of_its_blockers() {
    let top = git(&root(), &["rev-parse", "--show-toplevel"]);
    if top.as_deref().map(Path::new) != Some(&root()) {
        eprintln!(
            "SKIPPED: {} is not a git checkout, and the example works on a clone of one",
            root().display()
        );
        return;
    }
    let scene = Scene::served();
    let out = play(&scene);
    assert!(out.contains("# The survey of ") && out.contains("the backlog is worked through: "), "{out}");

    let companies = scene.json(&["company", "list"]);
    let company = companies.as_array().unwrap().iter().find(|company| company["name"] == "Backlog").unwrap();
    let company = company["id"].as_str().unwrap();
    // The last issue is done before the run that did it has ended.
    let runs = wait_for("the end of all runs", || {
        let runs = scene.get(&format!("/companies/{company}/heartbeat-runs?limit=100"));
        let all_over = runs.as_array()?.iter().all(|run| is_final(&run["status"]));
        all_over.then_some(runs)
    });
    let ends: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["status"].as_str(), run["exitCode"].as_i64()))
        .collect();
    assert_eq!(
        ends,
        [(Some("succeeded"), Some(0)); 6],
        "one run for each issue, and each succeeded: {runs:#}"
    );

    let listed = scene.get(&format!("/companies/{company}/issues?limit=100"));
    let mut issues: Vec<Json> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|issue| scene.get(&format!("/issues/{}", issue["id"].as_str().unwrap())))
        .collect();
    issues.sort_by_key(|issue| issue["issueNumber"].as_i64());
    let found: Vec<_> =
        issues.iter().map(|issue| (issue["title"].as_str(), issue["status"].as_str())).collect();
    assert_eq!(found, BLOCKERS.map(|(title, _)| (Some(title), Some("done"))));

    for (issue, (title, blockers)) in issues.iter().zip(BLOCKERS) {
        let id = issue["id"].as_str().unwrap();
        let worked = scene.get(&format!("/issues/{id}/runs"));
        let [run] = worked.as_array().unwrap().as_slice() else {
            panic!("one run worked on {title}: {worked:#}")
        };
        assert_eq!(run["agentId"], issue["assigneeAgentId"], "{title}");
        assert_eq!(issue["blockedBy"].as_array().unwrap().len(), blockers.len(), "{title}");
        for blocker in blockers.iter().map(|number| &issues[number - 1]) {
            let waits = issue["blockedBy"].as_array().unwrap().iter().any(|it| it["id"] == blocker["id"]);
            assert!(waits, "{title} waits for {}", blocker["title"]);
            let (ended, began) = (moment(blocker, "completedAt"), moment(run, "startedAt"));
            assert!(ended <= began, "{title} began at {began}, and {} ended at {ended}", blocker["title"]);
        }
        let comments = scene.get(&format!("/issues/{id}/comments"));
        let is_said =
            comments.as_array().unwrap().iter().any(|it| it["authorAgentId"] == issue["assigneeAgentId"]);
        assert!(is_said, "{title}: its agent says what it did: {comments:#}");
    }
    assert_eq!(scene.json(&["inbox", "--company", company]), json!([]), "nothing needs a person");

    let clone = scene.place("tmp/bugle-backlog/clone");
    let source = git(&root(), &["rev-parse", "HEAD"]).unwrap();
    let made = git(&clone, &["log", "--no-merges", "--format=%s", &format!("{source}..HEAD")]).unwrap();
    let mut made: Vec<&str> = made.lines().collect();
    made.sort_unstable();
    let note = "A line in the notebook";
    assert_eq!(made, [note, note, BLOCKERS[1].0, BLOCKERS[2].0, BLOCKERS[3].0, BLOCKERS[4].0]);
}
