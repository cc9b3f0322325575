//! Issues from the command line: made, given, talked about, held, finished; and what is said when that cannot be.

use serde_json::{Value as Json, json};

use crate::scene::Scene;
use crate::stage::wait_for;

/// A scene with an agent that works until it is stopped, and one that is done at once.
fn staffed() -> Scene {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "ada", "--max-concurrent", "1", "--", "sleep", "1000"]);
    scene.ok(&["agent", "add", "bob", "--", "true"]);
    scene
}

/// The run of an issue, as soon as it is in this state.
fn run_of(scene: &Scene, issue: &str, status: &str) -> String {
    wait_for(&format!("a run of {issue} that is {status}"), || {
        let runs = scene.get(&format!("/issues/{issue}/runs"));
        let run = runs.as_array()?.iter().find(|run| run["status"] == status)?;
        Some(run["runId"].as_str()?.to_owned())
    })
}

/// What `run explain` says once the run is held for this reason.
fn explained(scene: &Scene, run: &str, reason: &str) -> (String, Json) {
    let json = wait_for(&format!("{run} to be held for {reason}"), || {
        let explained = scene.json(&["run", "explain", run]);
        (explained["heldReason"] == reason).then_some(explained)
    });
    (scene.ok(&["run", "explain", run]).out, json)
}

#[test]
fn an_issue_is_worked_on_and_its_end_starts_what_waited_for_it() {
    let scene = staffed();
    let made = scene.ok(&["issue", "create", "Write notes", "--assignee", "ada", "--priority", "high"]);
    assert_eq!(made.out, "MYC-1  todo  Write notes\n");
    assert!(made.err.contains("ada is woken"), "{made:?}");
    let made = scene.ok(&[
        "issue",
        "create",
        "Publish",
        "--assignee",
        "bob",
        "--blocked-by",
        "1",
        "--parent",
        "MYC-1",
        "--label",
        "web, urgent",
    ]);
    assert!(made.err.contains("bob is woken for it when MYC-1 is done"), "{made:?}");
    let run = run_of(&scene, "MYC-1", "running");

    let listed = scene.ok(&["issue", "list", "--assignee", "ada"]);
    assert!(
        listed.out.contains("MYC-1  in_progress (running)  high") && !listed.out.contains("MYC-2"),
        "{listed:?}"
    );
    let shown = scene.ok(&["issue", "show", "1"]);
    for said in [&*format!("run {run} of ada, running"), "others wait for it", "MYC-2  todo  Publish  (bob)"]
    {
        assert!(shown.out.contains(said), "{said}: {shown:?}");
    }
    let shown = scene.ok(&["issue", "show", "myc-2"]);
    for said in
        ["waits for", "MYC-1  in_progress  Write notes  (ada)", "part of   MYC-1", "labels    urgent, web"]
    {
        assert!(shown.out.contains(said), "{said}: {shown:?}");
    }
    assert_eq!(scene.get("/issues/MYC-2/runs"), json!([]), "what waits does not run");

    scene.ok(&["issue", "comment", "MYC-1", "mind the gap"]);
    assert!(scene.ok(&["issue", "show", "1"]).out.contains("    mind the gap"));
    let done = scene.ok(&["issue", "done", "1", "-m", "all written"]);
    assert_eq!(done.out, "MYC-1  done  Write notes\n");
    assert!(done.err.contains("waited for it: MYC-2"), "{done:?}");
    run_of(&scene, "MYC-2", "succeeded");
    let runs = scene.ok(&["issue", "runs", "MYC-2"]);
    assert!(runs.out.contains("issue_blockers_resolved") && runs.out.contains("bob"), "{runs:?}");
    let told = scene.ok(&["issue", "activity", "1"]);
    assert!(told.out.contains("issue.comment_added") && told.out.contains("status: done"), "{told:?}");
    let told = scene.ok(&["activity", "--issue", "1", "--limit", "1"]);
    assert_eq!(told.out.lines().count(), 2, "a head and one row: {told:?}");
}

#[test]
fn a_waiting_run_names_who_or_what_it_waits_for_and_what_to_type() {
    let scene = staffed();
    scene.ok(&["issue", "create", "First", "--assignee", "ada"]);
    let busy = run_of(&scene, "MYC-1", "running");
    scene.ok(&["issue", "create", "Root"]);
    scene.ok(&["issue", "create", "Second", "--assignee", "ada", "--parent", "2"]);
    let run = run_of(&scene, "MYC-3", "queued");

    let (said, json) = explained(&scene, &run, "slot");
    assert!(said.contains(&format!("run {busy}, since")), "{said}");
    assert!(said.contains("bugle agent set ada --max-concurrent 2"), "{said}");
    assert_eq!(json["heldBy"]["settle"], json!(["bugle agent set ada --max-concurrent 2"]));

    scene.ok(&["issue", "create", "Blocker", "--assignee", "bob", "--status", "backlog"]);
    scene.ok(&["issue", "update", "3", "--blocked-by", "4"]);
    let (said, _) = explained(&scene, &run, "dependency");
    assert!(said.contains("MYC-4 (backlog), of bob: Blocker"), "{said}");
    assert!(said.contains("bugle issue show MYC-4"), "{said}");
    scene.ok(&["issue", "create", "Dead", "--status", "cancelled"]);
    scene.ok(&["issue", "update", "3", "--unblock", "4", "--blocked-by", "5"]);
    let (said, _) = explained(&scene, &run, "dependency");
    assert!(said.contains("MYC-5 (cancelled), nobody's: Dead") && !said.contains("MYC-4"), "{said}");
    assert!(
        said.contains("bugle issue update MYC-3 --unblock MYC-5"),
        "a cancelled blocker is never done: {said}"
    );
    scene.ok(&["issue", "update", "3", "--unblock", "MYC-5"]);
    explained(&scene, &run, "slot");

    scene.ok(&["issue", "hold", "2", "--reason", "budget talks"]);
    let (said, _) = explained(&scene, &run, "hold");
    assert!(said.contains("the hold on MYC-2, above MYC-3: budget talks"), "{said}");
    assert!(said.contains("bugle issue unhold MYC-2"), "{said}");
    scene.ok(&["issue", "unhold", "2"]);

    scene.ok(&["agent", "pause", "ada"]);
    let (said, _) = explained(&scene, &run, "paused");
    assert!(
        said.contains("ada is paused (manual) since") && said.contains("bugle agent resume ada"),
        "{said}"
    );
}

#[test]
fn a_run_that_follows_another_of_the_same_issue_names_it() {
    let scene = staffed();
    scene.ok(&["agent", "set", "ada", "--max-concurrent", "3"]);
    scene.ok(&["issue", "create", "First", "--assignee", "ada"]);
    let first = run_of(&scene, "MYC-1", "running");
    scene.ok(&["issue", "comment", "1", "and this"]);
    let next = run_of(&scene, "MYC-1", "queued");
    let (said, _) = explained(&scene, &next, "running");
    assert!(said.contains(&format!("run {first} of ada works on MYC-1")), "{said}");
    assert!(said.contains(&format!("bugle logs {first} -f")), "{said}");
}

#[test]
fn an_agent_uses_the_command_line_without_being_told_where_the_server_is() {
    let scene = Scene::served();
    let bugle = env!("CARGO_BIN_EXE_bugle");
    let work = format!(
        "set -e; {bugle} whoami; {bugle} issue show $BUGLE_TASK_ID; {bugle} issue tree $BUGLE_TASK_ID; \
         {bugle} issue unhold $BUGLE_TASK_ID || echo refused; \
         {bugle} issue comment $BUGLE_TASK_ID 'did it'; {bugle} issue done $BUGLE_TASK_ID"
    );
    scene.ok(&["agent", "add", "ada", "--", "sh", "-c", &work]);
    scene.ok(&["issue", "create", "Write notes", "--assignee", "ada"]);
    let run = run_of(&scene, "MYC-1", "succeeded");
    let told = scene.ok(&["logs", &run]);
    assert!(told.out.starts_with("the agent ada (general)") && told.out.contains("refused"), "{told:?}");
    assert!(told.err.contains("Board access required"), "only people see and lift holds: {told:?}");
    let shown = scene.ok(&["issue", "show", "1"]);
    assert!(shown.out.starts_with("MYC-1  done  Write notes") && shown.out.contains("did it"), "{shown:?}");
}

#[test]
fn a_tree_is_drawn_held_cancelled_and_brought_back() {
    let scene = staffed();
    scene.ok(&["issue", "create", "Root"]);
    scene.ok(&["issue", "create", "Left", "--parent", "1", "--assignee", "ada"]);
    scene.ok(&["issue", "create", "Right", "--parent", "1"]);
    scene.ok(&["issue", "create", "Leaf", "--parent", "2", "--blocked-by", "3"]);
    let run = run_of(&scene, "MYC-2", "running");
    let tree = scene.ok(&["issue", "tree", "1"]);
    assert_eq!(
        tree.out,
        "MYC-1  backlog  Root\n\
         ├─ MYC-2  in_progress (running)  Left  (ada)\n\
         │  └─ MYC-4  backlog  Leaf  waits for MYC-3\n\
         └─ MYC-3  backlog  Right\n"
    );
    let tree = scene.json(&["issue", "tree", "1"]);
    assert_eq!(tree["children"][0]["children"][0]["identifier"], "MYC-4");

    let tried = scene.ok(&["issue", "hold", "1", "--dry-run"]);
    assert!(
        tried.out.starts_with("pause of MYC-1 would take 4 issues, 1 running and 0 queued runs"),
        "{tried:?}"
    );
    assert_eq!(scene.run(&run)["status"], "running", "a dry run does nothing");
    let held = scene.ok(&["issue", "hold", "1", "--reason", "not now"]);
    assert_eq!(held.out, "MYC-1: 4 issues on hold; stopped: 1 run, in the queue: 0\n");
    assert_eq!(scene.ended(&run)["status"], "cancelled");
    assert!(scene.ok(&["issue", "show", "4"]).out.contains("with the tree of MYC-1: not now"));
    assert!(scene.ok(&["issue", "tree", "2"]).out.contains("on hold with the tree of MYC-1"));
    for (args, code, hint) in [
        (&["issue", "hold", "1"][..], "tree.nothing", "bugle issue unhold MYC-1"),
        (&["issue", "unhold", "4"], "hold.above", "bugle issue unhold MYC-1"),
        (&["issue", "checkout", "2"], "conflict", "bugle issue unhold MYC-1"),
    ] {
        let mut args = args.to_vec();
        args.insert(0, "--json");
        let told = scene.bugle(&args);
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(3), Some(code)), "{told:?}");
        assert!(told.error()["hint"].as_str().unwrap().contains(hint), "{told:?}");
    }
    assert_eq!(scene.ok(&["issue", "unhold", "1"]).out, "MYC-1 goes on, with everything below it\n");
    let again = scene.bugle(&["--json", "issue", "unhold", "1"]);
    assert_eq!((again.code, again.error()["code"].clone()), (Some(3), json!("hold.none")));

    scene.ok(&["issue", "done", "3"]);
    let gone = scene.ok(&["issue", "cancel-tree", "1"]);
    assert!(gone.out.starts_with("MYC-1: 3 issues cancelled"), "{gone:?}");
    let open = scene.json(&["issue", "list", "--status", "open"]);
    assert_eq!(open, json!([]));
    let again = scene.bugle(&["--json", "issue", "cancel-tree", "1"]);
    assert_eq!((again.code, again.error()["code"].clone()), (Some(3), json!("tree.nothing")));
    let back = scene.ok(&["issue", "restore", "1"]);
    assert!(back.out.starts_with("MYC-1: 3 issues brought back"), "{back:?}");
    let open = scene.json(&["issue", "list", "--status", "open"]);
    assert_eq!(open.as_array().unwrap().len(), 3);
    let again = scene.bugle(&["--json", "issue", "restore", "1"]);
    assert_eq!((again.code, again.error()["code"].clone()), (Some(3), json!("tree.nothing")));
}

#[test]
fn an_issue_is_taken_given_back_and_taken_away() {
    let scene = staffed();
    scene.ok(&["issue", "create", "Work"]);
    let nobody = scene.bugle(&["--json", "issue", "checkout", "1"]);
    assert_eq!((nobody.code, nobody.error()["code"].clone()), (Some(2), json!("checkout.no_agent")));
    assert_eq!(scene.ok(&["issue", "checkout", "1", "--agent", "ada"]).out, "MYC-1  in_progress  Work\n");
    let run = run_of(&scene, "MYC-1", "running");
    let taken = scene.bugle(&["--json", "issue", "checkout", "1", "--agent", "bob"]);
    assert_eq!(taken.code, Some(3), "{taken:?}");
    let error = taken.error();
    assert!(error["error"].as_str().unwrap().contains(&run), "who has it is named: {error}");
    assert!(error["hint"].as_str().unwrap().contains("bugle issue force-release MYC-1"), "{error}");
    assert_eq!(error["details"]["holderRunId"], json!(run));
    let away = scene.ok(&["issue", "force-release", "1", "--clear-assignee"]);
    assert!(away.err.contains(&format!("run {run} had it")), "{away:?}");
    let issue = scene.json(&["issue", "show", "1"]);
    assert_eq!((&issue["assigneeAgentId"], &issue["executionLockedAt"]), (&Json::Null, &Json::Null));
    scene.ok(&["run", "cancel", &run]);
    scene.ok(&["issue", "assign", "1", "bob", "-m", "your turn"]);
    assert_eq!(scene.ok(&["issue", "release", "1"]).out, "MYC-1  todo  Work\n");
    assert_eq!(scene.json(&["issue", "show", "1"])["assigneeAgentId"], Json::Null);
}

#[test]
fn a_closed_issue_is_taken_up_again_and_a_blocked_one_says_what_for() {
    let scene = staffed();
    scene.ok(&["issue", "create", "One"]);
    scene.ok(&["issue", "create", "Two", "--assignee", "bob", "--status", "backlog"]);
    let open = scene.bugle(&["--json", "issue", "block", "2"]);
    assert_eq!((open.code, open.error()["code"].clone()), (Some(2), json!("block.no_reason")));
    let blocked = scene.ok(&["issue", "block", "2", "--by", "1"]);
    assert_eq!(blocked.out, "MYC-2  blocked  Two\n");
    assert!(blocked.err.contains("woken when MYC-1 is done"), "{blocked:?}");
    let started = scene.bugle(&["--json", "issue", "update", "2", "--status", "in_progress"]);
    assert_eq!(started.code, Some(3), "{started:?}");
    assert_eq!(started.error()["error"], "MYC-2 is blocked: MYC-1 must be done first");
    assert!(started.error()["hint"].as_str().unwrap().contains("bugle issue update MYC-2 --unblock MYC-1"));

    let gone = scene.ok(&["issue", "cancel", "1", "-m", "not needed"]);
    assert_eq!(gone.out, "MYC-1  cancelled  One\n");
    assert!(gone.err.contains("bugle issue update MYC-2 --unblock MYC-1"), "{gone:?}");
    assert_eq!(scene.ok(&["issue", "reopen", "1"]).out, "MYC-1  todo  One\n");
    let again = scene.bugle(&["--json", "issue", "reopen", "1"]);
    assert_eq!((again.code, again.error()["code"].clone()), (Some(2), json!("issue.open")));
    scene.ok(&["issue", "done", "1"]);
    assert_eq!(scene.ok(&["issue", "reopen", "1", "-m", "once more"]).out, "MYC-1  todo  One\n");
    let spoken = scene.ok(&["issue", "comment", "1", "thanks"]);
    assert!(spoken.err.contains("bugle issue assign MYC-1 AGENT"), "{spoken:?}");
}

#[test]
fn fields_and_relations_are_changed_one_by_one() {
    let scene = staffed();
    scene.ok(&["project", "create", "Web Site", "--lead", "bob", "--status", "planned"]);
    scene.ok(&["issue", "create", "A", "--project", "web-site", "--label", "x"]);
    scene.ok(&["issue", "create", "B"]);
    scene.ok(&["issue", "create", "C"]);
    scene.ok(&[
        "issue",
        "update",
        "1",
        "--title",
        "AA",
        "--priority",
        "low",
        "--label",
        "y",
        "--unlabel",
        "X",
    ]);
    scene.ok(&["issue", "update", "1", "--blocked-by", "2,3"]);
    scene.ok(&["issue", "update", "1", "--unblock", "2"]);
    let issue = scene.json(&["issue", "show", "1"]);
    assert_eq!((&issue["title"], &issue["priority"]), (&json!("AA"), &json!("low")));
    assert_eq!(issue["labels"][0]["name"], "y");
    assert_eq!(issue["labels"].as_array().unwrap().len(), 1);
    let blockers: Vec<&Json> =
        issue["blockedBy"].as_array().unwrap().iter().map(|it| &it["identifier"]).collect();
    assert_eq!(blockers, ["MYC-3"]);
    let listed = scene.json(&["issue", "list", "--project", "Web Site"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["identifier"]), (1, &json!("MYC-1")));
    let shown = scene.ok(&["project", "show", "web-site"]);
    assert!(shown.out.contains("1 open, 1 in all") && shown.out.contains("lead      bob"), "{shown:?}");
    scene.ok(&["project", "update", "web-site", "--name", "Site"]);
    assert!(scene.ok(&["project", "list"]).out.contains("Site  planned"));
    scene.ok(&["issue", "update", "1", "--project", "none", "--unblock", "all"]);
    let issue = scene.json(&["issue", "show", "1"]);
    assert_eq!((&issue["projectId"], &issue["blockedBy"]), (&Json::Null, &json!([])));
    let circle = scene.bugle(&["--json", "issue", "update", "1", "--blocked-by", "1"]);
    assert_eq!(circle.code, Some(3), "a rule refuses it: {circle:?}");
    let found = scene.json(&["issue", "list", "-q", "aa"]);
    assert_eq!(found.as_array().unwrap().len(), 1);
}

#[test]
fn a_document_comes_back_as_it_was_put_and_is_not_overwritten_unread() {
    let scene = staffed();
    scene.ok(&["issue", "create", "Plan it"]);
    std::fs::write(scene.place("plan.md"), "# Plan\n\n1. think\n2. do").unwrap();
    let put =
        scene.ok(&["issue", "document", "put", "1", "plan", "--file", "plan.md", "--title", "The plan"]);
    assert_eq!(put.out, "MYC-1 plan: revision 1 is written\n");
    assert_eq!(scene.ok(&["issue", "document", "get", "1", "plan"]).out, "# Plan\n\n1. think\n2. do");
    let first = scene.json(&["issue", "document", "get", "1", "plan"])["latestRevisionId"].clone();
    scene.ok(&["issue", "document", "put", "1", "plan", "--text", "shorter"]);
    let stale = first.as_str().unwrap();
    let told =
        scene.bugle(&["--json", "issue", "document", "put", "1", "plan", "--text", "x", "--base", stale]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(
        told.error()["hint"].as_str().unwrap().contains("bugle issue document get MYC-1 plan"),
        "{told:?}"
    );
    let listed = scene.ok(&["issue", "documents", "1"]);
    assert!(listed.out.contains("plan  The plan  2"), "the title stays: {listed:?}");
    for (key, code) in [("absent", "document.unknown"), ("No Key", "document.key")] {
        let told = scene.bugle(&["--json", "issue", "document", "get", "1", key]);
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(2), Some(code)), "{told:?}");
    }
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_said_with_what_to_type() {
    let scene = staffed();
    scene.ok(&["issue", "create", "One"]);
    for (args, code, hint) in [
        (&["issue", "show", "MYC-99"][..], "issue.unknown", "bugle issue list"),
        (&["issue", "show", "99"], "issue.unknown", "bugle issue list"),
        (&["issue", "show", "the one"], "issue.reference", "ACM-12"),
        (&["issue", "list", "--status", "finished"], "status.unknown", "in_review"),
        (&["issue", "assign", "1", "nobody-here"], "agent.unknown", "bugle agent list"),
        (&["issue", "create", "x", "--project", "none-such"], "project.unknown", "bugle project create"),
        (&["issue", "create", "x", "--parent", "MYC-9"], "issue.unknown", "bugle issue list"),
        (&["issue", "update", "1"], "usage", "bugle issue update --help"),
        (&["issue", "comment", "1", "  "], "comment.empty", "bugle issue comment"),
        (&["approval", "show", "0192f7a0"], "approval.unknown", "bugle approval list"),
        (&["inbox", "resolve", "0192f7a0"], "item.unknown", "bugle inbox"),
    ] {
        let mut args = args.to_vec();
        args.insert(0, "--json");
        let told = scene.bugle(&args);
        assert_eq!((told.code, told.error()["code"].as_str()), (Some(2), Some(code)), "{args:?}: {told:?}");
        assert!(told.error()["hint"].as_str().unwrap().contains(hint), "{args:?}: {told:?}");
    }
    let wrong = scene.bugle(&["--json", "issue", "create", "x", "--status", "finished"]);
    assert_eq!((wrong.code, wrong.error()["code"].clone()), (Some(2), json!("usage")));
    let lonely = scene.bugle(&["--json", "issue", "update", "1", "--status", "in_progress"]);
    assert_eq!(lonely.code, Some(3), "{lonely:?}");
    assert!(lonely.error()["hint"].as_str().unwrap().contains("bugle issue assign MYC-1"), "{lonely:?}");
    assert_eq!(scene.json(&["issue", "list"]).as_array().unwrap().len(), 1, "nothing was made on the way");
}

#[test]
fn texts_of_others_do_not_reach_the_terminal_as_orders() {
    let scene = staffed();
    scene.ok(&[
        "issue",
        "create",
        "\u{1b}[2Jgone\u{202e}",
        "--description",
        "a\u{1b}]0;title\u{7}b\nsecond line",
    ]);
    scene.ok(&["issue", "comment", "1", "\u{1b}[31mred"]);
    for args in [
        &["issue", "list"][..],
        &["issue", "show", "1"],
        &["issue", "tree", "1"],
        &["issue", "activity", "1"],
        &["activity"],
    ] {
        let told = scene.ok(args);
        assert!(!told.out.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{args:?}: {told:?}");
    }
    let shown = scene.ok(&["issue", "show", "1"]);
    assert!(shown.out.contains("[2Jgone") && shown.out.contains("  second line"), "{shown:?}");
}

#[test]
fn every_list_and_change_is_json_when_asked() {
    let scene = staffed();
    let issue = scene.json(&["issue", "create", "One"]);
    assert_eq!((&issue["identifier"], &issue["status"]), (&json!("MYC-1"), &json!("backlog")));
    scene.json(&["project", "create", "P"]);
    for args in [
        &["issue", "list"][..],
        &["issue", "update", "1", "--priority", "low"],
        &["issue", "comment", "1", "hello"],
        &["issue", "runs", "1"],
        &["issue", "activity", "1"],
        &["issue", "documents", "1"],
        &["issue", "document", "put", "1", "plan", "--text", "x"],
        &["issue", "tree", "1"],
        &["issue", "hold", "1", "--dry-run"],
        &["issue", "hold", "1"],
        &["issue", "unhold", "1"],
        &["issue", "block", "1", "-m", "why"],
        &["issue", "reopen", "1"],
        &["issue", "assign", "1", "--nobody"],
        &["issue", "force-release", "1"],
        &["issue", "done", "1"],
        &["project", "list"],
        &["project", "show", "p"],
        &["project", "update", "p", "--description", "x"],
        &["activity", "--limit", "2"],
        &["inbox"],
        &["approval", "list"],
    ] {
        scene.json(args);
    }
    let shown = scene.json(&["issue", "show", "1"]);
    for key in ["children", "comments", "runs", "activeRun", "activePauseHold", "blockedBy"] {
        assert!(shown.get(key).is_some(), "{key}: {shown}");
    }
    let made = scene.json(&["issue", "create", "Two", "--description", "-"]);
    assert_eq!(made["description"], Json::Null, "nothing on standard input is no description");
}
