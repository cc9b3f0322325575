//! A company as a file, from the command line: written, read, edited, applied to itself and to a new company.

use std::fs::File;
use std::path::Path;

use serde_json::{Value as Json, json};

use crate::scene::{Scene, Told, finish};

fn secret(scene: &Scene, name: &str) {
    let file = scene.place("value");
    std::fs::write(&file, "canary-of-the-company").unwrap();
    let mut command = scene.command(&["secret", "set", name]);
    command.stdin(File::open(&file).unwrap());
    let told = finish(command);
    assert_eq!(told.code, Some(0), "{told:?}");
}

/// Gives a command a text on stdin.
fn fed(scene: &Scene, args: &[&str], text: &str) -> Told {
    let file = scene.place("stdin");
    std::fs::write(&file, text).unwrap();
    let mut command = scene.command(args);
    command.stdin(File::open(&file).unwrap());
    finish(command)
}

fn example() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/company/company.toml");
    root.to_str().unwrap().to_owned()
}

const NOTHING: &str = "nothing to change: the company is what the file says\n";

#[test]
fn what_is_written_and_applied_changes_nothing_in_any_format() {
    let scene = Scene::served();
    secret(&scene, "github");
    scene.ok(&[
        "agent",
        "add",
        "ada",
        "--every",
        "600",
        "--env",
        "TOKEN=secret:github",
        "--env",
        "API_KEY=canary-plain",
        "--",
        "echo",
        "hello",
    ]);
    scene.ok(&["agent", "add", "cody", "--adapter", "codex_local", "--no-check"]);
    scene.ok(&["budget", "set", "--agent", "ada", "--usd", "5", "--warn", "50"]);
    scene.ok(&["project", "create", "Web site", "--folder", "/srv/web", "--lead", "ada"]);
    let head = scene.get("/audit/head");
    for format in ["toml", "yaml", "json"] {
        let exported = scene.ok(&["export", "--format", format]);
        assert!(!exported.out.contains("canary"), "{exported:?}");
        assert!(exported.out.contains("github") && exported.out.contains("***REDACTED***"), "{exported:?}");
        for prune in [false, true] {
            let mut args = vec!["apply", "-f", "-"];
            args.extend(prune.then_some("--prune"));
            let told = fed(&scene, &args, &exported.out);
            assert_eq!(
                (told.code, told.out.as_str()),
                (Some(0), NOTHING),
                "{format}: {told:?}\n{}",
                exported.out
            );
        }
    }
    assert_eq!(scene.get("/audit/head"), head, "nothing was decided");
    let told = fed(&scene, &["--json", "apply", "-f", "-"], &scene.ok(&["export", "--json"]).out);
    let answer: Json = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&answer["changes"], &answer["left"]), (&json!([]), &json!([])));
}

#[test]
fn the_example_is_applied_edited_and_pruned() {
    let scene = Scene::served();
    let dry = scene.ok(&["apply", "-f", &example(), "--create", "--company", "Site makers", "--dry-run"]);
    assert!(
        dry.out.contains("+ agent Builder\n") && dry.out.contains("    reportsTo: \"Lead\"\n"),
        "{dry:?}"
    );
    assert_eq!(scene.json(&["company", "list"]).as_array().unwrap().len(), 1, "a dry run founds nothing");
    let founded = scene.ok(&["apply", "-f", &example(), "--create", "--company", "Site makers"]);
    assert!(founded.err.contains("founded Site makers"), "{founded:?}");
    // Once more, as after a crash.
    let again = scene.ok(&["apply", "-f", &example(), "--create", "--company", "Site makers"]);
    assert_eq!(again.out, NOTHING);
    let company = ["--company", "Site makers"];
    let exported = scene.ok(&["export", company[0], company[1]]).out;
    assert!(exported.contains("We make one web site,\nand keep it fast."), "{exported}");

    // One thing is edited.
    let file = scene.place("company.toml");
    let path = file.to_str().unwrap().to_owned();
    let edited = exported.replace("command = \"make\"", "command = \"just\"");
    assert_ne!(edited, exported);
    std::fs::write(&file, &edited).unwrap();
    let looked = scene.ok(&["apply", "-f", &path, company[0], company[1], "--dry-run"]);
    let expected = "~ agent Builder\n    adapterConfig.command: \"make\" -> \"just\"\n";
    assert_eq!(looked.out, expected);
    assert_eq!(scene.ok(&["export", company[0], company[1]]).out, exported, "a dry run changes nothing");
    let applied = scene.ok(&["apply", "-f", &path, company[0], company[1]]);
    assert_eq!((applied.out.as_str(), applied.err.as_str()), (expected, "0 made, 1 changed, 0 removed\n"));
    assert_eq!(scene.ok(&["export", company[0], company[1]]).out, edited);

    // What is not in it goes when that is asked for, and meant.
    let mut document = scene.json(&["export", company[0], company[1]]);
    document["agents"].as_array_mut().unwrap().retain(|agent| agent["name"] != "Builder");
    document["goals"] = json!([]);
    document["automations"] = json!([]);
    document["projects"][0].as_object_mut().unwrap().remove("goals");
    document["budgets"].as_array_mut().unwrap().retain(|budget| budget["agent"].is_null());
    std::fs::write(scene.place("less.json"), document.to_string()).unwrap();
    let less = scene.place("less.json").to_str().unwrap().to_owned();
    let kept = scene.ok(&["apply", "-f", &less, company[0], company[1]]);
    assert!(kept.err.contains("left as they are (--prune removes them): agent Builder, goal"), "{kept:?}");
    let unsure = scene.bugle(&["apply", "-f", &less, company[0], company[1], "--prune"]);
    assert_eq!(unsure.code, Some(2), "{unsure:?}");
    assert!(unsure.out.contains("- agent Builder (it is terminated)\n"), "{unsure:?}");
    assert!(unsure.err.contains("say --yes"), "{unsure:?}");
    assert_eq!(scene.json(&["agent", "list", company[0], company[1]]).as_array().unwrap().len(), 2);
    let pruned = scene.ok(&["apply", "-f", &less, company[0], company[1], "--prune", "--yes"]);
    assert!(pruned.err.contains("0 made, 0 changed, 5 removed"), "{pruned:?}");
    assert_eq!(scene.json(&["agent", "list", company[0], company[1]]).as_array().unwrap().len(), 1);
    assert_eq!(scene.ok(&["apply", "-f", &less, company[0], company[1], "--prune"]).out, NOTHING);
}

#[test]
fn a_file_that_is_wrong_is_refused_with_its_place_and_changes_nothing() {
    let scene = Scene::served();
    let before = (scene.ok(&["export"]).out, scene.get("/audit/head"));
    for (text, code, told) in [
        (
            "version = 1\n[company\n",
            "company_file.malformed",
            "the file is not TOML: TOML parse error at line 2",
        ),
        ("version: 1\nagents:\n- name: a\n b: c\n", "company_file.malformed", "the file is not YAML"),
        (
            "version = 1\ncolour = 'red'\n",
            "validation_error",
            "colour: is not known (known are: version, company, ",
        ),
        (
            "version = 1\n[[agents]]\nname = 'a'\nadapterType = 'process'\n[[agents]]\nname = 'b'\nadapterType = 'process'\n[agents.adapterConfig]\nargs = []\n",
            "validation_error",
            "agents[1].adapterConfig.command: ",
        ),
        (
            "version = 1\n[[agents]]\nname = 'a'\nadapterType = 'process'\nreportsTo = 'nobody'\n[agents.adapterConfig]\ncommand = 'true'\n",
            "validation_error",
            "agents[0].reportsTo: there is no agent `nobody` (name one that the file or the company has: bugle agent list)",
        ),
    ] {
        let refused = fed(&scene, &["apply", "-f", "-"], text);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(told), "{refused:?}");
        let refused = fed(&scene, &["--json", "apply", "-f", "-"], text);
        assert_eq!((refused.code, refused.error()["code"].clone()), (Some(2), json!(code)), "{refused:?}");
        let founding = fed(&scene, &["apply", "-f", "-", "--create", "--company", "New"], text);
        assert_eq!(founding.code, Some(2), "{founding:?}");
    }
    let gone = scene.bugle(&["--json", "apply", "-f", "/nowhere/company.toml"]);
    assert_eq!((gone.code, gone.error()["code"].clone()), (Some(2), json!("company_file.unreadable")));
    let nameless = fed(&scene, &["--json", "apply", "-f", "-", "--create"], "version = 1\n");
    assert_eq!(nameless.error()["code"], "company_file.nameless");
    assert_eq!((scene.ok(&["export"]).out, scene.get("/audit/head")), before);
    assert_eq!(scene.json(&["company", "list"]).as_array().unwrap().len(), 1);
}
