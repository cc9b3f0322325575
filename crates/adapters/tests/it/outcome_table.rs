//! The outcome table: sixteen endings of an agent program, each with a recorded fixture, and the one outcome it has.
//!
//! `tests/outcomes/<row>.jsonl` is what the program printed, in the dialect of Claude Code; how its process ended and
//! what comes of it stands in the table. A row without a fixture fails, and so does a fixture without a row. No outcome
//! depends on the exit code alone: each row is settled with other codes too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adapters::{Host, LineSplitter, Setup, Source};
use domain::account::Unclear;
use domain::account::said::{self, Said};
use domain::ending::{EndedBy, Ending, ProcessEnd, Settlement, Verdict, Warning, settle};
use domain::moment::Moment;
use domain::run::Outcome;
use domain::telling::Told;
use serde_json::Value;

use crate::stage::adapter;

/// Noon of 20 November 2026, UTC.
const STARTED: Moment = Moment::from_micros(1_795_176_000_000_000);

/// What comes of an ending.
#[derive(Debug, PartialEq)]
enum Comes {
    /// Outcome, error code, warnings, and what it says of the account.
    Over(Outcome, Option<&'static str>, &'static [Warning], Said),
    /// A plan, and nothing done.
    Planned,
    /// One more start, without the session.
    StartFresh,
}

struct Row {
    name: &'static str,
    process: ProcessEnd,
    resuming: bool,
    comes: Comes,
}

const fn exit(code: i32) -> ProcessEnd {
    ProcessEnd::Ended { code: Some(code), signal: None, by: EndedBy::Itself, out_of_memory: false }
}

const fn row(name: &'static str, process: ProcessEnd, comes: Comes) -> Row {
    Row { name, process, resuming: false, comes }
}

fn rows() -> Vec<Row> {
    use Outcome::{Failed, Succeeded};
    let by_us =
        ProcessEnd::Ended { code: Some(143), signal: None, by: EndedBy::Lingering, out_of_memory: false };
    let oom = ProcessEnd::Ended { code: None, signal: Some(9), by: EndedBy::Itself, out_of_memory: true };
    // Three in the afternoon of that day.
    let reset = Some(Moment::from_micros(STARTED.micros() + 3 * 3_600_000_000));
    vec![
        row("success", exit(0), Comes::Over(Succeeded, None, &[], Said::Answered)),
        row("success_then_our_signal", by_us, Comes::Over(Succeeded, None, &[], Said::Answered)),
        row(
            "success_then_error_exit",
            exit(1),
            Comes::Over(Succeeded, None, &[Warning::ExitAfterSuccess], Said::Answered),
        ),
        row("none_and_0", exit(0), Comes::Over(Failed, Some("no_terminal_event"), &[], Said::Answered)),
        row("none_and_1", exit(1), Comes::Over(Failed, Some("adapter_failed"), &[], Said::Answered)),
        row("none_and_out_of_memory", oom, Comes::Over(Failed, Some("out_of_memory"), &[], Said::Answered)),
        row("error_and_0", exit(0), Comes::Over(Failed, Some("adapter_failed"), &[], Said::Answered)),
        row(
            "no_login_and_0",
            exit(0),
            Comes::Over(Failed, Some("claude_auth_required"), &[], Said::LoginLost),
        ),
        row(
            "permission_blocked_and_0",
            exit(0),
            Comes::Over(Failed, Some("permission_blocked"), &[], Said::Answered),
        ),
        row("plan_and_0", exit(0), Comes::Planned),
        row(
            "limit_in_words",
            exit(1),
            Comes::Over(Failed, Some("quota_exhausted"), &[], Said::Limit { not_before: reset }),
        ),
        Row { resuming: true, ..row("session_gone_and_0", exit(0), Comes::StartFresh) },
        Row { resuming: true, ..row("session_gone_without_words_and_1", exit(1), Comes::StartFresh) },
        row("two_results", exit(0), Comes::Over(Succeeded, None, &[Warning::SecondResult], Said::Answered)),
        row("output_and_no_commit", exit(0), Comes::Over(Succeeded, None, &[], Said::Answered)),
        row(
            "nothing_at_all",
            exit(0),
            Comes::Over(Failed, Some("no_terminal_event"), &[], Said::Failed(Unclear::Unknown)),
        ),
    ]
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/outcomes")
}

/// What the program said, by its adapter.
fn told(row: &Row) -> Told {
    let host = Host::default();
    let (config, context) = (serde_json::json!({}), Value::Null);
    let setup = Setup {
        run_id: "run-1",
        company_id: "company-1",
        agent_id: "agent-1",
        agent_name: "Tester",
        task_key: None,
        config: &config,
        context: &context,
        wake_reason: None,
        session: row.resuming.then_some("11111111-2222-4333-8444-555555555555"),
        session_note: None,
        started_at: STARTED,
        api_url: "http://127.0.0.1:1",
        api_key: None,
        program: Path::new("/bugle"),
        default_cwd: Path::new("/scratch"),
        host: &host,
    };
    let mut reader = adapter("claude_local").reader(&setup);
    let bytes = std::fs::read(folder().join(format!("{}.jsonl", row.name)))
        .unwrap_or_else(|_| panic!("{} has no fixture", row.name));
    let (mut told, mut splitter, mut events) = (Told::default(), LineSplitter::new(), Vec::new());
    splitter.push(&bytes, |line| events.extend(reader.line(Source::Stdout, line)));
    splitter.finish(|line| events.extend(reader.line(Source::Stdout, line)));
    events.extend(reader.finish());
    events.iter().for_each(|event| told.hear(event));
    told
}

fn ending(row: &Row, process: ProcessEnd) -> Ending {
    Ending {
        process,
        told: told(row),
        has_terminal_event: true,
        expects_output: true,
        resuming: row.resuming,
        fresh_start_used: false,
        stop_asked: None,
        done_before_stop: false,
        repeatable: true,
        process_loss_retries: 0,
    }
}

#[test]
fn every_row_has_its_fixture_and_its_one_outcome() {
    let rows = rows();
    assert_eq!(rows.len(), 16);
    let named: BTreeSet<String> = rows.iter().map(|row| format!("{}.jsonl", row.name)).collect();
    let found: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, found, "a row is a line in the table and a fixture");
    for row in &rows {
        let ending = ending(row, row.process.clone());
        match (settle(&ending), &row.comes) {
            (Verdict::StartFresh, Comes::StartFresh) => {}
            (Verdict::Over(over), Comes::Planned) => {
                assert_eq!((over.outcome, over.plan_only), (Outcome::Succeeded, true), "{}", row.name);
            }
            (Verdict::Over(over), Comes::Over(outcome, code, warnings, said)) => {
                let Settlement { outcome: found, error_code, warnings: warned, .. } = &over;
                assert_eq!((found, error_code.as_deref()), (outcome, *code), "{}", row.name);
                assert_eq!(warned, warnings, "{}", row.name);
                assert_eq!(said::read(&ending, &over), *said, "{}", row.name);
            }
            (verdict, comes) => panic!("{}: {verdict:?} and not {comes:?}", row.name),
        }
    }
}

#[test]
fn no_outcome_goes_by_the_exit_code_alone() {
    for row in rows() {
        // Where a session may be gone, a code that is not 0 starts afresh; there is no outcome that could differ.
        if row.resuming || !matches!(row.process, ProcessEnd::Ended { by: EndedBy::Itself, signal: None, .. })
        {
            continue;
        }
        let outcomes: Vec<_> = [0, 1, 3, 143]
            .into_iter()
            .map(|code| match settle(&ending(&row, exit(code))) {
                Verdict::Over(over) => Some(over.outcome),
                Verdict::StartFresh => None,
            })
            .collect();
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{}: {outcomes:?}", row.name);
    }
}
