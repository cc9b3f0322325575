//! A step that changes what its scope leaves out is blocked, by name of what it changed, until a person has looked.

use serde_json::Value as Json;

use crate::scene::Scene;
use crate::stage::wait_for;

const WRITER: &str = "mkdir -p docs; echo \"$BUGLE_NODE_ID $BUGLE_NODE_ATTEMPT\" >> docs/notes.md; \
                      if [ -e astray ]; then echo x >> src/lib.rs; fi; echo done";

fn definition(workspace: &str) -> String {
    format!(
        r#"
name = "notes"
workspace = "{workspace}"

[[nodes]]
id = "first"
agent = "writer"
objective = "write the notes"
scope = {{ writable = ["docs"], denied = ["docs/private"] }}

[[nodes]]
id = "second"
agent = "writer"
objective = "write more notes"
dependsOn = ["first"]
scope = {{ denied = ["src"] }}
"#
    )
}

fn until_over(scene: &Scene, run: &str) -> Json {
    wait_for("the end of the run", || {
        let run = scene.get(&format!("/automation-runs/{run}"));
        Some(run).filter(|run| ["completed", "blocked", "failed"].iter().any(|over| run["status"] == *over))
    })
}

#[test]
fn a_step_that_changes_what_its_scope_leaves_out_is_blocked_until_a_person_has_looked() {
    let scene = Scene::served();
    let workspace = scene.place("work");
    std::fs::create_dir_all(workspace.join("src")).unwrap();
    std::fs::write(workspace.join("src/lib.rs"), "one\n").unwrap();
    std::fs::write(workspace.join("astray"), "").unwrap();
    let folder = workspace.to_str().unwrap().to_owned();
    scene.ok(&["agent", "add", "writer", "--cwd", &folder, "--", "sh", "-c", WRITER]);
    let file = scene.place("notes.toml");
    std::fs::write(&file, definition(&folder)).unwrap();
    scene.ok(&["automation", "apply", file.to_str().unwrap()]);
    scene.ok(&["automation", "run", "notes"]);
    let company = scene.json(&["company", "list"])[0]["id"].as_str().unwrap().to_owned();
    let runs = scene.get(&format!("/companies/{company}/automation-runs"));
    let run = runs[0]["id"].as_str().unwrap().to_owned();

    let blocked = until_over(&scene, &run);
    assert_eq!(blocked["status"], "blocked", "{blocked}");
    let node = &blocked["nodes"][0];
    assert_eq!((&node["state"], &node["attempt"]), (&"blocked".into(), &1.into()), "{blocked}");
    let reason = node["reason"].as_str().unwrap();
    assert!(reason.contains("src/lib.rs") && !reason.contains("docs"), "{reason}");
    assert_eq!(blocked["attempts"][0]["verdict"]["failureClass"], "scope_violation", "{blocked}");
    let shown = scene.ok(&["automation", "show", &run]).out;
    assert!(shown.contains("src/lib.rs"), "{shown}");

    // A person lets the change be: what was changed before an attempt is not its doing.
    std::fs::remove_file(workspace.join("astray")).unwrap();
    scene.ok(&["automation", "retry", &run, "first"]);
    let done = until_over(&scene, &run);
    assert_eq!(done["status"], "completed", "{done}");
    let notes = std::fs::read_to_string(workspace.join("docs/notes.md")).unwrap();
    assert_eq!(notes, "first 1\nfirst 2\nsecond 1\n");
    assert_eq!(scene.processes(), Vec::<i32>::new());
}
