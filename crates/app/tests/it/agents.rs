//! Agents from the command line: names, pauses, keys, companies, and what cannot be meant.

use serde_json::json;

use crate::scene::Scene;

#[test]
fn a_paused_agent_refuses_and_holds_and_says_how_to_go_on() {
    let scene = Scene::served();
    scene.ok(&[
        "agent",
        "add",
        "Slow One",
        "--max-concurrent",
        "1",
        "--",
        "sh",
        "-c",
        "echo on; exec sleep 1000",
    ]);
    let first = scene.json(&["wake", "slow-one", "--task-key", "a"]);
    let second = scene.json(&["wake", "Slow One", "--task-key", "b"]);
    assert_eq!(second["status"], "queued");
    assert_eq!(second["heldReason"], "slot");
    scene.ok(&["agent", "pause", "slow-one"]);
    let first = scene.ended(first["id"].as_str().unwrap());
    assert_eq!(first["status"], "cancelled");
    let held = scene.run(second["id"].as_str().unwrap());
    assert_eq!((held["status"].clone(), held["heldReason"].clone()), (json!("queued"), json!("paused")));
    let listed = scene.ok(&["run", "list"]);
    assert!(listed.out.contains("queued (paused)"), "{listed:?}");
    let explained = scene.ok(&["run", "explain", second["id"].as_str().unwrap()]);
    assert!(explained.out.contains("bugle agent resume"), "{explained:?}");

    let refused = scene.bugle(&["--json", "wake", "slow-one"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert_eq!(refused.error()["code"], "agent.not_invokable");
    assert!(refused.error()["hint"].as_str().unwrap().contains("bugle agent resume slow-one"), "{refused:?}");

    scene.ok(&["agent", "resume", "slow-one"]);
    let mut follow = scene.start(&["--json", "logs", second["id"].as_str().unwrap(), "-f"]);
    follow.out("on");
    scene.ok(&["run", "cancel", second["id"].as_str().unwrap()]);
    assert_eq!(scene.ended(second["id"].as_str().unwrap())["status"], "cancelled");
    assert_eq!(scene.processes(), Vec::<i32>::new());
}

#[test]
fn a_key_that_was_used_gives_the_same_answer_and_another_body_is_refused() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "hello", "--", "true"]);
    let wake = |reason: &str| {
        scene.bugle(&["--json", "wake", "hello", "--idempotency-key", "k", "--reason", reason])
    };
    let first: serde_json::Value = serde_json::from_str(&wake("one").out).unwrap();
    scene.ended(first["id"].as_str().unwrap());
    let again: serde_json::Value = serde_json::from_str(&wake("one").out).unwrap();
    assert_eq!(again["id"], first["id"]);
    assert_eq!(scene.json(&["run", "list"]).as_array().unwrap().len(), 1);
    let other = wake("two");
    assert_eq!(other.code, Some(3), "{other:?}");
    assert_eq!(other.error()["code"], "idempotency_key_reused");
}

#[test]
fn a_wake_that_is_switched_off_is_skipped_with_its_reason() {
    let scene = Scene::served();
    let agent = scene.json(&["agent", "add", "sleepy", "--", "true"]);
    let listen: serde_json::Value =
        serde_json::from_slice(&std::fs::read(scene.data().join("server.json")).unwrap()).unwrap();
    let url =
        format!("http://{}/api/agents/{}", listen["listen"].as_str().unwrap(), agent["id"].as_str().unwrap());
    let body = json!({"runtimeConfig": {"heartbeat": {"wakeOnDemand": false}}});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.patch(url).json(&body).send().await.unwrap().error_for_status().unwrap();
    });
    let told = scene.bugle(&["--json", "wake", "sleepy"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    let answer: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(
        (&answer["status"], &answer["skipReason"]),
        (&json!("skipped"), &json!("heartbeat.wakeOnDemand.disabled"))
    );
    assert_eq!(told.error()["code"], "wake.skipped");
}

#[test]
fn with_several_companies_one_must_be_named() {
    let scene = Scene::served();
    scene.ok(&["company", "create", "Umbrella"]);
    let unnamed = scene.bugle(&["--json", "agent", "add", "a", "--", "true"]);
    assert_eq!((unnamed.code, unnamed.error()["code"].clone()), (Some(2), json!("company.ambiguous")));
    assert!(unnamed.error()["hint"].as_str().unwrap().contains("Umbrella"), "{unnamed:?}");
    scene.ok(&["--company", "umbrella", "agent", "add", "a", "--", "true"]);
    assert_eq!(scene.json(&["--company", "UMB", "agent", "list"])[0]["name"], "a");
    assert_eq!(scene.json(&["--company", "My company", "agent", "list"]), json!([]));
    let mut command = scene.command(&["wake", "a"]);
    command.env("BUGLE_COMPANY", "UMB");
    let told = crate::scene::finish(command);
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[test]
fn a_deleted_company_takes_its_running_work_with_it_and_no_others() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "mine", "--", "true"]);
    scene.ok(&["company", "create", "Umbrella"]);
    scene.ok(&["--company", "UMB", "agent", "add", "theirs", "--", "sleep", "600"]);
    let run = scene.json(&["--company", "UMB", "wake", "theirs"])["id"].as_str().unwrap().to_owned();
    let told = scene.ok(&["company", "delete", "UMB", "--yes"]);
    assert!(told.out.contains("deleted UMB"), "{told:?}");
    let left = scene.json(&["company", "list"]);
    assert_eq!((left.as_array().unwrap().len(), left[0]["name"].as_str()), (1, Some("My company")));
    assert_eq!(scene.json(&["agent", "list"])[0]["name"], "mine");
    assert_eq!(scene.bugle(&["--json", "run", "show", &run]).error()["code"], "run.unknown");
}

#[test]
fn what_an_agent_cannot_be_is_refused_before_it_is_added() {
    let scene = Scene::served();
    std::fs::write(scene.place("file"), "not a step\n").unwrap();
    for (args, code, said) in [
        (&["agent", "add", "x"][..], "agent.no_command", "--"),
        (
            &["agent", "add", "x", "--", "no-such-program-anywhere"],
            "process_command_unresolvable",
            "no-such-program-anywhere",
        ),
        (&["agent", "add", "x", "--cwd", "missing", "--", "true"], "cwd.missing", "missing"),
        (&["agent", "add", "x", "--cwd", "file", "--", "true"], "cwd.not_a_folder", "file"),
        (&["agent", "add", "x", "--env", "NOVALUE", "--", "true"], "env.invalid", "KEY=VALUE"),
        (&["agent", "add", "x", "--adapter", "telepathy", "--", "true"], "unknown_adapter", "telepathy"),
        (&["agent", "add", "x", "--script", "missing"], "script.unreadable", "missing"),
        (&["agent", "add", "x", "--script", "file"], "scripted_script_invalid", "line 1"),
        (&["agent", "add", "x", "--config", "[1]", "--", "true"], "json.invalid", "object"),
        (&["agent", "add", "x", "--every", "-1", "--", "true"], "every.invalid", "-1"),
        (&["agent", "add", "x", "--max-concurrent", "99", "--", "true"], "max_concurrent.invalid", "99"),
        (&["agent", "add", "", "--", "true"], "", "name"),
        (&["wake", "nobody"], "agent.unknown", "nobody"),
        (&["run", "show", "hello"], "run.reference", "hello"),
        (&["run", "show", "0192f7a0-0000-4000-8000-00000000000a"], "run.unknown", "run list"),
        (&["run", "list", "--status", "done"], "status.unknown", "succeeded"),
        (&["agent", "terminate", "x"], "terminate.unconfirmed", "--yes"),
        (&["company", "delete", "My company"], "company_delete.unconfirmed", "--yes"),
        (&["company", "delete", "Nowhere", "--yes"], "company.unknown", "My company"),
    ] {
        let told = scene.bugle(&[&["--json"], args].concat());
        assert_eq!(told.code, Some(2), "{args:?}: {told:?}");
        let error = told.error();
        assert!(error["hint"].is_string(), "every refusal says what to type next: {args:?}: {told:?}");
        assert!(code.is_empty() || error["code"] == code, "{args:?}: {told:?}");
        assert!(told.err.contains(said), "{args:?}: {told:?}");
    }
    assert_eq!(scene.json(&["agent", "list"]), json!([]));
}

#[test]
fn a_nul_byte_in_a_configuration_is_refused_with_its_path() {
    let scene = Scene::served();
    let config = r#"{"command": "true", "args": ["a\u0000b"]}"#;
    let told = scene.bugle(&["--json", "agent", "add", "x", "--no-check", "--config", config]);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("adapterConfig.args") && told.err.contains("NUL"), "{told:?}");
}

#[test]
fn a_command_that_vanished_fails_its_run_with_words() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "gone", "--no-check", "--", "no-such-program-anywhere"]);
    let told = scene.bugle(&["wake", "gone", "--follow"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("no-such-program-anywhere"), "{told:?}");
}

#[test]
fn the_working_folder_and_the_command_are_taken_from_where_they_were_typed() {
    let scene = Scene::served();
    std::fs::create_dir(scene.place("work")).unwrap();
    scene.ok(&[
        "agent",
        "add",
        "where",
        "--cwd",
        "work",
        "--env",
        "LEVEL=full",
        "--",
        "sh",
        "-c",
        "pwd; echo $LEVEL",
    ]);
    let told = scene.ok(&["wake", "where", "--follow"]);
    let work = scene.place("work").canonicalize().unwrap();
    assert_eq!(told.out, format!("{}\nfull\n", work.display()));
}

#[test]
fn a_script_is_stored_with_its_agent() {
    let scene = Scene::served();
    std::fs::write(scene.place("steps"), "print one\nresult success done\n").unwrap();
    scene.ok(&["agent", "add", "mock", "--script", "steps"]);
    std::fs::remove_file(scene.place("steps")).unwrap();
    let told = scene.ok(&["wake", "mock", "--follow"]);
    assert!(told.out.starts_with("one\n"), "{told:?}");
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    assert!(scene.ok(&["run", "show", &run]).out.contains("result    done"));
}
