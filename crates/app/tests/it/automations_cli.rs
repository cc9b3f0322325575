//! `bugle automation` and `bugle gate`, as they are typed: what is printed can be typed, and what is refused names what
//! helps.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::scene::{Scene, Told};
use crate::stage::wait_for;

/// One step, which succeeds as soon as there is a file `mended`, and needs an input that looks like a number.
const ONE: &str = r#"
name = "one"
inputs = { since = { type = "string", default = "v1" } }

[[nodes]]
id = "build"
agent = "builder"
objective = "build it"
retry = { maxAttempts = 1 }
"#;

/// Three gates that open at one moment, behind one step.
const GATES: &str = r#"
name = "gates"
inputs = { since = { type = "string" } }

[[nodes]]
id = "build"
agent = "builder"
objective = "build it"

[[nodes]]
id = "law"
dependsOn = ["build"]
gate = { title = "Is it lawful?" }

[[nodes]]
id = "look"
dependsOn = ["build"]
gate = { title = "Does it look good?" }

[[nodes]]
id = "price"
dependsOn = ["build"]
gate = { title = "Is it cheap?" }
"#;

const BUILDER: &str = "if [ -e mended ]; then echo fine; else echo this is why >&2; exit 3; fi";

fn scene(definition: &str) -> Scene {
    let scene = Scene::served();
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "builder", "--cwd", &folder, "--", "sh", "-c", BUILDER]);
    let file = scene.place("definition.toml");
    std::fs::write(&file, definition).unwrap();
    scene.ok(&["automation", "apply", file.to_str().unwrap()]);
    scene
}

fn run_of(scene: &Scene, run: &str) -> Json {
    scene.get(&format!("/automation-runs/{run}"))
}

fn until(scene: &Scene, run: &str, status: &str) -> Json {
    wait_for(status, || Some(run_of(scene, run)).filter(|run| run["status"] == status))
}

fn started(scene: &Scene, args: &[&str]) -> String {
    scene.json(&[&["automation", "run"], args].concat())["id"].as_str().unwrap().to_owned()
}

/// What is refused, with its exit code and a word of what is said.
fn refused(scene: &Scene, code: i32, args: &[&str], word: &str) -> Told {
    let told = scene.bugle(args);
    assert_eq!(told.code, Some(code), "bugle {args:?}: {told:?}");
    assert!(told.err.contains(word), "bugle {args:?}, {word}: {told:?}");
    told
}

#[test]
fn a_step_that_failed_names_its_log_and_a_repair_is_looked_at_before_it_is_done() {
    let scene = scene(ONE);
    let run = started(&scene, &["one"]);
    let failed = until(&scene, &run, "failed");
    let shown = scene.ok(&["automation", "show", &run]).out;
    let agent_run = failed["attempts"][0]["runId"].as_str().unwrap();
    let command = format!("bugle logs {agent_run}");
    assert!(shown.contains(&command), "{shown}");
    assert!(scene.ok(&["logs", agent_run]).err.contains("this is why"));

    // Nothing of this does anything.
    refused(&scene, 2, &["automation", "cancel", &run, "--dry-run"], "--dry-run");
    refused(&scene, 2, &["automation", "repair", &run, "build"], "no change is given");
    refused(&scene, 2, &["automation", "repair", &run, "build", "--dry-run"], "no change is given");
    let dry = ["automation", "repair", &run, "build", "--objective", "build it well", "--dry-run"];
    let told = scene.ok(&dry);
    for part in ["- objective: \"build it\"", "+ objective: \"build it well\"", "begins here"] {
        assert!(told.out.contains(part), "{part}: {told:?}");
    }
    assert!(!told.err.contains("refused"), "{told:?}");
    refused(&scene, 2, &["automation", "repair", &run, "nowhere", "--objective", "x"], "see its steps");
    assert_eq!(run_of(&scene, &run)["seq"], failed["seq"], "nothing happened to it");

    std::fs::write(scene.place("mended"), "").unwrap();
    scene.ok(&dry[..6]);
    let done = until(&scene, &run, "completed");
    assert_eq!(done["definition"]["nodes"][0]["objective"], "build it well");
    refused(&scene, 3, &["automation", "pause", &run], "it takes now: ");
    let told = scene.ok(&["automation", "recover", &run, "--dry-run"]);
    assert!(told.err.contains("it would be refused now: the run is completed"), "{told:?}");
}

#[test]
fn runs_are_started_with_what_was_typed_and_once_for_each_key() {
    let scene = scene(ONE);
    std::fs::write(scene.place("mended"), "").unwrap();
    let run = started(&scene, &["one", "-i", "since=1234"]);
    assert_eq!(run_of(&scene, &run)["inputs"]["since"], "1234");
    refused(
        &scene,
        2,
        &["automation", "run", "one", "-i", "since=a", "-i", "since=b"],
        "`since` is given twice",
    );
    refused(&scene, 2, &["automation", "run", "one", "-i", "until=a"], "is not an input");

    refused(&scene, 2, &["automation", "run", "one", "--idempotency-key", ""], "is empty");
    refused(&scene, 2, &["wake", "builder", "--idempotency-key", ""], "is empty");
    let keyed = ["automation", "run", "one", "--idempotency-key", "nightly"];
    let first = scene.ok(&keyed).out;
    assert!(first.starts_with("one #2 is ") && !first.contains("the same"), "{first}");
    let again = scene.ok(&keyed).out;
    assert!(again.starts_with("one #2 is ") && again.contains("(the same as before)"), "{again}");
    let other = [&keyed[..], &["-i", "since=v2"]].concat();
    refused(&scene, 3, &other, "a new request needs a new key");
    assert!(scene.ok(&["automation", "run", "one"]).out.starts_with("one #3 is "));

    let listed = scene.ok(&["automation", "list"]).out;
    assert!(listed.contains("STEPS") && !listed.contains("1 step"), "{listed}");
    let versions = scene.ok(&["automation", "show", "one", "--history"]).out;
    assert!(versions.contains("v1 "), "{versions}");
    let picture = scene.place("one.svg");
    let told = scene.ok(&["automation", "show", "one", "--svg", picture.to_str().unwrap()]);
    assert!(told.err.contains("the picture is in ") && picture.exists(), "{told:?}");
}

#[test]
fn names_that_are_empty_are_refused_and_runs_of_what_was_removed_are_listed() {
    let scene = scene(ONE);
    std::fs::write(scene.place("mended"), "").unwrap();
    let run = started(&scene, &["one"]);
    until(&scene, &run, "completed");
    for command in ["show", "remove", "run", "runs", "pause", "resume"] {
        refused(&scene, 2, &["automation", command, ""], "is empty");
    }
    refused(&scene, 2, &["gate", "approve", ""], "is empty");
    scene.ok(&["automation", "remove", "one"]);
    for args in [&["automation", "runs", "one"][..], &["automation", "runs"]] {
        let listed = scene.ok(args).out;
        assert!(listed.contains(&run[..13]) && listed.contains("one #1"), "{args:?}: {listed}");
    }
    let runs = scene.json(&["automation", "runs", "one"]);
    assert_eq!((runs.as_array().unwrap().len(), runs[0]["id"].as_str()), (1, Some(run.as_str())));
    refused(&scene, 2, &["automation", "runs", "two"], "there is no automation `two`");
}

#[test]
fn gates_that_open_together_are_told_apart_and_say_what_became_of_them() {
    let scene = scene(GATES);
    std::fs::write(scene.place("mended"), "").unwrap();
    let run = started(&scene, &["gates", "-i", "since=1234"]);
    until(&scene, &run, "awaiting_approval");
    let gates = scene.json(&["gate", "list"]);
    let ids: BTreeSet<&str> = gates.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    let listed = scene.ok(&["gate", "list"]).out;
    let short: BTreeSet<&str> =
        listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(short.len(), 3, "{listed}");
    for id in &short {
        let shown = scene.ok(&["gate", "show", id]).out;
        assert!(shown.contains("Inputs of the run") && shown.contains("since: 1234"), "{shown}");
    }
    let (inbox, stands) = (scene.ok(&["inbox"]).out, scene.ok(&["automation", "show", &run]).err);
    for id in &ids {
        assert!(inbox.contains(&format!("bugle gate approve {id}")), "{inbox}");
        assert!(stands.contains(&format!("bugle gate show {id}")), "{stands}");
    }
    // What they have in common means none of them.
    refused(
        &scene,
        2,
        &["gate", "approve", &gates[0]["id"].as_str().unwrap()[..8]],
        "say which one is meant",
    );

    let of = |node: &str| {
        let gate = gates.as_array().unwrap().iter().find(|it| it["nodeId"] == node).unwrap();
        gate["id"].as_str().unwrap().to_owned()
    };
    let law = of("law");
    refused(
        &scene,
        2,
        &["gate", "rework", &law, "--target", "price"],
        "name a step that comes before the gate",
    );
    let stale =
        refused(&scene, 3, &["gate", "approve", &law, "--hash", "of-something-else"], "bugle gate show");
    assert!(stale.err.contains(&format!("bugle gate approve {law} --hash ")), "{stale:?}");
    let approved = scene.ok(&["gate", "approve", &law, "-m", "it is"]);
    assert!(approved.err.contains(&format!("bugle automation show {run}")), "{approved:?}");
    refused(&scene, 3, &["gate", "cancel", &law], "see what was decided: bugle gate show");
    let history = scene.ok(&["automation", "show", &run, "--history"]).out;
    let decided = history.lines().find(|line| line.contains("gate_decided")).unwrap();
    assert!(decided.contains("law  approve by ") && decided.ends_with("it is"), "{decided}");
    let shown = scene.ok(&["automation", "show", &run]).out;
    assert!(
        shown.contains("law: approve by ") && shown.contains(&format!("bugle gate show {law}")),
        "{shown}"
    );
    refused(&scene, 2, &["gate", "show", "law"], "shown by its whole id");
    scene.ok(&["gate", "show", &law]);
    scene.ok(&["automation", "cancel", &run]);
}
