//! Every step of the scripted agent, really played.

use std::os::unix::process::ExitStatusExt;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use domain::telling::AgentEvent;
use serde_json::json;

use crate::calling::{Answer, Endpoint};
use crate::stage::{Running, Stage, TOO_LONG};

#[test]
fn plain_steps_print_what_they_say() {
    let stage = Stage::new();
    for (script, stdout) in [
        ("print hello  world", "hello  world\n"),
        ("print", "\n"),
        ("lines 3 of ${TASK_KEY}", "line 1 of task-7\nline 2 of task-7\nline 3 of task-7\n"),
        ("lines 0", ""),
        (
            "repeat 2 {\n print a${I}\n repeat 2 {\n print b${I}\n }\n print c${I}\n}\nprint [${I}]",
            "a1\nb1\nb2\nc1\na2\nb1\nb2\nc2\n[]\n",
        ),
        ("repeat 0 {\n print x\n}", ""),
        (
            "print ${RUN_ID} ${EPOCH} ${AGENT_ID} ${COMPANY_ID} ${ENV:NOTHING}.",
            "run-1 1 agent-1 company-1 .\n",
        ),
        ("if-resuming {\n print yes\n} else {\n print no\n}", "no\n"),
        ("if-attempt 1 {\n print first\n}\nif-attempt 2 {\n print second\n}", "first\n"),
        ("if-file mark {\n print was there\n}\ntouch mark\nif-file mark {\n print is there\n}", "is there\n"),
        ("if-same ${TASK_KEY} task-7 {\n print same\n}\nif-same a b {\n print never\n}", "same\n"),
        ("read\nprint [${LINE}]", "[]\n"),
        ("sleep 1ms\nspin 1ms\nprint awake", "awake\n"),
    ] {
        let played = stage.play(script);
        assert_eq!(
            (played.stdout.as_str(), played.stderr.as_str(), played.code()),
            (stdout, "", Some(0)),
            "{script}"
        );
        let _ = std::fs::remove_file(stage.file("mark"));
    }
}

#[test]
fn stderr_exit_codes_and_signals_are_what_the_script_says() {
    let stage = Stage::new();
    let played = stage.play("print out\nerr bad\nexit 7\nprint never");
    assert_eq!((played.stdout.as_str(), played.stderr.as_str(), played.code()), ("out\n", "bad\n", Some(7)));
    assert_eq!(stage.play("kill SIGKILL").status.signal(), Some(9));
    assert_eq!(stage.play("ignore TERM HUP\nkill TERM\nkill HUP\nprint alive").stdout, "alive\n");
}

#[test]
fn a_failing_step_names_its_line_and_ends_with_70() {
    let played = Stage::new().play("print a\n\ntouch no/such/folder\nprint never");
    assert_eq!((played.stdout.as_str(), played.code()), ("a\n", Some(70)));
    assert!(
        played.stderr.starts_with("line 3: failed to touch `no/such/folder`: No such file"),
        "{}",
        played.stderr
    );
}

#[test]
fn a_script_that_cannot_be_read_ends_with_2_before_anything_happened() {
    let stage = Stage::new();
    std::fs::write(stage.file("bad"), "print a\nslep 1s\n").unwrap();
    let played = stage.run("scripted", &json!({ "file": "bad" }));
    assert_eq!((played.stdout.as_str(), played.code()), ("", Some(2)));
    let expected =
        "failed to read the script `bad`: line 2: `slep 1s`: `slep` is not a step; the steps are print, err,";
    assert!(played.stderr.starts_with(expected), "{}", played.stderr);
}

#[test]
fn bytes_are_counted_exactly_and_always_the_same() {
    let stage = Stage::new();
    let text = stage.play("bytes 2500KiB").stdout;
    assert_eq!(text.len(), 2500 * 1024);
    assert!(text.lines().all(|line| line.len() == 127));
    assert_eq!(text, stage.play("bytes 2500KiB text").stdout);
    let line = stage.play("bytes 100000 line").stdout;
    assert_eq!((line.len(), line.contains('\n')), (100_000, false));
    assert!(stage.play("bytes 300 binary").stdout.contains('\u{fffd}'));
}

#[test]
fn what_it_knows_about_itself_is_true() {
    let stage = Stage::new();
    let config = json!({ "script": ["cwd", "args", "print ${ARG:2}[${ARG:3}]", "print ${PID}"], "args": ["--one", "two words"] });
    let running = stage.start("scripted", &config);
    let pid = running.pid();
    let (_, stdout, _) = running.end();
    let expected =
        format!("{}\n--one\ntwo words\ntwo words[]\n{pid}\n", stage.path().canonicalize().unwrap().display());
    assert_eq!(String::from_utf8(stdout).unwrap(), expected);
}

#[test]
fn env_prints_names_and_no_values() {
    let stage = Stage::new();
    let config = json!({ "script": "env", "env": { "MY_TOKEN": "canary-value" } });
    let played = stage.run("scripted", &config);
    let names: Vec<&str> = played.stdout.lines().collect();
    assert!(names.contains(&"MY_TOKEN") && names.contains(&"BUGLE_RUN_ID"), "{names:?}");
    assert!(names.is_sorted());
    assert!(!played.stdout.contains("canary-value"));
}

#[test]
fn reading_takes_one_line_and_leaves_the_next() {
    let stage = Stage::new();
    std::fs::write(
        stage.file("script"),
        "read\nprint got ${LINE}\nread\nprint got ${LINE}\nread\nprint got ${LINE}.",
    )
    .unwrap();
    let mut process = Process::new(env!("CARGO_BIN_EXE_adapter-programs"));
    process.args(["scripted", "script"]).current_dir(stage.path());
    let (_, stdout, _) = Running::start(process, b"one\ntwo\n").end();
    assert_eq!(String::from_utf8(stdout).unwrap(), "got one\ngot two\ngot .\n");
}

#[test]
fn files_synchronise_processes_in_both_directions() {
    let stage = Stage::new();
    let running = stage.start("scripted", &json!({ "script": "touch here\nwait-for go 10s\nprint gone" }));
    wait_for(|| stage.file("here").exists());
    std::fs::write(stage.file("go"), "").unwrap();
    assert_eq!(running.end().1, b"gone\n");

    let played = stage.play("wait-for never 10ms");
    assert_eq!(played.code(), Some(70));
    assert!(played.stderr.contains("failed to see `never` within 10ms"), "{}", played.stderr);
}

#[test]
fn a_hanging_program_ends_by_a_signal_only_and_its_handler_is_played() {
    let stage = Stage::new();
    let script = "on TERM {\n  result success asked to end\n  exit 0\n}\ntouch here\nhang";
    let running = stage.start("scripted", &json!({ "script": script }));
    wait_for(|| stage.file("here").exists());
    signal(running.pid(), "TERM");
    let (status, stdout, _) = running.end();
    assert_eq!(status.code(), Some(0));
    assert!(String::from_utf8(stdout).unwrap().contains("asked to end"));

    std::fs::remove_file(stage.file("here")).unwrap();
    let running = stage.start("scripted", &json!({ "script": "touch here\nhang" }));
    wait_for(|| stage.file("here").exists());
    signal(running.pid(), "TERM");
    assert_eq!(running.end().0.signal(), Some(15));
}

#[test]
fn a_handler_interrupts_a_sleep_and_the_sleep_goes_on() {
    let stage = Stage::new();
    let script = "on USR1 {\n  touch handled\n}\ntouch here\nsleep 150ms\nprint slept";
    let since = Instant::now();
    let running = stage.start("scripted", &json!({ "script": script }));
    wait_for(|| stage.file("here").exists());
    signal(running.pid(), "USR1");
    wait_for(|| stage.file("handled").exists());
    assert_eq!(running.end().1, b"slept\n");
    assert!(since.elapsed() >= Duration::from_millis(150));
}

#[test]
fn children_play_their_own_body_and_never_their_parents() {
    let stage = Stage::new();
    let played = stage.play("fork {\n print child\n exit 3\n}\nwait\nprint parent");
    assert_eq!((played.stdout.as_str(), played.code()), ("child\nparent\n", Some(0)));
    let played = stage.play("fork {\n touch no/folder\n}\nwait\nprint parent");
    assert_eq!(
        (played.stdout.as_str(), played.stderr.lines().count(), played.code()),
        ("parent\n", 1, Some(0))
    );
}

#[test]
fn the_parent_waits_for_a_child_in_a_session_of_its_own() {
    let stage = Stage::new();
    let played =
        stage.play("fork setsid quiet {\n sleep 200ms\n edit order child\n}\nwait\nedit order parent");
    assert_eq!(played.code(), Some(0));
    assert_eq!(stage.read("order"), "child\nparent\n");
}

#[test]
fn a_forked_child_may_leave_the_session_the_parent_and_the_output() {
    let stage = Stage::new();
    let body = "edit pids ${PID}\n wait-for stop 20s";
    let script = format!(
        "edit pids ${{PID}}\nfork setsid quiet {{\n {body}\n}}\nfork double quiet ignore-term {{\n {body}\n}}\n\
         wait-for ready 20s\nedit child ${{CHILD}}."
    );
    let running = stage.start("scripted", &json!({ "script": script }));
    wait_for(|| stage.file("pids").exists() && stage.read("pids").lines().count() == 3);
    let pids: Vec<i32> = stage.read("pids").lines().map(|line| line.parse().unwrap()).collect();
    let main = pids[0];
    let (apart, orphan): (Vec<i32>, Vec<i32>) = pids[1..].iter().partition(|pid| session_of(**pid) == **pid);
    assert_eq!((apart.len(), orphan.len()), (1, 1), "{pids:?}");
    assert_eq!(parent_of(apart[0]), main);
    assert_ne!(parent_of(orphan[0]), main);
    assert_eq!(session_of(orphan[0]), session_of(main));
    signal(orphan[0] as u32, "TERM");

    std::fs::write(stage.file("ready"), "").unwrap();
    // The children hold no output, so the end of the parent ends the stream although they live on.
    assert_eq!(running.end().0.code(), Some(0));
    assert_eq!(stage.read("child"), ".\n", "the number of a grandchild is not the parent's to know");
    assert!(is_alive(orphan[0]), "TERM was ignored");
    std::fs::write(stage.file("stop"), "").unwrap();
    wait_for(|| pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_child_has_no_handlers_of_its_parent_and_hears_signals() {
    let stage = Stage::new();
    let script = "on TERM {\n print parent handles\n}\nfork {\n kill TERM\n print never\n}\nwait\nfork ignore-term {\n kill TERM\n print deaf\n}\nwait\nprint end";
    let played = stage.play(script);
    assert_eq!((played.stdout.as_str(), played.code()), ("deaf\nend\n", Some(0)));
}

#[test]
fn a_childs_number_is_known_to_its_parent() {
    let stage = Stage::new();
    let played = stage.play("fork {\n print ${PID}[${CHILD}]\n}\nwait\nprint ${CHILD}");
    let lines: Vec<&str> = played.stdout.lines().collect();
    assert_eq!(lines[0], format!("{}[]", lines[1]));
}

#[test]
fn edits_and_commits_need_no_configuration_of_git() {
    let mut stage = Stage::new();
    stage.host.env.insert("HOME".to_owned(), stage.path().display().to_string());
    let git = |args: &[&str]| {
        let mut git = Process::new("git");
        git.args(args).current_dir(stage.path()).env("HOME", stage.path());
        String::from_utf8(git.output().unwrap().stdout).unwrap()
    };
    git(&["init", "--quiet"]);
    let played =
        stage.play("edit src/a.txt one\nedit src/a.txt two ${TASK_KEY}\ncommit add ${TASK_KEY}\nprint done");
    assert_eq!((played.stdout.as_str(), played.stderr.as_str()), ("done\n", ""));
    assert_eq!(stage.read("src/a.txt"), "one\ntwo task-7\n");
    assert_eq!(git(&["log", "--format=%an %ae %s"]), "Scripted Agent scripted@bugle.invalid add task-7\n");
    let played = stage.play("commit nothing");
    assert_eq!(played.code(), Some(70));
    assert!(played.stderr.contains("failed to git commit: "), "{}", played.stderr);
}

#[test]
fn the_ledger_gets_one_whole_line_for_each_action_of_many_processes() {
    let stage = Stage::new();
    let played =
        stage.play("repeat 8 {\n fork {\n  ledger ledger paid ${TASK_KEY}\n }\n}\nwait\nledger ledger");
    assert_eq!(played.code(), Some(0));
    let ledger = stage.read("ledger");
    let lines: Vec<&str> = ledger.lines().collect();
    assert_eq!(lines.len(), 9);
    assert!(lines[..8].iter().all(|line| *line == "run-1 1 paid task-7"), "{lines:?}");
    assert_eq!(lines[8], "run-1 1");
}

#[test]
fn events_are_said_and_read_back() {
    let mut stage = Stage::new();
    stage.session = Some("s-0".to_owned());
    let played = stage.play("session\nif-resuming {\n message again in ${SESSION}\n}\nsession s-1\nmessage now in ${SESSION}\nrepeat 2 {\n tool bash {\"round\": \"${I}\", \"n\": 1}\n}\ntool-result ok fine");
    let call = |id: &str, round: &str| AgentEvent::ToolCall {
        id: id.into(),
        name: "bash".into(),
        input: json!({ "round": round, "n": 1 }),
    };
    let expected = [
        AgentEvent::Session { id: "s-0".into() },
        AgentEvent::Message { text: "again in s-0".into() },
        AgentEvent::Session { id: "s-1".into() },
        AgentEvent::Message { text: "now in s-1".into() },
        call("tool-1", "1"),
        call("tool-2", "2"),
        AgentEvent::ToolResult { id: "tool-2".into(), is_error: false, output: "fine".into() },
    ];
    assert_eq!(played.events, expected);
    stage.session = None;
    assert_eq!(stage.play("session").events, [AgentEvent::Session { id: "session-run-1".into() }]);
}

#[test]
fn a_limit_that_ends_later_counts_from_the_moment_it_is_said() {
    let before = now_micros();
    let played = Stage::new().play("result error quota not-before=90s come back later");
    let after = now_micros();
    let error = played.told().terminals[0].error.clone().unwrap();
    let not_before = error.not_before.unwrap().micros();
    // The wire form has milliseconds.
    assert!((before + 90_000_000 - 1000..=after + 90_000_000).contains(&not_before));
    assert_eq!(error.message, "come back later");
}

#[test]
fn a_session_that_is_gone_matters_only_when_resuming() {
    let played = Stage::new().play("session-gone\nprint fresh");
    assert_eq!((played.stdout.as_str(), played.code()), ("fresh\n", Some(0)));
    assert_eq!(played.events, [AgentEvent::Message { text: "fresh".into() }]);
}

#[test]
fn api_calls_carry_the_run_and_its_key_and_may_be_followed_by_a_fork() {
    let endpoint = Endpoint::open(|request| {
        assert_eq!(request.header("x-paperclip-run-id"), Some("run-1"));
        assert_eq!(request.header("authorization"), Some("Bearer key-of-the-run"));
        Answer::new(201, &format!("{} {} {}", request.method, request.path, request.body))
    });
    let mut stage = Stage::new();
    stage.api_url = endpoint.url("");
    let script = "api post /api/issues/${TASK_KEY}/comments {\"body\": \"from ${RUN_ID}\"}\nprint ${STATUS} ${BODY}\nfork {\n print child\n}\nwait\napi GET /api/me";
    let played =
        stage.run("scripted", &json!({ "script": script, "env": { "PAPERCLIP_API_KEY": "key-of-the-run" } }));
    let expected = "POST /api/issues/task-7/comments 201\n201 POST /api/issues/task-7/comments {\"body\":\"from run-1\"}\nchild\nGET /api/me 201\n";
    assert_eq!((played.stdout.as_str(), played.stderr.as_str()), (expected, ""));

    stage.api_url = "http://127.0.0.1:1".to_owned();
    let played = stage.play("api GET /api/me");
    assert_eq!(played.code(), Some(70));
    assert!(played.stderr.contains("failed to call GET /api/me"), "{}", played.stderr);
}

#[test]
fn the_steps_are_listed_for_people() {
    let mut process = Process::new(env!("CARGO_BIN_EXE_adapter-programs"));
    process.args(["scripted", "--steps"]);
    let (status, stdout, _) = Running::start(process, b"").end();
    assert!(status.success());
    assert!(String::from_utf8(stdout).unwrap().starts_with("print TEXT\n    a line on stdout\n"));
}

fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

/// Waits for something another process does.
fn wait_for(mut is_true: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_true() {
        assert!(since.elapsed() < TOO_LONG, "it did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Process::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

/// The fields of `ps`, so that the test needs no /proc.
fn ps(pid: i32, field: &str) -> Option<String> {
    let output = Process::new("ps").args(["-o", field, "-p", &pid.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().nth(1).map(|line| line.trim().to_owned())
}

fn session_of(pid: i32) -> i32 {
    ps(pid, "sess").unwrap().parse().unwrap()
}

fn parent_of(pid: i32) -> i32 {
    ps(pid, "ppid").unwrap().parse().unwrap()
}

/// Dead but unreaped counts as dead: whoever adopted it may take its time.
fn is_alive(pid: i32) -> bool {
    ps(pid, "stat").is_some_and(|stat| !stat.starts_with('Z'))
}
