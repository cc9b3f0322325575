//! The first minute: a server, an agent, a run, its output; and what scripts read of it.

use std::os::unix::fs::PermissionsExt;

use crate::scene::Scene;

#[test]
fn the_first_start_makes_a_private_folder_with_a_company_and_the_second_finds_them() {
    let mut scene = Scene::served();
    let mode = |name: &str| scene.data().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("board.token"), mode("instance.lock")), (0o700, 0o600, 0o600));
    let companies = scene.json(&["company", "list"]);
    assert_eq!(companies.as_array().unwrap().len(), 1);
    assert_eq!(companies[0]["name"], "My company");
    let made_once =
        || ["board.token", "node-id"].map(|name| std::fs::read_to_string(scene.data().join(name)).unwrap());
    let before = made_once();
    scene.stop(rustix::process::Signal::TERM);
    assert!(!scene.data().join("server.json").exists(), "a server that left is not advertised");
    scene.up(&[]);
    let made_once =
        ["board.token", "node-id"].map(|name| std::fs::read_to_string(scene.data().join(name)).unwrap());
    assert_eq!(made_once, before);
    assert_eq!(scene.json(&["company", "list"]), companies);
}

#[test]
fn an_agent_is_added_woken_and_watched() {
    let scene = Scene::served();
    let added = scene.ok(&["agent", "add", "hello", "--", "sh", "-c", "echo to out; echo to err >&2"]);
    assert!(added.out.contains("added hello (process"), "{added:?}");
    let woken = scene.ok(&["wake", "hello", "--follow"]);
    assert_eq!(woken.out, "to out\n");
    assert!(woken.err.contains("to err\n") && woken.err.contains("succeeded"), "{woken:?}");

    let runs = scene.json(&["run", "list"]);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let run = runs[0]["id"].as_str().unwrap();
    let shown = scene.ok(&["run", "show", run]);
    for said in [run, "succeeded", "agent     hello", "ending    exit 0"] {
        assert!(shown.out.contains(said), "{said}: {shown:?}");
    }
    let listed = scene.ok(&["run", "list"]);
    assert!(listed.out.contains(&run[..13]) && listed.out.contains("hello"), "{listed:?}");
    assert!(!listed.out.contains('\x1b'), "no colours outside a terminal");
}

#[test]
fn a_run_that_fails_makes_follow_fail_and_is_explained() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "bad", "--", "sh", "-c", "echo the reason >&2; exit 3"]);
    let woken = scene.bugle(&["wake", "bad", "--follow"]);
    assert_eq!(woken.code, Some(1), "{woken:?}");
    assert!(woken.err.contains("failed") && woken.err.contains("exit 3"), "{woken:?}");
    assert!(woken.err.contains("bugle run explain"), "a failure says what to type next: {woken:?}");
    let runs = scene.json(&["run", "list", "--status", "failed"]);
    let run = runs[0]["id"].as_str().unwrap();
    let explained = scene.ok(&["run", "explain", run]);
    for said in ["the reason", "what happened", "what happens next", "failed"] {
        assert!(explained.out.contains(said), "{said}: {explained:?}");
    }
    let explained = scene.json(&["run", "explain", run]);
    assert_eq!(explained["status"], "failed");
    assert!(explained["transitions"].as_array().unwrap().len() >= 2, "{explained}");
    assert_eq!(explained["stderr"], serde_json::json!(["the reason"]));
}

#[test]
fn the_log_is_printed_again_whole_or_one_stream_of_it() {
    let scene = Scene::served();
    scene.ok(&[
        "agent",
        "add",
        "noisy",
        "--",
        "sh",
        "-c",
        "for i in 1 2 3; do echo out $i; echo err $i >&2; done",
    ]);
    scene.ok(&["wake", "noisy", "--follow"]);
    let run = scene.json(&["run", "list"])[0]["id"].as_str().unwrap().to_owned();
    let whole = scene.ok(&["logs", &run]);
    assert_eq!((whole.out.as_str(), whole.err.as_str()), ("out 1\nout 2\nout 3\n", "err 1\nerr 2\nerr 3\n"));
    let followed = scene.ok(&["logs", &run, "-f"]);
    assert_eq!((followed.out, followed.err), (whole.out.clone(), whole.err));
    let one = scene.ok(&["logs", &run[..13], "--stdout"]);
    assert_eq!((one.out, one.err), (whole.out, String::new()));
    let json = scene.ok(&["--json", "logs", &run]);
    for line in json.out.lines() {
        let piece: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(piece["type"], "log");
    }
}

#[test]
fn a_log_of_many_answers_is_printed_to_its_last_line() {
    let scene = Scene::served();
    // Lines of five bytes: answers end now inside a line and now between two, and the offsets of the one kind are far
    // larger numbers than those of the other.
    scene.ok(&["agent", "add", "noisy", "--", "sh", "-c", "yes abcd | head -c 16000000; echo the end"]);
    let run = scene.json(&["wake", "noisy"])["id"].as_str().unwrap().to_owned();
    scene.ended(&run);
    let whole = scene.ok(&["logs", &run]).out;
    assert_eq!(whole.len(), 16_000_008);
    assert!(whole.ends_with("abcd\nthe end\n"));
}

#[test]
fn a_log_over_its_budget_says_where_its_middle_is_missing() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "noisy", "--", "sh", "-c", "yes abcd | head -c 100000000; echo the end"]);
    let run = scene.json(&["wake", "noisy"])["id"].as_str().unwrap().to_owned();
    scene.ended(&run);
    let archive = scene.data().join("runs").join(&run).join("1.run");
    crate::stage::wait_for("the archive", || archive.exists().then_some(()));
    let told = scene.ok(&["logs", &run, "--stdout"]);
    assert!(told.out.len() < 90_000_000 && told.out.ends_with("the end\n"), "{} bytes", told.out.len());
    assert!(told.err.contains("bytes of output are missing here"), "{}", told.err);
}

#[test]
fn answers_for_scripts_are_json_and_so_are_failures() {
    let scene = Scene::served();
    let agent =
        scene.json(&["agent", "add", "hello", "--every", "3600", "--max-concurrent", "2", "--", "true"]);
    assert_eq!(agent["runtimeConfig"]["heartbeat"]["intervalSec"], 3600);
    assert_eq!(agent["runtimeConfig"]["heartbeat"]["maxConcurrentRuns"], 2);
    let woken = scene.json(&["wake", "hello"]);
    assert_eq!(woken["agentId"], agent["id"]);
    scene.ended(woken["id"].as_str().unwrap());
    for args in [
        &["agent", "list"][..],
        &["agent", "show", "hello"],
        &["run", "list"],
        &["run", "show", woken["id"].as_str().unwrap()],
        &["status"],
        &["doctor"],
        &["audit", "verify"],
        &["audit", "head"],
        &["company", "list"],
        &["agent", "pause", "hello"],
        &["agent", "resume", "hello"],
        &["agent", "cancel-work", "hello"],
    ] {
        scene.json(args);
    }
    let followed = scene.ok(&["--json", "wake", "hello", "--follow"]);
    let lines: Vec<serde_json::Value> =
        followed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.first().unwrap()["type"], "run");
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["type"], &last["status"], &last["exitCode"]),
        (&"end".into(), &"succeeded".into(), &0.into())
    );
    let unknown = scene.bugle(&["--json", "wake", "nobody"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert_eq!(unknown.error()["code"], "agent.unknown");
    let typed_wrong = scene.bugle(&["--json", "wake"]);
    assert_eq!((typed_wrong.code, typed_wrong.error()["code"].clone()), (Some(2), "usage".into()));
}

#[test]
fn without_a_server_commands_say_so_with_their_own_exit_code() {
    let scene = Scene::bare();
    // Port 9 of this machine: nothing listens there.
    let told = scene.bugle(&["--json", "--url", "http://127.0.0.1:9", "agent", "list"]);
    assert_eq!(told.code, Some(4), "{told:?}");
    assert_eq!(told.error()["code"], "server.unreachable");
    assert!(told.error()["hint"].as_str().unwrap().contains("bugle up"), "{told:?}");
}

#[test]
fn a_backup_is_a_store_that_another_server_starts_with() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "hello", "--", "true"]);
    let told = scene.ok(&["backup", "copy.sqlite"]);
    assert!(told.out.contains("copy.sqlite"), "{told:?}");
    let again = scene.bugle(&["backup", "copy.sqlite"]);
    assert_eq!(again.code, Some(3), "an existing file is not replaced: {again:?}");
    let mut other = Scene::bare();
    std::fs::create_dir(other.data()).unwrap();
    std::fs::rename(scene.place("copy.sqlite"), other.data().join("bugle.sqlite")).unwrap();
    other.up(&[]);
    assert_eq!(other.json(&["agent", "list"])[0]["name"], "hello");
}

#[test]
fn the_record_of_decisions_is_verified_against_a_head_that_was_kept() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "hello", "--", "true"]);
    let head = scene.ok(&["audit", "head"]);
    std::fs::write(scene.place("head.json"), &head.out).unwrap();
    scene.ok(&["agent", "pause", "hello"]);
    let told = scene.ok(&["audit", "verify", "--head", "head.json"]);
    assert!(told.out.contains("whole"), "{told:?}");
    // The records themselves can be kept, and checked where no server is.
    scene.ok(&["audit", "export", "--output", "audit.jsonl"]);
    let again = scene.bugle(&["audit", "export", "--output", "audit.jsonl"]);
    assert_eq!(again.code, Some(1), "an existing file is not replaced: {again:?}");
    let told = scene.ok(&[
        "audit",
        "verify",
        "--file",
        "audit.jsonl",
        "--head",
        "head.json",
        "--url",
        "http://127.0.0.1:9",
    ]);
    assert!(told.out.contains("whole"), "{told:?}");
    let exported = scene.ok(&["audit", "export"]).out;
    assert_eq!(exported, std::fs::read_to_string(scene.place("audit.jsonl")).unwrap());
    let mut lines: Vec<&str> = exported.lines().collect();
    lines.remove(1);
    std::fs::write(scene.place("cut.jsonl"), lines.join("\n")).unwrap();
    let told = scene.bugle(&["audit", "verify", "--file", "cut.jsonl"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("broken at number 2"), "{told:?}");
    let later = scene.ok(&["audit", "export", "--since", "2999-01-01T00:00:00Z"]).out;
    assert_eq!(later.lines().count(), 1, "only where it ends: {later}");
    assert_eq!(scene.bugle(&["audit", "export", "--since", "yesterday"]).code, Some(2));
    let mut forged: serde_json::Value = serde_json::from_str(&head.out).unwrap();
    forged["hash"] = "ab".repeat(32).into();
    std::fs::write(scene.place("head.json"), forged.to_string()).unwrap();
    let told = scene.bugle(&["audit", "verify", "--head", "head.json"]);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("broken"), "{told:?}");
}
