//! The example `examples/release-notes`, run exactly as its page says: real git, commands and the scripted agent, and a person.

use serde_json::Value as Json;

use crate::examples::{is_checkout, play};
use crate::scene::Scene;
use crate::stage::wait_for;

fn run_of(scene: &Scene, company: &str) -> Json {
    let runs = scene.get(&format!("/companies/{company}/automation-runs"));
    let id = runs[0]["id"].as_str().unwrap().to_owned();
    scene.get(&format!("/automation-runs/{id}"))
}

#[test]
fn release_notes_are_collected_drafted_approved_and_published_once() {
    if !is_checkout() {
        return;
    }
    let scene = Scene::served();
    let out = play(&scene, "release-notes");
    assert!(out.contains("awaiting_approval"), "{out}");
    let companies = scene.json(&["company", "list"]);
    let company = companies.as_array().unwrap().iter().find(|it| it["name"] == "Releases").unwrap();
    let company = company["id"].as_str().unwrap().to_owned();
    fn of<'a>(args: &[&'a str], company: &'a str) -> Vec<&'a str> {
        [args, &["--company", company]].concat()
    }
    let run = run_of(&scene, &company);
    let clone = std::path::PathBuf::from(run["workspace"].as_str().unwrap());
    assert!(!clone.join("RELEASES.md").exists(), "nothing is published before anybody decided");

    // A person sees exactly what is decided about, changes the draft, and is shown it once more.
    let gates = scene.json(&of(&["gate", "list"], &company));
    assert_eq!(gates.as_array().unwrap().len(), 1);
    let hash = gates[0]["hash"].as_str().unwrap();
    assert_eq!(gates[0]["kind"], "node");
    let inbox = scene.ok(&of(&["inbox"], &company)).out;
    assert!(inbox.contains("bugle gate approve"), "the inbox says how to decide: {inbox}");
    let id = run["id"].as_str().unwrap();
    let watched = scene.ok(&of(&["automation", "show", id, "--follow", "--json"], &company)).out;
    let told: Vec<Json> = watched.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().enumerate().all(|(at, entry)| entry["seq"] == at + 1), "{watched}");
    assert!(told.iter().any(|entry| entry["type"] == "automation.gate.opened"), "{watched}");
    let wrong = scene.bugle(&of(&["gate", "respond", "approve", "--choose", "a=b"], &company));
    assert!(wrong.code == Some(2) && wrong.err.contains("approve, rework"), "{wrong:?}");
    let notes = clone.join(".release/notes.md");
    let text = std::fs::read_to_string(&notes).unwrap();
    std::fs::write(&notes, format!("{text}By hand.\n")).unwrap();
    let stale = scene.bugle(&of(&["gate", "approve", "approve"], &company));
    assert!(stale.code != Some(0), "what was shown has changed");
    let stale = scene.bugle(&of(&["gate", "approve", "approve", "--hash", hash], &company));
    assert!(stale.code != Some(0), "this hash is of what was shown before");
    scene.ok(&of(&["gate", "approve", "approve", "-m", "with a line of mine"], &company));
    let done = wait_for("the end of the run", || {
        let run = run_of(&scene, &company);
        (run["status"] == "completed").then_some(run)
    });
    let published = std::fs::read_to_string(clone.join("RELEASES.md")).unwrap();
    assert_eq!(published.matches("# Release notes").count(), 1, "{published}");
    assert!(published.contains("By hand.") && published.contains("## What changed"), "{published}");
    let commits = std::fs::read_to_string(clone.join(".release/commits.txt")).unwrap();
    let count = done["nodes"][0]["output"]["json"]["commits"].as_u64().unwrap();
    assert_eq!(commits.lines().count() as u64, count);
    assert!(count > 0 && published.contains(commits.lines().next().unwrap()), "{published}");

    // Everything can be looked at afterwards.
    let id = done["id"].as_str().unwrap();
    let shown = scene.ok(&of(&["automation", "show", id], &company));
    assert!(shown.out.contains("publish") && shown.out.contains("completed"), "{}", shown.out);
    let picture = scene.ok(&of(&["automation", "show", id, "--svg"], &company));
    assert!(picture.out.starts_with("<svg") && picture.out.contains("approve"), "{}", picture.out);
    let status = wait_for("the status file", || {
        let text = std::fs::read_to_string(done["statusFile"].as_str()?).ok()?;
        let status: Json = serde_json::from_str(&text).ok()?;
        (status["status"] == "completed").then_some(status)
    });
    assert_eq!(status["completedNodes"].as_array().unwrap().len(), 4);
    scene.ok(&["audit", "verify"]);
    let wrong = scene.bugle(&of(&["gate", "approve", "approve"], &company));
    assert!(wrong.err.contains("there is no gate"), "{}", wrong.err);
}

#[test]
fn a_definition_that_cannot_run_is_refused_with_its_places() {
    let scene = Scene::served();
    let file = scene.place("bad.toml");
    let text = "name = \"bad\"\n[[nodes]]\nid = \"a\"\nagent = \"nobody\"\nobjective = \"{{ nodes.b.text }}\"\ndependsOn = [\"c\"]\n";
    std::fs::write(&file, text).unwrap();
    let told = scene.bugle(&["automation", "apply", file.to_str().unwrap()]);
    assert!(told.code != Some(0));
    for part in ["nodes[0].agent", "nodes[0].dependsOn[0]", "nodes[0].objective"] {
        assert!(told.err.contains(part), "{part}: {}", told.err);
    }
    std::fs::write(&file, "name = \"bad\"\nnodes = [").unwrap();
    let told = scene.bugle(&["automation", "apply", file.to_str().unwrap()]);
    assert!(told.err.contains("is not TOML"), "{}", told.err);
}
