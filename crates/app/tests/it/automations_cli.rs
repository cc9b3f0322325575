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

/// An agent, and one step of its.
fn apply(scene: &Scene, agent: &str, command: &str, definition: &str) {
    let folder = scene.place("").to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", agent, "--cwd", &folder, "--", "sh", "-c", command]);
    let file = scene.place("definition.toml");
    std::fs::write(&file, definition).unwrap();
    scene.ok(&["automation", "apply", file.to_str().unwrap()]);
}

const BIG: &str = r#"
name = "big"
inputs = { one = { type = "string" }, two = { type = "string" } }

[[nodes]]
id = "measure"
agent = "len"
objective = "{{ inputs.one }}{{ inputs.two }}"
"#;

/// More than a variable can hold.
#[test]
fn an_objective_that_is_too_large_for_a_variable_comes_in_a_file() {
    let scene = Scene::served();
    let command = r#"echo "${#BUGLE_NODE_OBJECTIVE} ${#BUGLE_NODE_INPUTS_JSON}" $(wc -c < "$BUGLE_NODE_OBJECTIVE_FILE") \
        $(wc -c < "$PAPERCLIP_NODE_INPUTS_JSON_FILE")"#;
    apply(&scene, "len", command, BIG);
    let words = "x".repeat(100_000);
    let (one, two) = (format!("one={words}"), format!("two={words}"));
    let done = until(&scene, &started(&scene, &["big", "-i", &one, "-i", &two]), "completed");
    assert_eq!(done["nodes"][0]["output"]["text"].as_str().map(str::trim), Some("0 0 200000 200019"));
}

#[test]
fn a_run_whose_agent_is_paused_says_so_and_a_new_name_is_told_of() {
    let scene = Scene::served();
    let definition = BIG.replace("type = \"string\"", "default = \"x\"");
    apply(&scene, "len", "sleep 600", &definition);
    scene.ok(&["agent", "pause", "len"]);
    let waits = started(&scene, &["big"]);
    wait_for("the agent", || Some(run_of(&scene, &waits)).filter(|run| run["queueReason"] == "paused"));
    let listed = scene.ok(&["automation", "runs"]).out;
    assert!(listed.contains("paused agent len"), "{listed}");
    let shown = scene.ok(&["automation", "show", &waits]).out;
    assert!(shown.contains("paused agent len"), "{shown}");

    let told = scene.ok(&["agent", "set", "len", "--name", "lenny"]);
    assert!(told.out.contains("lenny is changed"), "{told:?}");
    assert!(told.err.contains("name it `len`") && told.err.contains(": big;"), "{told:?}");
    let told = scene.ok(&["agent", "set", "lenny", "--name", "Lenny"]);
    assert!(!told.err.contains("automations"), "{told:?}");

    // The run knows who was meant, and one that is at work already shows for what it waits.
    scene.ok(&["agent", "resume", "lenny"]);
    wait_for("a step at work", || {
        Some(run_of(&scene, &waits)).filter(|run| run["attempts"][0]["runId"].is_string())
    });
    scene.ok(&["automation", "cancel", &waits]);
    until(&scene, &waits, "cancelled");
}

/// A gate before a step, and beside them a step that works until there is a file `go`.
const GATE: &str = r#"
name = "careful"

[[nodes]]
id = "ok"
gate = { title = "Now?" }

[[nodes]]
id = "build"
agent = "patient"
objective = "build it"
dependsOn = ["ok"]

[[nodes]]
id = "beside"
agent = "patient"
objective = "wait"
"#;

const PATIENT: &str = "while [ ! -e go ]; do sleep 0.05; done; echo fine";

#[test]
fn after_a_decision_it_is_said_whether_the_run_goes_on() {
    let scene = Scene::served();
    apply(&scene, "patient", PATIENT, GATE);
    let run = started(&scene, &["careful"]);
    wait_for("a question beside a step at work", || {
        let now = run_of(&scene, &run);
        (now["gates"][0]["id"].is_string() && now["attempts"][0]["runId"].is_string()).then_some(())
    });
    scene.ok(&["automation", "pause", &run]);
    until(&scene, &run, "paused");
    let told = scene.ok(&["gate", "approve", "ok"]);
    assert!(told.out.contains("approved: the run is paused"), "{told:?}");
    assert!(told.err.contains(&format!("bugle automation resume {run}")), "{told:?}");
    std::fs::write(scene.place("go"), "").unwrap();
    scene.ok(&["automation", "resume", &run]);
    until(&scene, &run, "completed");

    let run = started(&scene, &["careful"]);
    until(&scene, &run, "awaiting_approval");
    scene.ok(&["automation", "pause", "careful"]);
    let told = scene.ok(&["gate", "approve", "ok"]);
    assert!(told.out.contains("the run is queued, and careful is paused"), "{told:?}");
    assert!(told.err.contains("bugle automation resume careful"), "{told:?}");
    scene.ok(&["automation", "resume", "careful"]);
    until(&scene, &run, "completed");
}

#[test]
fn what_nobody_decided_in_time_is_said_and_asked_again() {
    let expiry = "\"Now?\", expiry = { expiresAfterSec = 1 }";
    let scene = Scene::served();
    apply(&scene, "patient", PATIENT, &GATE.replace("\"Now?\"", expiry));
    let run = started(&scene, &["careful"]);
    until(&scene, &run, "cancelled");
    let again = format!("bugle automation retry {run} ok");
    let inbox = scene.ok(&["inbox"]).out;
    assert!(inbox.contains(&again), "{inbox}");
    let gate = run_of(&scene, &run)["gates"][0]["id"].as_str().unwrap().to_owned();
    for name in ["ok", &gate[..13], &gate] {
        refused(&scene, 3, &["gate", "approve", name], &again);
    }
    let shown = scene.ok(&["gate", "show", "ok"]);
    assert!(shown.out.contains("expired") && shown.err.contains(&again), "{shown:?}");
    let shown = scene.ok(&["automation", "show", &run]);
    assert!(shown.err.contains(&again), "{shown:?}");
    refused(&scene, 2, &["gate", "approve", "nowhere"], "there is no gate");
}

#[test]
fn an_agent_that_asks_wants_an_answer() {
    let scene = Scene::served();
    let command = r#"if [ -n "$BUGLE_NODE_FEEDBACK" ]; then echo fine; else echo '{"status":"ask","question":"Which?"}'; fi"#;
    let definition = "name = \"asks\"\n[[nodes]]\nid = \"write\"\nagent = \"asker\"\nobjective = \"write\"\n";
    apply(&scene, "asker", command, definition);
    let run = started(&scene, &["asks"]);
    until(&scene, &run, "awaiting_approval");
    refused(&scene, 2, &["gate", "approve", "write"], "-m TEXT");
    assert!(scene.ok(&["gate", "show", "write"]).err.contains("-m ANSWER"));
    assert!(scene.ok(&["inbox"]).out.contains("-m ANSWER"));
    scene.ok(&["gate", "approve", "write", "-m", "the blue one"]);
    until(&scene, &run, "completed");
}

#[test]
fn a_step_whose_agent_waits_for_a_permission_is_not_waited_for_in_silence() {
    let scene = Scene::served();
    let script = "permission Bash {\"command\": \"rm -rf x\"}\nmessage it says ${LINE}\nresult success done";
    std::fs::write(scene.place("script"), script).unwrap();
    let (folder, program) = (scene.place(""), env!("CARGO_BIN_EXE_bugle"));
    let add = ["agent", "add", "ada", "--adapter", "acp", "--cwd", folder.to_str().unwrap()];
    scene.ok(&[&add[..], &["--", program, "scripted", "script", "--speak", "acp"]].concat());
    let file = scene.place("definition.toml");
    let definition = "name = \"asks\"\n[[nodes]]\nid = \"write\"\nagent = \"ada\"\nobjective = \"write\"\n";
    std::fs::write(&file, definition).unwrap();
    scene.ok(&["automation", "apply", file.to_str().unwrap()]);

    let told = scene.ok(&["automation", "run", "asks", "--follow"]);
    assert!(told.out.contains("running; it waits for a person"), "{told:?}");
    let gates = scene.json(&["gate", "list"]);
    let gate = gates[0]["id"].as_str().unwrap();
    assert!(told.err.contains(&format!("bugle gate show {gate}")), "{told:?}");
    let run = gates[0]["automationRunId"].as_str().unwrap();
    assert_eq!((&gates[0]["kind"], &gates[0]["nodeId"]), (&"permission".into(), &"write".into()));
    let listed = scene.ok(&["gate", "list"]).out;
    assert!(listed.contains("asks #1 write (ada)"), "{listed}");
    let shown = scene.ok(&["automation", "show", run]).out;
    assert!(shown.contains(&format!("bugle gate show {gate}")), "{shown}");
    let runs = scene.ok(&["automation", "runs"]).out;
    assert!(runs.contains("write: a person is asked"), "{runs}");
    scene.ok(&["gate", "approve", gate]);
    until(&scene, run, "completed");
}
