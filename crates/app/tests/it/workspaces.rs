//! Runs on one repository at once, a person at work in it meanwhile, and worktrees that are closed again: nobody's work
//! gets into anybody else's, and not a byte is lost.
//!
//! The short form has five runs; `BUGLE_SOAK=n` has n (scenario S15: 20).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::scene::Scene;
use crate::stage::{Stage, Wire, wait_for};

fn runs_at_once() -> usize {
    std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// git as the person at this checkout, with nothing of the tester's configuration.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command
        .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false"])
        .args(args)
        .current_dir(folder);
    command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Person").env(format!("GIT_{who}_EMAIL"), "person@localhost");
    }
    let told = command.output().unwrap();
    assert!(told.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8_lossy(&told.stdout).trim_end().to_owned()
}

/// A repository with a commit, in which a person is in the middle of something.
pub(crate) fn repository(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    git(folder, &["init", "-q"]);
    std::fs::write(folder.join("base.txt"), "base\n").unwrap();
    std::fs::write(folder.join(".gitignore"), "*.log\n").unwrap();
    git(folder, &["add", "."]);
    git(folder, &["commit", "-q", "-m", "base"]);
}

/// Every file below a folder with its bytes; what is git's own is left out.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if entry.file_name() == ".git" {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Everything of a person's checkout that nobody may touch: where it stands, its index, its files.
fn checkout(folder: &Path) -> (String, Vec<u8>, BTreeMap<PathBuf, Vec<u8>>) {
    let head = std::fs::read_to_string(folder.join(".git/HEAD")).unwrap();
    (head, std::fs::read(folder.join(".git/index")).unwrap(), files(folder))
}

struct Project {
    company: String,
    id: String,
}

async fn project(wire: &Wire, workspace: Json, policy: Json) -> Project {
    let company = wire.company().await;
    let body = json!({ "name": "site", "workspace": workspace, "executionWorkspacePolicy": policy });
    let made = wire.post(&format!("/companies/{company}/projects"), &body).await;
    Project { company, id: made["id"].as_str().unwrap().to_owned() }
}

impl Project {
    /// An issue for an agent, and the run that its assignment starts.
    async fn work(&self, wire: &Wire, agent: &str, title: &str) -> (String, String) {
        let body =
            json!({ "title": title, "status": "todo", "projectId": self.id, "assigneeAgentId": agent });
        let issue = wire.post(&format!("/companies/{}/issues", self.company), &body).await;
        let issue = issue["id"].as_str().unwrap().to_owned();
        (issue.clone(), run_of(wire, &issue, 0).await)
    }

    async fn places(&self, wire: &Wire) -> Vec<Json> {
        let all = wire.get(&format!("/companies/{}/execution-workspaces", self.company)).await;
        all.as_array().unwrap().clone()
    }
}

/// The newest run of an issue, once there are more than so many.
async fn run_of(wire: &Wire, issue: &str, before: usize) -> String {
    let until = std::time::Instant::now() + crate::stage::PATIENCE;
    loop {
        let runs = wire.get(&format!("/issues/{issue}/runs")).await;
        let runs = runs.as_array().unwrap();
        if runs.len() > before {
            return runs[0]["runId"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < until, "no run of the issue");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn diff(wire: &Wire, run: &str) -> String {
    let stream = wire.stream(&format!("/heartbeat-runs/{run}/diff"), None).await.unwrap();
    assert_eq!(stream.status(), 200);
    stream.text().await.unwrap()
}

/// What a run leaves behind, by its number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Leased,
    Dirty,
    Commits,
    Nothing,
}

fn kind(number: usize) -> Kind {
    match number {
        0 => Kind::Leased,
        number if number % 3 == 1 => Kind::Dirty,
        number if number % 3 == 2 => Kind::Commits,
        _ => Kind::Nothing,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_once_keep_apart_a_person_is_left_alone_and_closing_loses_nothing() {
    let count = runs_at_once();
    let mut stage = Stage::set(None).with(&["--max-runs", &(count + 2).to_string()]);
    stage.start();
    let repo = stage.place("repo");
    repository(&repo);
    let base = git(&repo, &["rev-parse", "HEAD"]);
    std::fs::write(repo.join("staged.txt"), "staged by a person\n").unwrap();
    git(&repo, &["add", "staged.txt"]);
    std::fs::write(repo.join("base.txt"), "base\nedited by a person\n").unwrap();
    std::fs::write(repo.join("untracked.txt"), "not added yet\n").unwrap();

    let wire = stage.wire();
    let project = project(&wire, json!({ "cwd": repo }), Json::Null).await;
    let (there, go) = (stage.place("there"), stage.place("go"));
    std::fs::create_dir_all(&there).unwrap();
    let mut work = Vec::new();
    for number in 0..count {
        let (there, go) = (there.join(number.to_string()), go.display().to_string());
        let acts = match kind(number) {
            Kind::Dirty => format!(
                "edit own-{number}.txt text\ncommit work of {number}\nedit later-{number}.txt later\nedit x.log ignored {number}"
            ),
            Kind::Nothing => "cwd".to_owned(),
            Kind::Commits | Kind::Leased => format!("edit own-{number}.txt text\ncommit work of {number}"),
        };
        let last = if kind(number) == Kind::Leased {
            format!("touch {go}-leased\nwait-for {go}-last")
        } else {
            String::new()
        };
        // Nobody goes on with what is done, however long this test takes.
        let done = "api PATCH /api/issues/${TASK_ID} {\"status\": \"done\"}";
        let script = format!(
            "session\ntouch {}\nwait-for {go}\n{acts}\n{last}\n{done}\nresult success done\n",
            there.display()
        );
        let agent = wire.scripted(&format!("a{number}"), &script, json!({})).await;
        work.push(project.work(&wire, &agent, &format!("task {number}")).await);
    }
    // All of them are at work before any goes on, and a person works on meanwhile.
    wait_for("all runs at once", || (std::fs::read_dir(&there).unwrap().count() == count).then_some(()));
    std::fs::write(repo.join("staged.txt"), "staged by a person, and again\n").unwrap();
    git(&repo, &["add", "staged.txt"]);
    let before = checkout(&repo);
    std::fs::write(&go, "").unwrap();
    for (number, (_, run)) in work.iter().enumerate() {
        if kind(number) != Kind::Leased {
            let ended = wire.over(run).await;
            assert_eq!(ended["status"], "succeeded", "{ended:#}");
        }
    }
    wait_for("the run that stays", || {
        std::fs::exists(format!("{}-leased", go.display())).unwrap().then_some(())
    });
    assert!(checkout(&repo) == before, "the person's checkout was touched");

    // Each result is on its own branch, with its diff, and nothing of anybody else's.
    let places = project.places(&wire).await;
    assert_eq!(places.len(), count);
    let mut branches = BTreeSet::new();
    for (number, (issue, run)) in work.iter().enumerate().skip(1) {
        let outputs = wire.get(&format!("/heartbeat-runs/{run}/outputs")).await;
        let branch = outputs["branch"].as_str().unwrap();
        assert!(branches.insert(branch.to_owned()), "{branch} is somebody else's too");
        assert_eq!((&outputs["baseCommit"], &outputs["isExclusive"]), (&json!(base), &json!(true)));
        let paths: Vec<&str> =
            outputs["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
        let (own, later) = (format!("own-{number}.txt"), format!("later-{number}.txt"));
        let (expected, commits) = match kind(number) {
            Kind::Dirty => (vec![later.as_str(), own.as_str()], 1),
            Kind::Commits => (vec![own.as_str()], 1),
            Kind::Nothing | Kind::Leased => (vec![], 0),
        };
        assert_eq!(
            (paths, outputs["commitCount"].as_i64().unwrap()),
            (expected.clone(), commits),
            "{outputs:#}"
        );
        let uncommitted = if kind(number) == Kind::Dirty { json!([later]) } else { json!([]) };
        assert_eq!(outputs["uncommitted"], uncommitted);
        let patch = diff(&wire, run).await;
        assert_eq!(patch.matches("diff --git").count(), expected.len(), "{patch}");
        assert!(expected.iter().all(|path| patch.contains(path)), "{patch}");
        let in_branch = git(&repo, &["log", "--name-only", "--format=", &format!("{base}..{branch}")]);
        assert_eq!(in_branch, if commits == 1 { own.as_str() } else { "" });
        let row = wire.get(&format!("/issues/{issue}")).await;
        assert_eq!(
            (&row["status"], &row["currentExecutionWorkspace"]["branchName"]),
            (&json!("done"), &json!(branch))
        );
    }

    closing_loses_nothing(&wire, &repo, &project, &work).await;
    assert!(checkout(&repo) == before, "closing touched the person's checkout");
    std::fs::write(format!("{}-last", go.display()), "").unwrap();
    assert_eq!(wire.over(&work[0].1).await["status"], "succeeded");
}

async fn closing_loses_nothing(wire: &Wire, repo: &Path, project: &Project, work: &[(String, String)]) {
    let place_of = |issue: &str, places: &[Json]| {
        places.iter().find(|place| place["sourceIssueId"] == issue).cloned().unwrap()
    };
    let places = project.places(wire).await;
    let (mut blobs, mut loose) = (BTreeSet::new(), Vec::new());
    let mut folders = Vec::new();
    for (number, (issue, _)) in work.iter().enumerate() {
        let folder = PathBuf::from(place_of(issue, &places)["cwd"].as_str().unwrap());
        if kind(number) == Kind::Commits {
            // A commit that was reset away, which only the log of this worktree knows.
            std::fs::write(folder.join("regretted.txt"), format!("regretted {number}\n")).unwrap();
            git(&folder, &["add", "."]);
            git(&folder, &["commit", "-q", "-m", "regretted"]);
            loose.push(git(&folder, &["rev-parse", "HEAD"]));
            git(&folder, &["reset", "-q", "--hard", "HEAD~1"]);
        }
        if kind(number) == Kind::Dirty {
            // Staged as one thing, and changed to another since.
            std::fs::write(folder.join("base.txt"), format!("staged {number}\n")).unwrap();
            git(&folder, &["add", "base.txt"]);
            blobs.insert(git(&folder, &["rev-parse", ":base.txt"]));
            std::fs::write(folder.join("base.txt"), format!("and changed since {number}\n")).unwrap();
        }
        if kind(number) != Kind::Leased {
            for path in files(&folder).into_keys() {
                blobs.insert(git(&folder, &["hash-object", "--no-filters", path.to_str().unwrap()]));
            }
        }
        folders.push(folder);
    }
    let leased = files(&folders[0]);
    for (number, (issue, run)) in work.iter().enumerate() {
        let place = place_of(issue, &places);
        let path = format!("/execution-workspaces/{}", place["id"].as_str().unwrap());
        let archive = json!({ "status": "archived" });
        if kind(number) == Kind::Leased {
            let (status, answer) = wire.try_ask(Method::PATCH, &path, Some(&archive)).await.unwrap();
            assert_eq!(status, 409, "{answer:#}");
            let reasons = answer["closeReadiness"]["blockingReasons"].to_string();
            assert!(reasons.contains(run.as_str()), "{answer:#}");
            continue;
        }
        let (status, closed) = wire.try_ask(Method::PATCH, &path, Some(&archive)).await.unwrap();
        assert_eq!((status, &closed["status"]), (200, &json!("archived")), "{closed:#}");
        assert!(!folders[number].exists(), "the folder is still there");
        let branch = format!("refs/heads/{}", place["branchName"].as_str().unwrap());
        let kept = git(repo, &["for-each-ref", "--format=%(refname)", &branch]);
        // What nothing was done on needs no branch.
        assert_eq!(kept.is_empty(), kind(number) == Kind::Nothing, "{branch}");
        assert_eq!(closed["metadata"]["savedRef"].is_string(), kind(number) != Kind::Nothing, "{closed:#}");
    }
    assert!(files(&folders[0]) == leased, "the leased workspace was touched");
    // Whatever nothing leads to is really gone after this.
    git(repo, &["reflog", "expire", "--expire=now", "--all"]);
    git(repo, &["gc", "-q", "--prune=now"]);
    for blob in &blobs {
        git(repo, &["cat-file", "-e", blob]);
    }
    for commit in &loose {
        git(repo, &["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    }
    assert!(blobs.len() > work.len() && !loose.is_empty(), "there was something to lose");
    let left = git(repo, &["worktree", "list", "--porcelain"]);
    assert_eq!(left.matches("worktree ").count(), 2, "the person's and the leased one: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worktree_that_was_being_prepared_when_the_server_died_is_gone_on_with() {
    let mut stage = Stage::set(None);
    stage.start();
    let repo = stage.place("repo");
    repository(&repo);
    let wire = stage.wire();
    let (at_work, go) = (stage.place("at-work"), stage.place("go"));
    let command = format!(
        "echo preparing $BUGLE_ISSUE_IDENTIFIER; echo made >> prepared.log; touch {}; while [ ! -e {} ]; do sleep 0.05; done",
        at_work.display(),
        go.display()
    );
    let policy = json!({
        "enabled": true, "defaultMode": "isolated_workspace",
        "workspaceStrategy": { "type": "git_worktree", "provisionCommand": command, "branchTemplate": "work/{{issue.identifier}}" },
    });
    let project = project(&wire, json!({ "cwd": repo }), policy).await;
    let agent =
        wire.scripted("ada", "session\nedit here.txt x\ncommit done\nresult success done\n", json!({})).await;
    let (issue, run) = project.work(&wire, &agent, "first").await;
    wait_for("the command", || at_work.exists().then_some(()));
    stage.kill();
    stage.start();
    std::fs::write(&go, "").unwrap();
    let ended = wire.over(&run).await;
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let places = project.places(&wire).await;
    assert_eq!(places.len(), 1, "one worktree, however often it was begun: {places:#?}");
    assert_eq!(git(&repo, &["branch", "--list", "--format=%(refname:short)", "work/*"]).lines().count(), 1);
    let operations = wire.get(&format!("/heartbeat-runs/{run}/workspace-operations")).await;
    let told: Vec<_> = operations
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["phase"].as_str().unwrap(), it["status"].as_str().unwrap()))
        .collect();
    let expected = [
        "worktree_prepare succeeded",
        "workspace_provision failed",
        "worktree_prepare succeeded",
        "workspace_provision succeeded",
    ];
    assert_eq!(told, expected, "{operations:#}");
    let id = operations[3]["id"].as_str().unwrap();
    let log = wire.get(&format!("/workspace-operations/{id}/log")).await;
    assert!(log["content"].as_str().unwrap().starts_with("preparing "), "{log}");

    // The same issue goes on in the same place; a command that fails is a start that failed, and says why.
    let place = &places[0];
    let config = json!({ "config": { "provisionCommand": "echo out of disk >&2; exit 7" } });
    let path = format!("/execution-workspaces/{}", place["id"].as_str().unwrap());
    assert_eq!(wire.try_ask(Method::PATCH, &path, Some(&config)).await.unwrap().0, 200);
    let again = wire.wake(&agent, &json!({ "payload": { "issueId": issue }, "reason": "again" })).await;
    let ended = wire.over(&again).await;
    assert_eq!(ended["status"], "failed", "{ended:#}");
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains("exit code 7") && error.contains("out of disk"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_told_where_it_works_and_the_same_task_goes_on_there() {
    let mut stage = Stage::set(None);
    stage.start();
    let origin = stage.place("origin");
    repository(&origin);
    let wire = stage.wire();
    let url = format!("file://localhost{}", origin.display());
    let project = project(&wire, json!({ "repoUrl": url }), Json::Null).await;
    let script = "pwd; cat base.txt; env | grep -E '^(BUGLE|PAPERCLIP)_WORKSPACE' | sort; echo more >> notes.txt; wc -l < notes.txt";
    let config = json!({ "command": "/bin/sh", "args": ["-c", script] });
    let agent = json!({ "name": "sh", "adapterType": "process", "adapterConfig": config });
    let agent = wire.agent(&agent).await;
    let (issue, run) = project.work(&wire, &agent, "Fix: the title").await;
    assert_eq!(wire.over(&run).await["status"], "succeeded", "{:#}", wire.run(&run).await);
    let out = wire.output(&run, "stdout").await;
    let place = &project.places(&wire).await[0];
    let cwd = place["cwd"].as_str().unwrap();
    assert!(cwd.contains("/data/workspaces/") && out.starts_with(&format!("{cwd}\nbase\n")), "{out}");
    let branch = place["branchName"].as_str().unwrap();
    assert!(branch.ends_with("-1-fix-the-title"), "{branch}");
    for prefix in ["BUGLE", "PAPERCLIP"] {
        for (name, value) in [
            ("CWD", cwd),
            ("SOURCE", "project_primary"),
            ("STRATEGY", "git_worktree"),
            ("BRANCH", branch),
            ("REPO_URL", url.as_str()),
        ] {
            let line = format!("{prefix}_WORKSPACE_{name}={value}\n");
            assert!(out.contains(&line), "{line} is not in {out}");
        }
    }
    assert_eq!(out.lines().last(), Some("1"), "{out}");
    assert_eq!(
        wire.get(&format!("/heartbeat-runs/{run}/outputs")).await["uncommitted"],
        json!(["notes.txt"])
    );

    // The second run finds what the first one left, and only its own line is its own.
    let again = wire.wake(&agent, &json!({ "payload": { "issueId": issue }, "reason": "again" })).await;
    wire.over(&again).await;
    let out = wire.output(&again, "stdout").await;
    let lines: u32 = out.lines().last().unwrap().trim().parse().unwrap();
    assert!(out.starts_with(&format!("{cwd}\n")) && lines > 1, "{out}");
    let outputs = wire.get(&format!("/heartbeat-runs/{again}/outputs")).await;
    assert_eq!(
        (&outputs["insertions"], &outputs["files"][0]["status"]),
        (&json!(1), &json!("modified")),
        "{outputs:#}"
    );
    assert_eq!(project.places(&wire).await.len(), 1);
}

#[test]
fn workspaces_are_listed_shown_and_closed_on_the_command_line() {
    let mut scene = Scene::served();
    let repo = scene.place("repo");
    repository(&repo);
    scene.ok(&["project", "create", "Site", "--folder", repo.to_str().unwrap()]);
    std::fs::write(scene.place("steps"), "session\nedit new.txt hello\nresult success done\n").unwrap();
    scene.ok(&["agent", "add", "ada", "--script", "steps"]);
    scene.ok(&["issue", "create", "Write it", "--project", "Site", "--assignee", "ada", "--status", "todo"]);
    let run = wait_for("a run", || scene.json(&["run", "list"])[0]["id"].as_str().map(str::to_owned));
    scene.ended(&run);
    let listed = scene.ok(&["workspace", "list"]).out;
    assert!(listed.contains("-1-write-it"), "{listed}");
    let branch = scene.json(&["workspace", "list"])[0]["branchName"].as_str().unwrap().to_owned();
    for diff in [scene.ok(&["run", "diff", &run]).out, scene.ok(&["workspace", "diff", &branch]).out] {
        assert!(diff.contains("+hello"), "{diff}");
    }
    assert!(scene.ok(&["workspace", "show", &branch]).out.contains("files are not committed"));
    let refused = scene.bugle(&["workspace", "close", &branch]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("is worked on in it"), "{refused:?}");
    let issue = branch.split('-').take(2).collect::<Vec<_>>().join("-");
    scene.ok(&["issue", "update", &issue, "--status", "done"]);
    let closed = scene.ok(&["workspace", "close", &branch]);
    assert!(closed.out.contains("is closed"), "{closed:?}");
    let saved = git(&repo, &["for-each-ref", "--format=%(refname)", "refs/bugle/saved"]);
    assert_eq!(git(&repo, &["show", &format!("{saved}:new.txt")]), "hello");
    assert!(scene.ok(&["workspace", "list", "--all"]).out.contains("archived"));
    scene.stop(Signal::TERM);
}
