//! Recorded output of real programs, read by their adapters: one snapshot per recording.
//!
//! A folder below `tests/captures` holds `<case>.stdout`, `<case>.stderr` (left out when empty) and
//! `results.jsonl`, whose lines say in the order of the recording what was started and how it ended: `{case,
//! rc, signal, timed_out, cmd}`. `rc` is negative for a process that died of a signal, `signal` what the
//! recorder sent. A snapshot shows the events, what they say together, and what the ending means. Ids are
//! numbered in the order in which a case shows them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use adapters::{Adapter, Host, LineSplitter, Setup, Source};
use domain::ending::{EndedBy, Ending, ProcessEnd, Verdict, settle};
use domain::moment::Moment;
use domain::telling::{AgentEvent, Told};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::adapter;

/// Adds the tests of one folder: `captures!(name, kind, folder)`, or with an `adapterConfig` as a fourth
/// argument.
macro_rules! captures {
    ($name:ident, $kind:literal, $folder:literal) => {
        captures!($name, $kind, $folder, {});
    };
    ($name:ident, $kind:literal, $folder:literal, $config:tt) => {
        mod $name {
            #[test]
            fn every_recording_reads_as_before() {
                super::Captures::open($kind, $folder, serde_json::json!($config)).compare();
            }

            #[test]
            fn no_damage_to_a_recording_breaks_its_reader() {
                super::Captures::open($kind, $folder, serde_json::json!($config)).damage();
            }
        }
    };
}

captures!(claude_2_1_197, "claude_local", "claude-2.1.197");
captures!(claude_2_1_316, "claude_local", "claude-2.1.316");
captures!(claude_2_1_329, "claude_local", "claude-2.1.329");
captures!(gemini, "gemini_local", "gemini");
captures!(opencode, "opencode_local", "opencode", { "model": "fake/fake-model" });
captures!(pi, "pi_local", "pi", { "model": "fake/fake-model" });
captures!(qwen, "qwen", "qwen");
captures!(codex, "codex_local", "codex", { "env": { "TZ": "UTC" } });
// Written by hand, after the description of the protocol.
captures!(openclaw, "openclaw_gateway", "openclaw", { "url": "ws://127.0.0.1:18789" });
// Conversations as a driver prints them.
captures!(acp, "acp", "acp", { "command": "agent", "env": { "TZ": "UTC" } });

/// 20 November 2026, 10 o'clock in UTC: the same day in most zones, so that a time of the day means the same
/// everywhere.
const STARTED: Moment = Moment::from_micros(1_795_168_800_000_000);

/// The recordings of one version of one program.
pub(crate) struct Captures {
    adapter: &'static dyn Adapter,
    folder: &'static str,
    config: Value,
    cases: Vec<Case>,
}

struct Case {
    name: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    end: Option<End>,
}

/// A line of `results.jsonl`.
#[derive(Deserialize)]
struct End {
    case: String,
    rc: i32,
    signal: Option<String>,
    timed_out: bool,
    cmd: Vec<String>,
}

impl End {
    /// The session that the program was asked to resume.
    fn session(&self) -> Option<&str> {
        let at = self.cmd.iter().position(|it| matches!(it.as_str(), "--resume" | "resume" | "--session"))?;
        self.cmd.get(at + 1).map(String::as_str).filter(|id| !id.starts_with('-'))
    }

    fn process(&self, by: EndedBy) -> ProcessEnd {
        let (code, signal) = if self.rc < 0 { (None, Some(-self.rc)) } else { (Some(self.rc), None) };
        ProcessEnd::Ended { code, signal, by, out_of_memory: false }
    }
}

impl Captures {
    pub(crate) fn open(kind: &str, folder: &'static str, config: Value) -> Captures {
        let path = path(folder);
        let results = std::fs::read_to_string(path.join("results.jsonl")).unwrap_or_default();
        let ends: Vec<End> = results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut names: Vec<String> = ends.iter().map(|end| end.case.clone()).collect();
        let mut others: Vec<String> = std::fs::read_dir(&path)
            .unwrap()
            .filter_map(|entry| {
                Some(entry.unwrap().file_name().to_str()?.strip_suffix(".stdout")?.to_owned())
            })
            .filter(|name| !names.contains(name))
            .collect();
        others.sort();
        names.append(&mut others);
        let mut ends: BTreeMap<String, End> = ends.into_iter().map(|end| (end.case.clone(), end)).collect();
        let read = |name: &str, stream: &str| std::fs::read(path.join(format!("{name}.{stream}")));
        let cases = names.into_iter().map(|name| Case {
            stdout: read(&name, "stdout").unwrap(),
            stderr: read(&name, "stderr").unwrap_or_default(),
            end: ends.remove(&name),
            name,
        });
        Captures { adapter: adapter(kind), folder, config, cases: cases.collect() }
    }

    /// Reads every case in the order of the recording; one that resumes gets the note of the last that told
    /// its session.
    fn compare(&self) {
        assert!(!self.cases.is_empty(), "{} holds no recordings", self.folder);
        let mut notes: BTreeMap<String, Value> = BTreeMap::new();
        let mut failures = Vec::new();
        for case in &self.cases {
            let session = case.end.as_ref().and_then(End::session);
            let note = session.and_then(|id| notes.get(id));
            let events = self.read(session, note, &case.stdout, &case.stderr, usize::MAX);
            for size in [1, 7, 4096] {
                let again = self.read(session, note, &case.stdout, &case.stderr, size);
                assert_eq!(again, events, "{}: read again in pieces of {size}", case.name);
            }
            let mut told = Told::default();
            events.iter().for_each(|event| told.hear(event));
            if let (Some(id), Some(note)) = (&told.session, &told.session_note) {
                notes.insert(id.clone(), note.clone());
            }
            let shown = without_ids(&self.show(case, &events, &told));
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path(format!("snapshots/{}", self.folder));
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            // All of them are compared: after a change of a reader one wants to see everything that it
            // changed.
            let compared = std::panic::catch_unwind(AssertUnwindSafe(|| {
                settings.bind(|| insta::assert_snapshot!(case.name.as_str(), shown));
            }));
            if compared.is_err() {
                failures.push(case.name.as_str());
            }
        }
        assert!(failures.is_empty(), "{}: {failures:?} read differently", self.folder);
    }

    fn read(
        &self,
        session: Option<&str>,
        note: Option<&Value>,
        stdout: &[u8],
        stderr: &[u8],
        piece: usize,
    ) -> Vec<AgentEvent> {
        let (host, context) = (Host::from_env([("HOME", "/scratch")]), json!({}));
        let setup = Setup {
            run_id: "run-1",
            company_id: "company-1",
            agent_id: "agent-1",
            agent_name: "Tester",
            task_key: None,
            config: &self.config,
            context: &context,
            wake_reason: None,
            session,
            session_note: note,
            started_at: STARTED,
            api_url: "http://127.0.0.1:1",
            api_key: None,
            program: Path::new("/bugle"),
            default_cwd: Path::new("/scratch"),
            host: &host,
        };
        let mut reader = self.adapter.reader(&setup);
        let mut events = Vec::new();
        for (source, bytes) in [(Source::Stdout, stdout), (Source::Stderr, stderr)] {
            let mut splitter = LineSplitter::new();
            for piece in bytes.chunks(piece) {
                splitter.push(piece, |line| events.extend(reader.line(source, line)));
            }
            splitter.finish(|line| events.extend(reader.line(source, line)));
        }
        events.extend(reader.finish());
        events
    }

    fn show(&self, case: &Case, events: &[AgentEvent], told: &Told) -> String {
        let mut shown = String::new();
        for event in events {
            writeln!(shown, "{}", serde_json::to_string(event).unwrap()).unwrap();
        }
        let told_shown = Told { terminals: Vec::new(), ..told.clone() };
        let terminals = told.terminals.len();
        writeln!(shown, "# told, {terminals} terminal: {}", serde_json::to_string(&told_shown).unwrap())
            .unwrap();
        let Some(end) = &case.end else { return shown };
        let mut settled = |title: &str, ending: &Ending| {
            let verdict = match settle(ending) {
                Verdict::StartFresh => "start fresh".to_owned(),
                Verdict::Over(settlement) => serde_json::to_string(&settlement).unwrap(),
            };
            writeln!(shown, "# {title}: {verdict}").unwrap();
        };
        let by_itself = if end.timed_out { EndedBy::WallLimit } else { EndedBy::Itself };
        let ending = Ending {
            process: end.process(by_itself),
            told: told.clone(),
            has_terminal_event: self.adapter.has_terminal_event(),
            expects_output: true,
            resuming: end.session().is_some(),
            fresh_start_used: false,
            stop_asked: None,
            done_before_stop: false,
            repeatable: self.adapter.is_repeatable(&self.config),
            process_loss_retries: 0,
        };
        let rc = end.rc;
        match (&end.signal, end.timed_out) {
            (_, true) => settled(&format!("{rc}, at its time limit"), &ending),
            (None, _) => settled(&format!("{rc}"), &ending),
            (Some(signal), _) => {
                let signal = signal.split('@').next().unwrap_or(signal);
                settled(&format!("{rc} after a foreign {signal}"), &ending);
                let stopped = Ending {
                    process: end.process(EndedBy::StopOrder),
                    stop_asked: Some("Cancelled by control plane".to_owned()),
                    ..ending.clone()
                };
                settled(&format!("{rc} after our {signal}"), &stopped);
            }
        }
        if matches!(settle(&ending), Verdict::StartFresh) {
            settled("the same once more", &Ending { fresh_start_used: true, ..ending });
        }
        shown
    }

    /// Whatever happens to the bytes, the reader takes them, and takes them the same way twice.
    fn damage(&self) {
        let lines: Vec<(Source, &[u8])> = self
            .cases
            .iter()
            .flat_map(|case| {
                let of = |source| move |line| (source, line);
                let stdout = case.stdout.split(|byte| *byte == b'\n').map(of(Source::Stdout));
                stdout.chain(case.stderr.split(|byte| *byte == b'\n').map(of(Source::Stderr)))
            })
            .collect();
        let wounds = prop::collection::vec((0..lines.len(), wound()), 1..12);
        proptest!(|(wounds in wounds, note in prop::option::of(any_json()))| {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            for (line, wound) in &wounds {
                let (source, line) = lines[*line];
                let to = if source == Source::Stdout { &mut stdout } else { &mut stderr };
                to.extend(wound.apply(line));
                to.push(b'\n');
            }
            let session = note.as_ref().map(|_| "11111111-2222-4333-8444-555555555555");
            let events = self.read(session, note.as_ref(), &stdout, &stderr, usize::MAX);
            let again = self.read(session, note.as_ref(), &stdout, &stderr, 5);
            prop_assert_eq!(events, again);
        });
    }
}

/// What is done to a line; places are fractions of its length.
#[derive(Debug, Clone)]
enum Wound {
    None,
    Cut(f64),
    Put(f64, Vec<u8>),
    /// The nth number of the line becomes this text.
    Number(usize, &'static str),
    /// The nth text of the line becomes this one.
    Text(usize, &'static str),
}

fn wound() -> impl Strategy<Value = Wound> {
    const NUMBERS: [&str; 8] =
        ["-1", "1e300", "18446744073709551615", "9223372036854775808", "0.5", "\"7\"", "null", "{}"];
    const TEXTS: [&str; 8] = [
        "null",
        "\"\"",
        "[]",
        "{}",
        "7",
        "\"\\u0000\"",
        "[[\"\"]]",
        "\"limit reached, resets 25:99pm (No/Land)\"",
    ];
    prop_oneof![
        2 => Just(Wound::None),
        1 => (0.0..1.0f64).prop_map(Wound::Cut),
        2 => (0.0..1.0f64, prop::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(at, put)| Wound::Put(at, put)),
        3 => (0..40usize, prop::sample::select(&NUMBERS[..]))
            .prop_map(|(nth, text)| Wound::Number(nth, text)),
        3 => (0..60usize, prop::sample::select(&TEXTS[..]))
            .prop_map(|(nth, text)| Wound::Text(nth, text)),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 8] =
        ["version", "cwd", "cumulativeCostUsd", "input_tokens", "inputTokens", "total", "usage", "id"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9./]{0,8}".prop_map(Value::from),
    ];
    prop::collection::btree_map(prop::sample::select(&NAMES[..]), leaf, 0..5)
        .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Wound {
    fn apply(&self, line: &[u8]) -> Vec<u8> {
        let place = |at: &f64| (line.len() as f64 * at) as usize;
        match self {
            Wound::None => line.to_vec(),
            Wound::Cut(at) => line[..place(at)].to_vec(),
            Wound::Put(at, put) => {
                let mut hurt = line.to_vec();
                let end = (place(at) + put.len()).min(line.len());
                hurt.splice(place(at)..end, put.iter().copied());
                hurt
            }
            Wound::Number(nth, text) => replace_nth(line, *nth, text, |value| value.is_number()),
            Wound::Text(nth, text) => replace_nth(line, *nth, text, |value| value.is_string()),
        }
    }
}

/// Replaces the nth fitting leaf of a line of JSON; another line stays as it is.
fn replace_nth(line: &[u8], nth: usize, text: &str, fits: impl Fn(&Value) -> bool) -> Vec<u8> {
    fn leaves<'a>(value: &'a mut Value, into: &mut Vec<&'a mut Value>) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, into)),
            Value::Object(fields) => fields.values_mut().for_each(|item| leaves(item, into)),
            leaf => into.push(leaf),
        }
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(line) else { return line.to_vec() };
    let mut all = Vec::new();
    leaves(&mut value, &mut all);
    all.retain(|leaf| fits(leaf));
    let count = all.len().max(1);
    if let Some(leaf) = all.into_iter().nth(nth % count) {
        *leaf = serde_json::from_str(text).unwrap();
    }
    value.to_string().into_bytes()
}

fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(folder)
}

/// Puts `<id 1>` and so on in the place of ids: uuids, and words that begin as ids of messages, tools or
/// sessions do.
fn without_ids(text: &str) -> String {
    const BEGINNINGS: [&str; 8] = ["ses_", "prt_", "msg_", "toolu_", "call_", "req_", "resp_", "rs_"];
    let is_id = |word: &str| {
        let is_uuid = word.len() == 36
            && word.char_indices().all(|(at, it)| match at {
                8 | 13 | 18 | 23 => it == '-',
                _ => it.is_ascii_hexdigit(),
            });
        is_uuid
            || BEGINNINGS.iter().any(|it| word.starts_with(it) && word.contains(|c: char| c.is_ascii_digit()))
    };
    let mut seen: Vec<&str> = Vec::new();
    let mut shown = String::new();
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if is_id(word) {
            let number = seen.iter().position(|it| *it == word).unwrap_or_else(|| {
                seen.push(word);
                seen.len() - 1
            });
            write!(shown, "<id {}>", number + 1).unwrap();
        } else {
            shown.push_str(word);
        }
        let next = after.find(is_part).unwrap_or(after.len());
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}
