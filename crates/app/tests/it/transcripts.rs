//! `logs --transcript`: what an agent said and did, while it runs, over a restart of its server, and after.

use serde_json::{Value as Json, json};

use crate::scene::Scene;

const SCRIPT: &str = "\
session s-1
message let me look with ${ENV:API_TOKEN}
tool bash {\"command\": \"make test\"}
tool-result error one
tool bash {\"command\": \"ls\"}
touch HERE/working
wait-for HERE/go
tool-result ok a.txt
usage 1000 7 200 0.0042 model=m
err a warning
trouble transient busy for a moment
result success all tests pass
";

/// A secret that the agent prints.
const CANARY: &str = "canary-0123456789";

/// A server, and a run that waits within its second tool until `go` is there.
fn working() -> (Scene, String) {
    let scene = Scene::served();
    let script = SCRIPT.replace("HERE", scene.place("").to_str().unwrap().trim_end_matches('/'));
    let config = json!({ "script": script, "env": { "API_TOKEN": CANARY } }).to_string();
    scene.ok(&["agent", "add", "speaker", "--adapter", "scripted", "--config", &config]);
    scene.ok(&["wake", "speaker"]);
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    (scene, run)
}

fn lines(out: &str) -> Vec<Json> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_transcript_is_followed_over_a_restart_and_reads_the_same_afterwards() {
    let (mut scene, run) = working();
    let mut follow = scene.start(&["logs", &run, "--transcript", "--follow"]);
    follow.out("one");
    // The second tool is under way: whoever does not follow sees it.
    crate::stage::wait_for("the second tool", || scene.place("working").exists().then_some(()));
    let now = crate::stage::wait_for("the tool in the transcript", || {
        let told = scene.ok(&["logs", &run, "--transcript"]);
        told.out.contains("> bash ls").then_some(told.out)
    });
    assert!(now.ends_with("> bash ls\n    under way\n"), "{now}");
    scene.kill();
    follow.err("the server went away");
    scene.up(&[]);
    follow.err("the server is back");
    std::fs::write(scene.place("go"), "").unwrap();
    let told = follow.wait();
    assert_eq!(told.code, Some(0), "{told:?}");
    // How long the tools took is the run's own affair.
    let steady: Vec<&str> =
        told.out.lines().map(|line| line.split_once("  (").map_or(line, |(head, _)| head)).collect();
    // Nobody knows the order of what comes through two pipes.
    let (warnings, steady): (Vec<&str>, Vec<&str>) =
        steady.into_iter().partition(|line| *line == "a warning");
    assert_eq!(warnings.len(), 1);
    assert_eq!(
        steady,
        [
            "session s-1",
            "let me look with ***REDACTED***",
            "> bash make test",
            "    one",
            "> bash ls",
            "    a.txt",
            "used: 1000 tokens in, 200 more from the cache, 7 out, $0.004200 (m)",
            "error: a passing trouble of the provider: busy for a moment",
            "done: all tests pass",
        ]
    );
    assert_eq!(scene.ok(&["logs", &run, "--transcript"]).out, told.out);
    let items = lines(&scene.ok(&["logs", &run, "--transcript", "--json"]).out);
    let kinds = items.iter().map(|item| item["type"].as_str().unwrap());
    let kinds: Vec<&str> = kinds.filter(|kind| *kind != "output").collect();
    assert_eq!(kinds, ["session", "message", "tool", "tool", "usage", "error", "result"]);
    let seqs: Vec<u64> = items.iter().map(|item| item["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=8).collect::<Vec<_>>());
    let served = scene.get(&format!("/heartbeat-runs/{run}/transcript"));
    assert!(!served.to_string().contains(CANARY));
    assert_eq!((&served["items"], &served["done"]), (&json!(items), &json!(true)));
}

#[test]
fn leaving_leaves_the_run_alone_and_what_makes_no_sense_is_refused() {
    let (scene, run) = working();
    let mut follow = scene.start(&["logs", &run, "--transcript", "-f"]);
    follow.out("let me look");
    follow.signal(rustix::process::Signal::INT);
    let told = follow.wait();
    assert_eq!(told.code, Some(130), "{told:?}");
    assert!(told.err.contains("the run goes on"), "{told:?}");
    assert_eq!(scene.run(&run)["status"], "running");
    let refused = scene.bugle(&["logs", &run, "--transcript", "--stderr"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    std::fs::write(scene.place("go"), "").unwrap();
    assert_eq!(scene.ended(&run)["status"], "succeeded");
}
