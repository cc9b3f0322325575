//! The outcome table (D6) as real programs show it: each row played by the scripted agent, run by a real server.

use serde_json::{Value as Json, json};

use crate::stage::Stage;

/// Name, script, status, error code, a thing that must be true of the run.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>, fn(&Json) -> bool);

fn anything(_: &Json) -> bool {
    true
}

const ROWS: &[Row] = &[
    ("success, 0", "message hello\nresult success done", "succeeded", None, anything),
    ("success, then lingering", "message hello\nresult success done\nhang", "succeeded", None, |run| {
        run["resultJson"]["endedBy"] == "lingering"
    }),
    ("success, exit not 0", "message hello\nresult success done\nexit 1", "succeeded", None, |run| {
        run["resultJson"]["warnings"] == json!(["exit_after_success"])
    }),
    ("two results", "message a\nresult success one\nresult error other two", "succeeded", None, |run| {
        run["resultJson"]["warnings"] == json!(["second_result"])
    }),
    (
        "error event, 0",
        "message a\nresult error other no\nexit 0",
        "failed",
        Some("adapter_failed"),
        anything,
    ),
    (
        "error event, 1",
        "message a\nresult error bad_request no\nexit 1",
        "failed",
        Some("adapter_failed"),
        anything,
    ),
    ("none, 0", "message a\nexit 0", "failed", Some("no_terminal_event"), anything),
    ("none, 3", "message a\nexit 3", "failed", Some("adapter_failed"), |run| run["exitCode"] == 3),
    (
        "none, killed",
        "message a\nif-file ${ENV:PWD}/second {\n  result success again\n  exit 0\n}\nkill KILL",
        "failed",
        Some("process_lost"),
        |run| run["signal"] == "SIGKILL",
    ),
    ("login missing, 0", "trouble auth please log in\nexit 0", "failed", Some("auth_required"), anything),
    (
        "limit reached",
        "result error quota not-before=1h limit reached\nexit 1",
        "failed",
        Some("quota_exhausted"),
        |run| {
            run["resultJson"]["errorFamily"] == "transient_upstream"
                && run["resultJson"]["retryNotBefore"].is_string()
        },
    ),
    ("transient", "result error transient overloaded\nexit 1", "failed", Some("adapter_failed"), |run| {
        run["resultJson"]["errorFamily"] == "transient_upstream"
    }),
    ("permission", "result error permission may I\nexit 0", "failed", Some("permission_blocked"), anything),
    ("success, no output", "result success\nexit 0", "failed", Some("no_output"), anything),
    ("plan only", "plan-only first this, then that", "succeeded", None, |run| {
        run["resultJson"]["planOnly"] == true
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_the_outcome_table_is_shown_by_a_real_program() {
    let mut stage = Stage::set(None);
    stage.start();
    let mut runs = Vec::new();
    for (name, script, ..) in ROWS {
        let agent = stage.scripted(name, script, json!({"graceSec": 1})).await;
        runs.push((agent.clone(), stage.wake(&agent, &json!({})).await));
    }
    for ((name, _, status, code, wish), (_, run)) in ROWS.iter().zip(&runs) {
        let ended = stage.over(run).await;
        assert_eq!(
            (ended["status"].as_str(), ended["errorCode"].as_str()),
            (Some(*status), *code),
            "{name}: {ended:#}"
        );
        assert!(wish(&ended), "{name}: {ended:#}");
    }
    // A lost process is replaced once; a transient failure is tried again later.
    let company = stage.company().await;
    let all = stage.get(&format!("/companies/{company}/heartbeat-runs")).await;
    let follow_up = |name: &str| {
        let place = ROWS.iter().position(|row| row.0 == name).expect("a row");
        let of = &runs[place].1;
        all.as_array().into_iter().flatten().find(|run| run["retryOfRunId"] == json!(of)).cloned()
    };
    assert!(follow_up("none, killed").is_some());
    for name in ["transient", "limit reached"] {
        let retry = follow_up(name).expect("a retry");
        assert_eq!(
            (&retry["status"], &retry["heldReason"]),
            (&json!("scheduled_retry"), &json!("retry_backoff")),
            "{name}"
        );
    }
    assert!(follow_up("login missing, 0").is_none() && follow_up("permission").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_ends_the_run_as_timed_out() {
    let mut stage = Stage::set(None);
    stage.start();
    let agent = stage.scripted("slow", "message a\nhang", json!({"timeoutSec": 1, "graceSec": 1})).await;
    let run = stage.wake(&agent, &json!({})).await;
    let ended = stage.over(&run).await;
    assert_eq!(
        (&ended["status"], &ended["errorCode"]),
        (&json!("timed_out"), &json!("timeout")),
        "{ended:#}"
    );
    assert_eq!(ended["resultJson"]["timeoutFired"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_gone_costs_one_more_process_in_the_same_run() {
    let mut stage = Stage::set(None);
    stage.start();
    let ledger = stage.place("ledger");
    let script = format!(
        "ledger {} ${{SESSION}}\nif-resuming {{\n  session-gone\n  exit 1\n}}\nsession fresh-${{RUN_ID}}\nmessage hi\nresult success ok",
        ledger.display()
    );
    let agent = stage.scripted("forgetful", &script, json!({})).await;
    let first = stage.wake(&agent, &json!({"taskKey": "t"})).await;
    assert_eq!(stage.over(&first).await["status"], "succeeded");
    let second = stage.wake(&agent, &json!({"taskKey": "t"})).await;
    let ended = stage.over(&second).await;
    assert_eq!((&ended["status"], &ended["attempt"]), (&json!("succeeded"), &json!(2)), "{ended:#}");
    assert_eq!(ended["sessionIdAfter"], json!(format!("fresh-{second}")));
    let starts = std::fs::read_to_string(&ledger).expect("the ledger");
    assert_eq!(starts.lines().count(), 3, "one start, then one that resumed and one that did not: {starts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_goes_by_its_exit_code_and_a_missing_one_says_what_to_do() {
    let mut stage = Stage::set(None);
    stage.start();
    let command = |name: &str, command: &str, args: Json| json!({"name": name, "adapterType": "process", "adapterConfig": {"command": command, "args": args}});
    for (name, program, args, status, code) in [
        ("true", "true", json!([]), "succeeded", None),
        ("seven", "sh", json!(["-c", "echo out; echo err >&2; exit 7"]), "failed", Some("adapter_failed")),
        ("missing", "no-such-program-anywhere", json!([]), "failed", Some("adapter_failed")),
    ] {
        let agent = stage.agent(&command(name, program, args)).await;
        let run = stage.wake(&agent, &json!({})).await;
        let ended = stage.over(&run).await;
        assert_eq!(
            (ended["status"].as_str(), ended["errorCode"].as_str()),
            (Some(status), code),
            "{ended:#}"
        );
        if name == "seven" {
            assert_eq!(ended["error"], "Process exited with code 7");
            assert_eq!(
                (&ended["stdoutExcerpt"], &ended["stderrExcerpt"]),
                (&json!("out\n"), &json!("err\n"))
            );
        }
        if name == "missing" {
            let error = ended["error"].as_str().unwrap_or_default();
            assert!(error.contains("no-such-program-anywhere") && error.contains("hint"), "{error}");
        }
    }
}
